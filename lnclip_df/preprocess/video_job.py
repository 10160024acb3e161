"""One video, from its file to its faces: decode, detect, choose, align, write, record."""

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from statistics import fmean, median

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import write_bytes
from lnclip_df.faces.align import warp
from lnclip_df.faces.detector import make_detector
from lnclip_df.faces.pipeline import CHUNK, Look, cut, groups, hold, in_two_attempts, look_at
from lnclip_df.faces.selection import coverage, follow, largest, masked
from lnclip_df.faces.settings import CropSettings
from lnclip_df.media.opencv import one_thread
from lnclip_df.media.recipe import fingerprint, tag
from lnclip_df.media.sampling import farthest_first, first_indices
from lnclip_df.media.video import Miscounted, UnreadableVideo, open_frames
from lnclip_df.preprocess.paths import FACE, LEFT_FACE, Source, face_name

DONE, NO_FACE, UNREADABLE = "done", "no face", "unreadable"
KINDS = ("frames", "landmarks", "masks")


@dataclass(frozen=True)
class Job:
    """One video and how to treat it; small, so that it travels to any worker.

    ``recipe`` is the fingerprint that its crops must have: a worker with other weights or libraries refuses.
    """

    source: Source
    out: str
    settings: CropSettings
    recipe: str
    threads: int


@dataclass
class Record:
    """What became of one video, as its record says.

    Attributes:
        key: of the :class:`Source`.
        outcome: ``done``, ``no face`` or ``unreadable``.
        reason: one line where it is not ``done``, and a note where a mask could not be used.
        asked, decoded, found: frames looked at; frames that the video has; frames looked at that show a face.
        saved: indices of the frames whose face was written, in order.
        score: mean score of the faces written. ``box``: median side of their boxes (√area), in pixels.
        size: width and height of the frames, in pixels.
        seconds: time it took.
        recipe: fingerprint of the crops' recipe.
        bytes, modified_ns: of the source when it was read.
        resumed: whether an earlier run had finished it (not in the file).
    """

    key: str
    outcome: str
    reason: str = ""
    asked: int = 0
    decoded: int = 0
    found: int = 0
    saved: list[int] = field(default_factory=list)
    score: float | None = None
    box: float | None = None
    size: list[int] = field(default_factory=list)
    seconds: float = 0.0
    recipe: str = ""
    bytes: int = 0
    modified_ns: int = 0
    resumed: bool = False


@dataclass
class _Count:
    """What is counted on the way."""

    asked: int = 0
    found: int = 0
    scores: list[float] = field(default_factory=list)
    sides: list[float] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    matrices: dict[int, np.ndarray] = field(default_factory=dict)  # from the frame to the crop, of those saved
    size: list[int] = field(default_factory=list)
    note: str = ""

    def add(self, look: Look):
        self.asked += 1
        self.found += len(look.faces.boxes) > 0
        self.size = [*look.size]


@lru_cache(maxsize=1)
def detector_of(settings: CropSettings, threads: int):
    """The process's detector for these settings, and the recipe of crops made with it."""
    options = {"predictor": settings.predictor, "second": settings.second_detection, "threads": threads}
    detector = make_detector(settings.detector, **options)
    return detector, settings.recipe(detector)


@one_thread()
def process_video(job: Job) -> Record:
    """Preprocess one video and record what became of it; what an earlier run left of it is replaced.

    Raises:
        LNCLIPError: the output cannot be written, the video's name would leave the output folder, or this worker would
            make crops of another recipe.
    """
    started = time.monotonic()
    detector, recipe = detector_of(job.settings, job.threads)
    if fingerprint(recipe) != job.recipe:
        raise LNCLIPError(f"this worker makes crops of recipe {fingerprint(recipe)}, not {job.recipe}: other weights?")
    taken = _taken(job)
    if taken:
        reason = f"its name collides with {taken}; rename the file or remove that"
        return Record(job.source.key, UNREADABLE, reason)
    status = _status(job.source.path)
    try:
        frames = open_frames(job.source.path, job.threads)
        count = in_two_attempts(frames, lambda: _faces(job, frames, detector, recipe))
    except LNCLIPError:
        raise
    except Exception as error:  # whatever one video does to a decoder or a detector, the others are done
        return give_up(job, reason_of(error), time.monotonic() - started)
    record = Record(
        job.source.key,
        DONE if count.saved else NO_FACE,
        count.note if count.saved else no_face(count.asked),
        asked=count.asked,
        decoded=frames.count,
        found=count.found,
        saved=count.saved,
        score=round(fmean(count.scores), 4) if count.scores else None,
        box=round(median(count.sides), 1) if count.sides else None,
        size=count.size,
        seconds=round(time.monotonic() - started, 3),
        recipe=job.recipe,
        **status,
    )
    _write_record(job, record)
    return record


def give_up(job: Job, reason: str, seconds: float = 0.0) -> Record:
    """Remove what there is of a video that cannot be read, and record why."""
    _clear(job)
    record = Record(job.source.key, UNREADABLE, reason, seconds=round(seconds, 3))
    _write_record(job, record)
    return record


def reason_of(error: Exception) -> str:
    """Why a video cannot be read, in one line."""
    return one_line(error) if isinstance(error, UnreadableVideo) else f"{type(error).__name__}: {one_line(error)}"


def no_face(frames: int) -> str:
    """The reason of a video without a face."""
    return f"no face in {frames} frame{'s' if frames > 1 else ''}"


def _status(path):
    """Size and time of the source, by which a changed file is known; nothing where it cannot be read."""
    try:
        status = os.stat(path)
    except OSError:
        return {}
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _faces(job, frames, detector, recipe):
    """Look at frames, choose a face in each, write it; count on the way."""
    _clear(job)
    count = _Count()
    for batch in _batches(job.settings, frames, detector, count):
        places = _choose(job, batch, count)
        chosen = [(look, place) for look, place in zip(batch, places, strict=True) if place is not None]
        _write(job, cut(frames, chosen, detector, job.settings), recipe, count)
    if job.source.mask is not None:
        _write_masks(job, count)
    return count


def _batches(settings, frames, detector, count) -> Iterator[list[Look]]:
    """Frames looked at, in groups within which a face is chosen: a few where each frame speaks for itself, else all."""
    whole_video = settings.face != "largest"
    indices = first_indices(frames.count, settings.sampling, settings.frames, settings.stride)
    first = _counted(look_at(frames, indices, detector, compare=whole_video), count)
    if settings.sampling == "at_least":
        yield _at_least(settings, frames, detector, count, hold(first))
    elif whole_video:
        yield hold(first)
    else:
        yield from groups(first, CHUNK)


def _counted(looks_at, count):
    for look in looks_at:
        count.add(look)
        yield look


def _at_least(settings, frames, detector, count, first):
    """Go on with the frames farthest from those looked at until enough show a face, or none is left."""
    found = [look for look in first if len(look.faces.boxes)]
    others = farthest_first(frames.count, [look.index for look in first])
    ahead = settings.frames - len(found)
    while len(found) < settings.frames and (order := list(islice(others, ahead))):
        looks_at = look_at(frames, sorted(order), detector, compare=settings.face != "largest")
        more = {look.index: look for look in hold(looks_at)}
        for index in order:
            if len(found) < settings.frames:
                count.add(more[index])
                if len(more[index].faces.boxes):
                    found.append(more[index])
        ahead *= 2  # few rounds, since each may decode most of the video again
    return hold(sorted(found, key=lambda look: look.index))


def _choose(job, batch, count):
    if job.settings.face == "largest":
        return [largest(look.faces) for look in batch]
    seen = [look.seen for look in batch]
    if job.settings.face == "track" or job.source.mask is None:
        return follow(seen)
    return masked(seen, _covered(job, batch, count))


def _covered(job, batch, count):
    """How much of the mask lies in each face of each frame; None from the mask's end on."""
    covered = [None] * len(batch)
    places = {look.index: place for place, look in enumerate(batch)}
    for index, mask in _mask_frames(job, list(places), count):
        look = batch[places[index]]
        covered[places[index]] = coverage(mask, look.faces.boxes, count.size[::-1])
    return covered


def _mask_frames(job, indices, count):
    """Yield ``(index, grey levels)`` of the mask's frames, of those indices that it has."""
    try:
        mask = open_frames(job.source.mask, job.threads)
        try:
            yield from _grey(mask, indices)
        except Miscounted:
            mask.recount()
            yield from _grey(mask, indices)
    except Exception as error:  # whatever is wrong with it, the faces are good without
        count.note = f"its mask cannot be used: {reason_of(error)}"


def _grey(mask, indices):
    for index, image in mask.read([index for index in indices if index < mask.count]):
        yield index, image.max(axis=2)


def _write(job, cuts, recipe, count):
    """Write the crop and the landmarks of every face that was cut out."""
    for look, place, crop, matrix, landmarks in cuts:
        write_bytes(job.source.folder_of(job.out, "landmarks") / face_name(look.index, ".npy"), _npy(landmarks))
        write_bytes(job.source.folder_of(job.out, "frames") / face_name(look.index), tag(_png(crop), recipe))
        count.matrices[look.index] = matrix
        count.saved.append(look.index)
        count.scores.append(float(look.faces.scores[place]))
        count.sides.append(float(np.sqrt(max(look.faces.areas[place], 0))))


def _write_masks(job, count):
    """Write the mask of every crop whose frame has one: black and white, as DeepfakeBench cuts it (level above 1)."""
    for index, mask in _mask_frames(job, count.saved, count):
        width, height = count.size
        if mask.shape != (height, width):
            import cv2

            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        crop = warp(mask, count.matrices[index], job.settings.size)
        white = np.where(crop > 1, np.uint8(255), np.uint8(0))
        write_bytes(job.source.folder_of(job.out, "masks") / face_name(index), _png(white))


def _png(image) -> bytes:
    import cv2

    return cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image))[1].tobytes()


def _npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _taken(job):
    """What an earlier run wrote, of a video of another name, where this one's faces or record must go; or None."""
    record = job.source.record_path(job.out)
    places = [job.source.folder_of(job.out, kind) for kind in KINDS[:2]]
    for path in (record, *(place / face_name(0) for place in places)):
        for folder in path.parents:
            if os.path.lexists(folder) and not os.path.isdir(folder):
                return folder
    faces = (path for place in places if place.is_dir() for path in place.iterdir() if FACE.fullmatch(path.name))
    return next((path for path in (record, *faces) if os.path.isdir(path)), None)


def _clear(job):
    """Remove what an interrupted run left of this video, or an earlier one of a file that has changed since."""
    record = job.source.record_path(job.out)
    try:
        left = [record]
        for kind in KINDS:
            folder = job.source.folder_of(job.out, kind)
            if folder.is_dir():
                left += [path for path in folder.iterdir() if FACE.fullmatch(path.name)]
                left += [path for path in folder.iterdir() if LEFT_FACE.fullmatch(path.name)]
        for path in left:
            if not path.is_dir():
                path.unlink(missing_ok=True)
    except OSError as error:
        raise LNCLIPError(f"cannot write {error.filename or job.out}: {error.strerror or error}") from error


def _write_record(job, record):
    """Write a record, whole or not at all."""
    path = job.source.record_path(job.out)
    value = {key: value for key, value in vars(record).items() if key != "resumed"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        _pending(path).write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(_pending(path), path)
    except OSError as error:
        raise LNCLIPError(f"cannot write {path}: {error.strerror or error}") from error


def _pending(record):
    """Where a record is written before it is moved into its place: a name that no other video's has."""
    return record.with_name(f".{hashlib.sha256(os.fsencode(record.name)).hexdigest()[:16]}.json")
