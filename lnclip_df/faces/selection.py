"""Whose face is cut out of frames that show several: the largest, one person's, everyone's, or the one a mask covers.

Within a frame, a face is named by its index among the frame's faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lnclip_df.faces.align import align
from lnclip_df.faces.base import Faces

CHOICES = ("largest", "track", "mask")
SHIFT_WEIGHT = 0.15  # how much less similar a face near a track may be than one that is far from it
MAX_GAP = 5  # for how many frames a track that is not seen can still be continued
SAME_PERSON = 0.5  # correlation of two mean faces from which on they count as one person's
THUMBNAIL = 24  # side of the small aligned faces that are compared, in pixels


@dataclass
class Frame:
    """A frame in which faces were searched.

    Attributes:
        faces: those that were found.
        thumbnails: of each face, see :func:`thumbnails`; empty where persons need not be told apart.
        index: of the frame in its video.
        size: (width, height) in pixels.
        image: uint8 RGB H×W×3, None where it is not kept.
    """

    faces: Faces
    thumbnails: np.ndarray
    index: int = 0
    size: tuple[int, int] = (0, 0)
    image: np.ndarray | None = None


def choose_face(frames: list[Frame], face: str | None) -> list[int | None]:
    """For each frame the index of the face that a choice of ``CHOICES`` means, or None; ``mask`` without one: track."""
    return [largest_face(frame.faces) for frame in frames] if face in ("largest", None) else main_person(frames)


def largest_face(faces: Faces) -> int | None:
    """Index of the face with the largest box, the first of equal ones; None where there is none."""
    return int(np.argmax(faces.areas)) if len(faces.boxes) else None


def thumbnails(image, faces: Faces) -> np.ndarray:
    """Small grey aligned pictures of an image's faces, without mean and of unit length: float32, F×THUMBNAIL²."""
    pictures = np.zeros((len(faces.boxes), THUMBNAIL * THUMBNAIL), np.float32)
    for index, points in enumerate(faces.points):
        picture = align(image, points, THUMBNAIL, 1.0)[0].mean(axis=2).ravel()
        picture = picture - picture.mean()
        pictures[index] = picture / max(float(np.linalg.norm(picture)), 1e-6)
    return pictures


@dataclass
class Track:
    """One face followed over frames: ``faces`` is ``{position of the frame: index of the face in it}``."""

    faces: dict[int, int] = field(default_factory=dict)
    box: np.ndarray = field(default_factory=lambda: np.zeros(4))  # of the last frame
    area: float = 0.0  # sum over the frames
    thumbnail: np.ndarray | float = 0.0  # sum over the frames

    def add(self, position: int, index: int, frame: Frame):
        self.faces[position] = index
        self.box = frame.faces.boxes[index]
        self.area += float(frame.faces.areas[index])
        self.thumbnail = self.thumbnail + frame.thumbnails[index]


def link_tracks(frames: list[Frame]) -> list[Track]:
    """Follow faces from frame to frame: by their thumbnails, and by position and size between similar ones.

    In every frame, faces are given to the tracks seen recently so that the sum of the distances is minimal (Hungarian
    method); a face that is similar to no track begins a new one. Frames and tracks are in order of time.
    """
    from scipy.optimize import linear_sum_assignment

    tracks: list[Track] = []
    for position, frame in enumerate(frames):
        near = [track for track in tracks if position - max(track.faces) <= MAX_GAP]
        faces = list(zip(frame.faces.boxes, frame.thumbnails, strict=True))
        cost = np.array([[_distance(track, *face) for face in faces] for track in near])
        taken = set()
        if cost.size:
            for row, index in zip(*linear_sum_assignment(np.minimum(cost, 1 - SAME_PERSON)), strict=True):
                if cost[row, index] < 1 - SAME_PERSON:
                    near[row].add(position, int(index), frame)
                    taken.add(int(index))
        for index in range(len(faces)):
            if index not in taken:
                tracks.append(Track())
                tracks[-1].add(position, index, frame)
    return tracks


def _distance(track, box, thumbnail):
    """Distance of a face from a track: 1 − similarity, plus up to ``SHIFT_WEIGHT`` for its shift and change of size."""
    sides = [max(np.sqrt(max((b[2] - b[0]) * (b[3] - b[1]), 0)), 1e-3) for b in (track.box, box)]
    shift = np.hypot(*(box[:2] + box[2:] - track.box[:2] - track.box[2:])) / 2 / np.mean(sides)
    change = min(shift + abs(np.log(sides[1] / sides[0])), 1)
    return 1 - _similarity(track.thumbnail, thumbnail) + SHIFT_WEIGHT * change


def _similarity(one, other):
    """Correlation of two thumbnails, or sums of thumbnails."""
    return float(np.dot(one, other) / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-6))


def join_tracks(frames: list[Frame], tracks: list[Track], main: Track) -> list[int | None]:
    """For each frame the index of one person's face, over cuts too; None where that person is not seen.

    Where the main track is absent, the tracks that are similar to it (most similar first, and never two in one frame)
    replace it.
    """
    faces = dict(main.faces)
    rest = [(_similarity(main.thumbnail, track.thumbnail), track) for track in tracks if track is not main]
    for similarity, track in sorted(rest, key=lambda pair: -pair[0]):
        if similarity >= SAME_PERSON and not faces.keys() & track.faces.keys():
            faces |= track.faces
    return [faces.get(position) for position in range(len(frames))]


def main_person(frames: list[Frame]) -> list[int | None]:
    """The faces of the person whose main track covers the largest area in all, see :func:`join_tracks`."""
    return next(_persons(frames), [None] * len(frames))


def all_persons(frames: list[Frame]) -> list[list[int | None]]:
    """The faces of every person, see :func:`join_tracks`; :func:`main_person` first. A face belongs to one person."""
    return list(_persons(frames))


def _persons(frames):
    tracks = link_tracks(frames)
    while tracks:
        faces = join_tracks(frames, tracks, max(tracks, key=lambda track: track.area))
        yield faces
        tracks = [track for track in tracks if any(faces[at] != index for at, index in track.faces.items())]


def masked_person(frames: list[Frame], covered: Sequence) -> list[int | None]:
    """The face that a manipulation mask covers most; where the mask says nothing, that person's.

    Args:
        covered: for each frame how much of the mask lies in each face's box (F), or None where there is no mask.

    Returns:
        For each frame the index of the face, or None where there is none. Frames after a mask's end, and those where
        it covers no face, show the person whom it covers most elsewhere; without any mask, see :func:`main_person`.
    """
    votes = [
        int(np.argmax(amounts)) if amounts is not None and len(amounts) and max(amounts) > 0 else None
        for amounts in covered
    ]
    if all(vote is None for vote in votes):
        return main_person(frames)
    if all(vote is not None for vote, frame in zip(votes, frames, strict=True) if len(frame.faces.boxes)):
        return votes
    tracks = link_tracks(frames)
    amount = [sum(covered[at][index] for at, index in track.faces.items() if votes[at] == index) for track in tracks]
    faces = join_tracks(frames, tracks, tracks[int(np.argmax(amount))])
    return [index if vote is None else vote for vote, index in zip(votes, faces, strict=True)]


def mask_coverage(mask, boxes, size) -> np.ndarray:
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
