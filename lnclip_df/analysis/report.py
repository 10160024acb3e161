"""What the studies share: intervals, tables, plots, and reading small CSV files."""

import zlib
from pathlib import Path
from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.tables import aligned_markdown as markdown_table  # noqa: F401
from lnclip_df.core.tables import percent, read_csv, write_csv  # noqa: F401
from lnclip_df.evaluation.statistics import auroc_interval

RESAMPLES = 10_000


class Estimate(NamedTuple):
    """A figure 0..1 with the bounds of its interval; all None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self):
        bounds = "" if self.low is None else f" [{percent(self.low)}, {percent(self.high)}]"
        return percent(self.value) + bounds


def auroc(label, score, *, resamples: int = RESAMPLES, seed=0) -> Estimate:
    """AUROC over videos with its 95 % bootstrap interval; undefined where one class is absent."""
    from lnclip_df.evaluation.metrics import frame_metrics

    if not 0 < sum(label) < len(label):
        return Estimate(None)
    bounds = auroc_interval(label, score, resamples=resamples, seed=seed) if resamples else (None, None)
    return Estimate(frame_metrics(label, score)["auroc"], *bounds)


def wilson(hits: int, n: int, level: float = 0.95) -> Estimate:
    """A share with its Wilson score interval (Wilson, JASA 22, 1927); undefined of nothing.

    >>> print(wilson(2, 10))
    20.0 [5.7, 51.0]
    """
    from scipy.stats import binomtest

    if not n:
        return Estimate(None)
    bounds = binomtest(hits, n).proportion_ci(level, method="wilson")
    return Estimate(hits / n, float(bounds.low), float(bounds.high))


def seed_of(seed: int, *names) -> list[int]:
    """A seed for each name, so that two groups of one size are not drawn alike."""
    return [seed, *(zlib.crc32(str(name).encode()) for name in names)]


def chosen(run, names) -> dict:
    """The datasets of a run that ``names`` lists, all where it lists none.

    Raises:
        LNCLIPError: the run has no predictions of one of them.
    """
    missing = [name for name in names if name not in run.sets]
    if missing:
        raise LNCLIPError(f"{run.name} has no predictions of {', '.join(missing)}; it has {', '.join(run.sets)}")
    return {name: run.sets[name] for name in dict.fromkeys(names or run.sets)}


def study_folder(run, out, name: str) -> Path:
    """Where a study of a run goes: ``out``, else ``<run>/studies/<name>``.

    Raises:
        LNCLIPError: the run is a file and there is no ``out``.
    """
    if out is not None:
        return Path(out)
    if not Path(run).is_dir():
        raise LNCLIPError(f"{run} is not a folder: name one for the results with --out")
    return Path(run) / "studies" / name
