"""What the studies share: intervals, tables, plots, and reading small CSV files."""

import csv
import io
import zlib
from pathlib import Path
from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text
from lnclip_df.evaluation.statistics import auroc_interval
from lnclip_df.leaderboard.text import MISSING, aligned_markdown, percent

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


def markdown_table(rows: list[list]) -> str:
    """Rows of cells, the first the header, as a Markdown table that lines up in a terminal."""
    return aligned_markdown([[MISSING if cell is None else str(cell) for cell in row] for row in rows])


def write_csv(path, rows: list[list]):
    """Write rows of cells, the first the header; floats with six digits, None empty."""
    text = io.StringIO()
    cells = ([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(cells)
    write_text(path, text.getvalue())


def read_csv(path, needed) -> list[dict]:
    """Read a CSV with a header.

    Returns:
        Its rows, cells without surrounding blanks.

    Raises:
        LNCLIPError: it is absent, no CSV, lacks one of the columns ``needed``, holds a row of another length, or none.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, restkey="", strict=True))
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise LNCLIPError(f"{path} is not a CSV file: {error}") from error
    if not rows:
        raise LNCLIPError(f"{path} holds no rows; needed are the columns {', '.join(needed)}")
    missing = [name for name in needed if name not in rows[0]]
    if missing:
        raise LNCLIPError(f"{path}: no column {', '.join(missing)}; it has {', '.join(filter(None, rows[0]))}")
    for number, row in enumerate(rows, 2):
        if "" in row or None in row.values():
            raise LNCLIPError(f"{path}: line {number} has not as many cells as the header")
    return [{name: cell.strip() for name, cell in row.items()} for row in rows]


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
