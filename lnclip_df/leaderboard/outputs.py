"""The files of the leaderboard."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lnclip_df.core.files import check_not_read, check_writable, write_text
from lnclip_df.evaluation.runs import columns_of
from lnclip_df.leaderboard import text
from lnclip_df.leaderboard.board import AGAINST, Board, make_board
from lnclip_df.leaderboard.page import page
from lnclip_df.leaderboard.plots import write_roc


def leaderboard(
    runs: Sequence, out, *, metrics: Iterable[str] = (), against: str = AGAINST, resamples: int = 10_000, seed: int = 0,
    crops=None,
) -> dict:  # fmt: skip
    """Compare runs by their predictions.

    The cross-dataset mean is over the paper's 13 benchmarks, without those that a run's metadata name as
    ``train_dataset`` and without FaceForensics++; over a run's other datasets where it has none of the 13. A mean over
    fewer columns says so.

    Args:
        runs: run folders, each with ``predictions/<dataset>.parquet``, or CSV files of other tools.
        out: folder for ``leaderboard.md``, ``.csv``, ``.tex`` and ``.html``, ``details.md`` (by method, comparisons of
            runs, further metrics, records), ``figures.csv`` (one row per figure, with what made it) and ``roc.png``.
        metrics: names of ``lnclip_df.evaluation.metrics.METRICS`` to add to the video AUROC; ``["all"]`` for all.
        against: the published row (``bench_configs/reference.yaml``) to compare the cells with.
        resamples: number of bootstrap resamples over videos, within each class; 0 leaves the intervals out.
        seed: seed of the bootstrap.
        crops: folder to which the frames' paths in the predictions are relative (the ``lnclip.data_root`` of the
            tests); then the page shows a small picture of each of the worst videos.

    Returns:
        ``{run: {"auroc": {dataset: 0..1 or None}, "mean": 0..1 or None, "mean_over": columns}}``; None where a dataset
        is missing. The datasets are those that any run has.

    Raises:
        LNCLIPError: an option is unknown, a run has no predictions or invalid ones (``lnclip_df.evaluation.runs``),
            two runs share a name, or matplotlib is absent.
    """
    check_writable(out, folder=True)
    board = make_board(runs, metrics=metrics, against=against, resamples=resamples, seed=seed)
    write_board(board, out, crops)
    shown = [name for name in board.datasets if any(name in row.cells for row in board.rows)]
    return {
        row.run.name: {
            "auroc": {name: row.cells[name].auroc.value if name in row.cells else None for name in shown},
            "mean": row.cross_dataset.auroc.value,
            "mean_over": len(row.cross_dataset.datasets),
        }
        for row in board.rows
    }


def write_board(board: Board, out, crops=None):
    """Write every file of ``leaderboard`` into the folder ``out``; ``crops`` as there. None may be a run's CSV."""
    out, provenance = Path(out), [made for row in board.rows for made in row.run.provenance.values()]
    read = {made.predictions["path"] for made in provenance if made.predictions}
    check_not_read([out / "leaderboard.csv", out / "figures.csv"], read)
    write_roc(out / "roc.png", {row.run.name: columns_of(row.run) for row in board.rows}, board.datasets)
    write_text(out / "leaderboard.md", text.markdown(board))
    write_text(out / "leaderboard.csv", text.table_csv(board))
    write_text(out / "leaderboard.tex", text.latex(board))
    write_text(out / "leaderboard.html", page(board, crops))
    write_text(out / "details.md", text.details(board))
    write_text(out / "figures.csv", text.figures_csv(board))
