"""Non-maximum suppression by plain loops."""


def naive_suppression(boxes, border=0):
    kept = []
    for index, box in enumerate(boxes):
        if all(_overlap(box, boxes[other], border) <= 0.4 for other in kept):
            kept.append(index)
    return kept


def _overlap(one, other, border):
    one, other = ((*box[:2], box[2] + border, box[3] + border) for box in (one, other))
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0) * max(high, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)
