"""Intervals of an AUROC, and whether two differ: pure functions on arrays with one entry per video."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lnclip_df.evaluation.probabilities import check_scores

Seed = int | Sequence[int]
CHUNK = 1 << 18  # draws at once: the arrays of a chunk stay in the processor's cache


class DeLong(NamedTuple):
    """Two AUROCs of the same videos: both, a − b, its standard error, z, and the two-sided p-value.

    Where the difference has no variance, z is 0 or infinite; where a class has one video, the last three are None.
    """

    a: float
    b: float
    difference: float
    error: float | None
    z: float | None
    p: float | None


def placements(label: ArrayLike, score: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The share of the other class that each video is in the right order with; ties count half.

    With fakes x and reals y these are DeLong's structural components V₁₀(x) = mean over y of ψ(x, y) and
    V₀₁(y) = mean over x of ψ(x, y), ψ = 1 where x > y, ½ where x = y, else 0. Sorting gives them in O(n log n), as
    midranks do in Sun and Xu, *Fast Implementation of DeLong's Algorithm* (IEEE Signal Processing Letters 21, 2014).

    Args:
        label: N labels, 0 real or 1 fake, both classes there.
        score: N scores, 0..1.

    Returns:
        V₁₀ of the fakes and V₀₁ of the reals, in the order of the arguments. The mean of either is the AUROC.

    Raises:
        ValueError: as in ``check_scores``, or one class is absent.

    >>> [values.tolist() for values in placements([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.6])]
    [[0.5, 0.75], [1.0, 0.25]]
    """
    fake, real = _classes(label, score)
    return _share_below(np.sort(real), fake), 1 - _share_below(np.sort(fake), real)


def delong(label: ArrayLike, a: ArrayLike, b: ArrayLike) -> DeLong:
    """Test whether two detectors' AUROCs on the same videos differ.

    DeLong, DeLong and Clarke-Pearson, *Comparing the Areas under Two or More Correlated Receiver Operating
    Characteristic Curves* (Biometrics 44, 1988): with m fakes, n reals and S₁₀, S₀₁ the sample covariances of the two
    detectors' placements, var(a − b) = L (S₁₀/m + S₀₁/n) Lᵀ for L = (1, −1), and z = (a − b)/√var is standard normal.

    Args:
        label: N labels, 0 real or 1 fake, both classes there.
        a: N scores of one detector, 0..1.
        b: N scores of the other.

    >>> label, a = [0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.8, 0.35, 0.9]
    >>> test = delong(label, a, [0.2, 0.6, 0.3, 0.5, 0.4, 0.9])
    >>> round(test.difference, 4), round(test.p, 4)
    (0.1111, 0.4795)
    """
    fakes, reals = zip(placements(label, a), placements(label, b), strict=True)
    auroc_a, auroc_b = (float(values.mean()) for values in fakes)
    difference = auroc_a - auroc_b
    m, n = len(fakes[0]), len(reals[0])
    if min(m, n) < 2:
        return DeLong(auroc_a, auroc_b, difference, None, None, None)
    variance = float(np.var(fakes[0] - fakes[1], ddof=1) / m + np.var(reals[0] - reals[1], ddof=1) / n)
    error = math.sqrt(variance)
    z = _z(difference, error)
    return DeLong(auroc_a, auroc_b, difference, error, z, math.erfc(abs(z) / math.sqrt(2)))


def bootstrap_auroc(label: ArrayLike, score: ArrayLike, *, resamples: int = 10_000, seed: Seed = 0) -> np.ndarray:
    """AUROCs of videos drawn again with replacement, the fakes among the fakes and the reals among the reals.

    The scores are sorted once. A resample is the number of times that each video was drawn; its AUROC is
    Σ_fake w_f (R_<(f) + R_≤(f)) / (2 m n), R the running sums of the reals' counts: O(n) for n videos.

    Args:
        label, score, and errors: as in ``placements``.
        resamples: number of resamples, at least 1.
        seed: seed of the draws, whatever NumPy's ``default_rng`` takes; the same arguments give the same numbers.

    Returns:
        float64, one AUROC per resample.
    """
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed")
    fake, real = map(np.sort, _classes(label, score))
    below, upto = np.searchsorted(real, fake, "left"), np.searchsorted(real, fake, "right")
    tied = not np.array_equal(below, upto)
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // max(len(real), len(fake)))
    found = np.empty(resamples)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        reals = np.zeros((size, len(real) + 1))
        np.cumsum(draw_counts(rng, size, len(real)), axis=1, out=reals[:, 1:])
        wins = np.take(reals, below, axis=1)
        wins += np.take(reals, upto, axis=1) if tied else wins
        found[start : start + size] = np.einsum("ij,ij->i", draw_counts(rng, size, len(fake)), wins)
    return found / (2 * len(real) * len(fake))


def auroc_interval(
    label: ArrayLike, score: ArrayLike, *, level: float = 0.95, resamples: int = 10_000, seed: Seed = 0
) -> tuple[float, float]:
    """An interval for the AUROC from a bootstrap over videos: BCa, made wider for small sets.

    BCa (Efron, *Better Bootstrap Confidence Intervals*, JASA 82, 1987) takes the resamples' quantiles at
    Φ(z₀ + (z₀ + q) / (1 − a (z₀ + q))), with Φ(z₀) the share of resamples below the AUROC, half of the equal ones
    included. The acceleration is a = Σu³ / (6 (Σu²)^(3/2)) over all videos; a video's influence u is its placement
    less the AUROC, over the videos of its class, which is what a jackknife within the classes gives. In place of the
    normal quantile, q is that of Student's t, times the ratio of DeLong's standard error to √Σu², which the
    resamples have: Hesterberg's expansion (*What Teachers Should Know About the Bootstrap*, The American Statistician
    69, 2015) with Welch's degrees of freedom for the two classes.

    Where all resamples are equal (an AUROC of 0 or 1, or equal scores) or a class has one video, it is Newcombe's
    interval, which needs the AUROC and the counts alone: |AUROC − θ| = z √V(θ) for
    V(θ) = θ (1 − θ) (1 + k (1 − θ)/(2 − θ) + k θ/(1 + θ)) / (m n), k = (m + n)/2 − 1 (*Confidence intervals for an
    effect size measure based on the Mann-Whitney statistic, part 2*, Statistics in Medicine 25, 2006, method 5).

    Args:
        label, score, resamples, seed, and errors: as in ``bootstrap_auroc``.
        level: share of such intervals that contain the true value.

    Returns:
        The ends, 0..1; the AUROC lies between them.

    >>> [round(end, 3) for end in auroc_interval([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.8, 0.35, 0.9])]
    [0.0, 1.0]
    >>> [round(end, 3) for end in auroc_interval([0] * 20 + [1] * 20, [0.1] * 20 + [0.9] * 20)]
    [0.899, 1.0]
    """
    samples = bootstrap_auroc(label, score, resamples=resamples, seed=seed)
    parts = placements(label, score)
    auroc, sizes = float(parts[0].mean()), [len(part) for part in parts]
    if min(sizes) < 2 or all(np.ptp(part) == 0 for part in parts):
        return _newcombe(auroc, sizes[0], sizes[1], level)
    low, high = np.quantile(samples, _levels(samples, auroc, parts, level))
    return min(float(low), auroc), max(float(high), auroc)


def combined_interval(values: ArrayLike, bounds: ArrayLike, weights: ArrayLike) -> tuple[float, float]:
    """An interval for a weighted sum of independent figures, for example a mean, from their own intervals.

    The distances to the sum's ends are the roots of the sums of squares of the figures' weighted distances to theirs,
    on the side that a weight's sign says: Zou and Donner, *Construction of confidence limits about effect measures: A
    general approach* (Statistics in Medicine 27, 2008).

    Args:
        values: the figures.
        bounds: the low and the high end of each one's interval.
        weights: of the figures: 1/k each for a mean of k, 1 and −1 for a difference.

    >>> [round(end, 3) for end in combined_interval([0.9, 0.8], [(0.8, 0.96), (0.7, 0.88)], [1, -1])]
    [-0.028, 0.217]
    """
    values, weights, bounds = (np.asarray(x, dtype=np.float64) for x in (values, weights, bounds))
    low, high = (weights[:, None] * (bounds - values[:, None])).T
    low, high = np.minimum(low, high), np.maximum(low, high)
    total = float(weights @ values)
    return total - float(np.sqrt(low @ low)), total + float(np.sqrt(high @ high))


def _levels(samples, auroc, parts, level):
    """The levels of the resamples' quantiles at the ends of BCa's interval, expanded for small sets."""
    from scipy.special import ndtr, ndtri, stdtrit

    sizes = np.array([len(part) for part in parts])
    influence = [(part - auroc) / len(part) for part in parts]
    variances = np.array([part @ part for part in influence])
    acceleration = sum((part**3).sum() for part in influence) / (6 * variances.sum() ** 1.5)
    half_a_step = 0.25 / sizes.prod()  # two AUROCs of these videos are equal, or differ by a step
    below = (np.mean(samples < auroc - half_a_step) + np.mean(samples < auroc + half_a_step)) / 2
    bias = ndtri(np.clip(below, 0.5 / len(samples), 1 - 0.5 / len(samples)))
    unbiased = variances * sizes / (sizes - 1)  # DeLong's
    freedom = unbiased.sum() ** 2 / (unbiased**2 / (sizes - 1)).sum()
    ends = stdtrit(freedom, [(1 - level) / 2, (1 + level) / 2]) * math.sqrt(unbiased.sum() / variances.sum())
    moved = bias + ends
    shrunk = 1 - acceleration * moved
    return ndtr(np.where(shrunk > 0, bias + moved / np.where(shrunk > 0, shrunk, 1), np.copysign(np.inf, moved)))


def _newcombe(auroc, m, n, level):
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    return _lower_end(auroc, m, n, z), 1 - _lower_end(1 - auroc, m, n, z)


def _lower_end(auroc, m, n, z):
    """The θ below ``auroc`` at which (auroc − θ)² = z² V(θ)."""
    from scipy.optimize import brentq

    if auroc == 0:
        return 0.0
    k = (m + n) / 2 - 1

    def excess(t):
        variance = (1 + k * (1 - t) / (2 - t) + k * t / (1 + t)) / (m * n)  # over t (1 − t): at 1 both sides are 0
        return (auroc - t) ** 2 / (t * (1 - t)) - z * z * variance

    return float(brentq(excess, 1e-12, min(auroc, 1 - 1e-12)))


def _z(difference, error):
    if error > 1e-12:
        return difference / error
    return 0.0 if abs(difference) < 1e-12 else math.copysign(math.inf, difference)


def _classes(label, score):
    label, score = check_scores(label, score)
    fake, real = score[label == 1], score[label == 0]
    if not (len(fake) and len(real)):
        raise ValueError(f"{len(fake)} fakes and {len(real)} reals: both classes are needed")
    return fake, real


def _share_below(others, values):
    """Of sorted ``others``, the share below each value, half of the equal ones included."""
    return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / (2 * len(others))


def draw_counts(rng, rows, n):
    """How often each of ``n`` videos is among ``n`` draws: one row per resample."""
    drawn = rng.integers(0, n, size=(rows, n))
    drawn += n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
