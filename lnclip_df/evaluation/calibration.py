"""Measures of calibration, and the temperature and threshold that a calibration fits: pure functions on arrays."""

import math
from typing import NamedTuple

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.evaluation.probabilities import check_scores, logit

FILE = "calibration.json"  # written beside the weights by lnclip-df calibrate
BINS = 15
RANGE = (0.01, 100.0)  # of a temperature


class Calibration(NamedTuple):
    """The content of ``calibration.json`` that is used later; what is None is unknown.

    ``temperature`` is None where the validation set had too few videos to fit one. ``reals`` is the number of real
    videos that the threshold was set on.
    """

    temperature: float | None
    threshold: float
    asked_fpr: float | None
    weights_sha256: str | None
    reals: int | None = None


def read_calibration(path) -> Calibration:
    """Read the file that ``lnclip-df calibrate`` wrote.

    Raises:
        LNCLIPError: it is missing or damaged.
    """
    found = read_json(path)
    try:
        temperature, threshold = found["temperature"], found["threshold"]
        if not ((temperature is None or 0 < temperature < math.inf) and 0 <= threshold["score"] <= 1):
            raise ValueError
        reals = found.get("validation", {}).get("reals")
        if not (reals is None or type(reals) is int):
            raise ValueError
        return Calibration(
            temperature, threshold["score"], threshold.get("asked_fpr"), found.get("weights_sha256"), reals
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise LNCLIPError(
            f"{path} is damaged: it needs a temperature above 0 (or null), a threshold within 0..1, and a whole number "
            "of validation reals (or none); write it again with lnclip-df calibrate"
        ) from error


class Reliability(NamedTuple):
    """Per bin: the number of probabilities, their mean, and the number of fakes. Empty bins have 0."""

    counts: np.ndarray
    prob: np.ndarray
    fakes: np.ndarray


def reliability(label, prob, bins: int = BINS) -> Reliability:
    """Count probabilities of fake in equal bins of 0..1; one on an edge belongs to the bin below it.

    Arguments and errors as in ``lnclip_df.evaluation.metrics.auroc``; ``bins`` is at least 1.

    >>> reliability([0, 1, 1, 1], [0.1, 0.2, 0.7, 0.9], bins=2).fakes.tolist()
    [1, 2]
    """
    label, prob = check_scores(label, prob)
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least 1")
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], prob)
    count = np.bincount(index, minlength=bins)
    total = np.bincount(index, weights=prob, minlength=bins)
    fakes = np.bincount(index, weights=label, minlength=bins).astype(np.int64)
    return Reliability(count, total / np.maximum(count, 1), fakes)


def ece(label, prob, bins: int = BINS) -> float:
    """The expected calibration error of the probability of fake, 0..1.

    Σ_b n_b/N · |share of fakes − mean probability| over equal bins of the probability of fake (Naeini, Cooper and
    Hauskrecht, *Obtaining Well Calibrated Probabilities Using Bayesian Binning*, AAAI 2015). With few samples
    per bin it is above 0 for a perfectly calibrated detector too. Arguments and errors as ``reliability``.

    >>> round(ece([0, 1, 1, 1], [0.1, 0.2, 0.7, 0.9], bins=2), 3)
    0.275
    """
    count, mean, fakes = reliability(label, prob, bins)
    return float(np.abs(fakes - count * mean).sum() / count.sum())


def nll(label, prob) -> float:
    """Mean negative log-likelihood in nats; probabilities are clipped to those that float32 can tell from 0 and 1.

    >>> round(nll([0, 1], [0.5, 0.5]), 4)
    0.6931
    """
    label, prob = check_scores(label, prob)
    return float(np.logaddexp(0, -_sign(label) * logit(prob)).mean())


def brier(label, prob) -> float:
    """Mean squared difference of probability and label.

    >>> brier([0, 1], [0.5, 1.0])
    0.125
    """
    label, prob = check_scores(label, prob)
    return float(np.mean((prob - label) ** 2))


def scaled(prob, temperature: float) -> np.ndarray:
    """Probabilities after temperature scaling: those of the logits divided by ``temperature``.

    Raises:
        ValueError: the temperature is not above 0.

    >>> scaled([0.9, 0.5], 2.0).round(3).tolist()
    [0.75, 0.5]
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected more than 0")
    return 1 / (1 + np.exp(-logit(prob) / temperature))


def fit_temperature(label, prob) -> float:
    """The temperature, 0.01 to 100, with the least negative log-likelihood.

    Guo, Pleiss, Sun and Weinberger, *On Calibration of Modern Neural Networks* (ICML 2017). In 1/T the likelihood is
    concave, so there is one optimum; L-BFGS finds it over log T. An end of the range means that there is no optimum:
    0.01 where a threshold at ½ separates the classes, 100 where the logits carry no information.

    Arguments and errors as in ``lnclip_df.evaluation.metrics.auroc``; both classes must be present.

    >>> round(fit_temperature([0, 0, 0, 1] * 5 + [1, 1, 1, 0] * 5, [0.1] * 20 + [0.9] * 20), 3)
    2.0
    """
    from scipy.optimize import minimize

    label, prob = check_scores(label, prob)
    if label.min() == label.max():
        raise ValueError("all labels are equal; expected reals and fakes")
    margin = _sign(label) * logit(prob)

    def loss(log_t):
        x = margin * np.exp(-log_t[0])
        return np.logaddexp(0, -x).mean(), np.array([np.mean(x / (1 + np.exp(np.minimum(x, 700))))])

    bounds = [tuple(math.log(end) for end in RANGE)]
    starts = (minimize(loss, [start], jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-14) for start in (-1.0, 1.0))
    return float(np.exp(min(starts, key=lambda found: found.fun).x[0]))


def threshold_at_fpr(label, score, fpr: float) -> float:
    """The lowest threshold with a false positive rate of at most ``fpr``; a score *above* it counts as fake.

    Arguments and errors as in ``lnclip_df.evaluation.metrics.auroc``; there must be reals, and 0 ≤ ``fpr`` < 1.

    >>> threshold_at_fpr([0, 0, 0, 0, 1], [0.1, 0.2, 0.3, 0.6, 0.5], 0.25)
    0.3
    """
    label, score = check_scores(label, score)
    if not 0 <= fpr < 1:
        raise ValueError(f"fpr is {fpr}; expected 0 or more and less than 1")
    reals = np.sort(score[label == 0])[::-1]
    if not len(reals):
        raise ValueError("no real among the labels; a false positive rate needs reals")
    return float(reals[math.floor(fpr * len(reals) + 1e-9)])


def largest_fpr(reals: int, fpr: float) -> float:
    """The bound, 0..1, below which the true false positive rate of ``threshold_at_fpr`` lies in 95 % of cases.

    The threshold is the (k + 1)-th highest of n independent real scores, k = ⌊``fpr`` n⌋, so the rate above it has the
    distribution Beta(k + 1, n − k) (David and Nagaraja, *Order Statistics*, 2003, section 7.2).

    >>> round(largest_fpr(16, 0.05), 3), round(largest_fpr(1000, 0.05), 3)
    (0.171, 0.063)
    """
    from scipy.special import betaincinv

    above = math.floor(fpr * reals + 1e-9)
    return float(betaincinv(above + 1, reals - above, 0.95))


def _sign(label):
    return 2 * label - 1
