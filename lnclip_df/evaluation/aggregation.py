"""From frames to videos: functions that make one score of a video's frames, and their registry."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from lnclip_df.core.registry import Registry
from lnclip_df.evaluation.probabilities import logit

Frames = Sequence[float] | np.ndarray  # probabilities of fake of one video's frames

MEAN = "mean"  # the default everywhere


def mean(prob: Frames) -> float:
    """The mean probability.

    >>> mean([0.25, 0.75])
    0.5
    """
    return float(np.mean(prob))


def mean_logit(prob: Frames) -> float:
    """The probability whose logit is the mean of the frames' logits: their geometric mean, normalised.

    >>> round(mean_logit([0.5, 0.9]), 6)
    0.75
    """
    return float(1 / (1 + np.exp(-np.mean(logit(prob)))))


def median(prob: Frames) -> float:
    """The median probability."""
    return float(np.median(prob))


def top(prob: Frames, share: float = 0.25) -> float:
    """The mean of the highest ``share`` of the frames, at least one: for fakes that show in few frames.

    >>> top([0.1, 0.2, 0.3, 0.8])
    0.8
    """
    count = max(1, math.ceil(share * np.size(prob) - 1e-9))
    return float(np.mean(np.sort(prob)[-count:]))


def trimmed(prob: Frames, share: float = 0.1) -> float:
    """The mean without the lowest and the highest ``share`` of the frames, rounded down; at least the median remains.

    >>> round(trimmed([0.0, *[0.5] * 8, 0.9]), 6)
    0.5
    """
    count = np.size(prob)
    cut = min(int(share * count + 1e-9), (count - 1) // 2)
    return float(np.mean(np.sort(prob)[cut : count - cut]))


# Each takes the probabilities of fake of one video's frames, float T in 0..1, and returns its score.
AGGREGATIONS: Registry[Callable[[Frames], float]] = Registry(
    "aggregation over frames",
    {
        MEAN: mean,
        "mean logit": mean_logit,
        "median": median,
        "top 25%": partial(top, share=0.25),
        "trimmed 10%": partial(trimmed, share=0.1),
    },
)


def video_scores(video: np.ndarray, prob: np.ndarray, how: str = MEAN) -> np.ndarray:
    """One score per video, from the scores of its frames.

    Args:
        video: int N, the index of each frame's video; every one of 0..V-1 occurs.
        prob: float N, the frames' probabilities of fake.
        how: a name of ``AGGREGATIONS``.

    Returns:
        float64 V.

    >>> video_scores(np.array([1, 0, 1]), np.array([0.25, 0.5, 0.75])).tolist()
    [0.5, 0.5]
    """
    if how == MEAN:  # of all videos at once
        return np.bincount(video, weights=prob) / np.bincount(video)
    return np.array([AGGREGATIONS.choose(how)(frames) for frames in by_video(video, prob)])


def by_video(video: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """The rows of each video, in their order: one array per index in ``video``.

    >>> [part.tolist() for part in by_video(np.array([1, 0, 1]), np.array([7, 8, 9]))]
    [[8], [7, 9]]
    """
    return np.split(rows[np.argsort(video, kind="stable")], np.cumsum(np.bincount(video))[:-1])


def movement(features: ArrayLike) -> float | None:
    """How far a video's embedding moves on the sphere from frame to frame: the mean angle as a share of π, 0..1.

    The angle arccos⟨z_t, z_{t+1}⟩ is computed as 2·atan2(‖z_t − z_{t+1}‖, ‖z_t + z_{t+1}‖), which is exact for small
    angles too.

    ``features`` are T×D, the frames in order; they are normalised. None for one frame, which has no neighbour.

    >>> movement([[1, 0], [0, 1], [0, 2]])
    0.25
    """
    z = np.asarray(features, dtype=np.float64)
    if len(z) < 2:
        return None
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    angle = 2 * np.arctan2(np.linalg.norm(z[1:] - z[:-1], axis=1), np.linalg.norm(z[1:] + z[:-1], axis=1))
    return float(np.mean(angle) / math.pi)
