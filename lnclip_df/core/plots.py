"""Matplotlib figures without pyplot's global state, written as PNG whole or not at all. Matplotlib is an extra."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"  # colours that colour-blind readers can tell apart


def new_figure(width: float, height: float) -> "Figure":
    """A new matplotlib figure, size in inches; :class:`LNCLIPError` if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LNCLIPError("plots need matplotlib: pip install 'lnclip-df[demo]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def new_panels(
    count: int, width: float, height: float, columns: int, *, sharey: bool = False
) -> "tuple[Figure, list[Axes]]":
    """A new figure of ``count`` panels of this size in inches, in rows of at most ``columns``; and the panels."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = new_figure(width * columns, height * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel()
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, list(panels[:count])


def save_figure(figure: "Figure", path: str | Path, dpi: int = 120) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
