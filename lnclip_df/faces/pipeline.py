"""From a video's frames to aligned crops: search faces, choose some, cut them out.

Preprocessing and scoring share it. Decoding and detection each have a thread of their own, while the caller uses the
frames before.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np

from lnclip_df.core.iteration import batched, prefetch
from lnclip_df.faces.align import align, move
from lnclip_df.faces.base import Detector
from lnclip_df.faces.settings import CropSettings
from lnclip_df.faces.tracking import Frame, link, people, shared_embedding, small_picture
from lnclip_df.faces.upright import UprightFaces
from lnclip_df.media.limits import Miscounted
from lnclip_df.media.sampling import farthest_first, first_indices

BATCH = 4  # frames detected at once
MIN_SHARE = 0.1  # of the frames of a video; of 45 public videos of people, the worst one shows a face in a third
MAX_KEPT = 256 << 20  # bytes of pixels kept until faces are chosen; further frames are decoded again


class Crop(NamedTuple):
    """A face cut out of a frame.

    Attributes:
        frame, face: where it is from; the index of the face among the frame's.
        person: number of the person, from 0.
        image: the aligned face, uint8 RGB S×S×3.
        matrix: the transform from the frame to the crop, float64 2×3.
        landmarks: K×2 (x, y) in pixels of the crop: all of them where the detector gives more than five.
    """

    frame: Frame
    face: int
    person: int
    image: np.ndarray
    matrix: np.ndarray
    landmarks: np.ndarray

    @property
    def track(self) -> int:
        """The number of the track that the face belongs to, see :func:`~lnclip_df.faces.tracking.link`."""
        return self.frame.tracks[self.face]


@dataclass
class SearchCounts:
    """How many frames were searched, how many show a face, how many faces they show; (width, height) of the last.

    ``changes`` says what was done to the frames before faces were searched in them, as in a recipe.
    """

    searched: int = 0
    found: int = 0
    faces: int = 0
    size: tuple[int, int] | None = None
    changes: dict[str, str] = field(default_factory=dict)

    def enough(self, settings: CropSettings) -> bool:
        """Whether a face is seen in so many frames that it is no false one: in ``MIN_SHARE`` of those searched.

        One is enough for ``at_least`` and ``from_middle``, which look for rare faces, and in DeepfakeBench's protocol.
        """
        anywhere = settings.searches or not settings.as_shown
        return self.found >= (1 if anywhere else max(1, MIN_SHARE * self.searched))

    def no_face(self, settings: CropSettings) -> str:
        """The reason of a video without a face, or with one in too few frames."""
        if self.found and not self.enough(settings):
            return f"a face in {self.found} of {self.searched} frames alone: it may be a false one"
        return f"no face in {self.searched} frame{'s' if self.searched > 1 else ''}"

    def add(self, frame: Frame):
        self.searched += 1
        self.found += len(frame.faces.boxes) > 0
        self.faces += len(frame.faces.boxes)
        self.size = frame.size


def find_and_cut(
    frames, detector: Detector, settings: CropSettings, choose: Callable, counts: SearchCounts, *, whole_video: bool,
    narrow: Callable[[Iterator[Frame], list[int]], Iterator[Frame]] | None = None,
) -> Iterator[Crop]:  # fmt: skip
    """Search a video's frames for faces, and cut out those that are chosen, in order of frames and faces.

    Args:
        frames: see :func:`~lnclip_df.media.frames.open_frames`.
        choose: takes some frames (``list[Frame]``), and a function that takes them and returns the faces of every
            person (see :func:`~lnclip_df.faces.tracking.people`); returns for each person to be cut out, for each frame
            the index of the face, or None.
        counts: updated while frames are searched; its ``changes`` are complete with the first crop.
        whole_video: whether ``choose`` needs all frames at once, as that function does.
        narrow: drops some of the faces of frames (``Frame.faces``), as if they had not been found; it takes frames and
            their indices, which rise.

    Raises:
        Miscounted: while reading; see :func:`~lnclip_df.media.frames.read_twice`.
    """
    upright = UprightFaces(detector) if settings.as_shown else None
    detector = upright or detector
    indices = first_indices(frames.count, settings.sampling, settings.frames, settings.stride)

    def find(indices):
        found = search(frames, indices, detector)
        return found if narrow is None else narrow(found, indices)

    found = _counted(find(indices), counts)
    batches: Iterable[list[Frame]]
    if settings.searches:
        batches = [list(link(_search_on(frames.count, keep_some(found), find, settings, counts)))]
    else:
        batches = [keep_some(link(found))] if whole_video else batched(link(found), BATCH)

    def follow(batch):
        return people(batch, lambda faces: _embeddings(frames, [(batch[at], face) for at, face in faces]))

    for batch in batches:
        chosen = sorted(
            (position, face, person)
            for person, faces in enumerate(choose(batch, follow))
            for position, face in enumerate(faces)
            if face is not None
        )
        counts.changes = frames.changes | (upright.changes if upright else {})
        yield from cut(frames, [(batch[at], face, person) for at, face, person in chosen], detector, settings)


def search(frames, indices, detector: Detector) -> Iterator[Frame]:
    """Decode frames of rising indices and find their faces."""
    decoded = batched(prefetch(frames.read(indices), BATCH), BATCH)
    for batch, found in prefetch((batch, detector([image for _, image in batch])) for batch in decoded):
        for (index, image), faces in zip(batch, found, strict=True):
            yield Frame(faces, small_picture(image), index, (image.shape[1], image.shape[0]), image)


def _counted(found, counts):
    for frame in found:
        counts.add(frame)
        yield frame


def _search_on(count, first, find, settings, counts):
    """Add the frames farthest from those searched until enough show a face or none is left; frames with a face only."""
    found = [frame for frame in first if len(frame.faces.boxes)]
    others = farthest_first(count, [frame.index for frame in first])
    at_once = settings.frames - len(found)
    while len(found) < settings.frames and (order := list(islice(others, at_once))):
        more = {frame.index: frame for frame in keep_some(find(sorted(order)))}
        for index in order:
            if len(found) < settings.frames:
                counts.add(more[index])
                if len(more[index].faces.boxes):
                    found.append(more[index])
        at_once *= 2  # few rounds, since each may decode most of the video again
    return keep_some(sorted(found, key=lambda frame: frame.index))


def keep_some(found: Iterable[Frame]) -> list[Frame]:
    """All frames, those without a face and those beyond ``MAX_KEPT`` without their pixels."""
    frames, kept = [], 0
    for frame in found:
        if frame.image is not None and len(frame.faces.boxes) and kept + frame.image.nbytes <= MAX_KEPT:
            kept += frame.image.nbytes
        else:
            frame.image = None
        frames.append(frame)
    return frames


def cut(frames, chosen: list[tuple[Frame, int, int]], detector: Detector, settings: CropSettings) -> Iterator[Crop]:
    """Cut faces (frame, face, person; in the order of frames) out of frames, decoded again where they were not kept.

    With ``settings.second_detection``, crops that the detector does not confirm are left out.
    """
    for batch in batched(_with_images(frames, chosen), BATCH):
        crops = [
            align(image, frame.faces.points[face], settings.size, settings.scale, settings.alignment)
            for frame, face, _, image in batch
        ]
        seconds = detector.confirm([crop for crop, _ in crops]) if settings.second_detection else [None] * len(crops)
        for (frame, face, person, _), (crop, matrix), second in zip(batch, crops, seconds, strict=True):
            if settings.second_detection and second is None:
                continue
            points = frame.faces.points if frame.faces.landmarks is None else frame.faces.landmarks
            landmarks = move(points[face], matrix) if second is None else second
            yield Crop(frame, face, person, crop, matrix, landmarks)


def _embeddings(frames, faces: list[tuple[Frame, int]]) -> np.ndarray:
    """The embeddings of faces (frame, face; in any order), N×128."""
    order = sorted(range(len(faces)), key=lambda at: faces[at][0].index)
    embeddings = np.empty((len(faces), 128))
    for frame, face, at, image in _with_images(frames, [(*faces[at], at) for at in order]):
        embeddings[at] = shared_embedding()(image, frame.faces.points[face])
    return embeddings


def _with_images(frames, chosen):
    again = frames.read(list(dict.fromkeys(frame.index for frame, _, _ in chosen if frame.image is None)))
    last, image = None, None
    for frame, face, person in chosen:
        if frame is not last:
            last, image = frame, frame.image if frame.image is not None else next(again, (None, None))[1]
        if image is None:
            raise Miscounted
        yield frame, face, person, image
