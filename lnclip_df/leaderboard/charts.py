"""What the page's charts draw: the colours of the runs, ROC curves as SVG paths, and histograms of scores."""

import numpy as np
from sklearn.metrics import roc_curve

from lnclip_df.evaluation.runs import Scores

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#5c5c5c")  # Okabe and Ito's
BINS = 25
SIDE = 300  # of a chart, in pixels


def colour(number: int) -> str:
    """The colour of the n-th run."""
    return COLOURS[number % len(COLOURS)]


def class_shares(scores: Scores) -> dict[str, list[float]]:
    """How the videos' scores are spread: of each class, the share 0..1 in each of ``BINS`` equal bins of 0..1."""
    shares = {}
    for label, name in enumerate(("real", "fake")):
        of_class = scores.score[scores.label == label]
        shares[name] = (np.histogram(of_class, BINS, (0, 1))[0] / len(of_class)).tolist()
    return shares


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
