"""Preprocess many videos: resumable, in parallel or on a cluster; a broken video never stops the others."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable
from lnclip_df.core.iteration import map_batches
from lnclip_df.faces.detectors import shared_detector
from lnclip_df.faces.recipes import changed
from lnclip_df.faces.settings import CropSettings
from lnclip_df.media.discover import Found, find_videos
from lnclip_df.media.recipe import Recipe
from lnclip_df.media.remote import find_at, is_url, refuse_url
from lnclip_df.media.video import check_decoder
from lnclip_df.preprocess.manifest import write_contact_sheet, write_manifest
from lnclip_df.preprocess.options import RunOptions
from lnclip_df.preprocess.paths import Source, invalid_names
from lnclip_df.preprocess.records import UNREADABLE, WAITING, Record, finished, read_record
from lnclip_df.preprocess.summary import Summary
from lnclip_df.preprocess.video_job import Job
from lnclip_df.preprocess.workers import work_off


def preprocess(
    source, out, settings: CropSettings | None = None, run: RunOptions | None = None, *, sequences: bool = False
) -> Summary:
    """Cut aligned faces out of videos.

    Of every video, frames are chosen as ``settings.sampling`` says; a face of each goes to
    ``out/frames/<video>/<frame index, 3 digits>.png`` (lossless, its recipe in a text chunk) and its landmarks, in
    pixels of the crop, to ``out/landmarks/<video>/<index>.npy``. ``out/records/<video>.json`` is written last and says
    that the video is finished: a later run skips it. ``out/manifests/`` gets one row per video, the parameters and
    versions, and a sheet of random crops.

    Args:
        source: a video, an image, or a folder, or the URL of one (``s3://…``, see ``media/remote.py``); below a
            folder, ``<video>`` keeps the relative folder.
        out: the output folder.
        settings: how faces are found and cut.
        run: where the run works, and on which part of the videos.
        sequences: whether all numbered images of a folder are one video, see
            :func:`~lnclip_df.media.discover.find_videos`.

    Returns:
        The summary; videos without a face, and those that cannot be read or must be renamed, are in its ``failures``.

    Raises:
        LNCLIPError: as :func:`preprocess_sources`, or there is no video.
    """
    if is_url(source):
        found = find_at(str(source), sequences=sequences)
        name = PurePosixPath(urlsplit(str(source)).path).stem
    else:
        found, path = find_videos(source, sequences=sequences), Path(source)
        name = path.resolve().name if path.is_dir() else path.stem
    sources = [Source(key, str(path)) for key, path in found.videos.items()]
    return preprocess_sources(sources, out, settings, run, name=name or "videos", found=found)


def preprocess_dataset(
    dataset: str, root=None, out=None, settings: CropSettings | None = None, run: RunOptions | None = None, *,
    splits: Sequence[str] = (), level: str | None = None, folders: dict[str, str] | None = None,
    allow_missing: bool = False,
) -> Summary:  # fmt: skip
    """Cut aligned faces out of the videos of a dataset, into DeepfakeBench's folders.

    A video ``<folder>/videos/<name>.mp4`` (or without ``videos/``) gives ``<folder>/frames/<name>/``, ``landmarks/``
    and, where the dataset has them, ``masks/``. The manifest is named by the dataset, and by level and splits where
    these are given.

    Args:
        dataset: what :func:`~lnclip_df.datasets.schema.load_dataset` takes.
        root: the folder that contains the dataset folders; not needed where the YAML says where they lie.
        out: the folder to write the same tree below; by default the YAML's ``faces``, else ``root``.
        settings, run: as for :func:`preprocess`. Without a ``face`` it is the dataset's, and each part's of a
            combination (LNCLIP-val).
        splits: only videos of these splits (``train``, ``val``, ``test``); all by default.
        level: the compression, where the dataset has several on disk.
        folders: ``{folder of the YAML: path}``, where a tree is named otherwise.
        allow_missing: leave out the parts of a combination that are not on disk.

    Raises:
        LNCLIPError: as :func:`preprocess_sources`, or the dataset is unknown or not below ``root``.
    """
    from lnclip_df.datasets.scan import scan_videos
    from lnclip_df.datasets.schema import load_dataset

    refuse_url("root", root)
    spec = load_dataset(dataset)
    items = scan_videos(spec, root, level=level, folders=folders, allow_missing=allow_missing)
    items = [item for item in items if not splits or set(splits) & set(item.splits)]
    if not items:
        raise LNCLIPError(f"{spec.name}: no video is in {' or '.join(splits)}")
    parts = [load_dataset(part.dataset) for part in spec.combine.parts] if spec.combine else [spec]
    classes = {item.path: "fake" if item.fake else "real" for item in items}
    summaries = []
    for part in parts:
        place = part.faces if out is None else out
        target = root if place is None else place
        if target is None:
            raise LNCLIPError(f"{part.name}: out is missing: name the folder for its faces, or faces in its YAML")
        sources = [_source(item, root, place) for item in items if item.label in part.labels]
        name = ".".join(filter(None, [spec.name, part.name if spec.combine else None, level, *splits]))
        if sources:
            own = (settings or CropSettings()).with_default_face(part.face)
            summaries.append(preprocess_sources(sources, target, own, run, name=name, classes=classes))
    return summaries[0] if len(summaries) == 1 else _joined(summaries)


def _joined(summaries):
    """Several runs' summaries as one; each has its own manifest."""
    recipes = dict.fromkeys(summary.recipe.fingerprint for summary in summaries)
    return Summary(
        summaries[0].out,
        Recipe({}, ", ".join(recipes)),
        [result for summary in summaries for result in summary.results],
        sum(summary.seconds for summary in summaries),
        {key: folder for summary in summaries for key, folder in summary.folders.items()},
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
            raise LNCLIPError(f"{folder} is mapped from outside {root}: name an output folder for its faces") from error
    return Source(item.path, str(item.file), folder, name, mask)


def preprocess_sources(
    sources: Iterable[Source], out, settings: CropSettings | None = None, run: RunOptions | None = None, *,
    name: str = "videos", found: Found | None = None, classes: Mapping[str, str] | None = None,
) -> Summary:  # fmt: skip
    """Cut aligned faces out of the videos given, as :func:`preprocess` does.

    ``name`` is the manifest's, which also says what ``found`` has passed over. The contact sheet shows ``classes``,
    ``{key: real or fake}``.

    Raises:
        LNCLIPError: crops of another recipe are there already, or the output cannot be written.
    """
    refuse_url("out", out)
    started, out = time.monotonic(), Path(out).resolve()
    settings, run = (settings or CropSettings()).with_default_face(), run or RunOptions()
    sources = sorted(map(_absolute, sources), key=lambda source: source.key)
    for folder in (out, *(out / name for name in ("frames", "landmarks", "records", "manifests"))):
        check_writable(folder, folder=True)
    check_decoder(settings.decode_on)
    cores = usable_cores()
    recipe = settings.recipe(shared_detector(settings, cores))
    facts: dict = {"settings": settings.to_dict(), "changed": changed(settings), "recipe": recipe.to_dict()}
    results = {key: Record(key, UNREADABLE, reason) for key, reason in invalid_names(sources, out).items()}
    folders = {source.key: source.folder_of(out, "frames") for source in sources if source.key not in results}
    mine = [source for source in sources[run.part()] if source.key in folders]
    batches = map_batches(
        lambda source: finished(source, out, recipe), mine, title="check", unit="video", progress=run.progress
    )
    results |= {source.key: record for batch in batches for source, record in batch if record is not None}
    todo = [source for source in mine if source.key not in results]
    workers = max(1, min(run.workers or cores, len(todo)))
    threads = max(1, cores // workers)
    jobs = (Job(source, str(out), settings, recipe.fingerprint, threads, run.format) for source in todo)
    if todo:
        results |= _results(work_off(jobs, workers, run.scheduler), run, len(mine), len(todo))
    summary = Summary(out, recipe, [results[source.key] for source in sources[run.part()]], folders=folders)
    rows = [results.get(source.key) or read_record(source, out) or Record(source.key, WAITING) for source in sources]
    if found is not None:
        facts |= {"skipped": found.skipped, "image_sequences": found.sequences, "numbered_images": found.numbered}
        summary.notes = found.notes()
    summary.manifest = write_manifest(out, name, rows, facts)
    summary.sheet = write_contact_sheet(out, name, folders, rows, classes)
    summary.seconds = time.monotonic() - started
    return summary


def _results(records, run, total, todo):
    """``{key: record}`` of the records that come, with a bar."""
    from tqdm import tqdm

    bar = tqdm(records, total=total, initial=total - todo, unit="video", disable=not run.progress)
    return {record.key: record for record in bar}


def _absolute(source):
    """The same source with absolute paths: a cluster's workers run in other folders."""
    mask = source.mask and os.path.abspath(source.mask)
    path = source.path if is_url(source.path) else os.path.abspath(source.path)
    return replace(source, path=path, mask=mask)
