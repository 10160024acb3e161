"""What the leaderboard shows: one row per run, one column per dataset, video-level AUROC in the cells."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.schema import named_faces
from lnclip_df.evaluation.estimates import Bootstrap
from lnclip_df.evaluation.metrics import METRICS
from lnclip_df.evaluation.reference import PublishedRow, dataset_of, reference
from lnclip_df.evaluation.runs import Run, read_runs
from lnclip_df.leaderboard.figures import FRAME_AUROC, Comparison, Row, compare_all, make_row, ordered
from lnclip_df.media.recipe import departure

AGAINST = "LNCLIP-DF"
MAX_PAIRED = 8  # runs that are compared each with each; of more, each is compared with the best one


@dataclass(frozen=True)
class Board:
    """All that the leaderboard shows.

    Attributes:
        rows: one per run.
        datasets: the columns in order: the paper's, tested or not, where any of them was tested; then the others.
        comparisons: of each pair of runs, on each column; with the run ``best`` only, where that is named.
        notes: on the crops of the runs.
        metrics: names of ``METRICS`` that the cells have beside the video AUROC.
        against: name of the published row that the cells are compared with.
        resamples: number of bootstrap resamples behind the intervals; 0 where there are none.
        best: of more than ``MAX_PAIRED`` runs, that of the highest cross-dataset mean over the most columns.
    """

    rows: list[Row]
    datasets: list[str]
    comparisons: list[Comparison]
    notes: list[str]
    metrics: tuple[str, ...]
    against: str
    resamples: int
    best: str | None = None

    @property
    def published(self) -> PublishedRow | None:
        """The row ``against``; None where it has frame AUROCs, or the board no column of the paper's to compare."""
        return self.published_rows.get(self.against)

    @property
    def published_rows(self) -> dict[str, PublishedRow]:
        """The published rows of video AUROCs; none where the board has no column of the paper's."""
        return reference().rows if any(column.dataset in self.datasets for column in reference().columns) else {}

    @property
    def tested(self) -> set[str]:
        """The columns that a run was tested on."""
        return {name for row in self.rows for name in row.cells}

    @property
    def frame_columns(self) -> list[str]:
        """The columns of the published table of frame AUROCs that a run was tested on; none without that metric."""
        table, tested = reference().frames, self.tested
        columns = [column for column in (*table.in_dataset, *table.cross_dataset) if dataset_of(column) in tested]
        return columns if FRAME_AUROC in self.metrics else []


def make_board(
    runs: Sequence, *, metrics: Iterable[str] = (), against: str = AGAINST, resamples: int = 10_000, seed: int = 0
) -> Board:
    """Read runs and compute their figures; arguments and errors as in ``leaderboard``."""
    names, bootstrap = set(metrics), Bootstrap(resamples, seed)
    for name in names - {"all"}:
        METRICS.choose(name)
    chosen = tuple(name for name in METRICS if name in names or "all" in names)
    metric = reference().row(against).metric
    if metric and metric not in chosen:
        raise LNCLIPError(f"{against} has only frame AUROCs; add {metric} to the metrics")
    read = read_runs(runs)
    if not read:
        raise LNCLIPError("no runs given; name run folders or CSV files of predictions")
    rows = [make_row(run, bootstrap, chosen) for run in read]
    tested = {name for row in rows for name in row.cells}
    paper = {column.dataset for column in reference().columns}
    datasets = ordered(tested | paper if tested & paper else tested)
    best = max(rows, key=_rank).run.name if len(rows) > MAX_PAIRED else None
    comparisons = compare_all(read, datasets, best)
    return Board(rows, datasets, comparisons, list(_crops(read)), chosen, against, resamples, best)


def _rank(row: Row):
    return len(row.cross_dataset.datasets), row.cross_dataset.auroc.value or 0.0


def _crops(runs: list[Run]):
    """Lines on the recipes of the runs' crops, and on the datasets whose crops are not those of a run's training."""
    by_line: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for line in _crops_of(run):
            by_line.setdefault(line, []).append(run.name)
    for (before, after), names in by_line.items():
        yield f"{before}{', '.join(names) if len(names) <= MAX_PAIRED else f'{len(names)} runs'}{after}."


def _crops_of(run: Run):
    """The lines of one run, each as what comes before and after the name."""
    by_recipe: dict[str, list[str]] = {}
    for dataset, made in run.provenance.items():
        if made.crops:
            by_recipe.setdefault(", ".join(made.crops), []).append(dataset)
    trained = list(dict.fromkeys(recipe for made in run.provenance.values() for recipe in made.train_crops or {}))
    if by_recipe:
        shown = "; ".join(f"{recipe} ({', '.join(datasets)})" for recipe, datasets in by_recipe.items())
        yield "Crops of ", f": {shown}" + (f"; trained on {', '.join(sorted(trained))}" if trained else "")
    others = {}
    for dataset, made in run.provenance.items():
        own = named_faces([dataset, *run.train_datasets])
        if text := departure(made.crops or {}, trained, run.recipes, named_faces=own):
            others[dataset] = text
    if others:
        shown = "; ".join(f"{dataset} ({text})" for dataset, text in others.items())
        yield "Not comparable: ", f", trained on other crops than those of {shown}"
