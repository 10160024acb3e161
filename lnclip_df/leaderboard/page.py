"""The leaderboard as one HTML page that asks for nothing else: tables that sort by a click, and charts."""

from html import escape

import numpy as np

from lnclip_df.core.tables import MISSING, p_text, percent
from lnclip_df.evaluation.metrics import METRICS
from lnclip_df.evaluation.reference import column_of, reference
from lnclip_df.evaluation.runs import columns_of
from lnclip_df.leaderboard.assets import SCRIPT, STYLE
from lnclip_df.leaderboard.charts import colour, histogram, roc_chart
from lnclip_df.leaderboard.figures import ordered, published, published_mean
from lnclip_df.leaderboard.record import summary
from lnclip_df.leaderboard.text import CROSSED, IN_DATASET, notes, published_rows

WORST = 5  # videos of each class and run
TEXT = {  # columns of words
    "first", "second", "column", "class", "video", "method or label", "dataset", "weights", "selection", "trained on",
    "crops", "video list", "test settings", "metric definition", "versions",
}  # fmt: skip
# Nothing may be fetched, whatever the page holds.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; form-action 'none'"


def page(board) -> str:
    """The whole page."""
    sets = {row.run.name: columns_of(row.run) for row in board.lines}
    sections = [
        _section("Video AUROC, %", _big_table(board) + "".join(f"<p>{_emphasised(note)}</p>" for note in notes(board))),
        _section("Column by column", _panels(board, sets)),
        _section("Runs compared", _comparisons(board)),
        _section("Further metrics, %", _further(board)),
        _section("What made each figure", _records(board)),
    ]
    runs = "".join(f"<li>{_swatch(at)}{escape(row.run.name)}</li>" for at, row in enumerate(board.lines))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Leaderboard</title>'
        f"<style>{STYLE}</style></head><body><header><h1>Leaderboard</h1>"
        f'<ul class="runs">{runs}</ul></header><main>{"".join(sections)}</main>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _section(title, body):
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def _big_table(board):
    spans = _spans(board)
    groups = "".join(f'<th colspan="{n}" class="group">{name}</th>' for name, n in spans)
    heads = [_head("run"), _head(CROSSED), _head(IN_DATASET)]
    heads += [_head(column_of(name), title=name) for name in board.datasets]
    best = _best(board)
    rows = [_run_row(board, at, row, best) for at, row in enumerate(board.lines)]
    rows += [_published_row(name, figures) for name, figures in published_rows(board)]
    return (
        f'<div class="scroll"><table class="big sortable"><thead><tr><th></th>{groups}</tr><tr>{"".join(heads)}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _spans(board):
    family = {column.dataset for column in reference().columns if column.in_dataset}
    benchmarks = set(reference().benchmarks)
    kinds = [
        "FaceForensics++" if n in family else "benchmarks" if n in benchmarks else "others" for n in board.datasets
    ]
    names = ["means", *dict.fromkeys(kinds)]
    return [(name, 2 if name == "means" else kinds.count(name)) for name in names]


def _best(board):
    values = {}
    for row in board.lines:
        for name, found in row.cells.items():
            values[name] = max(values.get(name, 0), found.auroc)
    return values if len(board.lines) > 1 else {}


def _run_row(board, at, row, best):
    against = reference().row(board.against) if board.shows_published else None
    cells = [f'<th scope="row">{_swatch(at)}{escape(row.run.name)}</th>']
    cells += [_mean(row.crossed, published_mean(against, row.crossed)), _mean(row.in_dataset, (None, None))]
    for name in board.datasets:
        found = row.cells.get(name)
        if found is None:
            cells.append(_missing())
            continue
        beside = published(against, column_of(name), found.auroc)
        title = f"{found.reals} real, {found.fakes} fake, {found.frames} frames"
        cells.append(_figure(found.auroc, found, beside, title, best.get(name) == found.auroc))
    return f"<tr>{''.join(cells)}</tr>"


def _published_row(name, figures):
    *values, mean = [
        _missing()
        if figure is None
        else f'<td data-v="{figure.value}" title="{escape(figure.source)}">{figure.value:.1f}</td>'
        for figure in figures
    ]
    head = f'<th scope="row">{escape(name)} <small>published</small></th>'
    return f'<tr class="published">{head}{mean}{_missing()}{"".join(values)}</tr>'


def _mean(mean, beside):
    if mean.value is None:
        return _missing()
    counted = f"{len(mean.datasets)} of {mean.of} columns"
    return _figure(mean.value, mean, beside, counted, False, counted if mean.short else "")


def _figure(value, bounds, beside, title, best, extra=""):
    """A cell: the figure, its interval, the published one with the difference, and a remark."""
    lines = [f"<b{' class=best' if best else ''}>{percent(value)}</b>"]
    if bounds.low is not None:
        lines.append(f"<small>{percent(bounds.low)}–{percent(bounds.high)}</small>")
    if extra:
        lines.append(f'<small class="few">{extra}</small>')
    figure, difference = beside
    if figure is not None:
        gap = (
            "" if difference is None else f' <i class="{"up" if difference >= 0 else "down"}">{_signed(difference)}</i>'
        )
        lines.append(f'<small class="beside">publ. {figure:.1f}{gap}</small>')
    return f'<td data-v="{100 * value:.4f}" title="{escape(title)}">{"".join(lines)}</td>'


def _panels(board, sets):
    names = [name for name in board.datasets if any(name in columns for columns in sets.values())]
    tabs = "".join(
        f'<button type="button" data-panel="{at}" aria-pressed="{"true" if at == 0 else "false"}">'
        f"{escape(column_of(name))}</button>"
        for at, name in enumerate(names)
    )
    panels = "".join(_panel(board, sets, at, name) for at, name in enumerate(names))
    return f'<nav class="tabs" aria-label="columns">{tabs}</nav>{panels}'


def _panel(board, sets, at, name):
    curves, spreads = [], []
    for number, row in enumerate(board.lines):
        if name in row.cells:
            scores = sets[row.run.name][name]
            curves.append((row.run.name, colour(number), scores))
            caption = f"{_swatch(number)}{escape(row.run.name)}, {percent(row.cells[name].auroc)}"
            spreads.append(f"<figure><figcaption>{caption}</figcaption>{histogram(row.run.name, scores)}</figure>")
    key = (
        '<p class="key"><span class="real"></span>real<span class="fake"></span>fake, share of each class by score</p>'
    )
    charts = (
        f'<div class="charts"><figure class="wide"><figcaption>ROC over videos</figcaption>{roc_chart(name, curves)}'
        f'</figure><div class="spreads">{key}<div class="grid">{"".join(spreads)}</div></div></div>'
    )
    title = f"<h3>{escape(column_of(name))}<small>{escape(name) if column_of(name) != name else ''}</small></h3>"
    return (
        f'<article class="panel" data-panel="{at}">{title}{charts}{_methods(board, name)}'
        f"<h4>Worst videos</h4>{_worst(board, sets, name)}</article>"
    )


def _methods(board, name):
    rows = [(at, row) for at, row in enumerate(board.lines) if name in row.methods]
    if not rows:
        return ""
    methods = list(dict.fromkeys(method for _, row in rows for method in row.methods[name]))
    body = ""
    for at, row in rows:
        cells = row.methods[name]
        figures = (
            _figure(cells[m].auroc, cells[m], (None, None), f"{cells[m].fakes} fakes", False)
            if m in cells
            else _missing()
            for m in methods
        )
        body += f'<tr><th scope="row">{_swatch(at)}{escape(row.run.name)}</th>{"".join(figures)}</tr>'
    return f"<h4>By method: its fakes against all reals</h4>{_table(['run', *methods], body)}"


def _worst(board, sets, name):
    body = ""
    for at, row in enumerate(board.lines):
        if name not in row.cells:
            continue
        scores = sets[row.run.name][name]
        order = np.argsort(scores.score, kind="stable")
        reals = [video for video in order[::-1] if scores.label[video] == 0][:WORST]
        fakes = [video for video in order if scores.label[video] == 1][:WORST]
        for video in [*reals, *fakes]:
            kind = ("real", "fake")[scores.label[video]]
            body += (
                f'<tr><th scope="row">{_swatch(at)}{escape(row.run.name)}</th><td class="text">{kind}</td>'
                f'<td data-v="{scores.score[video]:.9f}">{scores.score[video]:.3f}</td>'
                f'<td class="text">{escape(str(scores.video[video]))}</td>'
                f'<td class="text">{escape(str(scores.group[video])) or MISSING}</td></tr>'
            )
    return _table(["run", "class", "score", "video", "method or label"], body)


def _comparisons(board):
    if not board.comparisons:
        return ""
    places = {row.run.name: at for at, row in enumerate(board.lines)}
    body = ""
    for found in board.comparisons:
        test, sure = found.test, found.test.p is not None and found.test.p < 0.05
        p = _missing() if test.p is None else f'<td data-v="{test.p!r}">{escape(p_text(test.p))}</td>'
        body += (
            f'<tr{" class=sure" if sure else ""}><td class="text">{_swatch(places[found.a])}{escape(found.a)}</td>'
            f'<td class="text">{_swatch(places[found.b])}{escape(found.b)}</td>'
            f'<td class="text">{escape(column_of(found.dataset))}</td><td data-v="{found.videos}">{found.videos}</td>'
            f'<td data-v="{test.a}">{percent(test.a)}</td><td data-v="{test.b}">{percent(test.b)}</td>'
            f'<td data-v="{test.difference}">{_signed(100 * test.difference)}</td>{p}</tr>'
        )
    heads = ["first", "second", "column", "videos of both", "AUROC of first", "of second", "difference", "p"]
    note = "<p>DeLong's test, two-sided; p is not corrected for the number of columns. Bold: p &lt; 0.05.</p>"
    return _table(heads, body) + note


def _further(board):
    if not board.metrics:
        return ""
    body = ""
    for at, row in enumerate(board.lines):
        for name in ordered(row.cells):
            found = row.cells[name]
            values = [found.auroc, *(found.more[metric] for metric in board.metrics)]
            body += (
                f'<tr><th scope="row">{_swatch(at)}{escape(row.run.name)}</th>'
                f'<td class="text">{escape(column_of(name))}</td>'
                + "".join(f'<td data-v="{value}">{percent(value)}</td>' for value in values)
                + "</tr>"
            )
    return _table(["run", "column", "video AUROC", *(METRICS[name].title for name in board.metrics)], body)


def _records(board):
    rows, heads = "", []
    for at, row in enumerate(board.lines):
        for name in ordered(row.run.sets):
            made = summary(row.run, name)
            heads = heads or ["run", "dataset", *made]
            cells = "".join(_record_cell(value) for value in made.values())
            head = f'<th scope="row">{_swatch(at)}{escape(row.run.name)}</th>'
            rows += f'<tr>{head}<td class="text">{escape(name)}</td>{cells}</tr>'
    return f'<div class="record">{_table(heads, rows)}</div>'


def _record_cell(value):
    return f'<td data-v="{value}">{value}</td>' if value.isdigit() else f'<td class="text">{escape(value)}</td>'


def _table(heads, body):
    head = "".join(_head(name, text=name in TEXT) for name in heads)
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _head(name, title="", text=False):
    hint = (f' title="{escape(title)}"' if title else "") + (' class="text"' if text else "")
    return f'<th scope="col"{hint}><button type="button">{escape(name)}</button></th>'


def _missing():
    return f'<td class="missing" title="not tested">{MISSING}</td>'


def _swatch(at):
    return f'<span class="swatch" style="background:{colour(at)}"></span>'


def _signed(value):
    return f"{value:+.1f}".replace("-", "−")


def _emphasised(note):
    """A note as HTML; the Markdown of ours that it may hold is ``**bold**``."""
    parts = escape(note).split("**")
    return "".join(f"<strong>{part}</strong>" if at % 2 else part for at, part in enumerate(parts))
