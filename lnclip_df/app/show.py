"""A result as HTML: the verdict first, then what it rests on, with its pictures in it: no file is written."""

import base64
import io
import json
from html import escape
from pathlib import Path

from lnclip_df.core.errors import printable
from lnclip_df.scoring.heatmaps import overlay
from lnclip_df.scoring.output import as_json
from lnclip_df.scoring.results import NO_FACE, SCORED, Result
from lnclip_df.scoring.timeline import draw_timeline

HEADLINES = {"fake": "Signs of manipulation", "real": "No signs of manipulation found"}
NOT_CALIBRATED = "Not calibrated: it puts files in an order, and is no probability."
CALIBRATED = "Calibrated; holds for videos like those that it was calibrated on."
HEAT = (
    "Below each face: where the detector sees signs of a fake, the brighter the more. Every map is scaled by its own "
    "maximum, a real face's too: it says where, not how much."
)
TEMPLATE = str.maketrans({character: f"&#{ord(character)};" for character in "${}`\\"})  # of the page's own language


def card(result: Result, faces=(), facts=()) -> str:
    """One file's result.

    Args:
        result: its path is shown, and in the JSON.
        faces: of each person to be shown, the number, and (frame with its crop, heat g×g) of some faces.
        facts: further keys of the JSON.
    """
    name = f'<p class="name">{text(result.path)}</p>'
    if result.outcome == SCORED:
        parts = [_verdict(result), _basis(result), _timeline(result), *_persons(result, faces)]
        kind = result.decision
    elif result.outcome == NO_FACE:
        parts = ["<h2>No face found</h2>", f"<p>Not scored ({text(result.reason)}): neither real nor fake.</p>"]
        kind = "none"
    else:
        parts = ["<h2>Not scored</h2>", f"<p>This file cannot be used: {text(result.reason)}.</p>"]
        kind = "none"
    return f'<article class="card {kind}">{name}{"".join(parts)}{_download(result, dict(facts))}</article>'


def refusal(message: str) -> str:
    """Why nothing was scored, in one line."""
    return f'<article class="card refused" role="alert"><p>{text(message)}</p></article>'


def text(value: str) -> str:
    """Text for HTML, in which nothing is markup, nor a template's placeholder.

    >>> text("<b>${1}")
    '&lt;b&gt;&#36;&#123;1&#125;'
    """
    return escape(printable(value)).translate(TEMPLATE)


def _verdict(result):
    side = "above" if result.decision == "fake" else "not above"
    score = f"Score {result.score:.3f}, {side} the threshold of {result.threshold:.3f}."
    if result.calibrated is None:
        lines = f"<p><b>{score}</b> {NOT_CALIBRATED}</p>"
    else:
        lines = f"<p><b>Probability of fake: {result.calibrated:.1%}</b>. {CALIBRATED}</p><p>{score}</p>"
    return f"<h2>{HEADLINES[result.decision]}</h2>" + lines + _scale(result.score, result.threshold)


def _scale(score, threshold):
    """Score and threshold on a line from 0 (real) to 1 (fake)."""
    at, limit = f"{100 * score:.2f}%", f"{100 * threshold:.2f}%"
    return (
        f'<div class="scale" style="--threshold:{limit}" aria-hidden="true">'
        f'<i class="mark" style="left:{at}"></i><i class="line" style="left:{limit}"></i>'
        f'<span style="left:clamp(32px,{at},100% - 32px)">score {score:.2f}</span>'
        f'<span class="low" style="left:clamp(110px,{limit},100% - 110px)">threshold {threshold:.2f}</span>'
        '<span class="low" style="left:18px">0 real</span>'
        '<span class="low" style="left:calc(100% - 20px)">1 fake</span></div>'
    )


def _basis(result):
    """What the score is the mean of."""
    if result.decoded == 1:
        return ""
    used = len(result.persons[0].frames)
    length = "" if result.seconds is None else f" (the video has {result.decoded}, {result.seconds:.1f} s)"
    return f'<p class="soft">Mean over the face in {used} of {result.frames} frames looked at{length}.</p>'


def _timeline(result):
    if max(len(person.frames) for person in result.persons) < 2:
        return ""
    png = io.BytesIO()
    draw_timeline(result).savefig(png, format="png", dpi=120)
    alternative = f"Probability of fake over time, mean {result.score:.3f}"
    return f'<h3>Over time</h3><img class="timeline" alt="{alternative}" src="{_uri("image/png", png.getvalue())}">'


def _persons(result, faces):
    """The faces of those who are shown, and how many others there are."""
    several = len(result.persons) > 1
    for person, shown in faces:
        title = f"Person {person.number} (score {person.score:.3f})" if several else "Faces"
        count = len(person.frames)
        most = "" if len(shown) == count else f", the {len(shown)} of {count} with the highest score"
        yield f'<h3>{title}{most}</h3><div class="faces">{"".join(_face(*one) for one in shown)}</div>'
    yield f'<p class="soft">{HEAT}</p>'
    if several:
        rest = ", ".join(f"{person.number}: {person.score:.3f}" for person in result.persons[len(faces) :])
        hidden = f" Not shown: {rest}." if rest else ""
        yield f'<p class="soft">{len(result.persons)} people; the score is the most suspicious one\'s.{hidden}</p>'


def _face(frame, heat):
    when = "" if frame.seconds is None else f"{frame.seconds:.2f} s: "
    pictures = (("Face", frame.crop), ("Heat map", overlay(frame.crop, heat)))
    images = "".join(
        f'<img alt="{what}, score {frame.prob:.3f}" src="{_uri("image/jpeg", _jpeg(picture))}">'
        for what, picture in pictures
    )
    return f"<figure>{images}<figcaption>{when}{frame.prob:.3f}</figcaption></figure>"


def _jpeg(picture):
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=90)
    return data.getvalue()


def _download(result, facts):
    data = json.dumps(as_json(result) | facts, indent=2, allow_nan=False).encode()
    name = text(f"{Path(result.path).stem}.json")
    return f'<a class="json" download="{name}" href="{_uri("application/json", data)}">Download as JSON</a>'


def _uri(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
