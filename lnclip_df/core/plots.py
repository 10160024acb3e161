"""Figures: matplotlib's, which is an extra, without its state; written as PNG whole or not at all."""

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import atomic_path


def new_figure(width: float, height: float):
    """A matplotlib figure of this size in inches.

    Raises:
        LNCLIPError: matplotlib is absent.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LNCLIPError("plots need matplotlib: pip install 'lnclip-df[demo]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure, path, dpi: int = 120):
    """Write a figure as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
