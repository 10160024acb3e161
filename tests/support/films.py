"""Frames with the faces of invented people: boxes, shots, tracks, and embeddings that tell the people apart."""

import numpy as np

from lnclip_df.faces.base import Faces
from lnclip_df.faces.tracking import Frame, link, people, small_picture

POINTS = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32) / 100
CUT = "cut"  # in a film: the next frame is of another shot


def room(number):
    """The small picture of a shot: those of different shots are not alike."""
    return small_picture(np.random.default_rng(number).integers(0, 256, (36, 64, 3), dtype=np.uint8))


def seen(shown, shot=0, order=None):
    """A frame in which ``{person: (centre x, centre y, side)}`` are seen."""
    order = list(shown) if order is None else order
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in (shown[p] for p in order)])
    boxes = boxes.reshape(-1, 4).astype(np.float32)
    points = boxes[:, None, :2] + POINTS * (boxes[:, None, 2:] - boxes[:, None, :2])
    return Frame(Faces(boxes, np.full(len(order), 0.99, np.float32), points.astype(np.float32)), room(shot))


class Film:
    """Linked frames, and who is at which index in each; of a seed, in any order."""

    def __init__(self, *shown, seed=0):
        self.rng, self.orders, frames, shot = np.random.default_rng(seed), [], [], 0
        for one in shown:
            if isinstance(one, str):
                shot += 1
                continue
            self.orders.append(self.rng.permutation(list(one)).tolist())
            frames.append(seen(one, shot, self.orders[-1]))
        self.frames = list(link(frames))
        self.described = []

    def describe(self, faces):
        """Embeddings: those of one person are about 0.2 apart, those of two about 0.8."""
        self.described += faces
        vectors = []
        for position, face in faces:
            own = np.random.default_rng(self.orders[position][face]).normal(size=128)
            vectors.append(0.55 * own / np.linalg.norm(own) + 0.0125 * self.rng.normal(size=128))
        return np.array(vectors)

    def follow(self, frames):
        return people(frames, self.describe)

    def who(self, places):
        """The people at some places."""
        return [None if place is None else order[place] for place, order in zip(places, self.orders, strict=True)]

    def tracks(self):
        """The people of each track, in order of its frames: one of them, unless the track is wrong."""
        found = {}
        for frame, order in zip(self.frames, self.orders, strict=True):
            for face, number in enumerate(frame.tracks):
                found.setdefault(number, []).append(order[face])
        return list(found.values())
