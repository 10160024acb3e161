"""Metrics of scores against labels, over frames and over videos: pure functions on arrays."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score, roc_curve

from lnclip_df.core.registry import Registry
from lnclip_df.evaluation.aggregation import video_scores
from lnclip_df.evaluation.probabilities import check_scores

VIDEO_SCORE = "AUROC over videos; a video's score is the mean probability of fake of its frames"


def auroc(label: ArrayLike, prob: ArrayLike) -> float | None:
    """The area under the ROC curve, 0..1.

    This and the other metrics of one number take the same arguments and raise the same errors.

    Args:
        label: N labels, 0 real or 1 fake.
        prob: N probabilities of fake, 0..1.

    Returns:
        None where only one class is there.

    Raises:
        ValueError: as in ``check_scores``.

    >>> auroc([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])
    0.75
    """
    curve = _roc(label, prob)
    return None if curve is None else float(area(*curve))


def average_precision(label: ArrayLike, prob: ArrayLike) -> float | None:
    """The average precision of finding fakes, 0..1; arguments, None and errors as in ``auroc``.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9]), 4)
    0.8333
    """
    label, prob = check_scores(label, prob)
    return None if label.min() == label.max() else float(average_precision_score(label, prob))


def equal_error_rate(label: ArrayLike, prob: ArrayLike) -> float | None:
    """The equal error rate, 0..1; arguments, None and errors as in ``auroc``.

    It is DeepfakeBench's: the false positive rate at the point of scikit-learn's ROC curve where it is nearest to the
    false negative rate, without interpolation.

    >>> equal_error_rate([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])
    0.5
    """
    curve = _roc(label, prob)
    if curve is None:
        return None
    fpr, tpr = curve
    return float(fpr[np.abs(1 - tpr - fpr).argmin()])


def tpr_at_fpr(label: ArrayLike, prob: ArrayLike, fpr: float) -> float | None:
    """The highest true positive rate, 0..1, of all thresholds whose false positive rate is at most ``fpr``.

    No interpolation: with fewer than 1/``fpr`` reals it is the rate at which no real is taken for a fake.

    Args:
        label, prob: as in ``auroc``; so are None and the errors.
        fpr: the largest share of reals that may be taken for fakes, 0..1.

    >>> tpr_at_fpr([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], 0.01)
    0.5
    """
    curve = _roc(label, prob, drop_intermediate=False)
    if curve is None:
        return None
    found, tpr = curve
    return float(tpr[found <= fpr].max())


@dataclass(frozen=True)
class Metric:
    """A metric that the leaderboard can show beside the video AUROC.

    Attributes:
        title: its name in tables.
        function: of N labels (0 real, 1 fake) and N scores (0..1), both classes among them; returns 0..1.
        over_frames: give it the frames of a dataset, not the videos.
        reals: number of real videos below which it cannot be what its title says.
    """

    title: str
    function: Callable[[np.ndarray, np.ndarray], float | None]
    over_frames: bool = False
    reals: int = 0


def mean_average_precision(label: ArrayLike, prob: ArrayLike) -> float | None:
    """The mean of two average precisions, of finding fakes and of finding reals; otherwise as ``average_precision``.

    Both of the authors' releases choose the epoch by it, over videos (``val/mAP_video``).

    >>> mean_average_precision([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])
    0.8333333333333333
    """
    label, prob = check_scores(label, prob)
    fakes, reals = average_precision(label, prob), average_precision(1 - label, 1 - prob)
    return None if fakes is None or reals is None else (fakes + reals) / 2


METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "frame_auroc": Metric("frame AUROC", auroc, over_frames=True),
        "ap": Metric("AP", average_precision),
        "eer": Metric("EER", equal_error_rate),
        "tpr1": Metric("TPR at 1 % FPR", partial(tpr_at_fpr, fpr=0.01), reals=100),
        "tpr5": Metric("TPR at 5 % FPR", partial(tpr_at_fpr, fpr=0.05), reals=20),
    },
)


def frame_metrics(label: ArrayLike, prob: ArrayLike) -> dict[str, float | None]:
    """AUROC, average precision, equal error rate and accuracy; arguments and errors as in ``auroc``.

    Returns:
        ``{"auroc", "ap", "eer", "accuracy"}``, all 0..1; the first three are None where only one class is there. The
        accuracy counts a probability above 0.5 as fake.

    >>> frame_metrics([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])
    {'auroc': 0.75, 'ap': 0.8333333333333333, 'eer': 0.5, 'accuracy': 0.5}
    """
    label, prob = check_scores(label, prob)
    return {
        "auroc": auroc(label, prob),
        "ap": average_precision(label, prob),
        "eer": equal_error_rate(label, prob),
        "accuracy": float(np.mean((prob > 0.5) == label)),
    }


def aggregate(video: ArrayLike, label: ArrayLike, prob: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the frames of each video.

    Args:
        video: N keys, strings or integers; frames of one key are one video.
        label: N labels, 0 real or 1 fake, the same for all frames of a video.
        prob: N probabilities of fake, 0..1.

    Returns:
        The V different keys, sorted; their labels, int64 V; their mean probabilities, float64 V.

    Raises:
        ValueError: as in ``check_scores``, or a video has both labels; the message names it.

    >>> aggregate(["b", "a", "b"], [1, 0, 1], [0.25, 0.5, 0.75])[2].tolist()
    [0.5, 0.5]
    """
    videos, fakes, score, count = _grouped(video, label, prob)
    mixed = np.flatnonzero((fakes > 0) & (fakes < count))
    if len(mixed):
        raise ValueError(f"video {videos[mixed[0]]} has frames of both labels")
    return videos, (fakes > 0).astype(np.int64), score


def video_metrics(video: ArrayLike, label: ArrayLike, prob: ArrayLike) -> dict[str, float | None]:
    """``frame_metrics`` of the videos' mean probabilities; arguments and errors as in ``aggregate``."""
    return frame_metrics(*aggregate(video, label, prob)[1:])


def deepfakebench_video_metrics(paths: Sequence[str], label: ArrayLike, prob: ArrayLike) -> dict[str, float | None]:
    """Video metrics as DeepfakeBench groups frames, as in ``frame_metrics``, for comparison with its numbers.

    Frames belong together where their parent folders share a *name*, whatever lies above: ``000_003`` of four
    manipulations is one video there, and a real and a fake folder of one name are averaged, with the label rounded
    down (``get_test_metrics`` in its ``training/metrics/utils.py``).

    Args:
        paths: N frame paths, with forward or backward separators, each with a parent folder.
        label, prob: as in ``auroc``; so are the errors.
    """
    _, fakes, score, count = _grouped([_parent(path) for path in paths], label, prob)
    return frame_metrics(fakes // count, score)


def _roc(label: ArrayLike, prob: ArrayLike, drop_intermediate=True) -> tuple[np.ndarray, np.ndarray] | None:
    """False and true positive rates over all thresholds."""
    label, prob = check_scores(label, prob)
    return None if label.min() == label.max() else roc_curve(label, prob, drop_intermediate=drop_intermediate)[:2]


def _grouped(key: ArrayLike, label: ArrayLike, prob: ArrayLike):
    """By key: the key, the number of fakes, the mean probability, the number of frames."""
    label, prob = check_scores(label, prob)
    key = np.asarray(key)
    if key.shape != label.shape:
        raise ValueError(f"keys of shape {key.shape} do not fit labels of shape {label.shape}")
    keys, index, count = np.unique(key, return_inverse=True, return_counts=True)
    return keys, np.bincount(index, weights=label).astype(np.int64), video_scores(index, prob), count


def _parent(path):
    parts = re.split(r"\\" if "\\" in path else "/", path)
    if len(parts) < 2:
        raise ValueError(f"path {path!r} has no parent folder")
    return parts[-2]
