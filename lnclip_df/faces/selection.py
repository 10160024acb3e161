"""Whose face is cut out of frames that show several: the largest, one person's, or the one that a mask covers.

Within a frame, a face is named by its index among the frame's faces.
"""

from collections.abc import Callable, Sequence

import numpy as np

from lnclip_df.faces.base import Faces
from lnclip_df.faces.tracking import Frame

CHOICES = ("largest", "track", "mask", "mask_only")
ALONE = ("largest", "mask_only")  # each frame for itself: nobody is followed
Follow = Callable[[list[Frame]], list[list[int | None]]]  # see lnclip_df.faces.pipeline.find_and_cut


def choose_face(frames: list[Frame], face: str | None, follow: Follow) -> list[int | None]:
    """For each frame the index of the face that a choice of ``CHOICES`` means where there is no mask, or None."""
    return [largest_face(frame.faces) for frame in frames] if face in (*ALONE, None) else main_person(frames, follow)


def largest_face(faces: Faces) -> int | None:
    """Index of the face with the largest box, the first of equal ones; None where there is none."""
    return int(np.argmax(faces.areas)) if len(faces.boxes) else None


def main_person(frames: list[Frame], follow: Follow) -> list[int | None]:
    """The faces of the person who is seen in the most frames, over cuts too."""
    return next(iter(follow(frames)), [None] * len(frames))


def masked_person(frames: list[Frame], covered: Sequence, follow: Follow) -> list[int | None]:
    """The face that a manipulation mask covers most; where the mask says nothing, that person's.

    Args:
        covered: for each frame how much of the mask lies in each face's box (F), or None where there is no mask.

    Returns:
        For each frame the index of the face, or None where there is none. Frames after a mask's end, and those where
        it covers no face, show the person whom it covers most elsewhere; without any mask, see :func:`main_person`.
    """
    votes = [most_covered(amounts) for amounts in covered]
    if all(vote is None for vote in votes):
        return main_person(frames, follow)
    if all(vote is not None for vote, frame in zip(votes, frames, strict=True) if len(frame.faces.boxes)):
        return votes

    def amount(person):
        return sum(covered[at][vote] for at, vote in enumerate(votes) if vote is not None and person[at] == vote)

    faces = max(follow(frames), key=amount)
    return [index if vote is None else vote for vote, index in zip(votes, faces, strict=True)]


def most_covered(amounts) -> int | None:
    """The index of the face that a mask covers most, by :func:`mask_coverage`; None where it covers none."""
    return int(np.argmax(amounts)) if amounts is not None and len(amounts) and max(amounts) > 0 else None


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
