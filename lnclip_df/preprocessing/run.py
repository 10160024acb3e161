"""Preprocess one video or a folder of them: resumable, in parallel, a broken video never stops the others."""

import io
import os
import stat
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from lnclip_df.errors import LNCLIPError, one_line, printable
from lnclip_df.files import inside, read_json, write_bytes, write_json
from lnclip_df.preprocessing.align import align
from lnclip_df.preprocessing.detect import RetinaFace, largest
from lnclip_df.preprocessing.names import FACE, unfit_names
from lnclip_df.preprocessing.opencv import one_thread
from lnclip_df.preprocessing.video import UnreadableVideo, find_videos, sample_frames, to_rgb

DONE, NO_FACE, UNREADABLE = "done", "no face", "unreadable"
CHUNK = 8  # frames held as pixels at once
BOUNDS = {  # what each setting accepts: the kind of number, the least, the most
    "frames": (Integral, 1, 100_000),
    "size": (Integral, 16, 4096),
    "scale": (Real, 1, 10),
    "workers": (Integral, 1, None),
}


@dataclass(frozen=True)
class Job:
    """One video and how to treat it; small, so that it travels to any worker."""

    key: str
    path: str
    out: str
    frames: int
    size: int
    scale: float
    threads: int


@dataclass(frozen=True)
class Result:
    """What became of one video: an outcome, the indices of its faces, and the reason where there are none."""

    key: str
    outcome: str
    faces: tuple[int, ...] = ()
    reason: str = ""
    resumed: bool = False


@dataclass
class Summary:
    """What became of every video of a run.

    Attributes:
        out: the output folder.
        results: one :class:`Result` a video, in the order of the keys.
        seconds: wall time.
    """

    out: Path
    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """Videos by outcome: ``done``, ``no face``, ``unreadable``."""
        return dict(Counter(result.outcome for result in self.results))

    @property
    def resumed(self) -> int:
        """Videos that an earlier run had finished."""
        return sum(result.resumed for result in self.results)

    @property
    def faces(self) -> int:
        """Faces on disk."""
        return sum(len(result.faces) for result in self.results)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """``(key, reason)`` of every video without a face on disk."""
        return [(result.key, result.reason) for result in self.results if result.outcome != DONE]

    def frame_paths(self) -> dict[str, list[Path]]:
        """``{key: paths of its faces, in time order}`` of every video that has any."""
        return {
            result.key: [face_path(self.out, result.key, index) for index in result.faces]
            for result in self.results
            if result.outcome == DONE
        }

    def __str__(self):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items()))
        head = f"{len(self.results)} videos: {counts} ({self.resumed} from before), {self.faces} faces"
        lines = [f"{head}, {self.seconds:.1f} s"]
        return "\n".join(lines + [printable(f"  {key}: {reason}") for key, reason in self.failures])


def preprocess(source, out, *, frames=32, size=256, scale=1.3, workers=None, progress=True) -> Summary:
    """Cut aligned faces out of videos.

    Of every video, ``frames`` evenly spaced frames are taken; the largest face of each goes to
    ``out/frames/<video>/<frame index, 3 digits>.png`` (lossless) and its five points, in pixels of the crop, to
    ``out/landmarks/<video>/<index>.npy`` (float32, 5×2). ``out/records/<video>.json`` is written last and says that
    the video is finished: a later run with the same settings passes over it.

    Args:
        source: a video (mp4 avi mov mkv webm), or a folder; below a folder, ``<video>`` keeps the relative folder.
        out: the output folder.
        frames: frames a video, 1 to 100000.
        size: side of a crop in pixels, 16 to 4096.
        scale: enlargement of the crop beyond the five-point template, 1 to 10.
        workers: processes, 1 or more; the number of cores by default. 1 works in this process.
        progress: show a bar with the rate.

    Returns:
        The :class:`Summary`; videos without a face, and those that cannot be read or must be renamed, are in its
        ``failures``.

    Raises:
        LNCLIPError: a setting is out of range, there is no video, or the output cannot be written.
    """
    _check_settings(frames=frames, size=size, scale=scale, **({} if workers is None else {"workers": workers}))
    started = time.monotonic()
    out = Path(out).resolve()
    videos = find_videos(source)
    _check_output(out)
    unfit = unfit_names(videos, out)
    cores = usable_cores()
    workers = max(1, min(workers or cores, len(videos) - len(unfit)))
    threads = max(1, cores // workers)
    fit = {key: str(path) for key, path in videos.items() if key not in unfit}
    jobs = [Job(key, path, str(out), int(frames), int(size), float(scale), threads) for key, path in fit.items()]
    results = _results(jobs, workers, progress) + [Result(key, UNREADABLE, reason=unfit[key]) for key in unfit]
    return Summary(out, sorted(results, key=lambda result: result.key), time.monotonic() - started)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_settings(**settings):
    for name, value in settings.items():
        kind, least, most = BOUNDS[name]
        if not (isinstance(value, kind) and value >= least and (most is None or value <= most)):
            number = "an integer" if kind is Integral else "a number"
            accepted = f"{least} or more" if most is None else f"{least} to {most}"
            raise LNCLIPError(f"{name}: {value!r} received; accepted is {number}, {accepted}")


def _check_output(out):
    for folder in (out, out / "frames", out / "landmarks", out / "records"):
        try:
            mode = os.stat(folder).st_mode
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise LNCLIPError(f"out: cannot write {folder}: {getattr(error, 'strerror', None) or error}") from error
        if not stat.S_ISDIR(mode):
            raise LNCLIPError(f"out: {folder} is a file; accepted is a folder, or a path where nothing is yet")


def _results(jobs, workers, progress):
    from tqdm import tqdm

    stream = map(process_video, jobs) if workers == 1 else _in_pool(jobs, workers)
    return list(tqdm(stream, total=len(jobs), unit="video", disable=not progress))


def _in_pool(jobs, workers):
    """Yield results as they come; a video that kills its process is tried alone, then given up."""
    lost = []
    with _pool(workers) as pool:
        waiting = {pool.submit(process_video, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(waiting[future])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for job in lost:
        with _pool(1) as pool:
            try:
                yield pool.submit(process_video, job).result()
            except BrokenProcessPool:
                yield Result(job.key, UNREADABLE, reason="its process died (a fault of the decoder, or no memory)")


def _pool(workers):
    return ProcessPoolExecutor(workers, get_context("spawn"))


@lru_cache(maxsize=1)
def _detector(threads):
    return RetinaFace(threads=threads)


@one_thread()
def process_video(job: Job) -> Result:
    """Preprocess one video unless it is finished, and record what became of it.

    Raises:
        LNCLIPError: the output cannot be written, or the video's name would leave the output folder.
    """
    record_path = inside(job.out, "records", *_parts(f"{job.key}.json"))
    stamp = _stamp(job)
    finished = _finished(record_path, job.key, stamp)
    if finished:
        return finished
    taken = _taken(job, record_path)
    if taken:
        return Result(job.key, UNREADABLE, reason=f"its name collides with {taken}; rename the file or remove that")
    _clear(job, record_path)
    try:
        chosen = sample_frames(job.path, job.frames, job.threads)
        faces = tuple(_write_faces(job, chosen))
    except (UnreadableVideo, MemoryError, ValueError) as error:
        _clear(job, record_path)
        return Result(job.key, UNREADABLE, reason=one_line(error))
    result = Result(job.key, DONE, faces) if faces else Result(job.key, NO_FACE, reason=_no_face(len(chosen)))
    write_json(record_path, {**stamp, "outcome": result.outcome, "faces": list(faces), "reason": result.reason})
    return result


def face_path(out, key, index) -> Path:
    """Where the face of a frame is."""
    return inside(out, "frames", *_parts(key), f"{index:03d}.png")


def landmarks_path(out, key, index) -> Path:
    """Where the five points of a face are."""
    return inside(out, "landmarks", *_parts(key), f"{index:03d}.npy")


def _parts(key):
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise LNCLIPError(f"the video name {key!r} is no folder name; rename the file")
    return parts


def _no_face(frames):
    return f"no face in {frames} frame{'s' if frames > 1 else ''}"


def _stamp(job):
    """What a finished video must agree in: the source file and the settings."""
    try:
        status = os.stat(job.path)
    except OSError:
        return {}
    return {
        "video": job.key,
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "settings": {"frames": job.frames, "size": job.size, "scale": job.scale, "detector": "retinaface"},
    }


def _finished(record_path, key, stamp):
    """The result of an earlier run, or None where there is none that agrees with ``stamp``."""
    try:
        record = read_json(record_path)
        if not stamp or any(record.get(name) != value for name, value in stamp.items()):
            return None
        return Result(key, record["outcome"], tuple(record["faces"]), record["reason"], resumed=True)
    except (LNCLIPError, AttributeError, KeyError, TypeError):
        return None


def _taken(job, record_path):
    """What an earlier run wrote, of a video of another name, where this one's faces or record must go; or None."""
    firsts = face_path(job.out, job.key, 0), landmarks_path(job.out, job.key, 0)
    for path in (record_path, *firsts):
        for folder in path.parents:
            if os.path.lexists(folder) and not os.path.isdir(folder):
                return folder
    written = [record_path, *(path for first in firsts for path in first.parent.glob(f"[0-9]*{first.suffix}"))]
    named = (path for path in written if path == record_path or FACE.fullmatch(path.name))
    return next((path for path in named if os.path.isdir(path)), None)


def _clear(job, record_path):
    """Remove what an interrupted run, or one with other settings, left of this video."""
    try:
        record_path.unlink(missing_ok=True)
        for path in (face_path(job.out, job.key, 0), landmarks_path(job.out, job.key, 0)):
            if path.parent.is_dir():
                for old in path.parent.iterdir():
                    if old.suffix == path.suffix and not old.is_dir():
                        old.unlink()
    except OSError as error:
        raise LNCLIPError(f"cannot write {error.filename or job.out}: {error.strerror or error}") from error


def _write_faces(job, chosen):
    """Write the largest face of every chosen frame; yield the indices of those that have one."""
    import cv2

    detector = _detector(job.threads)
    items = list(chosen.items())
    for start in range(0, len(items), CHUNK):
        indices, frames = zip(*items[start : start + CHUNK], strict=True)
        images = [to_rgb(frame) for frame in frames]
        for index, image, faces in zip(indices, images, detector(images), strict=True):
            points = largest(faces)
            if points is None:
                continue
            crop, moved = align(image, points, job.size, job.scale)
            _, png = cv2.imencode(".png", np.ascontiguousarray(crop[..., ::-1]))
            write_bytes(landmarks_path(job.out, job.key, index), _npy(moved))
            write_bytes(face_path(job.out, job.key, index), png.tobytes())
            yield index


def _npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
