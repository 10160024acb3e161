"""One video, from its file to its faces: find, cut, write, record."""

import io
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean, median

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_bytes
from lnclip_df.faces.align import warp
from lnclip_df.faces.detectors import shared_detector
from lnclip_df.faces.pipeline import SearchCounts, find_and_cut
from lnclip_df.faces.selection import ALONE, choose_face, mask_coverage, masked_person, most_covered
from lnclip_df.faces.settings import CropSettings
from lnclip_df.faces.tracking import count_people
from lnclip_df.media.crop_files import KINDS, new_tar, pending_path
from lnclip_df.media.frames import open_frames, read_twice
from lnclip_df.media.limits import Miscounted, reason_of
from lnclip_df.media.opencv import one_thread
from lnclip_df.media.recipe import add_recipe
from lnclip_df.media.remote import is_url, local_file, redacted, source_state
from lnclip_df.preprocess.paths import FACE, LEFT_FACE, Source, face_name
from lnclip_df.preprocess.records import DONE, NO_FACE, UNREADABLE, Record, write_record

Save = Callable[[str, str, bytes], None]  # takes frames, landmarks or masks, a file's name, and its bytes


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
    format: str = "png"

    @property
    def address(self) -> str:
        """The URL that the video is read from, as it may be shown; empty for a file."""
        return redacted(self.source.path) if is_url(self.source.path) else ""

    @property
    def record_path(self):
        return self.source.record_path(self.out)

    def folder(self, kind: str):
        return self.source.folder_of(self.out, kind)

    @property
    def tar_path(self):
        return self.source.tar_path(self.out)

    @contextmanager
    def saving(self) -> Iterator[Save]:
        """Yield the function that writes one of the video's files; a tar is there when the block ends."""
        if self.format == "tar":
            with new_tar(self.tar_path, self.source.name or self.source.key) as save:
                yield save
        else:
            yield lambda kind, name, data: write_bytes(self.folder(kind) / name, data)


@dataclass
class _Written:
    """What was found in a video and written of it, each list with one value per crop."""

    counts: SearchCounts = field(default_factory=SearchCounts)
    saved: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    sides: list[float] = field(default_factory=list)
    cuts: dict[int, tuple[np.ndarray, int]] = field(default_factory=dict)  # from the frame to the crop, and its side
    tracks: list[int] = field(default_factory=list)
    together: list[list[int]] = field(default_factory=list)  # the tracks that the frame shows
    people: int = 0
    note: str = ""


@one_thread()
def process_video(job: Job) -> Record:
    """Preprocess one video and record what became of it; what an earlier run left of it is replaced.

    Raises:
        LNCLIPError: the output cannot be written, the video's name would leave the output folder, or this worker would
            make crops of another recipe.
    """
    started = time.monotonic()
    detector = shared_detector(job.settings, job.threads)
    recipe = job.settings.recipe(detector)
    if recipe.fingerprint != job.recipe:
        raise LNCLIPError(f"this worker makes crops of recipe {recipe.fingerprint}, not {job.recipe}: other weights?")
    taken = _taken(job)
    if taken:
        reason = f"its name collides with {taken}; rename the file or remove that"
        return Record(job.source.key, UNREADABLE, reason)
    try:
        size, modified_ns = source_state(job.source.path)  # before it is read: a later run sees by it that it changed
    except OSError:
        size, modified_ns = 0, 0
    try:
        with local_file(job.source.path) as path:
            frames = _open(job, path)
            written = read_twice(frames, lambda: _write_crops(job, frames, detector, recipe))
    except LNCLIPError:
        raise
    except Exception as error:  # whatever one video does to a decoder or a detector, the others are done
        return give_up(job, reason_of(error), time.monotonic() - started)
    counts = written.counts
    record = Record(
        job.source.key,
        DONE if written.saved else NO_FACE,
        written.note or ("" if written.saved else counts.no_face(job.settings)),
        asked=counts.searched,
        decoded=frames.count,
        found=counts.found,
        saved=written.saved,
        score=round(fmean(written.scores), 4) if written.scores else None,
        box=round(median(written.sides), 1) if written.sides else None,
        size=[*(counts.size or ())],
        seconds=round(time.monotonic() - started, 3),
        recipe=job.recipe,
        people=written.people,
        bytes=size,
        modified_ns=modified_ns,
        changes=counts.changes,
        source=job.address,
    )
    write_record(job.record_path, record)
    return record


def give_up(job: Job, reason: str, seconds: float = 0.0) -> Record:
    """Remove what there is of a video that cannot be read, and record why."""
    _clear(job)
    record = Record(job.source.key, UNREADABLE, reason, seconds=round(seconds, 3), source=job.address)
    write_record(job.record_path, record)
    return record


def _open(job, path):
    return open_frames(path, job.threads, as_shown=job.settings.as_shown, decode_on=job.settings.decode_on)


def _write_crops(job, frames, detector, recipe) -> _Written:
    """Find, cut and write the faces of a video, and their masks."""
    _clear(job)
    with job.saving() as save:
        written = _save_crops(job, frames, detector, recipe, save)
        enough = written.counts.enough(job.settings)
        if enough and job.source.mask is not None:
            _save_masks(job, written, save)
    if enough:
        return written
    _clear(job)
    return _Written(written.counts, note=written.note)


def _save_crops(job, frames, detector, recipe, save: Save) -> _Written:
    written, face = _Written(), job.settings.face

    def choose(batch, follow):
        if face == "mask" and job.source.mask is not None:
            covered = _covered(job, batch, [frame.index for frame in batch], written)
            return [masked_person(batch, [amounts for _, amounts in covered], follow)]
        return [choose_face(batch, face, follow)]

    def covered_only(found, indices):
        for frame, amounts in _covered(job, found, indices, written):
            frame.faces = frame.faces.where(np.arange(len(frame.faces.boxes)) == most_covered(amounts))
            yield frame

    narrow = covered_only if face == "mask_only" and job.source.mask is not None else None
    for crop in find_and_cut(
        frames, detector, job.settings, choose, written.counts, whole_video=face not in ALONE, narrow=narrow
    ):
        index, faces = crop.frame.index, crop.frame.faces
        save("landmarks", face_name(index, ".npy"), _npy(crop.landmarks))
        save("frames", face_name(index), add_recipe(_png(crop.image), recipe.of_video(written.counts.changes)))
        written.cuts[index] = crop.matrix, len(crop.image)
        written.saved.append(index)
        written.scores.append(float(faces.scores[crop.face]))
        written.sides.append(float(np.sqrt(max(faces.areas[crop.face], 0))))
        written.tracks.append(crop.track)
        written.together.append(crop.frame.tracks)
    tracks: dict[int, list] = {track: [] for track in written.tracks}
    written.people = count_people(tracks, written.together, None) if face in ALONE else min(len(tracks), 1)
    return written


def _covered(job, frames, indices, written):
    """Yield each frame with how much of the mask lies in each of its faces; None from the mask's end on."""
    masks, index, mask = _read_mask(job, indices, written), -1, None
    for frame in frames:
        while index < frame.index:
            index, mask = next(masks, (math.inf, None))
        here = index == frame.index
        yield frame, mask_coverage(mask, frame.faces.boxes, frame.size[::-1]) if here else None


def _save_masks(job, written, save: Save):
    """Save the mask of every crop whose frame has one: black and white, as DeepfakeBench cuts it (level above 1)."""
    for index, mask in _read_mask(job, written.saved, written):
        width, height = written.counts.size
        if mask.shape != (height, width):
            import cv2

            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        crop = warp(mask, *written.cuts[index])
        white = np.where(crop > 1, np.uint8(255), np.uint8(0))
        save("masks", face_name(index), _png(white))


def _read_mask(job, indices, written):
    """Yield ``(index, grey levels)`` of the mask's frames, of those indices that it has."""
    try:
        mask = _open(job, job.source.mask)
        try:
            yield from _grey(mask, indices)
        except Miscounted:
            mask.recount()
            yield from _grey(mask, indices)
    except Exception as error:  # whatever is wrong with it, the faces are good without
        written.note = f"its mask cannot be used: {reason_of(error)}"


def _grey(mask, indices):
    for index, image in mask.read([index for index in indices if index < mask.count]):
        yield index, image.max(axis=2)


def _png(image) -> bytes:
    import cv2

    return cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image))[1].tobytes()


def _npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _taken(job):
    """What an earlier run wrote, of a video of another name, where this one's faces or record must go; or None."""
    folders = [job.folder(kind) for kind in KINDS[:2]]
    tar = [job.tar_path] if job.format == "tar" else []
    for path in (job.record_path, *tar, *(folder / face_name(0) for folder in folders)):
        for parent in path.parents:
            if os.path.lexists(parent) and not os.path.isdir(parent):
                return parent
    faces = (path for folder in folders if folder.is_dir() for path in folder.iterdir() if FACE.fullmatch(path.name))
    return next((path for path in (job.record_path, *tar, *faces) if os.path.isdir(path)), None)


def _clear(job):
    """Remove what an interrupted run left of this video, or an earlier one of a file that has changed since."""
    try:
        left = [job.record_path, job.tar_path, pending_path(job.tar_path)]
        folders = [folder for folder in map(job.folder, KINDS) if folder.is_dir()]
        for folder in folders:
            left += [path for path in folder.iterdir() if FACE.fullmatch(path.name) or LEFT_FACE.fullmatch(path.name)]
        for path in left:
            if not path.is_dir():
                path.unlink(missing_ok=True)
        for folder in folders if job.format == "tar" else ():
            if not any(folder.iterdir()):
                folder.rmdir()  # beside the tar, it would be a second video of that name
    except OSError as error:
        raise LNCLIPError(f"cannot write {error.filename or job.out}: {error.strerror or error}") from error
