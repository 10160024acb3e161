"""The page's charts as inline SVG: ROC curves, and histograms of scores."""

from html import escape

import numpy as np
from sklearn.metrics import roc_curve

from lnclip_df.evaluation.runs import Scores

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#5c5c5c")  # Okabe and Ito's
BINS = 25
SIDE, MARGIN = 300, 38


def colour(number: int) -> str:
    """The colour of the n-th run."""
    return COLOURS[number % len(COLOURS)]


def roc_chart(title: str, curves: list[tuple[str, str, Scores]]) -> str:
    """ROC curves over videos.

    Args:
        title: for screen readers.
        curves: of each run its name, its colour, and its videos.
    """
    size = SIDE + MARGIN + 12
    parts = [
        f'<svg class="roc" viewBox="0 0 {size} {size}" role="img" aria-label="ROC curves, {escape(title)}">',
        f'<g transform="translate({MARGIN},8)">',
        *_grid(SIDE, SIDE, ticks=(0, 0.25, 0.5, 0.75, 1)),
        f'<line class="chance" x1="0" y1="{SIDE}" x2="{SIDE}" y2="0"/>',
    ]
    for name, hue, scores in curves:
        parts.append(f'<path class="curve" stroke="{hue}" d="{_roc_path(scores)}"><title>{escape(name)}</title></path>')
    parts.append(f'<text class="axis" x="{SIDE / 2}" y="{SIDE + 33}">false positive rate</text>')
    parts.append(f'<text class="axis" transform="translate(-29,{SIDE / 2}) rotate(-90)">true positive rate</text>')
    return "".join([*parts, "</g></svg>"])


def histogram(title: str, scores: Scores) -> str:
    """How the videos' scores are spread: the share of each class in every bin, reals to the front."""
    width, height = SIDE, 110
    edges = np.linspace(0, 1, BINS + 1)
    shares = [
        np.histogram(scores.score[scores.label == kind], edges)[0] / (scores.label == kind).sum() for kind in (0, 1)
    ]
    top = max(float(share.max()) for share in shares)
    parts = [
        f'<svg class="histogram" viewBox="0 0 {width + MARGIN + 12} {height + 40}" role="img" '
        f'aria-label="Scores, {escape(title)}"><g transform="translate({MARGIN},8)">',
        *_grid(width, height, ticks=(0, 0.5, 1), top=top),
    ]
    for kind, share in ((1, shares[1]), (0, shares[0])):
        for at, value in enumerate(share):
            if value:
                tall = height * value / top
                parts.append(
                    f'<rect class="{("real", "fake")[kind]}" x="{width * at / BINS + 0.5:.1f}" y="{height - tall:.1f}" '
                    f'width="{width / BINS - 1:.1f}" height="{tall:.1f}"><title>{("real", "fake")[kind]}, '
                    f"{edges[at]:.2f} to {edges[at + 1]:.2f}: {100 * value:.1f} %</title></rect>"
                )
    parts.append(f'<text class="axis" x="{width / 2}" y="{height + 29}">score of a video</text>')
    return "".join([*parts, "</g></svg>"])


def _grid(width, height, ticks, top=1.0):
    """Lines and numbers: ``ticks`` along x, quarters of ``top`` in % along y."""
    for tick in ticks:
        x = width * tick
        yield f'<line class="grid" x1="{x}" y1="0" x2="{x}" y2="{height}"/>'
        yield f'<text class="tick" x="{x}" y="{height + 15}">{tick:g}</text>'
    for part in (0, 0.5, 1) if height < SIDE else (0, 0.25, 0.5, 0.75, 1):
        y, shown = (
            height * (1 - part),
            f"{part * top:g}" if top == 1 and height == SIDE else f"{100 * part * top:.0f} %",
        )
        yield f'<line class="grid" x1="0" y1="{y}" x2="{width}" y2="{y}"/>'
        yield f'<text class="tick left" x="-5" y="{y + 3.5}">{shown}</text>'


def _roc_path(scores):
    """The curve in half pixels, without the points that fall on the one before."""
    fpr, tpr, _ = roc_curve(scores.label, scores.score)
    points = np.column_stack([np.rint(2 * SIDE * fpr), np.rint(2 * SIDE * (1 - tpr))]).astype(int)
    points = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]]
    steps = np.diff(points, axis=0)
    turns = np.r_[True, steps[1:, 0] * steps[:-1, 1] != steps[1:, 1] * steps[:-1, 0], True]
    return "M" + "L".join(f"{x / 2:g} {y / 2:g}" for x, y in points[turns])
