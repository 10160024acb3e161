"""The leaderboard as one HTML page that asks for nothing else: tables that sort by a click, and charts."""

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lnclip_df.core.escapes import html
from lnclip_df.core.tables import MISSING, p_text, percent
from lnclip_df.evaluation.metrics import METRICS
from lnclip_df.evaluation.reference import column_of, reference
from lnclip_df.evaluation.runs import columns_of
from lnclip_df.leaderboard.board import Board
from lnclip_df.leaderboard.charts import SIDE, class_shares, colour, roc_path
from lnclip_df.leaderboard.figures import CROSS_DATASET, IN_DATASET, ordered, published, published_mean
from lnclip_df.leaderboard.record import summary
from lnclip_df.leaderboard.text import frame_note, frame_rows, notes, published_rows

WORST = 5  # videos of each class and run
WORDS = {  # columns that sort as text
    "first", "second", "column", "class", "video", "method or label", "dataset", "weights", "selection", "trained on",
    "crops", "video list", "test settings", "metric definition", "versions",
}  # fmt: skip


def page(board: Board) -> str:
    """The whole page; every name that comes from data is escaped."""
    environment = Environment(
        loader=PackageLoader("lnclip_df.leaderboard"),
        autoescape=True,
        finalize=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "CROSS_DATASET": CROSS_DATASET, "IN_DATASET": IN_DATASET, "MISSING": MISSING, "SIDE": SIDE, "WORDS": WORDS,
        "colour": colour, "column_of": column_of, "frame_note": frame_note, "notes": notes, "ordered": ordered,
        "p_text": p_text,
        "percent": percent, "published": published, "published_mean": published_mean,
        "published_rows": published_rows, "signed": lambda value: f"{value:+.1f}".replace("-", "−"), "zip": zip,
    }  # fmt: skip
    return environment.get_template("leaderboard.html").render(
        board=board,
        against=board.published,
        groups=_groups(board.datasets),
        best=_best(board),
        panels=list(_panels(board)),
        frames=frame_rows(board),
        titles=[METRICS[name].title for name in board.metrics],
        records=[
            (number, dataset, summary(row.run, dataset))
            for number, row in enumerate(board.rows)
            for dataset in ordered(row.run.sets)
        ],
    )


def _groups(datasets):
    """The head above the columns: names, and how many columns each spans."""
    family = {column.dataset for column in reference().columns if column.in_dataset}
    benchmarks = set(reference().benchmarks)
    kinds = ["FaceForensics++" if n in family else "benchmarks" if n in benchmarks else "others" for n in datasets]
    return [("means", 2), *((name, kinds.count(name)) for name in dict.fromkeys(kinds))]


def _best(board):
    """Each column's highest AUROC; None where there is only one run."""
    if len(board.rows) < 2:
        return dict.fromkeys(board.datasets)
    values = {name: [row.cells[name].auroc.value for row in board.rows if name in row.cells] for name in board.datasets}
    return {name: max(found, default=None) for name, found in values.items()}


def _panels(board):
    """What is shown of each column that a run has, by run: ROC curves, histograms, methods, the worst videos."""
    columns = [columns_of(row.run) for row in board.rows]
    for dataset in board.datasets:
        there = [
            (number, row, sets[dataset])
            for number, (row, sets) in enumerate(zip(board.rows, columns, strict=True))
            if dataset in sets
        ]
        if there:
            yield {
                "dataset": dataset,
                "curves": [(number, row.run.name, roc_path(scores)) for number, row, scores in there],
                "spreads": [(number, row, class_shares(scores)) for number, row, scores in there],
                "methods": list(dict.fromkeys(name for row in board.rows for name in row.methods.get(dataset, {}))),
                "worst": [(number, row.run.name, *video) for number, row, scores in there for video in _worst(scores)],
            }


def _worst(scores):
    """The reals of the highest and the fakes of the lowest scores."""
    order = np.argsort(scores.score, kind="stable")
    reals = [video for video in order[::-1] if scores.label[video] == 0][:WORST]
    fakes = [video for video in order if scores.label[video] == 1][:WORST]
    for video in [*reals, *fakes]:
        yield ("real", "fake")[scores.label[video]], scores.score[video], scores.video[video], scores.group[video]
