"""The leaderboard: a row a run, a column a dataset, video-level AUROC in the cells, and the files that show it."""

from dataclasses import dataclass
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text
from lnclip_df.evaluation.metrics import METRICS
from lnclip_df.evaluation.reference import reference
from lnclip_df.evaluation.runs import columns_of, read_runs
from lnclip_df.leaderboard import text
from lnclip_df.leaderboard.figures import Comparison, Line, compare_all, line, ordered
from lnclip_df.leaderboard.page import page
from lnclip_df.leaderboard.plots import write_roc

AGAINST = "LNCLIP-DF"
RESAMPLES = 10_000


@dataclass(frozen=True)
class Board:
    """All that the leaderboard shows.

    ``datasets`` are the columns in order: the paper's, present or not, where any of them was tested; then the others.
    ``against`` names the published row that the cells are compared with.
    """

    lines: list[Line]
    datasets: list[str]
    comparisons: list[Comparison]
    notes: list[str]
    metrics: tuple[str, ...]
    against: str
    resamples: int
    seed: int

    @property
    def shows_published(self) -> bool:
        """Whether there is a column of the paper's, so that published figures stand beside ours."""
        return any(column.dataset in self.datasets for column in reference().columns)


def leaderboard(runs: list, out, *, metrics=(), against=AGAINST, resamples: int = RESAMPLES, seed: int = 0) -> dict:
    """Compare runs by their predictions.

    The cross-dataset mean is over the paper's 13 benchmarks, without those that a run's metadata name as
    ``train_dataset`` and without FaceForensics++; over a run's other datasets where it has none of the 13. A mean over
    fewer columns says so.

    Args:
        runs: run folders, each with ``predictions/<dataset>.parquet``, or CSV files of other tools.
        out: folder for ``leaderboard.md``, ``.csv``, ``.tex`` and ``.html``, ``details.md`` (by method, comparisons of
            runs, further metrics, records), ``figures.csv`` (a row a figure, with what made it) and ``roc.png``.
        metrics: names of ``lnclip_df.evaluation.metrics.METRICS`` to add to the video AUROC; ``["all"]`` for all.
        against: the published row (``bench_configs/reference.yaml``) whose figures stand beside the cells.
        resamples: of the bootstrap over videos, within each class; 0 leaves the intervals out.
        seed: of the bootstrap.

    Returns:
        ``{run: {"auroc": {dataset: 0..1 or None}, "mean": 0..1 or None, "mean_over": columns}}``; None where a dataset
        is missing. The datasets are those that any run has.

    Raises:
        LNCLIPError: an option is unknown, a run has no predictions, they are unfit (``lnclip_df.evaluation.runs``),
            two runs share a name, or matplotlib is absent.
    """
    board = make_board(runs, metrics=metrics, against=against, resamples=resamples, seed=seed)
    write_board(board, out)
    shown = [name for name in board.datasets if any(name in row.cells for row in board.lines)]
    return {
        row.run.name: {
            "auroc": {name: row.cells[name].auroc if name in row.cells else None for name in shown},
            "mean": row.crossed.value,
            "mean_over": len(row.crossed.datasets),
        }
        for row in board.lines
    }


def make_board(runs: list, *, metrics=(), against=AGAINST, resamples: int = RESAMPLES, seed: int = 0) -> Board:
    """Read runs and compute their figures; arguments and errors as in ``leaderboard``."""
    reference().row(against)
    metrics = _metrics(metrics)
    if resamples < 0:
        raise LNCLIPError(f"resamples is {resamples}; accepted is 0 (no intervals) or more")
    runs = read_runs(runs)
    if not runs:
        raise LNCLIPError("no runs given; name run folders or CSV files of predictions")
    lines = [line(run, metrics=metrics, resamples=resamples, seed=seed) for run in runs]
    tested = {name for row in lines for name in row.cells}
    paper = [column.dataset for column in reference().columns]
    datasets = ordered(tested | set(paper) if tested & set(paper) else tested)
    notes = [note for run in runs for note in _crops(run.name, run.facts)]
    return Board(lines, datasets, compare_all(runs, datasets), notes, metrics, against, resamples, seed)


def _metrics(names):
    for name in {*names} - {"all"}:
        METRICS.choose(name)
    return tuple(name for name in METRICS if name in names or "all" in names)


def write_board(board: Board, out):
    """Write every file of ``leaderboard`` into the folder ``out``."""
    out = Path(out)
    curves = {row.run.name: {n: (s.label, s.score) for n, s in columns_of(row.run).items()} for row in board.lines}
    tested = [name for name in board.datasets if any(name in sets for sets in curves.values())]
    write_roc(out / "roc.png", curves, tested)
    write_text(out / "leaderboard.md", text.markdown(board))
    write_text(out / "leaderboard.csv", text.table_csv(board))
    write_text(out / "leaderboard.tex", text.latex(board))
    write_text(out / "leaderboard.html", page(board))
    write_text(out / "details.md", text.details(board))
    write_text(out / "figures.csv", text.figures_csv(board))


def _crops(run, metadata):
    """Lines that say of which recipes a run's crops are, and where they are not those of its training."""
    by_recipe = {}
    for dataset, facts in metadata.items():
        if facts.get("crops"):
            by_recipe.setdefault(", ".join(facts["crops"]), []).append(dataset)
    trained = {recipe for facts in metadata.values() for recipe in facts.get("train_crops") or {}}
    if by_recipe:
        shown = "; ".join(f"{recipe} ({', '.join(datasets)})" for recipe, datasets in by_recipe.items())
        yield f"Crops of {run}: {shown}" + (f"; trained on {', '.join(sorted(trained))}." if trained else ".")
    others = [
        dataset for dataset, facts in metadata.items() if trained and not {*(facts.get("crops") or {})} <= trained
    ]
    if others:
        yield f"**Not comparable:** {run} was trained on other crops than those of {', '.join(others)}."
