"""Results and messages as HTML cards. Pictures are embedded as data URIs, so that no file is written."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from lnclip_df.core.escapes import html
from lnclip_df.core.plots import figure_png
from lnclip_df.scoring.heatmaps import overlay
from lnclip_df.scoring.output import as_json
from lnclip_df.scoring.results import FrameScore, Person, Result
from lnclip_df.scoring.timeline import draw_timeline

PLACEHOLDERS = str.maketrans({character: f"&#{ord(character)};" for character in "${}`\\"})  # of Gradio's own templates


def escaped(value) -> Markup:
    """A value as HTML text without markup or placeholders; HTML made by a template is returned unchanged.

    >>> escaped("<b>${1}")
    Markup('&lt;b&gt;&#36;&#123;1&#125;')
    """
    return value if isinstance(value, Markup) else Markup(html(value).translate(PLACEHOLDERS))


_ENVIRONMENT = Environment(
    loader=PackageLoader("lnclip_df.app"), autoescape=True, finalize=escaped, trim_blocks=True, lstrip_blocks=True
)
_MACROS: Any = _ENVIRONMENT.get_template("cards.html").module


def results_html(results: list[Result], cards: list[str]) -> str:
    """The cards of some files; of several, first a table with a line per file, each a link to its card."""
    if len(cards) < 2:
        return "".join(cards)
    return str(_MACROS.summary(results)) + "".join(
        f'<div id="file-{number}">{card}</div>' for number, card in enumerate(cards, 1)
    )


def result_card(
    result: Result, faces: list[tuple[Person, list[tuple[FrameScore, np.ndarray | None]]]], facts: dict | None = None
) -> str:
    """The card of one file.

    Args:
        result: its path is shown, and in the JSON.
        faces: for each person to be shown, the frames with their crops and heat maps g×g, None without one.
        facts: more keys of the JSON.
    """
    timeline = None
    if max((len(person.frames) for person in result.persons), default=0) > 1:
        timeline = _data_uri("image/png", figure_png(draw_timeline(result)))
    shown = [(person, [_pictures(frame, heat) for frame, heat in frames]) for person, frames in faces]
    data = json.dumps(as_json(result) | (facts or {}), indent=2, allow_nan=False).encode()
    download = {"name": f"{Path(result.path).stem}.json", "uri": _data_uri("application/json", data)}
    return str(_MACROS.result_card(result, shown, timeline, download))


def message_card(message: str) -> str:
    """The card with the reason why nothing was scored, in one line."""
    return str(_MACROS.message_card(message))


def _pictures(frame, heat):
    return frame, _jpeg(frame.crop), None if heat is None else _jpeg(overlay(frame.crop, heat))


def _jpeg(image):
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=90)
    return _data_uri("image/jpeg", data.getvalue())


def _data_uri(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
