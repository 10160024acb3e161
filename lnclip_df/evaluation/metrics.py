"""Frame and video metrics: pure functions on arrays."""

import re

import numpy as np
from sklearn.metrics import auc, average_precision_score, roc_curve

from lnclip_df.evaluation.aggregation import video_scores
from lnclip_df.evaluation.probabilities import check_scores

VIDEO_SCORE = "AUROC over videos; a video's score is the mean probability of fake of its frames"


def frame_metrics(label, prob) -> dict:
    """AUROC, average precision, equal error rate and accuracy of scores against labels.

    The equal error rate is DeepfakeBench's: the false positive rate at the point of scikit-learn's ROC curve where it
    is nearest to the false negative rate, without interpolation. Accuracy counts a probability above 0.5 as fake.

    Args:
        label: N labels, 0 real or 1 fake.
        prob: N probabilities of fake, 0..1.

    Returns:
        ``{"auroc", "ap", "eer", "accuracy"}``, all 0..1; the first three are None where only one class is there.

    Raises:
        ValueError: nothing given, lengths differ, a label other than 0 and 1, a probability NaN or outside 0..1.

    >>> frame_metrics([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])
    {'auroc': 0.75, 'ap': 0.8333333333333333, 'eer': 0.5, 'accuracy': 0.5}
    """
    label, prob = check_scores(label, prob)
    accuracy = float(np.mean((prob > 0.5) == label))
    if label.min() == label.max():
        return {"auroc": None, "ap": None, "eer": None, "accuracy": accuracy}
    fpr, tpr, _ = roc_curve(label, prob)
    eer = fpr[np.abs(1 - tpr - fpr).argmin()]
    return {
        "auroc": float(auc(fpr, tpr)),
        "ap": float(average_precision_score(label, prob)),
        "eer": float(eer),
        "accuracy": accuracy,
    }


def aggregate(video, label, prob) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the frames of each video.

    Args:
        video: N keys, strings or integers; frames of one key are one video.
        label: N labels, 0 real or 1 fake, one and the same within a video.
        prob: N probabilities of fake, 0..1.

    Returns:
        The V different keys, sorted; their labels, int64 V; their mean probabilities, float64 V.

    Raises:
        ValueError: as in ``frame_metrics``, or a video has both labels; the message names it.

    >>> aggregate(["b", "a", "b"], [1, 0, 1], [0.25, 0.5, 0.75])[2].tolist()
    [0.5, 0.5]
    """
    label, prob = check_scores(label, prob)
    videos, fakes, score, count = _means(video, label, prob)
    mixed = np.flatnonzero((fakes > 0) & (fakes < count))
    if len(mixed):
        raise ValueError(f"video {videos[mixed[0]]} has frames of both labels")
    return videos, (fakes > 0).astype(np.int64), score


def video_metrics(video, label, prob) -> dict:
    """``frame_metrics`` of the videos' mean probabilities; arguments and errors as ``aggregate``."""
    _, label, score = aggregate(video, label, prob)
    return frame_metrics(label, score)


def tpr_at_fpr(label, prob, fpr: float) -> float | None:
    """The highest true positive rate of any threshold whose false positive rate is at most ``fpr``.

    No interpolation: with fewer than 1/``fpr`` reals it is the rate at which no real is taken for a fake.

    Args:
        label, prob: as in ``frame_metrics``.
        fpr: the largest share of reals that may be taken for fakes, 0..1.

    Returns:
        0..1, or None where only one class is there.

    Raises:
        ValueError: as in ``frame_metrics``.

    >>> tpr_at_fpr([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], 0.01)
    0.5
    """
    label, prob = check_scores(label, prob)
    if label.min() == label.max():
        return None
    found, tpr, _ = roc_curve(label, prob, drop_intermediate=False)
    return float(tpr[found <= fpr].max())


def deepfakebench_video_metrics(paths, label, prob) -> dict:
    """Video metrics as DeepfakeBench groups frames, for comparison with its numbers.

    Frames belong together where their parent folders share a *name*, whatever lies above: ``000_003`` of four
    manipulations is one video there, and a real and a fake folder of one name are averaged, with the label rounded
    down (``get_test_metrics`` in its ``training/metrics/utils.py``).

    Args:
        paths: N frame paths, with forward or backward separators, each with a parent folder.
        label, prob: as in ``frame_metrics``.

    Returns:
        As ``frame_metrics``.

    Raises:
        ValueError: as in ``frame_metrics``, or a path has no parent folder; the message names it.
    """
    label, prob = check_scores(label, prob)
    _, fakes, score, count = _means([_parent(path) for path in paths], label, prob)
    return frame_metrics(fakes // count, score)


def _means(group, label, prob):
    """Per group: key, number of fakes, mean probability, number of frames."""
    group = np.asarray(group)
    if group.shape != label.shape:
        raise ValueError(f"keys of shape {group.shape} do not fit labels of shape {label.shape}")
    keys, index, count = np.unique(group, return_inverse=True, return_counts=True)
    fakes = np.bincount(index, weights=label).astype(np.int64)
    return keys, fakes, video_scores(index, prob), count


def _parent(path):
    parts = re.split(r"\\" if "\\" in path else "/", path)
    if len(parts) < 2:
        raise ValueError(f"path {path!r} has no parent folder")
    return parts[-2]
