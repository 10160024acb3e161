"""DeepfakeBench's dataset JSON: read into a list of videos, and written from the videos of a dataset.

``{dataset: {label: {train|val|test: {video: {"label": label, "frames": [path, …]}}}}}``, with a compression level
between the split and the video where the dataset has such levels.
"""

import difflib
import logging
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError, shown
from lnclip_df.core.files import read_json, sha256, write_json
from lnclip_df.core.provenance import digest
from lnclip_df.datasets.schema import own_datasets, own_labels

SPLITS = ("train", "val", "test")
COMPRESSIONS = ("raw", "c23", "c40")
COMPRESSED = {"FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FaceShifter", "DeepFakeDetection"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """One video of a split, as read from a dataset JSON.

    Attributes:
        label_name: its class in the file.
        label: 0 (real) or 1 (fake).
        compression: its compression level, None where the dataset has no levels.
        name: its key in the file.
        frames: paths as the file has them, in the order of their integer index.
        method: forgery method where the file names one (a class may cover several methods).
    """

    dataset: str
    label_name: str
    label: int
    split: str
    compression: str | None
    name: str
    frames: tuple[str, ...]
    method: str | None = None

    @property
    def key(self) -> str:
        """The full identity, ``dataset/label_name/[compression/]name``: names alone recur across classes."""
        return video_key(self.dataset, self.label_name, self.compression, self.name)


class Entry(NamedTuple):
    """One video to write into a dataset JSON.

    Attributes:
        label_name: its class in the file.
        name: its key in the file.
        frames: paths of its frames, in order.
        masks: paths of its mask images; None writes no list of masks.
        method: its forgery method; None writes none.
    """

    label_name: str
    split: str
    name: str
    frames: Sequence[str | os.PathLike]
    compression: str | None = None
    masks: Sequence[str | os.PathLike] | None = None
    method: str | None = None


def video_key(dataset: str, label_name: str, compression: str | None, name: str) -> str:
    """The full identity of a video; see ``Video.key``."""
    return "/".join(part for part in (dataset, label_name, compression, name) if part is not None)


def with_slashes(frame: str) -> str:
    """A frame's path with forward slashes: files written on Windows have backslashes."""
    return frame.replace("\\", "/")


def frame_path(frame: str, data_root, rgb_dir) -> Path:
    """A frame's path on disk: ``data_root/frame`` if it begins with ``.``, else ``data_root/rgb_dir/frame``."""
    frame = with_slashes(frame)
    return Path(data_root) / frame if frame.startswith(".") else Path(data_root) / rgb_dir / frame


# --- reading ----------------------------------------------------------------------------------------------------------


def read_videos(config: Config, names: list[str], split: str) -> list[Video]:
    """Read the videos of some datasets' split from ``{dataset_json_folder}/{name}.json``.

    A dataset of the FaceForensics++ family, or one whose splits contain only compression levels, gives the level
    ``compression`` of the configuration; DeepfakeBench's names that end in ``_c40`` (``FaceForensics++_c40``) give c40.

    A user's dataset (:func:`~lnclip_df.datasets.schema.own_datasets`) needs no file: without one, its faces are read.
    The labels of a user's datasets need not be in ``label_dict``.

    Args:
        names: dataset names; a repeated name is read once.
        split: ``train``, ``val`` or ``test``.

    Returns:
        Videos in the order of ``names``, then sorted by class and name, whatever the order in the file. With
        ``lnclip.missing_frames: skip`` a video without frames is left out (and logged).

    Raises:
        LNCLIPError: a file is absent or malformed, the split absent or empty, a label unknown, a video without
            frames, or a frame's path invalid; the message names the file and the key.
    """
    videos = []
    config = config.replace({"label_dict": own_labels() | (config.label_dict or {})})
    for name in dict.fromkeys(names):
        path, classes = _classes(config, name)
        found = sorted(_videos(config, path, classes, name, split), key=lambda video: (video.label_name, video.name))
        if not found:
            raise LNCLIPError(f"{path}: split {split} of {name} contains no video")
        videos += found
    return videos


def json_of(config: Config, name: str) -> Path:
    """The path of a dataset's JSON, which may be absent."""
    return Path(config.lnclip.data_root) / config.dataset_json_folder / f"{name}.json"


def dataset_digest(config: Config, name: str) -> str:
    """The digest of what :func:`read_videos` reads of a dataset: of its JSON file, or of a user's faces on disk."""
    path = json_of(config, name)
    return sha256(path) if path.is_file() else digest(_classes(config, name)[1])


def read_classes(path: Path, name: str) -> dict[str, dict]:
    """The classes of the dataset ``name``, ``{label: {split: records}}``, as its JSON has them."""
    return _mapping(path, _document(path), name)


def records_of_level(path: Path, dataset: str, key: str, records: dict, compression: str) -> tuple[dict, str | None]:
    """The videos of one compression level of a split, and that level; all videos and None if it has no levels.

    Args:
        path, key: the dataset JSON and ``dataset.label.split``, for the error.
        dataset: its name: the FaceForensics++ family has levels of any name.
        records: what the file has there.
        compression: the level to take.

    Raises:
        LNCLIPError: the split has levels, and not this one.
    """
    holds_videos = any(isinstance(record, dict) and "frames" in record for record in records.values())
    if not records or holds_videos or not (dataset in COMPRESSED or set(records) <= set(COMPRESSIONS)):
        return records, None
    return _mapping(path, records, compression, prefix=key), compression


def read_frame_paths(path: Path) -> list[str]:
    """Every frame's path in a dataset JSON, once, whatever its split and level.

    Raises:
        LNCLIPError: the file cannot be read, a list of frames is malformed, or there is no frame.
    """
    frames: dict[str, None] = {}
    for key, paths in _frame_lists(_document(path)):
        if not _are_paths(paths):
            raise LNCLIPError(f"{path}: {key}.frames is {shown(paths)}, not a list of paths; make the file again")
        frames.update(dict.fromkeys(paths))
    if not frames:
        raise LNCLIPError(f"{path} names no frame; make it again with rearrange")
    return list(frames)


def _document(path):
    if not Path(path).exists():
        raise LNCLIPError(f"no dataset file {path}; write it with lnclip-df rearrange")
    return read_json(path)


def _frame_lists(value, key="") -> Iterator[tuple[str, Any]]:
    """``frames`` of every video, whatever levels are above it."""
    if isinstance(value, dict) and "frames" in value and not isinstance(value["frames"], dict):
        yield key, value["frames"]
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _frame_lists(below, f"{key}.{name}" if key else name)


def _classes(config, name) -> tuple[Path, dict[str, dict]]:
    """The classes of a dataset, and the file that they come from.

    That is its JSON or, without one, the YAML of a user's dataset: then they are those of the faces on disk.
    """
    path, own = json_of(config, name), own_datasets()
    folder = path.parent
    if path.is_file():
        return path, read_classes(path, _without_level(name))
    if name in own:
        from lnclip_df.datasets.rearrange import document_of_faces  # it imports this module

        return own[name], document_of_faces(name, config.lnclip.data_root)[name]
    if not folder.is_dir():
        raise LNCLIPError(f"no folder {folder} (dataset_json_folder) to find {name}.json in; see lnclip.data_root")
    existing = sorted({*own, *(file.stem for file in folder.glob("*.json"))})
    near = difflib.get_close_matches(name, existing, n=3, cutoff=0.4) or existing
    raise LNCLIPError(f"no dataset file {path}; there is {', '.join(near) or 'no other'}")


def _without_level(name: str) -> str:
    """The dataset that a name of DeepfakeBench with a compression level is of (``FF-DF_c40``)."""
    return name[:-4] if name.endswith("_c40") and name[:-4] in COMPRESSED else name


def _videos(config, path, classes, name, split) -> Iterator[Video]:
    stem = _without_level(name)
    compression = config.compression if stem == name else "c40"
    for label_name in classes:
        key = f"{stem}.{label_name}.{split}"
        records = _mapping(path, _mapping(path, classes, label_name, prefix=stem), split, prefix=f"{stem}.{label_name}")
        records, level = records_of_level(path, stem, key, records, compression)
        key = f"{key}.{level}" if level else key
        for video, record in records.items():
            label, frames, method = _read_record(config, path, f"{key}.{video}", record)
            if frames:
                yield Video(name, label_name, label, split, level, video, frames, method)


def _mapping(path, parent, key, prefix="") -> dict:
    full_key = f"{prefix}.{key}" if prefix else key
    if not isinstance(parent, dict) or key not in parent:
        there = ", ".join(map(str, parent)) if isinstance(parent, dict) else ""
        raise LNCLIPError(f"{path}: no {full_key}; there is {there[:200] or 'nothing'}")
    if not isinstance(parent[key], dict):
        raise LNCLIPError(f"{path}: {full_key} is {shown(parent[key])}, not a mapping")
    return parent[key]


def _read_record(config, path, key, record) -> tuple[int, tuple[str, ...], str | None]:
    """A video's label, its sorted frames and its method, from ``{"label": name, "frames": [path, ...]}``."""
    if not isinstance(record, dict) or not {"label", "frames"} <= set(record):
        raise LNCLIPError(f"{path}: {key} is {shown(record)}, not a video's label and frames")
    known, label = config.label_dict, record["label"]
    if not isinstance(label, str) or label not in known:
        near = difflib.get_close_matches(str(label), known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise LNCLIPError(f"{path}: {key}.label {shown(label)} is not in label_dict{hint}; add it with 0 or 1")
    frames, method = record["frames"], record.get("method")
    if not _are_paths(frames):
        raise LNCLIPError(f"{path}: {key}.frames is {shown(frames)}, not a list of paths")
    if not frames and config.lnclip.missing_frames == "error":
        raise LNCLIPError(f"{path}: {key}.frames is empty; fix the file, or set lnclip.missing_frames: skip")
    if not frames:
        logger.warning("%s: %s has no frames and is left out", path, key)
    for frame in frames:
        if ".." in frame and posixpath.normpath(with_slashes(frame)).split("/")[0] == "..":
            raise LNCLIPError(f"{path}: {key}.frames: {frame!r} climbs out of its folder")
    if method is not None and not isinstance(method, str):
        raise LNCLIPError(f"{path}: {key}.method is {shown(method)}, not a name")
    try:
        return known[label], tuple(sorted(frames, key=_frame_index)), method
    except ValueError as error:
        raise LNCLIPError(f"{path}: {key}.frames: {error}; a frame is named by its integer index") from error


def _are_paths(value) -> bool:
    return isinstance(value, list) and all(isinstance(path, str) and path for path in value)


def _frame_index(frame: str) -> int:
    try:
        return int(with_slashes(frame).rsplit("/", 1)[-1].split(".")[0])
    except ValueError:
        raise ValueError(f"{frame!r} has no index") from None


# --- writing ----------------------------------------------------------------------------------------------------------


def write_dataset_json(path, dataset: str, entries: Iterable[Entry], *, root=None, levels=()) -> dict:
    """Write the dataset JSON of some videos, as :func:`dataset_document` makes it, and return what was written."""
    document = dataset_document(dataset, entries, root=root, levels=levels)
    write_json(path, document)
    return document


def dataset_document(dataset: str, entries: Iterable[Entry], *, root=None, levels=()) -> dict:
    """The content of the dataset JSON of some videos.

    Every label has all three splits, empty where it has no video there, because DeepfakeBench reads each of them.
    Labels and videos are sorted, frames stay in the order given: the same entries give the same bytes.

    Args:
        dataset: the dataset's name in the file.
        entries: the videos, in any order.
        root: write frame paths relative to this folder, beginning with ``./``; without it they are absolute.
        levels: ``(label, compression)`` of further levels that each split of a label has even without a video
            (compression None: the label has no levels).

    Raises:
        LNCLIPError: an unknown split, a video named twice, a video without frames, a frame outside ``root``, or a label
            with a level for some of its videos only.
    """
    entries = list(entries)
    classes = _empty_classes(dataset, {*levels, *((entry.label_name, entry.compression) for entry in entries)})
    below = None if root is None else os.path.join(os.path.abspath(root), "")
    for entry in sorted(
        entries, key=lambda entry: (entry.label_name, entry.split, entry.compression or "", entry.name)
    ):
        if entry.split not in SPLITS:
            raise LNCLIPError(f"video {entry.name!r}: split {entry.split!r} is none of {', '.join(SPLITS)}")
        videos = classes[entry.label_name][entry.split]
        videos = videos[entry.compression] if entry.compression else videos
        if entry.name in videos:
            raise LNCLIPError(
                f"{dataset}: video {entry.name!r} is twice in {entry.label_name}/{entry.split}; rename one"
            )
        if not entry.frames:
            raise LNCLIPError(f"{dataset}: video {entry.name!r} of {entry.label_name}/{entry.split} has no frames")
        videos[entry.name] = _record_of(entry, below)
    return {dataset: classes}


def _empty_classes(dataset, levels) -> dict[str, dict]:
    """Every label with its three splits and their levels, without videos."""
    classes: dict[str, dict] = {}
    for label, level in sorted(levels, key=lambda pair: (pair[0], pair[1] or "")):
        splits = classes.setdefault(label, {split: {} for split in SPLITS})
        if (level is None and splits["train"]) or (level and (label, None) in levels):
            raise LNCLIPError(f"{dataset}: label {label} has videos with and without a compression level")
        for videos in splits.values() if level else ():
            videos[level] = {}
    return classes


def _record_of(entry: Entry, below: str | None) -> dict:
    record: dict[str, Any] = {"label": entry.label_name}
    if entry.method is not None:
        record["method"] = entry.method
    record["frames"] = [_written_path(frame, below) for frame in entry.frames]
    if entry.masks is not None:
        record["masks"] = [_written_path(mask, below) for mask in entry.masks]
    return record


def _written_path(frame, below: str | None) -> str:
    path = os.path.abspath(frame)
    if below is None:
        return path.replace(os.sep, "/")
    if not path.startswith(below):
        raise LNCLIPError(f"frame {path} is not below the root {below}; give a root that contains all frames")
    return f"./{path[len(below) :].replace(os.sep, '/')}"
