"""Labels and probabilities of fake: their check, and the logit."""

import numpy as np
from numpy.typing import ArrayLike

SMALLEST = 2.0**-24  # float32, in which the network computes, has no probability closer to 1 than this


def check_scores(label: ArrayLike, prob: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels as int64 and probabilities as float64, both of N values.

    Raises:
        ValueError: N is 0, the lengths differ, a label is neither 0 nor 1, a probability is NaN or not within 0..1.
    """
    label, prob = np.asarray(label), np.asarray(prob, dtype=np.float64)
    if label.ndim != 1 or label.shape != prob.shape:
        raise ValueError(f"labels of shape {label.shape} do not fit probabilities of shape {prob.shape}")
    if not len(label):
        raise ValueError("no frames: metrics need at least one")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"label {label[~np.isin(label, (0, 1))][0]} is neither 0 nor 1")
    invalid = ~((prob >= 0) & (prob <= 1))
    if invalid.any():
        raise ValueError(f"probability {prob[invalid][0]} of row {invalid.argmax()} is not within 0..1")
    return label.astype(np.int64), prob


def logit(prob: ArrayLike) -> np.ndarray:
    """log p/(1 − p): of a softmax over two logits, the second minus the first. 0 and 1 give ±16.6.

    >>> logit([0.5]).tolist()
    [0.0]
    """
    prob = np.clip(np.asarray(prob, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(prob) - np.log1p(-prob)
