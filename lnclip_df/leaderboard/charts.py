"""What the page's charts draw: ROC curves and histograms of scores as SVG paths."""

import numpy as np
from sklearn.metrics import roc_curve

from lnclip_df.evaluation.runs import Scores

BINS = 25
SIDE = 300  # width of a chart, in pixels
HEIGHT = 110  # of a histogram


def histogram_paths(scores: Scores) -> tuple[float, dict[str, str]]:
    """How the videos' scores are spread: the largest share 0..1 of a class in one of ``BINS`` bins, and the bars.

    The bars of a class are one path of an SVG, as high as that share where the whole ``HEIGHT`` is the largest one.
    """
    shares = {}
    for label, name in enumerate(("real", "fake")):
        of_class = scores.score[scores.label == label]
        shares[name] = np.histogram(of_class, BINS, (0, 1))[0] / len(of_class)
    top, wide = max(map(max, shares.values())), SIDE / BINS
    return top, {
        name: "".join(
            f"M{at * wide + 0.5:g} {HEIGHT}v{-HEIGHT * share / top:.1f}h{wide - 1:g}V{HEIGHT}z"
            for at, share in enumerate(of_class)
            if share
        )
        for name, of_class in shares.items()
    }


def roc_path(scores: Scores) -> str:
    """The ROC curve over videos as the path of an SVG.

    Its points are rounded to half pixels; those that repeat, or lie on a straight line, are left out.
    """
    fpr, tpr, _ = roc_curve(scores.label, scores.score)
    points = np.column_stack([np.rint(2 * SIDE * fpr), np.rint(2 * SIDE * (1 - tpr))]).astype(int)
    points = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]]
    steps = np.diff(points, axis=0)
    turns = np.r_[True, steps[1:, 0] * steps[:-1, 1] != steps[1:, 1] * steps[:-1, 0], True]
    return "M" + "L".join(f"{x / 2:g} {y / 2:g}" for x, y in points[turns])
