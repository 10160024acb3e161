"""Figures with their 95 % intervals: AUROCs by bootstrap, shares by Wilson's score."""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.tables import percent
from lnclip_df.evaluation.metrics import auroc
from lnclip_df.evaluation.statistics import auroc_interval


class Estimate(NamedTuple):
    """A figure 0..1 with the bounds of its interval; all None where it is not defined.

    >>> print(Estimate(0.931, 0.9, 0.95), Estimate(0.931), Estimate(None))
    93.1 [90.0, 95.0] 93.1 –
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self):
        bounds = "" if self.low is None else f" [{percent(self.low)}, {percent(self.high)}]"
        return percent(self.value) + bounds


@dataclass(frozen=True)
class Bootstrap:
    """Estimates AUROCs over videos, with 95 % intervals from a bootstrap (``statistics.auroc_interval``).

    Attributes:
        resamples: number of bootstrap resamples; 0 leaves the intervals out.
        seed: seed of the draws.

    Raises:
        LNCLIPError: ``resamples`` is negative.
    """

    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self):
        if self.resamples < 0:
            raise LNCLIPError(f"resamples is {self.resamples}; accepted is 0 (no intervals) or more")

    def auroc(self, label: np.ndarray, score: np.ndarray, *key: str | int) -> Estimate:
        """The AUROC of N labels (0 real, 1 fake) and scores; not defined where one class is absent.

        ``key`` (names of a dataset and a group) becomes part of the seed: two groups of one size get different draws,
        else their mean would vary too much.
        """
        if not 0 < np.sum(label) < len(label):
            return Estimate(None)
        value = auroc(label, score)
        if not self.resamples:
            return Estimate(value)
        seed = [self.seed, *(part if isinstance(part, int) else zlib.crc32(part.encode()) for part in key)]
        return Estimate(value, *auroc_interval(label, score, resamples=self.resamples, seed=seed))


def wilson(hits: int, n: int) -> Estimate:
    """A share with its 95 % Wilson score interval (Wilson, JASA 22, 1927); not defined for n = 0.

    >>> print(wilson(2, 10))
    20.0 [5.7, 51.0]
    """
    from scipy.stats import binomtest

    if not n:
        return Estimate(None)
    bounds = binomtest(hits, n).proportion_ci(method="wilson")
    return Estimate(hits / n, float(bounds.low), float(bounds.high))
