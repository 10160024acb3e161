"""The faces of one video or image: found as in preprocessing, or aligned already."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.align import align, move
from lnclip_df.faces.base import Detector
from lnclip_df.faces.pipeline import SearchCounts, find_and_cut
from lnclip_df.faces.selection import choose_face, largest_face
from lnclip_df.faces.settings import CropSettings
from lnclip_df.faces.tracking import count_people, shared_embedding
from lnclip_df.faces.upright import UprightFaces
from lnclip_df.media.crop_files import read_file
from lnclip_df.media.frames import ImageFrames, Miscounted, UnreadableVideo, open_frames, read_twice
from lnclip_df.media.limits import reason_of
from lnclip_df.media.opencv import one_thread
from lnclip_df.media.recipe import FOREIGN, HEAD, Recipe, count_recipes, read_recipe
from lnclip_df.media.sampling import evenly_spaced_round
from lnclip_df.scoring.inputs import InputFile
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.results import NO_FACE, SCORED, UNREADABLE, Result


@dataclass(frozen=True)
class Face:
    """A face to be scored: its person (from 0), frame, time, box, and crop (uint8 RGB S×S×3).

    ``points`` are its five in pixels of the crop, ``track`` its number, ``together`` the tracks that its frame shows.
    """

    person: int
    index: int
    seconds: float | None
    box: tuple[float, float, float, float] | None
    crop: np.ndarray
    points: np.ndarray | None = None
    track: int = 0
    together: tuple[int, ...] = ()


class FoundFaces(NamedTuple):
    """The faces of a file, and its result without scores."""

    result: Result
    faces: list[Face]


def recipe_of(options: ScoreOptions, detector: Detector) -> Recipe:
    """The recipe of the crops of faces that are found."""
    return options.crops.recipe(detector, "all" if options.all_faces else None)


def find_faces(file: InputFile, detector: Detector, options: ScoreOptions, threads: int) -> FoundFaces:
    """Find the faces of a file that ``options`` choose; the decoder has ``threads``."""
    recipe = recipe_of(options, detector)

    def choose(batch, follow):
        return follow(batch) if options.all_faces else [choose_face(batch, options.face, follow)]

    def read(frames, counts):
        whole_video = options.all_faces or options.face != "largest"
        with one_thread():
            for crop in find_and_cut(frames, detector, options, choose, counts, whole_video=whole_video):
                index, found = crop.frame.index, crop.frame.faces
                yield Face(
                    crop.person, index, frames.time(index), tuple(found.boxes[crop.face].tolist()), crop.image,
                    move(found.points[crop.face], crop.matrix), crop.track, tuple(crop.frame.tracks),
                )  # fmt: skip

    return _read(file, options, threads, read, lambda frames: recipe.fingerprint)


def _people(faces: list[Face], options) -> int:
    """How many people the faces are of; where the embedding is not installed, at least that many."""
    if options.aligned or options.all_faces or options.face != "largest":
        return len({face.person for face in faces})
    tracks: dict[int, list[Face]] = {}
    for face in faces:
        tracks.setdefault(face.track, []).append(face)
    if len(tracks) < 2:  # the embedding takes a quarter of a second to load
        return len(tracks)
    try:
        embedding = shared_embedding()
    except LNCLIPError:
        return count_people(tracks, [face.together for face in faces], None)
    return count_people(
        tracks, [face.together for face in faces],
        lambda chosen: np.stack([embedding(face.crop, face.points) for face in chosen]),
    )  # fmt: skip


def read_aligned_faces(file: InputFile, options: ScoreOptions) -> FoundFaces:
    """Evenly spaced frames of a file whose frames are aligned faces already, ``options.frames`` at most, as in a test.

    A frame that is not square is not an aligned face: the file is ``unreadable`` then.
    """

    def read(frames, counts):
        for index, image in frames.read(evenly_spaced_round(range(frames.count), options.frames)):
            height, width = image.shape[:2]
            if height != width:
                raise UnreadableVideo(f"an aligned face is square, this is {width}×{height}; score it without aligned")
            counts.size = width, height
            counts.searched = counts.found = counts.faces = counts.faces + 1
            yield Face(0, index, frames.time(index), None, image)

    return _read(file, options, 1, read, _recipes)


def _read(file, options, threads, read: Callable[..., Iterator[Face]], recipe: Callable) -> FoundFaces:
    """What ``read`` finds, or why it finds nothing. An error of a decoder concerns this file only."""

    def attempt():
        counts = SearchCounts()
        faces = list(read(frames, counts))
        if not counts.enough(options):
            faces = []
        outcome, reason = (SCORED, "") if faces else (NO_FACE, counts.no_face(options))
        result = Result(
            str(file.path), outcome, reason, frames=counts.searched, found=counts.found, faces=counts.faces,
            decoded=frames.count, recipe=recipe(frames), size=counts.size, seconds=frames.seconds,
            people=_people(faces, options), changes=counts.changes,
        )  # fmt: skip
        return FoundFaces(result, faces)

    try:
        frames = open_frames(
            file.path, threads, max_seconds=options.max_seconds, as_shown=options.as_shown, decode_on=options.decode_on
        )
        return read_twice(frames, attempt)
    except LNCLIPError:
        raise
    except Exception as error:
        return FoundFaces(Result(str(file.path), UNREADABLE, reason_of(error)), [])


def _recipes(frames):
    """The fingerprints of crops' recipes, joined where there are several."""
    if not isinstance(frames, ImageFrames):
        return FOREIGN
    heads = (read_file(path, HEAD) for path in evenly_spaced_round(frames.paths, 256))
    return ", ".join(count_recipes(map(read_recipe, heads)))


def read_image(image) -> np.ndarray:
    """An image as uint8 RGB H×W×3, from a path (upright as EXIF says) or such an array.

    Raises:
        LNCLIPError: it cannot be read, or the array has another shape or dtype.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise LNCLIPError(f"an image is uint8 RGB H×W×3; received {image.dtype} {image.shape}")
        return image
    try:
        return next(open_frames(image).read([0]))[1]
    except (UnreadableVideo, Miscounted) as error:
        raise LNCLIPError(f"{image}: {error or 'cannot be decoded'}") from error


def cut_largest_faces(images: list[np.ndarray], detector: Detector, settings: CropSettings) -> list[np.ndarray | None]:
    """The crop of the largest face of each image, None where there is none."""
    crops = []
    with one_thread():
        for image in images:
            [faces] = UprightFaces(detector)([image])
            index = largest_face(faces)
            points = None if index is None else faces.points[index]
            how = settings.size, settings.scale, settings.alignment
            crops.append(None if points is None else align(image, points, *how)[0])
    return crops
