"""Matplotlib figures without pyplot's global state, written as PNG whole or not at all. Matplotlib is an extra."""

import math
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Palette(NamedTuple):
    """The colours of all pictures; colour-blind readers can tell any two of them apart (a test computes it).

    Attributes:
        real, fake: of the two classes, and of nothing else.
        series: of everything else that is drawn side by side, in this order: runs, datasets, methods.
    """

    real: str
    fake: str
    series: tuple[str, ...]


LIGHT = Palette("#0072b2", "#d55e00", ("#009e73", "#882255", "#648fff", "#cc79a7", "#222222", "#3b1f8f"))
DARK = Palette("#4aa8e0", "#f08a3c", ("#a7d2a2", "#a15262", "#5171d8", "#b395a7", "#f9f9f9", "#fde355"))
DASHES = ("-", "--", ":", "-.")  # of the first series, of those whose colours repeat once, and so on


def series_style(number: int) -> dict[str, str]:
    """Colour and line style of the n-th of several lines, as keywords of matplotlib."""
    again, at = divmod(number, len(LIGHT.series))
    return {"color": LIGHT.series[at], "linestyle": DASHES[again % len(DASHES)]}


def legend_outside(panel: "Axes", columns: int = 1):
    """A legend below a panel and the name of its axis, where it covers no line."""
    from matplotlib.transforms import ScaledTranslation

    below = panel.transAxes + ScaledTranslation(0, -0.5, panel.figure.dpi_scale_trans)  # in inches
    panel.legend(
        loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, ncols=columns, fontsize="small", frameon=False,
        borderaxespad=0, borderpad=0,
    )  # fmt: skip


def new_figure(width: float, height: float) -> "Figure":
    """A new matplotlib figure, size in inches; :class:`LNCLIPError` if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
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


def legend_text(name: str) -> str:
    """A name for a legend: matplotlib leaves out those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def figure_png(figure: "Figure", dpi: int = 120) -> bytes:
    """A figure as PNG. Its texts are plain: names from data are no formulas, and control characters are escaped."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
    data = BytesIO()
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name in a script that the font lacks
        figure.savefig(data, format="png", dpi=dpi)
    return data.getvalue()


def save_figure(figure: "Figure", path: str | Path, dpi: int = 120) -> None:
    """Write a figure as PNG, whole or not at all; see ``figure_png``."""
    write_bytes(path, figure_png(figure, dpi))
