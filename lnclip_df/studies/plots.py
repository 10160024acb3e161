"""The heat map and the error bars of the studies."""

from collections.abc import Iterable, Sequence

import numpy as np

from lnclip_df.studies.over_seeds import Spread, spread_text


def draw_spreads(panel, values: Iterable[Spread | None], shift: float, **style):
    """Draw the means and standard deviations of AUROCs, in %, at 0, 1, … + ``shift``; None is left out."""
    points = [(x + shift, 100 * v["mean"], 100 * (v["std"] or 0)) for x, v in enumerate(values) if v is not None]
    if points:
        panel.errorbar(*zip(*points, strict=True), capsize=3, **style)


def draw_matrix(
    panel,
    cells: Sequence[Sequence[Spread | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    framed: Iterable[tuple[int, int]] = (),
    low: float = 50.0,
):
    """Draw a heat map of AUROCs with its figures, in %.

    Args:
        cells: ``spread`` of AUROCs, by row and column.
        framed: (row, column) of the cells that get a frame.
        low: where the colours begin, in %; lower where a value is lower.

    Returns:
        matplotlib's image, for a colour bar.
    """
    from matplotlib.patches import Rectangle

    values = np.array([[np.nan if c is None else 100 * c["mean"] for c in row] for row in cells], dtype=float)
    lowest = np.nanmin([50.0, low, *values.flat])
    image = panel.imshow(values, cmap="viridis", vmin=lowest, vmax=100.0, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        color = "black" if np.isnan(value) or image.norm(value) > 0.6 else "white"
        text = spread_text(cells[row][column]).replace(" ± ", "\n± ")
        panel.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    for row, column in framed:
        corner = (column - 0.47, row - 0.47)
        panel.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor="crimson", linewidth=2))
    panel.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    panel.set_yticks(range(len(rows)), rows)
    return image
