"""The leaderboard as Markdown, CSV and LaTeX."""

from collections.abc import Iterable, Iterator

from lnclip_df.core import enough, escapes
from lnclip_df.core.tables import MISSING, aligned_markdown, csv_text, markdown_table, p_text, percent
from lnclip_df.evaluation.metrics import METRICS, VIDEO_SCORE
from lnclip_df.evaluation.reference import MEAN, Figure, column_of, dataset_of, reference
from lnclip_df.leaderboard.board import MAX_PAIRED, Board
from lnclip_df.leaderboard.figures import (
    CROSS_DATASET,
    IN_DATASET,
    Cell,
    Mean,
    Row,
    common_means,
    frame_auroc,
    frame_mean,
    ordered,
    published,
    published_mean,
)
from lnclip_df.leaderboard.record import summary

VIDEO_AUROC = "video AUROC"
MAX_COLUMNS = 8  # a terminal shows a table of more columns transposed


def markdown(board: Board) -> str:
    """The big table with the published rows below it, and notes."""
    return markdown_table(_big_table(board)) + _paragraphs(notes(board))


def terminal(board: Board) -> str:
    """The big table where it is narrow; else transposed, without the columns that no run has."""
    if len(board.datasets) <= MAX_COLUMNS:
        return markdown(board)
    columns = list(zip(*_big_table(board)[: len(board.rows) + 1], strict=True))[1:]
    names = [row.run.name for row in board.rows]
    table = aligned_markdown([["column", *names], *(column for column in columns if {*column[1:]} != {MISSING})])
    missing = [name for name, *cells in columns if {*cells} == {MISSING}]
    return table + (f"\nMissing: {', '.join(missing)}.\n" if missing else "") + _paragraphs(notes(board))


def table_csv(board: Board) -> str:
    """The big table in % with one decimal; means over few columns without their number."""
    rows = [_header(board)]
    for row in board.rows:
        values = [row.cells[name].auroc.value if name in row.cells else None for name in board.datasets]
        rows.append([row.run.name, *map(percent, [row.cross_dataset.auroc.value, row.in_dataset.auroc.value, *values])])
    return csv_text(rows)


def latex(board: Board) -> str:
    """The big table for ``booktabs``; intervals small, a dash where a dataset is missing."""
    header, *rows = _big_table(board, compared=False)
    ours, theirs = rows[: len(board.rows)], rows[len(board.rows) :]
    sources = f" {_sources(board)}" if theirs else ""
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table}\n\\centering",
        "\\resizebox{\\linewidth}{!}{%",
        f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n\\toprule",
        _latex_row(header) + "\n\\midrule",
        *map(_latex_row, ours),
        *(["\\midrule"] if theirs else []),
        *map(_latex_row, theirs),
        "\\bottomrule\n\\end{tabular}}",
        f"\\caption{{{escapes.tex(notes(board)[0] + sources)}}}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def details(board: Board) -> str:
    """By method, comparisons of runs, further metrics, and what made each figure, as Markdown."""
    parts = (_methods, _comparisons, _further, _frames, _records)
    text = "\n".join(["# Details of the leaderboard\n", *(text for part in parts for text in part(board))])
    return text + enough.note(text)


def figures_csv(board: Board) -> str:
    """One row per figure: run, column, method (empty for the column itself), metric, value, interval, what made it."""
    header = ["run", "column", "dataset", "method", "metric", "value", "low", "high", "published", "difference"]
    part_of = {column.dataset: column.part_of for column in reference().columns if column.part_of}
    rows, made, against = [], {}, reference().row(board.against)
    for row in board.rows:
        for dataset, method, cell in _all_cells(board, row):
            made = summary(row.run, dataset if dataset in row.run.sets else part_of[dataset])
            for metric, value in {"": cell.auroc.value, **cell.more}.items():
                compared = not method and (against.metric or "") == metric
                stated = published(against if compared else None, column_of(dataset), value)
                title, bounds = (METRICS[metric].title, [None] * 2) if metric else (VIDEO_AUROC, cell.auroc[1:])
                rows.append(
                    [row.run.name, column_of(dataset), dataset, method, title, value, *bounds,
                     *(figure and figure / 100 for figure in stated), cell.reals, cell.fakes, cell.frames,
                     *made.values()]
                )  # fmt: skip
    fields = (name.replace(" ", "_") for name in made)
    return csv_text([[*header, "reals", "fakes", "frames_scored", *fields], *rows])


def notes(board: Board) -> list[str]:
    """Notes: what the numbers are, the sources of published figures, means over shared columns, and the crops."""
    interval = f" [95 % interval: BCa bootstrap over videos within each class, {board.resamples:,} resamples]"
    few = any(cell.few for row in board.rows for cell in row.cells.values())
    meaning = f"Video AUROC in %{interval if board.resamples else ''}. {MISSING}: not tested."
    found = [meaning + f" {enough.FEW_NOTE}" * few]
    if board.published_rows:
        beside = (
            f"Beside a figure: the published figure of {board.against}, and the difference in points. A mean is "
            f"compared only with a mean over the same number of columns, and only where the run says what it was "
            f"trained on. "
        )
        found.append(f"{beside if board.published else ''}{_sources(board)}")
    if shared := common_means(board.rows):
        names, means = shared
        highest = sorted(means, key=lambda run: -means[run])[:MAX_PAIRED] if board.best else means
        shown = ", ".join(f"{run} {percent(means[run])}" for run in highest)
        columns = ", ".join(map(column_of, names))
        which = f", the {len(highest)} highest of {len(means)}" if board.best else ""
        those = "column" if len(names) == 1 else f"{len(names)} columns"
        found.append(f"Over the {those} that every run has ({columns}){which}: {shown}.")
    return found + board.notes


def published_rows(board: Board) -> list[tuple[str, list[Figure | None]]]:
    """The published rows: each one's mean, then its figures in the order of the columns; None where none is known."""
    columns = [MEAN, *map(column_of, board.datasets)]
    return [(name, [row.figure(column) for column in columns]) for name, row in board.published_rows.items()]


def _header(board: Board) -> list[str]:
    return ["run", CROSS_DATASET, IN_DATASET, *map(column_of, board.datasets)]


def _big_table(board: Board, compared: bool = True) -> list[list[str]]:
    """The header, one row per run, and the published rows; ``compared`` adds published figures to the runs' cells."""
    rows = [_header(board)]
    against = board.published if compared else None
    for row in board.rows:
        cells = [MISSING] * len(board.datasets)
        for index, name in enumerate(board.datasets):
            if cell := row.cells.get(name):
                cells[index] = (
                    f"{cell.auroc}{cell.few}{_beside(*published(against, column_of(name), cell.auroc.value))}"
                )
        cross = _mean(row.cross_dataset, *published_mean(against, row.run, row.cross_dataset))
        rows.append([row.run.name, cross, _mean(row.in_dataset), *cells])
    for name, figures in published_rows(board):
        mean, *values = [f"{figure.value:.1f}" if figure else MISSING for figure in figures]
        rows.append([f"{name} (published)", mean, MISSING, *values])
    return rows


def _methods(board: Board) -> Iterator[str]:
    for dataset in ordered(name for row in board.rows for name in row.methods):
        rows = [row for row in board.rows if dataset in row.methods]
        names = list(dict.fromkeys(name for row in rows for name in row.methods[dataset]))
        table = [["run", *names]]
        for row in rows:
            cells = row.methods[dataset]
            table.append(
                [
                    row.run.name,
                    *(f"{cells[name].auroc}{cells[name].few}" if name in cells else MISSING for name in names),
                ]
            )
        title = f"{escapes.markdown(column_of(dataset))} by method: each method's fakes against all reals"
        yield f"## {title}\n\n{markdown_table(table)}"


def _comparisons(board: Board) -> Iterator[str]:
    if not board.comparisons:
        return
    table = [["runs", "column", "videos of both", "first", "second", "difference", "p"]]
    for found in board.comparisons:
        test = found.test
        table.append([
            f"{found.a}, {found.b}", column_of(found.dataset), str(found.videos), percent(test.a), percent(test.b),
            f"{100 * test.difference:+.1f}", p_text(test.p) + found.few,
        ])  # fmt: skip
    yield f"## Runs compared on the same videos: DeLong's test\n\n{markdown_table(table)}"
    yield f"{comparison_note(board)}\n"


def comparison_note(board: Board) -> str:
    """What the table of comparisons shows."""
    some = f"Each run is compared with {board.best}, the best of the {len(board.rows)}. " if board.best else ""
    return f"{some}Two-sided p-values, one per column, not corrected for their number."


def _further(board: Board) -> Iterator[str]:
    if not board.metrics:
        return
    table = [["run", "column", "video AUROC", *(METRICS[name].title for name in board.metrics)]]
    for row in board.rows:
        for dataset in ordered(row.cells):
            cell = row.cells[dataset]
            table.append([row.run.name, column_of(dataset), percent(cell.auroc.value) + cell.few,
                          *map(cell.metric, board.metrics)])  # fmt: skip
    yield f"## Further metrics, in %\n\n{markdown_table(table)}"
    yield from (f"{note}\n" for note in metric_notes(board))


def metric_notes(board: Board) -> Iterator[str]:
    """How many real videos the metrics need that need a certain number."""
    for metric in (METRICS[name] for name in board.metrics if METRICS[name].reals):
        yield f"{metric.title} needs {metric.reals} real videos."


def frame_rows(board: Board) -> list[list[str]]:
    """Frame AUROCs in %, runs and then published ones: a header and rows; empty where there is nothing to show."""
    columns = board.frame_columns
    if not columns:
        return []
    against = reference().frames.published.get(board.against)
    table = [["run", CROSS_DATASET, *columns]]
    for row in board.rows:
        values = [frame_auroc(row.cells.get(dataset_of(column))) for column in columns]
        few = [row.cells[dataset_of(c)].few if v is not None else "" for c, v in zip(columns, values, strict=True)]
        shown = [
            percent(v) + mark + _beside(*published(against, c, v))
            for c, v, mark in zip(columns, values, few, strict=True)
        ]
        mean = frame_mean(row)
        table.append([row.run.name, _mean(mean, *published_mean(against, row.run, mean)), *shown])
    for name, stated in reference().frames.published.items():
        figures = [stated.figure(column) for column in (MEAN, *columns)]
        table.append([f"{name} (published)", *(f"{figure.value:.1f}" for figure in figures if figure)])
    return table


def frame_note(board: Board) -> str:
    """What the table of ``frame_rows`` shows."""
    against = f"Beside a figure: {board.against}'s, and the difference in points. " if not board.published else ""
    return (
        f"{against}The mean is over {len(reference().frames.cross_dataset)} columns, without those that a run was "
        f"trained on. Source of the published figures: {reference().frames.source}."
    )


def _frames(board: Board) -> Iterator[str]:
    if table := frame_rows(board):
        yield f"## Frame AUROC, in %, beside published frame AUROCs\n\n{markdown_table(table)}"
        yield f"{frame_note(board)}\n"


def _records(board: Board) -> Iterator[str]:
    records = [(row.run.name, name, summary(row.run, name)) for row in board.rows for name in ordered(row.run.sets)]
    table = [["run", "dataset", *records[0][2]], *([run, name, *made.values()] for run, name, made in records)]
    yield f"## What made each figure\n\n{markdown_table(table)}"
    yield f"Metric: {VIDEO_SCORE}. The EER is the false positive rate where it is nearest to the false negative rate.\n"


def _all_cells(board: Board, row: Row) -> Iterator[tuple[str, str, Cell]]:
    for dataset in board.datasets:
        if dataset in row.cells:
            yield dataset, "", row.cells[dataset]
        for method, cell in row.methods.get(dataset, {}).items():
            yield dataset, method, cell


def _sources(board: Board) -> str:
    figures = [figure for _, row in published_rows(board) for figure in row if figure]
    return f"Sources of the published figures: {'; '.join(dict.fromkeys(figure.source for figure in figures))}."


def _mean(mean: Mean, figure: float | None = None, difference: float | None = None) -> str:
    """A mean with its interval and, where columns are missing, their number: ``93.1 (4 of 13)``."""
    if mean.auroc.value is None:
        return MISSING
    return f"{mean.auroc}{mean.counted}{mean.few}{_beside(figure, difference)}"


def _beside(figure: float | None = None, difference: float | None = None) -> str:
    if figure is None:
        return ""
    return f" ({figure:.1f})" if difference is None else f" ({figure:.1f}, {difference:+.1f})"


def _paragraphs(texts: Iterable[str]) -> str:
    return "".join(f"\n{escapes.markdown(text)}\n" for text in texts)


def _latex_row(row: list[str]) -> str:
    name, *cells = map(escapes.tex, row)
    if name.startswith(("[", "*")):  # after the end of another row these would be an argument
        name = f"{{}}{name}"
    small = (
        f"{value}{{\\scriptsize [{bounds}}}" if bounds else value
        for value, _, bounds in (cell.partition(" [") for cell in cells)
    )
    return " & ".join([name, *small]) + " \\\\"
