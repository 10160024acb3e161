"""The leaderboard's figures: a cell for each run and column, means, and comparisons of two runs."""

import zlib
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.metrics import METRICS, auroc
from lnclip_df.evaluation.reference import MEAN, Row, reference
from lnclip_df.evaluation.runs import Run, Scores, columns_of, methods_of
from lnclip_df.evaluation.statistics import DeLong, auroc_interval, combined_interval, delong


@dataclass(frozen=True)
class Cell:
    """Video AUROC 0..1 with its 95 % interval (None without resamples), the counts behind it, and further metrics."""

    auroc: float
    low: float | None
    high: float | None
    reals: int
    fakes: int
    frames: int
    more: dict[str, float]


@dataclass(frozen=True)
class Mean:
    """The mean AUROC of the columns that are there, how many were there to be, its interval where it can be had."""

    value: float | None
    datasets: tuple[str, ...]
    of: int
    low: float | None = None
    high: float | None = None

    @property
    def short(self) -> bool:
        """Whether columns are missing."""
        return len(self.datasets) < self.of


@dataclass(frozen=True)
class Line:
    """A run's row: its cells by dataset, the two means, and its cells by method within a dataset."""

    run: Run
    cells: dict[str, Cell]
    in_dataset: Mean
    crossed: Mean
    methods: dict[str, dict[str, Cell]]


@dataclass(frozen=True)
class Comparison:
    """Two runs on the videos of a column that both have."""

    a: str
    b: str
    dataset: str
    videos: int
    test: DeLong


def line(run: Run, *, metrics=(), resamples: int, seed: int) -> Line:
    """A run's row of the table.

    Args:
        run: see ``lnclip_df.evaluation.runs``.
        metrics: names of ``evaluation.metrics.METRICS`` to compute beside the video AUROC.
        resamples: of the bootstrap; 0 gives no intervals.
        seed: of the bootstrap.
    """
    sets = columns_of(run)
    cells = {
        name: cell(scores, metrics=metrics, resamples=resamples, seed=_seed(seed, name))
        for name, scores in sets.items()
    }
    methods = {
        name: {
            method: cell(part, metrics=metrics, resamples=resamples, seed=_seed(seed, name, method))
            for method, part in methods_of(scores).items()
        }
        for name, scores in run.sets.items()
    }
    methods = {name: parts for name, parts in methods.items() if parts}
    return Line(run, cells, _in_dataset_mean(run, cells), _crossed_mean(run, cells), methods)


def cell(scores: Scores, *, metrics=(), resamples: int, seed) -> Cell:
    """The figures of one dataset's videos; arguments as in ``line``."""
    label, score = scores.label, scores.score
    low, high = auroc_interval(label, score, resamples=resamples, seed=seed) if resamples else (None, None)
    fakes = int(label.sum())
    more = {name: _metric(name, scores) for name in metrics}
    return Cell(auroc(label, score), low, high, len(label) - fakes, fakes, scores.frames, more)


def compare_all(runs: list[Run], datasets) -> list[Comparison]:
    """DeLong's test for every pair of runs, on every one of these columns that both have videos of.

    Raises:
        LNCLIPError: a video is real to one run and fake to the other.
    """
    columns = {run.name: columns_of(run) for run in runs}
    found = []
    for a, b in combinations(columns, 2):
        for dataset in datasets:
            if dataset in columns[a] and dataset in columns[b]:
                found += compare_two(a, b, dataset, columns[a][dataset], columns[b][dataset])
    return found


def compare_two(a: str, b: str, dataset: str, scores_a: Scores, scores_b: Scores) -> list[Comparison]:
    """One comparison, or none where the videos that both have are not of both classes."""
    _, at_a, at_b = np.intersect1d(
        scores_a.video.astype(str), scores_b.video.astype(str), assume_unique=True, return_indices=True
    )
    label = scores_a.label[at_a]
    other = np.flatnonzero(label != scores_b.label[at_b])
    if len(other):
        names = {0: "real", 1: "fake"}
        at = at_a[other[0]], at_b[other[0]]
        raise LNCLIPError(
            f"{dataset}: the video {scores_a.video[at[0]]} is {names[scores_a.label[at[0]]]} in {a} and "
            f"{names[scores_b.label[at[1]]]} in {b}; two runs are compared on the same labels"
        )
    if not 0 < label.sum() < len(label):
        return []
    return [Comparison(a, b, dataset, len(label), delong(label, scores_a.score[at_a], scores_b.score[at_b]))]


def ordered(datasets) -> list[str]:
    """Datasets in the paper's order, those that it has not after them by name."""
    order = [column.dataset for column in (*reference().columns, *reference().further)]
    known = [name for name in order if name in datasets]
    return known + sorted(set(datasets) - set(known))


def published(row: Row | None, column: str, value: float | None) -> tuple[float | None, float | None]:
    """A column's published AUROC in %, and by how much ``value`` (0..1) is above it in percentage points."""
    figure = row.figure(column) if row else None
    if figure is None:
        return None, None
    return figure.value, None if value is None else 100 * value - figure.value


def published_mean(row: Row | None, mean: Mean) -> tuple[float | None, float | None]:
    """As ``published`` for the cross-dataset mean: no difference unless both are over as many columns."""
    figure, difference = published(row, MEAN, mean.value)
    comparable = row is not None and row.mean_over == len(mean.datasets) and not mean.short
    return figure, difference if comparable else None


def common_means(lines: list[Line]) -> tuple[tuple[str, ...], dict[str, float]] | None:
    """Where runs' cross-dataset means are over different columns: those that all have, and the means over these."""
    sets = [set(row.crossed.datasets) for row in lines]
    shared = set.intersection(*sets) if sets else set()
    if all(found == shared for found in sets) or not shared:
        return None
    names = tuple(ordered(shared))
    return names, {row.run.name: float(np.mean([row.cells[name].auroc for name in names])) for row in lines}


def _seed(seed, *names):
    """A seed for each column: two datasets of one size must not be drawn alike, or their mean would vary too much."""
    return [seed, *(zlib.crc32(name.encode()) for name in names)]


def _metric(name, scores):
    metric = METRICS[name]
    if metric.over_frames:
        return metric.function(scores.frame_label, scores.frame_prob)
    return metric.function(scores.label, scores.score)


def _in_dataset_mean(run, cells):
    """Over the columns of the training set: FaceForensics++'s five, unless the run names another."""
    family = [column.dataset for column in reference().columns if column.in_dataset]
    trained = run.train_datasets
    names = family if not trained or trained & set(family) else []
    names = [*names, *ordered(trained - set(family))]
    present = tuple(name for name in names if name in cells)
    value = float(np.mean([cells[name].auroc for name in present])) if present else None
    return Mean(value, present, len(names))


def _crossed_mean(run, cells):
    """Over the benchmarks that the run was not trained on; over its other datasets where it has no benchmark."""
    benchmarks = reference().benchmarks
    family = {column.dataset for column in reference().columns if column.in_dataset}
    names = benchmarks if set(benchmarks) & set(cells) else ordered(set(cells) - family)
    present = tuple(name for name in names if name in cells and name not in run.train_datasets)
    if not present:
        return Mean(None, (), len(names))
    values, bounds = zip(*((cells[name].auroc, (cells[name].low, cells[name].high)) for name in present), strict=True)
    share = np.full(len(values), 1 / len(values))
    ends = (None, None) if None in bounds[0] else combined_interval(values, bounds, share)
    return Mean(float(np.mean(values)), present, len(names), *ends)
