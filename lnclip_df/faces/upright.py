"""Faces whose five points can be a face's, in videos that may lie on their side: a detector around a detector.

The limits were set by 2,787 faces that RetinaFace found in public videos and photographs, and in the demo's videos.
None of them is lost, full profiles included. Of the faces found where these lie, three in ten are dropped.
"""

from itertools import compress

import numpy as np

from lnclip_df.faces.align import TEMPLATE, TEMPLATE_SIDE, move, similarity
from lnclip_df.faces.base import Detector, Faces

MAX_RESIDUAL = (
    0.48  # root mean square distance of the points from the template, by its distance of the eyes: up to 0.43
)
SCALES = (0.85, 2.0)  # the template's side by the side of the box; 0.98 to 1.51, and 1.09 to 1.71 of dlib's boxes
MAX_TILT = 45  # of an upright face, in degrees; up to 36 but for faces that lie
SURE = 0.995  # score of a face that needs no comparison with the other ways
STRONG = 0.95  # mean score of the faces by which a video is turned
TRIES = 2  # batches of frames in which the four ways are compared
WAYS = {1: "90° counterclockwise", 2: "180°", 3: "90° clockwise"}  # as np.rot90 turns


class UprightFaces(Detector):
    """The faces of one video's frames by another detector, but for those whose points are no face's.

    Where faces are not found upright in nearly all of the first frames, these are searched in all four ways. If another
    way shows upright faces in more of them, and in half or more, all further frames are searched turned that way. Boxes
    and points are of the frame as it was given, so that a crop is upright by its points.

    Args:
        detector: of upright faces; its recipe is this one's.

    Attributes:
        quarters: by how many quarters, counterclockwise, frames are turned.
    """

    def __init__(self, detector: Detector):
        self.detector, self.recipe = detector, detector.recipe
        self.quarters, self._tries = 0, 0

    @property
    def changes(self) -> dict[str, str]:
        """What is done to the frames, as in a recipe; empty where nothing is."""
        return {"turned": WAYS[self.quarters]} if self.quarters else {}

    def __call__(self, images) -> list[Faces]:
        found = self._search(images, self.quarters)
        if self._tries == TRIES:
            return found
        if sum(upright_score(faces, self.quarters) >= SURE for faces in found) >= 0.75 * len(images):
            self._tries = TRIES
            return found
        self._tries += 1
        ways = [found, *(self._search(images, way) for way in WAYS)]
        scores = [[upright_score(faces, way) for faces in found] for way, found in enumerate(ways)]
        counts = [sum(score > 0 for score in each) for each in scores]
        best = max(range(4), key=lambda way: (counts[way], sum(scores[way])))
        more = counts[best] > counts[0] or len(images) == 1
        if more and 2 * counts[best] >= len(images) and sum(scores[best]) >= STRONG * max(counts[best], 1):
            self.quarters, self._tries = best, TRIES
        return ways[self.quarters]

    def _search(self, images, quarters):
        found = self.detector([np.ascontiguousarray(np.rot90(image, quarters)) for image in images])
        return [
            turned_back(faces.where(plausible(faces)), image.shape, quarters)
            for image, faces in zip(images, found, strict=True)
        ]


def plausible(faces: Faces) -> np.ndarray:
    """Whether the five points of each face can be a face's, by the template and by its box: bool, F."""
    return np.array([_is_plausible(points, box) for points, box in zip(faces.points, faces.boxes, strict=True)], bool)


def _is_plausible(points, box):
    try:
        matrix = similarity(points, TEMPLATE)
    except ValueError:
        return False
    eyes = np.linalg.norm(TEMPLATE[1] - TEMPLATE[0])
    residual = np.sqrt(np.square(move(points, matrix) - TEMPLATE).sum(axis=1).mean()) / eyes
    zoom = np.hypot(matrix[0, 0], matrix[1, 0])
    side = np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 0)) * zoom
    return residual <= MAX_RESIDUAL and SCALES[0] * side <= TEMPLATE_SIDE <= SCALES[1] * side


def upright_score(faces: Faces, quarters: int) -> float:
    """The best score of a face that is upright once the frame is turned by ``quarters``; 0 where there is none."""
    upright = [abs((tilt(points) - 90 * quarters + 180) % 360 - 180) <= MAX_TILT for points in faces.points]
    return max((float(score) for score in compress(faces.scores, upright)), default=0.0)


def tilt(points) -> float:
    """By how many degrees a face (its five points) is turned clockwise from upright."""
    matrix = similarity(points, TEMPLATE)
    return -float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


def turned_back(faces: Faces, shape, quarters: int) -> Faces:
    """Faces found in ``np.rot90(image, quarters)``, in pixels of the image, which has this ``shape``."""
    boxes, points, landmarks = faces.boxes, faces.points, faces.landmarks
    for turn in range(quarters):
        width = shape[1] if (quarters - turn) % 2 else shape[0]
        boxes, points = _quarter_back(boxes.reshape(-1, 2, 2), width), _quarter_back(points, width)
        boxes = np.concatenate([boxes.min(axis=1), boxes.max(axis=1)], axis=1)
        landmarks = None if landmarks is None else _quarter_back(landmarks, width)
    return Faces(boxes, faces.scores, points, landmarks)


def _quarter_back(points, width):
    """Points (…×2) of an image turned a quarter counterclockwise, in that image, which is ``width`` pixels wide."""
    return np.stack([width - 1 - points[..., 1], points[..., 0]], axis=-1)
