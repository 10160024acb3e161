"""The leaderboard: a row a run, a column a dataset, video-level AUROC in the cells."""

import csv
import io
from pathlib import Path

from lnclip_df.errors import LNCLIPError
from lnclip_df.files import write_text
from lnclip_df.leaderboard.plots import write_roc
from lnclip_df.metrics import aggregate, frame_metrics
from lnclip_df.predictions import read_predictions

TRAINED_ON = {"FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT"}
MISSING = "–"


def leaderboard(runs: list, out) -> dict:
    """Compare runs by their predictions.

    The cross-dataset mean leaves out FaceForensics++ and its four subsets, and the datasets that a run's metadata name
    as ``train_dataset``. It is given only to a run that has every other dataset in the table, so that means compare.

    Args:
        runs: run folders, each with ``predictions/<dataset>.parquet``.
        out: folder for ``leaderboard.md``, ``leaderboard.csv`` (video-level AUROC in %) and ``roc.png``.

    Returns:
        ``{run: {"auroc": {dataset: 0..1 or None}, "mean": 0..1 or None}}``; None where a dataset is missing or holds
        one class only.

    Raises:
        LNCLIPError: a run has no predictions, they are unfit, two runs share a name, or matplotlib is absent.
    """
    scores, trained_on = {}, set(TRAINED_ON)
    for run in map(Path, runs):
        name = run.resolve().name
        if name in scores:
            raise LNCLIPError(f"two runs are named {name} (the second is {run}); rename one folder")
        scores[name], trained = _read(run)
        trained_on |= trained
    datasets = sorted({dataset for columns in scores.values() for dataset in columns})
    board = {run: _row(columns, datasets, trained_on) for run, columns in scores.items()}
    write_roc(Path(out) / "roc.png", scores, datasets)
    lines = _lines(board, datasets)
    write_text(Path(out) / "leaderboard.md", _markdown(lines))
    write_text(Path(out) / "leaderboard.csv", _csv(lines))
    return board


def _read(run):
    """A run's videos, ``{dataset: (label, score)}``, and the datasets it was trained on."""
    files = sorted((run / "predictions").glob("*.parquet"))
    if not files:
        raise LNCLIPError(f"no predictions/*.parquet in {run}; write them with lnclip-df test")
    scores, trained = {}, set()
    for file in files:
        table, metadata = read_predictions(file)
        try:
            _, label, score = aggregate(table["video"], table["label"], table["prob"])
        except ValueError as error:
            raise LNCLIPError(f"{file}: {error}") from error
        scores[file.stem] = label, score
        trained |= set(metadata.get("train_dataset") or [])
    return scores, trained


def _row(columns, datasets, trained_on):
    auroc = {name: frame_metrics(*columns[name])["auroc"] if name in columns else None for name in datasets}
    crossed = [auroc[name] for name in datasets if name not in trained_on]
    complete = crossed and None not in crossed
    return {"auroc": auroc, "mean": sum(crossed) / len(crossed) if complete else None}


def _lines(board, datasets):
    rows = [[run, *row["auroc"].values(), row["mean"]] for run, row in board.items()]
    return [["run", *datasets, "cross-dataset mean"], *([row[0], *map(_percent, row[1:])] for row in rows)]


def _percent(value):
    return MISSING if value is None else f"{100 * value:.1f}"


def _markdown(lines):
    header, *rows = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *rows))


def _csv(lines):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
