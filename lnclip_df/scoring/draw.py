"""Draw boxes and scores into frames; between scored frames of one shot each person's position is interpolated."""

from bisect import bisect_left
from functools import lru_cache
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np

from lnclip_df.core.plots import LIGHT
from lnclip_df.faces.tracking import OVERLAP, overlaps
from lnclip_df.scoring.results import FrameScore, Person, Result

FAKE, REAL = ((int(of[1:3], 16), int(of[3:5], 16), int(of[5:7], 16)) for of in (LIGHT.fake, LIGHT.real))
WHITE = (255, 255, 255)


class Mark(NamedTuple):
    """The label of one person in one frame, and the box in pixels; None for the whole frame."""

    box: tuple[float, float, float, float] | None
    text: str
    colour: tuple[int, int, int]


def colour_of(prob: float, threshold: float) -> tuple[int, int, int]:
    """RGB: ``FAKE`` above the threshold, else ``REAL``."""
    return FAKE if prob > threshold else REAL


def max_gap(result: Result) -> int:
    """The largest distance in frames between two searched frames that follow each other."""
    return ceil((result.decoded - 1) / (result.frames - 1)) if result.frames > 1 else max(result.decoded, 1)


def continues(before: FrameScore, after: FrameScore, gap: int) -> bool:
    """Whether two scored frames show one face without interruption: at most ``gap`` frames apart, and overlapping."""
    if after.index - before.index > gap or before.box is None or after.box is None:
        return after.index - before.index <= gap
    return float(overlaps(np.array([before.box]), np.array([after.box]))[0, 0]) >= OVERLAP


class Trail:
    """Where one person is at any time.

    Between two scored frames of one shot that :func:`continues` joins, the box moves linearly. Around others it stays
    for half a gap on either side, and is not shown between. No box goes from one shot into another.

    Args:
        person: with at least one frame.
        gap: see :func:`max_gap`.
        seconds: duration of one frame, where frames have times; None: positions are found by index.
        shots: the number of the shot of every frame; None for one shot.
    """

    def __init__(self, person: Person, gap: int, seconds: float | None = None, shots: list[int] | None = None):
        self.frames = person.frames
        self.times = person.times(timed=seconds is not None)
        self.half = (gap / 2) * (seconds or 1)
        self.shots = [0 if shots is None else shots[min(frame.index, len(shots) - 1)] for frame in self.frames]
        self.joined = [continues(*pair, gap) for pair in pairwise(self.frames)]

    def at(self, time: float, shot: int = 0) -> tuple[tuple | None, FrameScore] | None:
        """The box at a time (seconds or index) in a shot, and the nearest scored frame; None where it is not shown."""
        right = bisect_left(self.times, time)
        if 0 < right < len(self.times) and self.joined[right - 1] and self.shots[right - 1] == self.shots[right]:
            return self._between(right, time)
        near = [index for index in (right - 1, right) if 0 <= index < len(self.times) and self.shots[index] == shot]
        index = min(near, key=lambda index: abs(self.times[index] - time), default=None)
        if index is None or abs(self.times[index] - time) > self.half:
            return None
        return self.frames[index].box, self.frames[index]

    def _between(self, right, time):
        before, after = self.frames[right - 1], self.frames[right]
        t = (time - self.times[right - 1]) / (self.times[right] - self.times[right - 1])
        nearest = before if t < 0.5 else after
        if before.box is None or after.box is None:
            return nearest.box, nearest
        return tuple((1 - t) * a + t * b for a, b in zip(before.box, after.box, strict=True)), nearest


def marks_at(result: Result, trails: list[Trail], time: float, shot: int = 0) -> list[Mark]:
    """The marks of all persons shown at a time in a shot, the first person's last, so that it is drawn on top."""
    marks = []
    for person, trail in zip(reversed(result.persons), reversed(trails), strict=True):
        if (found := trail.at(time, shot)) is not None:
            box, frame = found
            name = f"{person.number}: " if len(result.persons) > 1 else ""
            marks.append(Mark(box, f"{name}P(fake) {frame.prob:.2f}", colour_of(frame.prob, result.threshold)))
    return marks


def draw(image: np.ndarray, marks: list[Mark], headline: str, colour: tuple[int, int, int], threshold: float):
    """Draw labelled boxes, a headline at the top left and the legend of the colours below into a frame.

    Everything is in proportion to the frame's shorter side.

    Args:
        image: uint8 RGB H×W×3, changed in place.
        marks: see :func:`marks_at`.
        headline, colour: its text and background.
        threshold: that of the colours, see :func:`colour_of`.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    thick, size = max(2, round(side / 200)), max(9, round(side / 26))
    head = _fitting_patch([(headline, colour)], size, width - thick)
    sides = [(f"P(fake) above {threshold:.2f}", FAKE), (f"up to {threshold:.2f}", REAL)]
    legend = _fitting_patch(sides, size, width - thick)
    taken = [_paste(image, head, thick, thick), _paste(image, legend, thick, max(height - thick - len(legend), 0))]
    for mark in marks:
        if mark.box is not None:
            _draw_box(image, mark.box, mark.colour, thick)
    for mark in marks:
        label = _fitting_patch([(mark.text, mark.colour)], size, width)
        left, top = _free_position(label.shape, mark.box or (0, 0, width, 0), taken, image.shape, thick)
        taken.append(_paste(image, label, left, top))


def _draw_box(image, box, colour, thick):
    """A rectangle whose inner edge is the box, with a thin white line around it."""
    left, top, right, bottom = (round(value) for value in box)
    for width, fill in ((thick + max(1, thick // 3), WHITE), (thick, colour)):
        for x0, y0, x1, y1 in (
            (left - width, top - width, right + width, top),
            (left - width, bottom, right + width, bottom + width),
            (left - width, top, left, bottom),
            (right, top, right + width, bottom),
        ):
            image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = fill


def _free_position(shape, box, taken, frame, thick):
    """Left and top of a label: above, below or within the box, else under another label; never on another one."""
    high, wide = shape[:2]
    left, top, _, bottom = (round(value) for value in box)
    x = min(max(left - thick, 0), max(frame[1] - wide, 0))
    low = max(frame[0] - high, 0)
    for y in (top - thick - high, bottom + thick, top, bottom - high, *sorted(other[3] for other in taken)):
        if 0 <= y <= low and not any(x < x1 and x0 < x + wide and y < y1 and y0 < y + high for x0, y0, x1, y1 in taken):
            return x, y
    return x, min(max(top, 0), low)


def _paste(image, patch, left, top):
    """Copy a patch into the image, clipped at its edges; return the patch's box."""
    height, width = image.shape[:2]
    patch = patch[: max(height - top, 0), : max(width - left, 0)]
    image[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return left, top, left + patch.shape[1], top + patch.shape[0]


def _fitting_patch(texts, size, width):
    """Texts with their colours side by side, smaller where they would be wider than the frame."""
    patch = np.hstack([text_patch(text, colour, size) for text, colour in texts])
    if patch.shape[1] > width:
        size = max(6, int(size * width / patch.shape[1]))
        patch = np.hstack([text_patch(text, colour, size) for text, colour in texts])
    return patch


@lru_cache(maxsize=512)
def text_patch(text: str, colour: tuple[int, int, int], size: int) -> np.ndarray:
    """White text of ``size`` pixels on a coloured background: uint8 RGB h×w×3."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # the default font has a size only with FreeType
    ascent, descent = font.getmetrics()
    margin = max(1, size // 4)
    width = round(font.getlength(text)) + 2 * margin
    patch = Image.new("RGB", (width, ascent + descent + margin), colour)
    ImageDraw.Draw(patch).text((margin, margin // 2), text, font=font, fill=WHITE)
    return np.asarray(patch)
