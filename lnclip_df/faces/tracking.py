"""Follow people through a video: short tracks by the overlap of boxes within a shot, joined by a face embedding.

The embedding is dlib's ResNet, 128 numbers for each face. Its author publishes the distance of 0.6 below which two
faces are one person's (99.38 % of the pairs of Labeled Faces in the Wild, http://dlib.net/face_recognition.py.html).
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import sha256
from lnclip_df.faces.align import similarity, warp
from lnclip_df.faces.base import INSTALL, Faces
from lnclip_df.faces.dlib_hog import packaged_model

MODEL = "dlib_face_recognition_resnet_model_v1.dat"
CHIP = 150  # side of a face that the embedding takes, in pixels
# Eyes, nose and corners of the mouth of dlib's mean face; a chip adds a quarter of its side on every side.
MEAN_FACE = np.array([[0.2255, 0.216], [0.7548, 0.216], [0.4901, 0.5156], [0.2541, 0.7802], [0.7261, 0.7802]])
TEMPLATE = (MEAN_FACE + 0.25) / 1.5 * CHIP
SAME_PERSON = 0.6  # mean distance of two groups' faces up to which they are one person's
SAMPLES = 3  # faces of a track that are compared
OVERLAP = 0.2  # intersection over union from which a face continues a track
SAME_SHOT = 0.8  # correlation of two small pictures from which no cut is between them
SMALL = (32, 18)  # width and height of these pictures
APART = 1e6  # distance of two tracks that are seen together: not one person's

T = TypeVar("T")


@dataclass
class Frame:
    """A frame in which faces were searched.

    Attributes:
        faces: those that were found.
        small: see :func:`small_picture`; empty once the frame is linked, to save memory.
        index: of the frame in its video.
        size: (width, height) in pixels.
        image: uint8 RGB H×W×3, None where it is not kept.
        tracks: the number of each face's track, see :func:`link`.
    """

    faces: Faces
    small: np.ndarray
    index: int = 0
    size: tuple[int, int] = (0, 0)
    image: np.ndarray | None = None
    tracks: list[int] = field(default_factory=list)


def small_picture(image) -> np.ndarray:
    """An image (uint8 RGB) reduced to ``SMALL``, each pixel the mean of 100 of its own: uint8 h×w×3."""
    import cv2

    samples = cv2.resize(image, (10 * SMALL[0], 10 * SMALL[1]), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(samples, SMALL, interpolation=cv2.INTER_AREA)


def same_shot(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether no cut is between two frames, by their small pictures. A fast movement of the camera counts as a cut."""
    one, other = one - one.mean(), other - other.mean()
    return float(np.vdot(one, other)) > SAME_SHOT * float(np.linalg.norm(one) * np.linalg.norm(other))


def link(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Number the track of every face of frames that follow each other in time.

    A face continues the track of the face that its box overlaps in the frame before, if that is of the same shot and
    the overlap is at least ``OVERLAP``. Of all assignments, that with the largest sum of overlaps is taken.
    """
    count, last, small = 0, None, np.empty(0)
    for frame in frames:
        numbers: dict[int, int] = {}
        if last is not None and same_shot(small, frame.small):
            overlap = overlaps(last.faces.boxes, frame.faces.boxes)
            for before, now in zip(*_assign(overlap), strict=True):
                if overlap[before, now] >= OVERLAP:
                    numbers[int(now)] = last.tracks[before]
        for face in range(len(frame.faces.boxes)):
            if face not in numbers:
                numbers[face] = count
                count += 1
        frame.tracks = [numbers[face] for face in range(len(numbers))]
        last, small, frame.small = frame, frame.small, np.empty(0)
        yield frame


def _assign(overlap):
    """The rows and columns of the assignment with the largest sum. One pair or none needs no slow import."""
    if overlap.size < 2:
        return np.nonzero(overlap)
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(-overlap)


def overlaps(boxes, others) -> np.ndarray:
    """Intersection over union of each of A boxes with each of B, A×B; boxes are (left, top, right, bottom)."""
    first, last = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = np.clip(last - first, 0, None).prod(axis=2)
    areas = [np.clip(array[:, 2:] - array[:, :2], 0, None).prod(axis=1) for array in (boxes, others)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-6)


def join(samples: list[list[T]], seen: list[set[int]], describe: Callable[[list[T]], np.ndarray]) -> list[int]:
    """Which person each track is of: numbers of clusters by average linkage up to a distance of ``SAME_PERSON``.

    The distance of two tracks is the mean distance of their faces' embeddings, and that of two clusters the mean over
    their tracks. Tracks that are seen in one frame never come into one cluster.

    Args:
        samples: some faces of each track, of any type.
        seen: the frames of each track.
        describe: takes faces; returns their embeddings, N×128. It is not called where no two tracks can be joined.
    """
    together = np.array([[bool(one & other) for other in seen] for one in seen])
    if together.all():
        return list(range(len(samples)))
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import cdist, squareform

    counts = [len(faces) for faces in samples]
    vectors = describe([face for faces in samples for face in faces])
    starts = np.cumsum([0, *counts[:-1]])
    of_tracks = np.split(vectors, starts[1:])  # one after the other: all distances at once need nine times the memory
    sums = np.stack([np.add.reduceat(np.add.reduceat(cdist(own, vectors), [0])[0], starts) for own in of_tracks])
    distances = sums / np.outer(counts, counts)
    distances[together] = APART
    np.fill_diagonal(distances, 0)
    return fcluster(linkage(squareform(distances, checks=False), "average"), SAME_PERSON, "distance").tolist()


def some(faces: list[T]) -> list[T]:
    """At most ``SAMPLES`` faces of a track, evenly spaced."""
    return [faces[at] for at in sorted({round(at) for at in np.linspace(0, len(faces) - 1, SAMPLES)})]


def people(frames: list[Frame], describe: Callable[[list[tuple[int, int]]], np.ndarray]) -> list[list[int | None]]:
    """The faces of every person: for each frame the index of that person's face, or None.

    Who is seen in the most frames comes first; of equal ones, the one with the larger faces.

    Args:
        frames: with their tracks.
        describe: as for :func:`join`; a face is the position of its frame and its index there.
    """
    tracks: dict[int, list[tuple[int, int]]] = {}
    for position, frame in enumerate(frames):
        for face, number in enumerate(frame.tracks):
            tracks.setdefault(number, []).append((position, face))
    samples, seen = map(some, tracks.values()), [{position for position, _ in faces} for faces in tracks.values()]
    persons: dict[int, dict[int, int]] = {}
    for person, faces in zip(join(list(samples), seen, describe), tracks.values(), strict=True):
        persons.setdefault(person, {}).update(faces)

    def area(faces):
        return sum(float(frames[position].faces.areas[face]) for position, face in faces.items())

    ordered = sorted(persons.values(), key=lambda faces: (-len(faces), -area(faces)))
    return [[faces.get(position) for position in range(len(frames))] for faces in ordered]


class FaceEmbedding:
    """dlib's ResNet: a face becomes 128 numbers; two faces of one person are at most ``SAME_PERSON`` apart.

    Attributes:
        recipe: JSON values that determine who is joined.

    Raises:
        LNCLIPError: dlib or its model is missing.
    """

    def __init__(self):
        path = packaged_model(MODEL)
        try:
            import dlib
        except ImportError:
            path = None
        if path is None or not path.is_file():
            raise LNCLIPError(f"following people needs dlib and its face embedding; {INSTALL.format(extra='track')}")
        try:
            self._net = dlib.face_recognition_model_v1(str(path))
        except RuntimeError as error:
            reason = f"{path} is not dlib's face embedding: {one_line(error)}"
            raise LNCLIPError(f"{reason}; install face_recognition_models again") from error
        self._lock = threading.Lock()  # the network stores its last result
        self.recipe = {
            "name": "dlib-resnet", "weights": sha256(path)[:12], "distance": SAME_PERSON, "samples": SAMPLES,
            "overlap": OVERLAP, "shot": SAME_SHOT,
        }  # fmt: skip

    def __call__(self, image, points) -> np.ndarray:
        """The embedding (float64 128) of the face with these five points in an image (uint8 RGB H×W×3)."""
        with self._lock:
            chip = warp(image, similarity(points, TEMPLATE), CHIP)
            return np.array(self._net.compute_face_descriptor(chip))


shared_embedding = lru_cache(maxsize=1)(FaceEmbedding)


def count_people(tracks: dict[int, list[T]], together: Iterable[Collection[int]], describe: Callable | None) -> int:
    """How many people the faces of some tracks are of.

    Args:
        tracks: some faces of each, of any type.
        together: for each frame the tracks that are seen in it.
        describe: as for :func:`join`; None where there is no embedding: then as many as are seen in one frame.
    """
    frames = [tracks.keys() & set(numbers) for numbers in together]
    if describe is None:
        return max(map(len, frames), default=0)
    seen: dict[int, set[int]] = {number: set() for number in tracks}
    for at, number in ((at, number) for at, numbers in enumerate(frames) for number in numbers):
        seen[number].add(at)
    return len(set(join([some(faces) for faces in tracks.values()], [*seen.values()], describe)))
