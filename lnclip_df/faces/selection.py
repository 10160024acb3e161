"""Whose face is cut out of frames that show several: the largest, one person's, everyone's, or whom a mask covers."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lnclip_df.faces.align import align
from lnclip_df.faces.detector import Faces

CHOICES = ("largest", "track", "mask")
FAR = 0.15  # by how much less alike a face may be that is at a track's place than one that is elsewhere
MEMORY = 5  # for how many frames looked at a track that is not seen can still be continued
ALIKE = 0.5  # correlation of two mean faces from which they count as one person's
SIDE = 24  # of the small aligned faces that are compared, in pixels


class Seen(NamedTuple):
    """What was seen in one frame: its faces, and for each a small aligned picture (F×SIDE², unit length)."""

    faces: Faces
    looks: np.ndarray


def largest(faces: Faces) -> int | None:
    """Place of the face with the largest box, the first of equal ones; None where there is none."""
    return int(np.argmax(faces.areas)) if len(faces.boxes) else None


def looks(image, faces: Faces) -> np.ndarray:
    """Small grey aligned pictures of an image's faces, without mean and of unit length: float32, F×SIDE²."""
    pictures = np.zeros((len(faces.boxes), SIDE * SIDE), np.float32)
    for place, points in enumerate(faces.points):
        picture = align(image, points, SIDE, 1.0)[0].mean(axis=2).ravel()
        picture = picture - picture.mean()
        pictures[place] = picture / max(float(np.linalg.norm(picture)), 1e-6)
    return pictures


@dataclass
class Track:
    """One face followed over frames: ``{position among the frames looked at: place among its faces}``."""

    places: dict[int, int] = field(default_factory=dict)
    box: np.ndarray | None = None
    weight: float = 0.0
    look: np.ndarray | float = 0.0

    def add(self, position: int, place: int, seen: Seen):
        self.places[position] = place
        self.box = seen.faces.boxes[place]
        self.weight += float(seen.faces.areas[place])
        self.look = self.look + seen.looks[place]


def link(frames: list[Seen]) -> list[Track]:
    """Follow faces from frame to frame: by their look, and by place and size between those that look much the same.

    In every frame, faces are given to the tracks seen lately so that the sum of the distances is least (Hungarian
    method); a face that is like no track begins a new one.

    Args:
        frames: what was seen, in order of time.

    Returns:
        Tracks, in order of their first frame.
    """
    from scipy.optimize import linear_sum_assignment

    tracks = []
    for position, seen in enumerate(frames):
        near = [track for track in tracks if position - max(track.places) <= MEMORY]
        faces = list(zip(seen.faces.boxes, seen.looks, strict=True))
        cost = np.array([[_distance(track, *face) for face in faces] for track in near])
        taken = set()
        if cost.size:
            for row, place in zip(*linear_sum_assignment(np.minimum(cost, 1 - ALIKE)), strict=True):
                if cost[row, place] < 1 - ALIKE:
                    near[row].add(position, int(place), seen)
                    taken.add(int(place))
        for place in range(len(faces)):
            if place not in taken:
                tracks.append(Track())
                tracks[-1].add(position, place, seen)
    return tracks


def _distance(track, box, look):
    """How far a face is from a track: 1 − likeness, and up to ``FAR`` for its shift (in sides) and change of size."""
    sides = [max(np.sqrt(max((b[2] - b[0]) * (b[3] - b[1]), 0)), 1e-3) for b in (track.box, box)]
    shift = np.hypot(*(box[:2] + box[2:] - track.box[:2] - track.box[2:])) / 2 / np.mean(sides)
    return 1 - _likeness(track.look, look) + FAR * min(shift + abs(np.log(sides[1] / sides[0])), 1)


def person(frames: list[Seen], tracks: list[Track], main: Track) -> list[int | None]:
    """Place of one person's face in every frame, over cuts too.

    Where the main track is not there, the tracks that look like it (most alike first, and never two in one frame)
    take its place.

    Args:
        frames: what was seen, in order of time.
        tracks: see :func:`link`.
        main: the person's track.

    Returns:
        A place among the faces of each frame, or None where that person is not seen.
    """
    places = dict(main.places)
    rest = [(_likeness(main.look, track.look), -at, track) for at, track in enumerate(tracks) if track is not main]
    for alike, _, track in sorted(rest, key=lambda one: one[:2], reverse=True):
        if alike >= ALIKE and not places.keys() & track.places.keys():
            places |= track.places
    return [places.get(position) for position in range(len(frames))]


def _likeness(one, other):
    """Correlation of two pictures (or sums of pictures) as :func:`looks` makes them."""
    return float(np.dot(one, other) / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-6))


def follow(frames: list[Seen]) -> list[int | None]:
    """Places of the person whose main track covers the largest area in all, see :func:`person`."""
    tracks = link(frames)
    if not tracks:
        return [None] * len(frames)
    return person(frames, tracks, max(tracks, key=lambda track: track.weight))


def people(frames: list[Seen]) -> list[list[int | None]]:
    """Places of every person, over cuts too: whose track covers the largest area comes first; see :func:`person`.

    Args:
        frames: what was seen, in order of time.

    Returns:
        For each person a place among the faces of each frame, or None. Every face belongs to one person, and the first
        one is :func:`follow`'s.
    """
    tracks, found = link(frames), []
    while tracks:
        places = person(frames, tracks, max(tracks, key=lambda track: track.weight))
        found.append(places)
        tracks = [track for track in tracks if any(places[at] != place for at, place in track.places.items())]
    return found


def masked(frames: list[Seen], covered: list[np.ndarray | None]) -> list[int | None]:
    """Places of the face that a manipulation mask covers most; where the mask has nothing to say, of that person.

    Args:
        frames: what was seen, in order of time.
        covered: for each frame how much of the mask lies in each face's box (F), or None where there is no mask.

    Returns:
        A place among the faces of each frame, or None where there is none. Frames after a mask's end, and those where
        it covers no face, show the person whom it covers most elsewhere; without any mask, see :func:`follow`.
    """
    votes = [
        int(np.argmax(amounts)) if amounts is not None and len(amounts) and max(amounts) > 0 else None
        for amounts in covered
    ]
    if all(vote is None for vote in votes):
        return follow(frames)
    if all(vote is not None for vote, seen in zip(votes, frames, strict=True) if len(seen.faces.boxes)):
        return votes
    tracks = link(frames)
    amount = [sum(covered[at][place] for at, place in track.places.items() if votes[at] == place) for track in tracks]
    places = person(frames, tracks, tracks[int(np.argmax(amount))])
    return [place if vote is None else vote for vote, place in zip(votes, places, strict=True)]


def coverage(mask, boxes, size) -> np.ndarray:
    """How much of a mask lies in each box.

    Args:
        mask: grey levels, uint8 h×w; it may be smaller or larger than the image.
        boxes: F×4 (left, top, right, bottom) in pixels of the image.
        size: (height, width) of the image.

    Returns:
        float64, F: the sum of the mask's levels in the box, 1 for white, in pixels of the mask.
    """
    ratio = np.array([mask.shape[1] / size[1], mask.shape[0] / size[0]])
    edges = np.rint(boxes * np.tile(ratio, 2)).astype(int)
    return np.array([mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)].sum() / 255.0
                     for left, top, right, bottom in edges])  # fmt: skip
