"""The leaderboard's figures: a cell for each run and column, means, and comparisons of two runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.tables import percent
from lnclip_df.evaluation.estimates import Bootstrap, Estimate
from lnclip_df.evaluation.metrics import METRICS
from lnclip_df.evaluation.reference import IN_MEAN, MEAN, PublishedRow, dataset_of, reference
from lnclip_df.evaluation.runs import Run, Scores, columns_of, methods_of
from lnclip_df.evaluation.statistics import DeLong, combined_interval, delong

IN_DATASET, CROSS_DATASET = IN_MEAN, "cross-dataset mean"
FRAME_AUROC = "frame_auroc"


@dataclass(frozen=True)
class Cell:
    """The video AUROC of one run on one column, the counts behind it, and further metrics by name."""

    auroc: Estimate
    reals: int
    fakes: int
    frames: int
    more: dict[str, float | None]

    @property
    def few(self) -> str:
        """A mark where there are too few videos; see ``lnclip_df.core.enough``."""
        return enough.mark(self.reals, self.fakes)

    def metric(self, name: str) -> str:
        """One of ``more`` in %, marked where there are too few videos for it."""
        few = self.few or (enough.FEW if self.reals < METRICS[name].reals else "")
        return percent(self.more[name]) + few


@dataclass(frozen=True)
class Mean:
    """The mean AUROC over the columns that a run has (``datasets``), out of ``of``; ``few``: one has few videos."""

    auroc: Estimate
    datasets: tuple[str, ...]
    of: int
    few: str = ""

    @property
    def incomplete(self) -> bool:
        """Whether columns are missing."""
        return len(self.datasets) < self.of

    @property
    def counted(self) -> str:
        """The number of columns where some are missing: `` (4 of 13)``; else empty."""
        return f" ({len(self.datasets)} of {self.of})" if self.incomplete else ""


@dataclass(frozen=True)
class Row:
    """A run's row: its cells by dataset, the two means, and within a dataset its cells by method."""

    run: Run
    cells: dict[str, Cell]
    in_dataset: Mean
    cross_dataset: Mean
    methods: dict[str, dict[str, Cell]]


@dataclass(frozen=True)
class Comparison:
    """DeLong's test of two runs, on the videos of a column that both have."""

    a: str
    b: str
    dataset: str
    reals: int
    fakes: int
    test: DeLong

    @property
    def videos(self) -> int:
        """Number of videos that both runs have."""
        return self.reals + self.fakes

    @property
    def few(self) -> str:
        """A mark where there are too few videos; see ``lnclip_df.core.enough``."""
        return enough.mark(self.reals, self.fakes)


def make_row(run: Run, bootstrap: Bootstrap, metrics: Sequence[str] = ()) -> Row:
    """Compute a run's row; ``metrics`` are names of ``METRICS`` to compute beside the video AUROC."""
    cells = {name: _cell(scores, bootstrap, metrics, name) for name, scores in columns_of(run).items()}
    methods = {}
    for name, scores in run.sets.items():
        if parts := methods_of(scores):
            methods[name] = {method: _cell(part, bootstrap, metrics, name, method) for method, part in parts.items()}
    return Row(run, cells, _in_dataset_mean(run, cells), _cross_dataset_mean(run, cells), methods)


def compare_all(runs: Sequence[Run], datasets: Iterable[str], best: str | None = None) -> list[Comparison]:
    """DeLong's test for every pair of runs, on every one of these columns that both have videos of.

    ``best`` is the name of a run: then each of the others is compared with that one only.

    Raises:
        LNCLIPError: a video is real in one run and fake in the other.
    """
    columns = {run.name: columns_of(run) for run in runs}
    pairs = combinations(columns, 2) if best is None else ((best, name) for name in columns if name != best)
    return [
        found
        for a, b in pairs
        for dataset in datasets
        if dataset in columns[a] and dataset in columns[b]
        for found in compare_two(a, b, dataset, columns[a][dataset], columns[b][dataset])
    ]


def compare_two(a: str, b: str, dataset: str, scores_a: Scores, scores_b: Scores) -> list[Comparison]:
    """One comparison; none where the videos that both have are not of both classes."""
    _, index_a, index_b = np.intersect1d(
        scores_a.video.astype(str), scores_b.video.astype(str), assume_unique=True, return_indices=True
    )
    label, other = scores_a.label[index_a], scores_b.label[index_b]
    if len(differ := np.flatnonzero(label != other)):
        first, kinds = differ[0], ("real", "fake")
        raise LNCLIPError(
            f"{dataset}: the video {scores_a.video[index_a[first]]} is {kinds[label[first]]} in {a} and "
            f"{kinds[other[first]]} in {b}; two runs are compared on the same labels"
        )
    fakes = int(label.sum())
    if not 0 < fakes < len(label):
        return []
    test = delong(label, scores_a.score[index_a], scores_b.score[index_b])
    return [Comparison(a, b, dataset, len(label) - fakes, fakes, test)]


def ordered(datasets: Iterable[str]) -> list[str]:
    """Datasets in the paper's order; those that it does not have follow by name."""
    datasets = set(datasets)
    known = [column.dataset for column in reference().all_columns if column.dataset in datasets]
    return known + sorted(datasets - set(known))


def published(row: PublishedRow | None, column: str, value: float | None) -> tuple[float | None, float | None]:
    """A column's published AUROC in %, and ``value`` (0..1) minus it in percentage points."""
    figure = row.figure(column) if row else None
    if figure is None:
        return None, None
    return figure.value, None if value is None else 100 * value - figure.value


def published_mean(row: PublishedRow | None, run: Run, mean: Mean) -> tuple[float | None, float | None]:
    """As ``published`` for a run's cross-dataset mean.

    There is no difference unless both are over the same number of columns, and no published figure either for a run
    that does not say what it was trained on.
    """
    if not run.train_datasets:
        return None, None
    figure, difference = published(row, MEAN, mean.auroc.value)
    comparable = row is not None and row.mean_over == len(mean.datasets) and not mean.incomplete
    return figure, difference if comparable else None


def frame_auroc(cell: Cell | None) -> float | None:
    """The frame AUROC of a cell that was made with this metric; None where there is no cell."""
    return None if cell is None else cell.more[FRAME_AUROC]


def frame_mean(row: Row) -> Mean:
    """The mean frame AUROC over the cross-dataset columns of the published table that a run was not trained on."""
    names = list(map(dataset_of, reference().frames.cross_dataset))
    present = tuple(name for name in names if name in row.cells and name not in row.run.train_datasets)
    value = float(np.mean([frame_auroc(row.cells[name]) for name in present])) if present else None
    return Mean(Estimate(value), present, len(names), _few(row.cells, present))


def common_means(rows: Sequence[Row]) -> tuple[tuple[str, ...], dict[str, float]] | None:
    """Where the runs' cross-dataset means are over different columns: the shared columns, and the means over these."""
    sets = [set(row.cross_dataset.datasets) for row in rows]
    shared = set.intersection(*sets) if sets else set()
    if all(found == shared for found in sets) or not shared:
        return None
    names = tuple(ordered(shared))
    return names, {row.run.name: float(np.mean([row.cells[name].auroc.value for name in names])) for row in rows}


def _cell(scores: Scores, bootstrap: Bootstrap, metrics: Sequence[str], *key: str) -> Cell:
    fakes = int(scores.label.sum())
    videos, frames = (scores.label, scores.score), (scores.frame_label, scores.frame_prob)
    more = {name: METRICS[name].function(*(frames if METRICS[name].over_frames else videos)) for name in metrics}
    return Cell(bootstrap.auroc(*videos, *key), len(scores.label) - fakes, fakes, scores.frames, more)


def _in_dataset_mean(run, cells):
    """Over the columns of the training set: FaceForensics++'s five, unless the run names another."""
    family = [column.dataset for column in reference().columns if column.in_dataset]
    trained = run.train_datasets
    names = family if not trained or trained & set(family) else []
    names = [*names, *ordered(trained - set(family))]
    present = tuple(name for name in names if name in cells)
    value = float(np.mean([cells[name].auroc.value for name in present])) if present else None
    return Mean(Estimate(value), present, len(names), _few(cells, present))


def _cross_dataset_mean(run, cells):
    """Over the benchmarks that the run was not trained on; over its other datasets where it has no benchmark."""
    benchmarks = reference().benchmarks
    family = {column.dataset for column in reference().all_columns if column.in_dataset}
    names = benchmarks if set(benchmarks) & set(cells) else ordered(set(cells) - family)
    present = tuple(name for name in names if name in cells and name not in run.train_datasets)
    if not present:
        return Mean(Estimate(None), (), len(names))
    values, *bounds = zip(*(cells[name].auroc for name in present), strict=True)
    ends = () if None in bounds[0] else combined_interval(values, np.transpose(bounds), [1 / len(values)] * len(values))
    return Mean(Estimate(float(np.mean(values)), *ends), present, len(names), _few(cells, present))


def _few(cells, names):
    return next((cells[name].few for name in names if cells[name].few), "")
