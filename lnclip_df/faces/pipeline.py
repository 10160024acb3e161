"""Frames looked at: decoded, searched for faces, and these cut out; each step has a thread of its own."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from lnclip_df.faces.align import align, move
from lnclip_df.faces.detector import Faces
from lnclip_df.faces.selection import Seen, looks
from lnclip_df.media.video import Miscounted, UnreadableVideo

CHUNK = 4  # frames detected at once
HELD = 256 << 20  # bytes of pixels kept for the choice of a face; what is more is decoded again


@dataclass
class Look:
    """One frame that was looked at: ``image`` uint8 RGB H×W×3 or None where it was let go, ``size`` (width, height)."""

    index: int
    image: np.ndarray | None
    size: tuple[int, int]
    seen: Seen

    @property
    def faces(self) -> Faces:
        return self.seen.faces


class Cut(NamedTuple):
    """A face cut out: ``place`` among the look's faces, the crop, the transform to it (2×3), its landmarks in it."""

    look: Look
    place: int
    crop: np.ndarray
    matrix: np.ndarray
    landmarks: np.ndarray


def look_at(frames, indices, detector, *, compare: bool) -> Iterator[Look]:
    """Decode and detect: a thread decodes, another finds faces, while the caller uses those found before.

    Args:
        frames: see :func:`~lnclip_df.media.video.open_frames`.
        indices: of the frames, rising.
        detector: see :func:`~lnclip_df.faces.detector.make_detector`.
        compare: also keep what faces look like, so that persons can be told apart.

    Raises:
        Miscounted: while reading; see :func:`in_two_attempts`.
    """
    for group, found in ahead(_detected(ahead(groups(frames.read(indices), CHUNK)), detector)):
        for (index, image), faces in zip(group, found, strict=True):
            size = image.shape[1], image.shape[0]
            yield Look(index, image, size, Seen(faces, looks(image, faces) if compare else None))


def _detected(groups, detector):
    for group in groups:
        yield group, detector([image for _, image in group])


def groups(items: Iterable, size: int) -> Iterator[list]:
    """The items in lists of ``size``, the last one perhaps shorter."""
    items = iter(items)
    while group := list(islice(items, size)):
        yield group


def ahead(items: Iterator) -> Iterator:
    """The same items (none of them None), each made in another thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


def hold(seen: Iterable[Look]) -> list[Look]:
    """All of them, those without a face and those beyond ``HELD`` without their pixels."""
    held, kept = [], 0
    for look in seen:
        if look.image is not None and len(look.faces.boxes) and kept + look.image.nbytes <= HELD:
            kept += look.image.nbytes
        else:
            look.image = None
        held.append(look)
    return held


def cut(frames, chosen: Iterable[tuple[Look, int]], detector, settings) -> Iterator[Cut]:
    """Cut chosen faces out of their frames, which are decoded again where they were not kept.

    Args:
        frames: those that were looked at.
        chosen: looks and places among their faces, in the order of the frames; a look may come several times in a row.
        detector: the one that found them; with ``settings.second_detection`` it confirms, and others are left out.
        settings: ``size`` and ``scale`` of the crops.
    """
    for group in groups(_with_images(frames, list(chosen)), CHUNK):
        crops = [align(image, look.faces.points[place], settings.size, settings.scale) for look, place, image in group]
        seconds = detector.confirm([crop for crop, _ in crops]) if settings.second_detection else [None] * len(crops)
        for (look, place, _), (crop, matrix), second in zip(group, crops, seconds, strict=True):
            if settings.second_detection and second is None:
                continue
            points = look.faces.points if look.faces.landmarks is None else look.faces.landmarks
            yield Cut(look, place, crop, matrix, move(points[place], matrix) if second is None else second)


def _with_images(frames, chosen):
    again = frames.read(list(dict.fromkeys(look.index for look, _ in chosen if look.image is None)))
    last, image = None, None
    for look, place in chosen:
        if look is not last:
            last, image = look, look.image if look.image is not None else next(again, (None, None))[1]
        if image is None:
            raise Miscounted
        yield look, place, image


def in_two_attempts(frames, read: Callable):
    """What ``read()`` returns; where other frames decode than were counted, once more on those that do.

    Raises:
        UnreadableVideo: nothing decodes, or other frames every time.
    """
    if frames.count:
        try:
            return read()
        except Miscounted:
            pass
    frames.recount()
    if not frames.count:
        raise UnreadableVideo("no frame can be decoded")
    try:
        return read()
    except Miscounted as error:
        raise UnreadableVideo("every time that it is read, other frames decode") from error
