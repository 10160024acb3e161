"""One video or image, from its file to the faces that are scored: found as in preprocessing, or given as crops."""

from dataclasses import dataclass, field

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import evenly_spaced
from lnclip_df.faces.align import align
from lnclip_df.faces.pipeline import CHUNK, cut, groups, hold, in_two_attempts, look_at
from lnclip_df.faces.selection import follow, largest, people
from lnclip_df.media.opencv import one_thread
from lnclip_df.media.recipe import FOREIGN, HEAD, count_recipes
from lnclip_df.media.sampling import frame_indices
from lnclip_df.media.video import Miscounted, Stills, UnreadableVideo, open_frames
from lnclip_df.preprocess.video_job import no_face, reason_of
from lnclip_df.scoring.inputs import InputFile
from lnclip_df.scoring.results import NO_FACE, SCORED, UNREADABLE


@dataclass(frozen=True)
class Face:
    """A face to be scored: of which person (from 0), in which frame and when, where, and its crop (uint8 RGB S×S×3)."""

    person: int
    index: int
    seconds: float | None
    box: tuple[float, float, float, float] | None
    crop: np.ndarray


@dataclass
class Seen:
    """What was seen of a medium, as :class:`~lnclip_df.scoring.results.Result` says it; ``shown`` counts all faces."""

    medium: InputFile
    outcome: str = SCORED
    reason: str = ""
    frames: int = 0
    found: int = 0
    shown: int = 0
    decoded: int = 0
    recipe: str = ""
    size: tuple[int, int] | None = None
    seconds: float | None = None
    faces: list[Face] = field(default_factory=list)


def see(
    medium: InputFile, detector, recipe: str, settings, *, all_faces: bool, longest: float | None, threads: int
) -> Seen:
    """Find the faces of a medium.

    Args:
        medium: what to look at.
        detector, recipe: see :func:`lnclip_df.faces.detector.make_detector`; the crops' fingerprint.
        settings: :class:`lnclip_df.faces.settings.CropSettings`; ``face`` chooses whose face counts.
        all_faces: cut out every face, by person.
        longest: of a video in seconds; None for any length.
        threads: of the decoder.

    Returns:
        What was seen; a medium that cannot be read, or shows no face, says so in ``outcome`` and ``reason``.
    """

    def read(seen, frames):
        seen.recipe, seen.seconds = recipe, frames.seconds
        with one_thread():
            _find(seen, frames, detector, settings, all_faces)

    return _reading(medium, lambda: open_frames(medium.path, threads, longest=longest), read)


def see_crops(medium: InputFile, most: int, *, longest: float | None) -> Seen:
    """The crops of a medium whose frames are aligned faces already: evenly spaced, ``most`` at most, as in a test.

    Args: as :func:`see`. A frame that is not square is no crop: the medium is ``unreadable`` then.
    """

    def read(seen, frames):
        seen.seconds, seen.recipe = frames.seconds, _recipe_of(frames)
        for index, image in frames.read(evenly_spaced(range(frames.count), most)):
            seen.size = image.shape[1], image.shape[0]
            if image.shape[0] != image.shape[1]:
                width, height = seen.size
                raise UnreadableVideo(f"an aligned face is square, this is {width}×{height}; leave --aligned out")
            seen.faces.append(Face(0, index, frames.time(index), None, image))
        seen.frames = seen.found = seen.shown = len(seen.faces)

    return _reading(medium, lambda: open_frames(medium.path, longest=longest), read)


def _reading(medium, opened, read):
    """What ``read`` finds, or why it finds nothing: whatever one file does to a decoder, the others are scored."""
    last = [Seen(medium)]

    def attempt(frames):
        last[0] = Seen(medium, decoded=frames.count)
        read(last[0], frames)

    try:
        frames = opened()
        in_two_attempts(frames, lambda: attempt(frames))
    except LNCLIPError:
        raise
    except Exception as error:
        return Seen(medium, UNREADABLE, reason_of(error))
    seen = last[0]
    if not seen.faces:
        seen.outcome, seen.reason = NO_FACE, no_face(seen.frames)
    return seen


def _find(seen, frames, detector, settings, all_faces):
    """Look at evenly spaced frames, and cut out the faces that count."""
    together = all_faces or settings.face != "largest"
    looks = _counted(seen, look_at(frames, frame_indices(frames.count, settings.frames), detector, compare=together))
    for batch in [hold(looks)] if together else groups(looks, CHUNK):
        owner = {
            (look.index, place): (look, number)
            for number, places in enumerate(_persons(batch, settings.face, all_faces))
            for look, place in zip(batch, places, strict=True)
            if place is not None
        }
        chosen = [(owner[key][0], key[1]) for key in sorted(owner)]
        for face in cut(frames, chosen, detector, settings):
            index, box = face.look.index, tuple(face.look.faces.boxes[face.place].tolist())
            number = owner[index, face.place][1]
            seen.faces.append(Face(number, index, frames.time(index), box, face.crop))


def _counted(seen, looks):
    for look in looks:
        seen.frames += 1
        seen.found += len(look.faces.boxes) > 0
        seen.shown += len(look.faces.boxes)
        seen.size = look.size
        yield look


def _persons(batch, face, all_faces):
    """Of each person whose face counts, its place among the faces of each look, or None."""
    if all_faces:
        return people([look.seen for look in batch])
    if face == "track":
        return [follow([look.seen for look in batch])]
    return [[largest(look.faces) for look in batch]]


def _recipe_of(frames):
    """The fingerprints of crops' recipes, joined where there are several."""
    if not isinstance(frames, Stills):
        return FOREIGN
    heads = []
    for path in evenly_spaced(frames.paths, 256):
        with open(path, "rb") as file:
            heads.append(file.read(HEAD))
    return ", ".join(count_recipes(heads))


def read_image(image) -> np.ndarray:
    """An image as uint8 RGB H×W×3, from a path (upright as EXIF says) or such an array.

    Raises:
        LNCLIPError: it cannot be read, or the array is another.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise LNCLIPError(f"an image is uint8 RGB H×W×3; received {image.dtype} {image.shape}")
        return image
    try:
        return next(open_frames(image).read([0]))[1]
    except (UnreadableVideo, Miscounted) as error:
        raise LNCLIPError(f"{image}: {error or 'cannot be decoded'}") from error


def largest_faces(images: list[np.ndarray], detector, settings) -> list[np.ndarray | None]:
    """The crop of the largest face of each image, None where there is none."""
    crops = []
    with one_thread():
        for group in groups(images, CHUNK):
            for image, faces in zip(group, detector(group), strict=True):
                place = largest(faces)
                found = None if place is None else align(image, faces.points[place], settings.size, settings.scale)[0]
                crops.append(found)
    return crops
