"""The leaderboard as one HTML page that asks for nothing else: tables that sort by a click, and charts.

Whatever is folded is a ``<template>``, which a browser neither lays out nor draws until it is opened.
"""

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lnclip_df.core.escapes import html
from lnclip_df.core.plots import DARK, LIGHT
from lnclip_df.core.tables import MISSING, p_text, percent
from lnclip_df.evaluation.metrics import METRICS
from lnclip_df.evaluation.reference import column_of, reference
from lnclip_df.evaluation.runs import columns_of
from lnclip_df.leaderboard.board import Board
from lnclip_df.leaderboard.charts import HEIGHT, SIDE, histogram_paths, roc_path
from lnclip_df.leaderboard.figures import CROSS_DATASET, IN_DATASET, ordered, published, published_mean
from lnclip_df.leaderboard.plots import MAX_DRAWN
from lnclip_df.leaderboard.record import OF_DATASET, summary
from lnclip_df.leaderboard.text import comparison_note, frame_note, frame_rows, metric_notes, notes, published_rows
from lnclip_df.leaderboard.thumbnails import thumbnails

MAX_OPEN = 40  # rows of a table that is shown without being opened
WORST = 5  # videos of each class and run
WORDS = {  # columns that sort as text
    "first", "second", "column", "class", "video", "method or label", "dataset", "weights", "selection", "trained on",
    "crops", "video list", "test settings", "metric definition", "versions",
}  # fmt: skip


def page(board: Board, crops=None) -> str:
    """The whole page; every name that comes from data is escaped. ``crops`` is as for ``leaderboard``."""
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
        "CROSS_DATASET": CROSS_DATASET, "DARK": DARK, "HEIGHT": HEIGHT, "IN_DATASET": IN_DATASET, "LIGHT": LIGHT,
        "MAX_DRAWN": MAX_DRAWN, "MAX_OPEN": MAX_OPEN, "MISSING": MISSING, "SIDE": SIDE, "WORDS": WORDS,
        "column_of": column_of, "comparison_note": comparison_note, "frame_note": frame_note, "notes": notes,
        "metric_notes": metric_notes, "p_text": p_text, "percent": percent, "published": published,
        "published_mean": published_mean, "signed": lambda value: f"{value:+.1f}".replace("-", "−"), "zip": zip,
    }  # fmt: skip
    slots = {row.run.name: slot for slot, row in enumerate(board.rows)} if len(board.rows) <= MAX_DRAWN else {}
    shown, empty = _published(board)
    return environment.get_template("leaderboard.html").render(
        board=board,
        slots=slots,
        against=board.published,
        groups=_groups(board),
        best=_best(board),
        published_rows=shown,
        empty_rows=empty,
        panels=list(_panels(board, slots, crops)),
        frames=frame_rows(board),
        titles=[METRICS[name].title for name in board.metrics],
        records=_split({row.run.name: _of_run(row.run) for row in board.rows}),
    )


def _groups(board):
    """The head above the columns: names, and how many columns and tested columns each spans."""
    family = {column.dataset for column in reference().columns if column.in_dataset}
    benchmarks = set(reference().benchmarks)
    groups = {}
    for name in board.datasets:
        kind = "FaceForensics++" if name in family else "benchmarks" if name in benchmarks else "others"
        groups.setdefault(kind, []).append(name in board.tested)
    return [(kind, len(tested), sum(tested)) for kind, tested in groups.items()]


def _best(board):
    """Each column's highest AUROC; None where there is only one run."""
    if len(board.rows) < 2:
        return dict.fromkeys(board.datasets)
    values = {name: [row.cells[name].auroc.value for row in board.rows if name in row.cells] for name in board.datasets}
    return {name: max(found, default=None) for name, found in values.items()}


def _published(board):
    """The published rows that have a figure to compare with here, and those that have none."""
    whole = any(row.cross_dataset.datasets and not row.cross_dataset.incomplete for row in board.rows)
    shown, empty = [], []
    for name, (mean, *figures) in published_rows(board):
        beside = [figure for column, figure in zip(board.datasets, figures, strict=True) if column in board.tested]
        (shown if any(beside) or (whole and mean) else empty).append((name, mean, figures))
    return shown, empty


def _of_run(run):
    """What made a run's figures, whatever the dataset: the distinct values of each field."""
    made = [summary(run, dataset) for dataset in ordered(run.sets)]
    return {key: ", ".join(dict.fromkeys(each[key] for each in made)) for key in made[0] if key not in OF_DATASET}


def _split(records):
    """Fields that are the same in all records, and of the records, by name, the other fields."""
    first = next(iter(records.values()))
    same = {key for key in first if all(made[key] == first[key] for made in records.values())}
    others = {name: {key: made[key] for key in made if key not in same} for name, made in records.items()}
    return {key: first[key] for key in first if key in same and first[key] != MISSING}, others


def _panels(board, slots, crops):
    """What is shown of each column that a run has: the runs' figures, ROC curves, histograms, the worst videos."""
    columns = {row.run.name: columns_of(row.run) for row in board.rows}
    whole = {column.dataset: column.part_of for column in reference().columns if column.part_of}
    for dataset in board.datasets:
        rows = [row for row in board.rows if dataset in row.cells]
        if not rows:
            continue
        best_first = sorted(rows, key=lambda row: -row.cells[dataset].auroc.value)
        drawn = [
            (slots.get(row.run.name, slot), row, columns[row.run.name][dataset])
            for slot, row in enumerate(rows if slots else best_first[:MAX_DRAWN])
        ]
        made = {}
        for row in rows:
            record = summary(row.run, dataset if dataset in row.run.sets else whole[dataset])
            made[row.run.name] = {key: value for key, value in record.items() if key in OF_DATASET[:2] + OF_DATASET[4:]}
        yield {
            "dataset": dataset,
            "rows": best_first,
            "made": _split(made),
            "curves": [(slot, row, roc_path(scores)) for slot, row, scores in drawn],
            "spreads": [(slot, row, *histogram_paths(scores)) for slot, row, scores in drawn],
            "methods": list(dict.fromkeys(name for row in board.rows for name in row.methods.get(dataset, {}))),
            "worst": [video for slot, row, scores in drawn for video in _worst(slot, row.run, dataset, scores, crops)],
        }


def _worst(slot, run, dataset, scores, crops):
    """The reals of the highest and the fakes of the lowest scores, with pictures where the crops are there."""
    order = np.argsort(scores.score, kind="stable")
    reals = [video for video in order[::-1] if scores.label[video] == 0][:WORST]
    fakes = [video for video in order if scores.label[video] == 1][:WORST]
    chosen = [*reals, *fakes]
    pictures = thumbnails(run, dataset, scores.video[chosen], crops)
    for video in chosen:
        kind = ("real", "fake")[scores.label[video]]
        name = scores.video[video]
        yield slot, run.name, kind, scores.score[video], name, scores.group[video], pictures.get(name)
