"""Preprocess many videos: resumable, in parallel or on a cluster, a broken video never stops the others."""

import os
import re
import stat
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, parent_process
from numbers import Integral
from pathlib import Path
from threading import Thread

from lnclip_df.core.errors import LNCLIPError, one_line, printable
from lnclip_df.media.discover import find_videos
from lnclip_df.media.recipe import fingerprint
from lnclip_df.preprocess.file_names import unfit_names
from lnclip_df.preprocess.manifest import worst, write_contact_sheet, write_manifest
from lnclip_df.preprocess.paths import Source, face_name
from lnclip_df.preprocess.records import finished, read_record
from lnclip_df.preprocess.settings import Settings, check_number
from lnclip_df.preprocess.video_job import DONE, UNREADABLE, Job, Record, detector_of, give_up, process_video

DIED = "its process died (a fault of the decoder, or no memory)"
SHOWN = 20  # failures in the summary's text; the manifest has all
WAITING = "waiting"  # for another shard


@dataclass
class Summary:
    """What became of every video of a run.

    Attributes:
        out: the output folder.
        results: one :class:`~lnclip_df.preprocess.video_job.Record` a video, in the order of the keys.
        seconds: wall time.
        recipe: of the crops, with its ``fingerprint``.
        places: ``{key: folder of its crops}``.
        manifest: the CSV with a row a video.
        sheet: the PNG with random crops, None where there is none.
    """

    out: Path
    results: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    recipe: dict = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)
    manifest: Path | None = None
    sheet: Path | None = None

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
        return sum(len(result.saved) for result in self.results)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """``(key, reason)`` of every video without a face on disk."""
        return [(result.key, result.reason) for result in self.results if result.outcome != DONE]

    @property
    def worst(self) -> list[Record]:
        """The ten videos with the fewest faces for the frames looked at, of those that have any."""
        return worst([result for result in self.results if result.outcome == DONE])

    def frame_paths(self) -> dict[str, list[Path]]:
        """``{key: paths of its faces, in time order}`` of every video that has any."""
        return {
            result.key: [self.places[result.key] / face_name(index) for index in result.saved]
            for result in self.results
            if result.outcome == DONE
        }

    def __str__(self):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items()))
        head = f"{len(self.results)} videos: {counts} ({self.resumed} from before), {self.faces} faces"
        failures = [printable(f"  {key}: {reason}") for key, reason in self.failures[:SHOWN]]
        more = [f"  and {len(self.failures) - SHOWN} more: see {self.manifest}"] if self.failures[SHOWN:] else []
        return "\n".join([f"{head}, {self.seconds:.1f} s", *failures, *more])


def preprocess(source, out, **options) -> Summary:
    """Cut aligned faces out of videos.

    Of every video, frames are chosen as ``sampling`` says; a face of each goes to
    ``out/frames/<video>/<frame index, 3 digits>.png`` (lossless, its recipe in a text chunk) and its landmarks, in
    pixels of the crop, to ``out/landmarks/<video>/<index>.npy``. ``out/records/<video>.json`` is written last and says
    that the video is finished: a later run passes over it. ``out/manifests/`` gets a row a video, the parameters and
    versions, and a sheet of random crops.

    Args:
        source: a video, an image, or a folder; below a folder, ``<video>`` keeps the relative folder.
        out: the output folder.
        **options: those of :func:`preprocess_sources`.

    Returns:
        The :class:`Summary`; videos without a face, and those that cannot be read or must be renamed, are in its
        ``failures``.

    Raises:
        LNCLIPError: as :func:`preprocess_sources`, or there is no video.
    """
    source = Path(source)
    sources = [Source(key, str(path)) for key, path in find_videos(source).items()]
    name = source.resolve().name if source.is_dir() else source.stem
    return preprocess_sources(sources, out, name=name or "videos", **options)


def preprocess_dataset(dataset: str, root, out=None, *, splits=(), level=None, folders=None, **options) -> Summary:
    """Cut aligned faces out of the videos of a dataset, into DeepfakeBench's folders.

    A video ``<folder>/videos/<name>.mp4`` (or without ``videos/``) gives ``<folder>/frames/<name>/``, ``landmarks/``
    and, where the dataset has them, ``masks/``. The manifest is named by the dataset, and by level and splits where
    these are given.

    Args:
        dataset: a name of :func:`~lnclip_df.datasets.schema.dataset_names`, or a YAML file.
        root: the folder that holds the dataset folders.
        out: the folder to write the same tree below; ``root`` by default.
        splits: only videos of these splits (``train``, ``val``, ``test``); all by default.
        level: the compression, where the dataset has several on disk.
        folders: ``{folder of the YAML: path}``, where a tree is named otherwise.
        **options: those of :func:`preprocess_sources`; ``face`` is the dataset's by default, and of a combination
            (LNCLIP-val) each part's.

    Raises:
        LNCLIPError: as :func:`preprocess_sources`, or the dataset is unknown or not below ``root``.
    """
    from lnclip_df.datasets.scan import scan_videos
    from lnclip_df.datasets.schema import load_dataset

    spec = load_dataset(dataset)
    items = scan_videos(spec, root, level=level, folders=folders)
    items = [item for item in items if not splits or set(splits) & set(item.splits)]
    if not items:
        raise LNCLIPError(f"{spec.name}: no video below {root} is in {' or '.join(splits)}")
    target = root if out is None else out
    parts = [load_dataset(part.dataset) for part in spec.combine.parts] if spec.combine else [spec]
    summaries = []
    for part in parts:
        sources = [_source(item, root, out) for item in items if item.label in part.labels]
        name = ".".join(filter(None, [spec.name, part.name if spec.combine else None, level, *splits]))
        if sources:
            summaries.append(preprocess_sources(sources, target, name=name, **({"face": part.face} | options)))
    return summaries[0] if len(summaries) == 1 else _joined(summaries)


def _joined(summaries):
    """Several runs' summaries as one; each has its own manifest."""
    recipes = dict.fromkeys(summary.recipe["fingerprint"] for summary in summaries)
    return Summary(
        summaries[0].out,
        [result for summary in summaries for result in summary.results],
        sum(summary.seconds for summary in summaries),
        {"fingerprint": ", ".join(recipes)},
        {key: place for summary in summaries for key, place in summary.places.items()},
        summaries[0].manifest.parent,
    )


def _source(item, root, out):
    """Where a dataset's video comes from and goes to: beside it, or with ``out`` where its logical path says."""
    mask = None if item.mask is None else str(item.mask)
    folder, _, name = item.path.rpartition("/")
    if out is None:
        folder = item.file.parent.parent if item.file.parent.name == "videos" else item.file.parent
        try:
            folder = folder.relative_to(root).as_posix()
        except ValueError as error:
            raise LNCLIPError(f"{folder} is mapped from outside {root}: give --out for its faces") from error
    return Source(item.path, str(item.file), folder, name, mask)


def preprocess_sources(
    sources, out, *, name="videos", workers=None, scheduler=None, shard=None, progress=True, **settings
) -> Summary:
    """Cut aligned faces out of the videos given.

    Args:
        sources: :class:`~lnclip_df.preprocess.paths.Source` a video.
        out: the output folder.
        name: of the manifest.
        workers: processes, 1 or more; the number of cores by default. 1 works in this process.
        scheduler: address of a Dask scheduler, such as ``tcp://host:8786``; its workers see the same paths.
        shard: ``i/n``: only the i-th of n parts of the videos, for job arrays.
        progress: show a bar with the rate and the remaining time.
        **settings: those of :class:`~lnclip_df.preprocess.settings.Settings`.

    Raises:
        LNCLIPError: a setting is out of range, crops of another recipe are there already, or the output cannot be
            written.
    """
    if workers is not None:
        check_number("workers", workers, Integral, 1)
    settings, part = Settings(**settings), _shard(shard)
    started, out = time.monotonic(), Path(out).resolve()
    sources = sorted(map(_absolute, sources), key=lambda source: source.key)
    _check_output(out)
    cores = usable_cores()
    recipe = detector_of(settings, cores)[1]
    recipe = recipe | {"fingerprint": fingerprint(recipe)}
    results = {key: Record(key, UNREADABLE, reason) for key, reason in unfit_names(sources, out).items()}
    places = {source.key: source.place(out, "frames") for source in sources if source.key not in results}
    mine = [source for source in sources[part] if source.key in places]
    for source in mine:
        record = finished(source, out, recipe)
        if record is not None:
            results[source.key] = record
    todo = [source for source in mine if source.key not in results]
    workers = max(1, min(workers or cores, len(todo)))
    threads = max(1, cores // workers)
    jobs = [Job(source, str(out), settings, recipe["fingerprint"], threads) for source in todo]
    for record in _results(jobs, workers, scheduler, len(mine) - len(todo), progress):
        results[record.key] = record
    summary = Summary(out, [results[source.key] for source in sources[part]], recipe=recipe, places=places)
    rows = [results.get(source.key) or read_record(source, out) or Record(source.key, WAITING) for source in sources]
    summary.manifest = write_manifest(out, name, rows, {"settings": settings.as_dict(), "recipe": recipe})
    summary.sheet = write_contact_sheet(out, name, places, rows)
    summary.seconds = time.monotonic() - started
    return summary


def _absolute(source):
    """The same source with whole paths: a cluster's workers run in other folders."""
    mask = source.mask and os.path.abspath(source.mask)
    return replace(source, path=os.path.abspath(source.path), mask=mask)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shard(text):
    """The slice that ``i/n`` means."""
    if text is None:
        return slice(None)
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    place, parts = map(int, match.groups()) if match else (0, 0)
    if not 1 <= place <= parts:
        raise LNCLIPError(f"shard: {text!r} received; accepted is i/n with 1 ≤ i ≤ n, such as 1/8")
    return slice(place - 1, None, parts)


def _check_output(out):
    for folder in (out, *(out / name for name in ("frames", "landmarks", "records", "manifests"))):
        try:
            mode = os.stat(folder).st_mode
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise LNCLIPError(f"out: cannot write {folder}: {getattr(error, 'strerror', None) or error}") from error
        if not stat.S_ISDIR(mode):
            raise LNCLIPError(f"out: {folder} is a file; accepted is a folder, or a path where nothing is yet")


def _results(jobs, workers, scheduler, before, progress) -> Iterator[Record]:
    from tqdm import tqdm

    if not jobs:
        return
    if scheduler is not None:
        stream = _on_cluster(jobs, scheduler)
    else:
        stream = map(process_video, jobs) if workers == 1 else _in_processes(jobs, workers)
    with tqdm(total=before + len(jobs), initial=before, unit="video", disable=not progress) as bar:
        for record in stream:
            bar.update()
            yield record


def _in_processes(jobs, workers):
    """Yield records as they come; where a process dies, the videos under way are tried alone, then given up."""
    jobs = deque(jobs)
    while jobs:
        lost = yield from _until_a_process_dies(jobs, workers)
        for job in lost:
            with _pool(1) as pool:
                try:
                    yield pool.submit(process_video, job).result()
                except BrokenProcessPool:
                    yield give_up(job, DIED)


def _until_a_process_dies(jobs, workers):
    """Work jobs off from the left; return those that were under way when a process died, if one did."""
    lost = []
    with _pool(workers) as pool:
        under_way = {}
        try:
            while (jobs and not lost) or under_way:
                while jobs and not lost and len(under_way) < 2 * workers:
                    try:
                        future = pool.submit(process_video, jobs[0])
                    except BrokenProcessPool:
                        lost.append(jobs.popleft())
                    else:
                        under_way[future] = jobs.popleft()
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    job = under_way.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        lost.append(job)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return lost


def _pool(workers):
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_the_parent)


def _end_with_the_parent():
    """Let a worker end as soon as the process that started it is gone, however that ended."""

    def watch():
        parent_process().join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _on_cluster(jobs, scheduler):
    """Yield records as a Dask cluster gives them."""
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise LNCLIPError("--scheduler needs Dask; install the extra: pip install 'lnclip-df[cluster]'") from error
    try:
        client = Client(scheduler)
    except (OSError, ValueError, TimeoutError) as error:
        raise LNCLIPError(f"scheduler: no Dask scheduler at {scheduler}: {one_line(error)}") from error
    with client, client.get_executor() as executor:
        under_way = {executor.submit(process_video, job): job for job in jobs}
        try:
            while under_way:
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    job = under_way.pop(future)
                    try:
                        yield future.result()
                    except KilledWorker:
                        yield give_up(job, DIED)
        except BaseException:
            executor.shutdown(wait=False)  # cancels what waits
            raise
