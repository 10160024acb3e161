"""The leaderboard as Markdown, CSV and LaTeX."""

from lnclip_df.core.tables import MISSING, aligned_markdown, csv_text, markdown_table, p_text, percent
from lnclip_df.evaluation.metrics import METRICS, VIDEO_SCORE
from lnclip_df.evaluation.reference import MEAN, column_of, reference
from lnclip_df.leaderboard.figures import common_means, ordered, published, published_mean
from lnclip_df.leaderboard.record import summary

IN_DATASET, CROSSED = "in-dataset mean", "cross-dataset mean"
WIDE = 8  # more columns than this and a terminal shows the table turned


def markdown(board) -> str:
    """The big table, the published rows under it, and notes."""
    return markdown_table(_big_table(board)) + "".join(f"\n{note}\n" for note in notes(board))


def terminal(board) -> str:
    """The big table where it is narrow; else turned, without the columns that nothing is known of."""
    if len(board.datasets) <= WIDE:
        return markdown(board)
    header, *rows = _big_table(board)
    rows = rows[: len(board.lines)]
    kept = [at for at in range(1, len(header)) if any(row[at] != MISSING for row in rows)]
    turned = [["column", *(row[0] for row in rows)]] + [[header[at], *(row[at] for row in rows)] for at in kept]
    missing = [header[at] for at in range(1, len(header)) if at not in kept]
    lines = aligned_markdown(turned) + (f"\nMissing: {', '.join(missing)}.\n" if missing else "")
    return lines + "".join(f"\n{note}\n" for note in notes(board))


def table_csv(board) -> str:
    """The big table in % with one decimal, means over few columns without their count."""
    rows = [["run", *map(column_of, board.datasets), IN_DATASET, CROSSED]]
    for row in board.lines:
        values = [row.cells[name].auroc if name in row.cells else None for name in board.datasets]
        rows.append([row.run.name, *map(percent, [*values, row.in_dataset.value, row.crossed.value])])
    return csv_text(rows)


def latex(board) -> str:
    """The big table for ``booktabs``; intervals small, a dash where a dataset is missing."""
    header, *rows = _big_table(board, beside=False)
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table}\n\\centering",
        "\\resizebox{\\linewidth}{!}{%",
        f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n\\toprule",
        _latex_row(header) + "\n\\midrule",
        *(_latex_row(row) for row in rows[: len(board.lines)]),
        *(["\\midrule"] if rows[len(board.lines) :] else []),
        *(_latex_row(row) for row in rows[len(board.lines) :]),
        "\\bottomrule\n\\end{tabular}}",
        f"\\caption{{{_latex(_caption(board))}}}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def details(board) -> str:
    """By method, comparisons of runs, further metrics, and what made each figure, as Markdown."""
    parts = [
        "# Details of the leaderboard\n",
        *_methods(board),
        *_comparisons(board),
        *_further(board),
        *_records(board),
    ]
    return "\n".join(parts)


def figures_csv(board) -> str:
    """A row a figure: run, column, method (empty for the column itself), metric, value, interval, and what made it."""
    header = ["run", "column", "dataset", "method", "metric", "value", "low", "high", "published", "difference"]
    counts = ["reals", "fakes", "frames_scored"]
    rows, made = [], []
    for row in board.lines:
        for dataset, method, found in _all_cells(board, row):
            made = summary(row.run, _source(row.run, dataset))
            figure, difference = (None, None) if method else _published(board, row, dataset)
            values = {"video AUROC": found.auroc} | {METRICS[name].title: value for name, value in found.more.items()}
            for metric, value in values.items():
                bounds = [found.low, found.high, figure and figure / 100, difference and difference / 100]
                beside = bounds if metric == "video AUROC" else [None] * 4
                rows.append(
                    [row.run.name, column_of(dataset), dataset, method, metric, value, *beside,
                     found.reals, found.fakes, found.frames, *made.values()]
                )  # fmt: skip
    return csv_text([[*header, *counts, *(name.replace(" ", "_") for name in made)], *rows])


def notes(board) -> list[str]:
    """What the table's numbers are, what is published and where, which means compare, and notes on crops."""
    interval = f" [95 % interval: BCa bootstrap over videos within each class, {board.resamples:,} resamples]"
    found = [f"Video AUROC in %{interval if board.resamples else ''}. {MISSING}: not tested."]
    if board.shows_published:
        found.append(
            f"Beside a figure, what is published for {board.against} and the difference in points; a mean is compared "
            f"only with one over as many columns. Sources of what is published: {_sources(board)}."
        )
    if shared := common_means(board.lines):
        names, means = shared
        shown = ", ".join(f"{run} {percent(value)}" for run, value in means.items())
        found.append(f"Over the {len(names)} columns that every run has ({_columns(names)}): {shown}.")
    return found + board.notes


def cell_text(board, row, dataset, *, beside: bool = True) -> str:
    """A cell: AUROC, its interval, and in brackets the published figure and the difference."""
    if dataset not in row.cells:
        return MISSING
    found = row.cells[dataset]
    figure, difference = _published(board, row, dataset)
    return f"{_with_bounds(found)}{_beside(figure, difference) if beside else ''}"


def mean_text(mean, figure=None, difference=None) -> str:
    """A mean with its interval and, where columns are missing, their number: ``93.1 (4 of 13)``."""
    if mean.value is None:
        return MISSING
    counted = f" ({len(mean.datasets)} of {mean.of})" if mean.short else ""
    return f"{percent(mean.value)}{_bounds(mean)}{counted}{_beside(figure, difference)}"


def published_rows(board) -> list[tuple[str, list]]:
    """The published rows, each with its figures in the order of the columns, the mean last; None where we hold none."""
    if not board.shows_published:
        return []
    columns = [*map(column_of, board.datasets), MEAN]
    return [(name, [row.figure(column) for column in columns]) for name, row in reference().rows.items()]


def _big_table(board, beside=True):
    rows = [["run", *map(column_of, board.datasets), IN_DATASET, CROSSED]]
    against = reference().row(board.against) if board.shows_published and beside else None
    for row in board.lines:
        cells = [cell_text(board, row, name, beside=beside) for name in board.datasets]
        crossed = mean_text(row.crossed, *published_mean(against, row.crossed))
        rows.append([row.run.name, *cells, mean_text(row.in_dataset), crossed])
    for name, figures in published_rows(board):
        *values, mean = [f"{figure.value:.1f}" if figure else MISSING for figure in figures]
        rows.append([f"{name} (published)", *values, MISSING, mean])
    return rows


def _methods(board):
    for dataset in ordered({name for row in board.lines for name in row.methods}):
        rows = [row for row in board.lines if dataset in row.methods]
        names = list(dict.fromkeys(name for row in rows for name in row.methods[dataset]))
        table = [["run", *names]]
        for row in rows:
            cells = row.methods[dataset]
            table.append([
                row.run.name,
                *(_with_bounds(cells.get(name)) for name in names),
            ])  # fmt: skip
        yield f"## {column_of(dataset)} by method: each method's fakes against all reals\n\n{markdown_table(table)}"


def _comparisons(board):
    if not board.comparisons:
        return
    table = [["runs", "column", "videos of both", "first", "second", "difference", "p"]]
    for found in board.comparisons:
        test = found.test
        table.append([
            f"{found.a}, {found.b}", column_of(found.dataset), str(found.videos), percent(test.a), percent(test.b),
            f"{100 * test.difference:+.1f}", p_text(test.p),
        ])  # fmt: skip
    yield f"## Runs compared on the same videos: DeLong's test\n\n{markdown_table(table)}"
    yield "Two-sided p-values, one a column; they are not corrected for how many there are.\n"


def _further(board):
    if not board.metrics:
        return
    table = [["run", "column", "video AUROC", *(METRICS[name].title for name in board.metrics)]]
    for row in board.lines:
        for dataset in ordered(row.cells):
            found = row.cells[dataset]
            more = (percent(found.more[name]) for name in board.metrics)
            table.append([row.run.name, column_of(dataset), percent(found.auroc), *more])
    yield f"## Further metrics, in %\n\n{markdown_table(table)}"


def _records(board):
    table = []
    for row in board.lines:
        for dataset in ordered(row.run.sets):
            made = summary(row.run, dataset)
            table = table or [["run", "dataset", *made]]
            table.append([row.run.name, dataset, *made.values()])
    yield f"## What made each figure\n\n{markdown_table(table)}"
    yield f"Metric: {VIDEO_SCORE}. The EER is the false positive rate where it is nearest to the false negative rate.\n"


def _all_cells(board, row):
    for dataset in board.datasets:
        if dataset in row.cells:
            yield dataset, "", row.cells[dataset]
        for method, found in row.methods.get(dataset, {}).items():
            yield dataset, method, found


def _source(run, dataset):
    """The dataset whose predictions a column was computed from."""
    parts = {column.dataset: column.part_of for column in reference().columns}
    return dataset if dataset in run.sets else parts[dataset]


def _published(board, row, dataset):
    return published(reference().row(board.against), column_of(dataset), row.cells[dataset].auroc)


def _sources(board):
    figures = [figure for _, row in published_rows(board) for figure in row if figure]
    return "; ".join(dict.fromkeys(figure.source for figure in figures))


def _columns(names):
    return ", ".join(map(column_of, names))


def _with_bounds(found):
    return MISSING if found is None else f"{percent(found.auroc)}{_bounds(found)}"


def _bounds(found):
    return "" if found.low is None else f" [{percent(found.low)}, {percent(found.high)}]"


def _beside(figure, difference):
    if figure is None:
        return ""
    return f" ({figure:.1f})" if difference is None else f" ({figure:.1f}, {difference:+.1f})"


def _caption(board):
    """What the figures are; of what is published, where it stands (differences are left to the other forms)."""
    sources = f" Sources of what is published: {_sources(board)}." if board.shows_published else ""
    return notes(board)[0] + sources


def _latex_row(row):
    cells = [_latex(cell) for cell in row]
    small = [
        f"{cell[:at]}{{\\scriptsize{cell[at:]}}}" if (at := cell.find(" [")) > 0 and place else cell
        for place, cell in enumerate(cells)
    ]
    return " & ".join(small) + " \\\\"


def _latex(text):
    signs = {
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "–": "--",
        "×": "$\\times$",
    }
    return "".join(signs.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)
