"""DeepfakeBench's dataset JSON, read into a list of videos."""

import difflib
import logging
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json

COMPRESSIONS = ("raw", "c23", "c40")
COMPRESSED = {"FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FaceShifter", "DeepFakeDetection"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """One video of a dataset's split.

    ``label_name`` is the dataset file's class, ``label`` 0 (real) or 1 (fake), ``compression`` None where the dataset
    has no such level, ``frames`` the paths as the file has them, in the order of their integer index, ``method`` how a
    fake was made where the file says so (a label may cover several methods).
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
        parts = (self.dataset, self.label_name, self.compression, self.name)
        return "/".join(part for part in parts if part is not None)


def read_videos(config: dict, names: list[str], split: str) -> list[Video]:
    """Read the videos of some datasets' split from ``{dataset_json_folder}/{name}.json``.

    A dataset of the FaceForensics++ family, or one whose splits hold nothing but compression levels, gives the level
    ``config["compression"]``; DeepfakeBench's ``FaceForensics++_c40`` and its like give c40.

    Args:
        config: see ``lnclip_df.config.loading.load_config``.
        names: dataset names; one named twice is read once.
        split: ``train``, ``val`` or ``test``.

    Returns:
        Videos in the order of ``names``, then sorted by class and name, whatever the order in the file. With
        ``lnclip.missing_frames: skip`` a video without frames is left out (and logged).

    Raises:
        LNCLIPError: a file is absent or malformed, the split absent or empty, a label unknown, a video without
            frames, or a frame's path unfit; the message names the file and the key.
    """
    videos = []
    for name in dict.fromkeys(names):
        path = _dataset_file(config, name)
        found = sorted(_videos(config, path, name, split), key=lambda video: (video.label_name, video.name))
        if not found:
            raise LNCLIPError(f"{path}: split {split} of {name} holds no video")
        videos += found
    return videos


def evenly_spaced(frames, n: int) -> tuple:
    """Choose ``n`` frames evenly over a video, first and last included; all of them where there are fewer."""
    if len(frames) <= n:
        return tuple(frames)
    return tuple(frames[i] for i in np.linspace(0, len(frames) - 1, n).round().astype(int))


def _dataset_file(config, name):
    folder = Path(config["lnclip"]["data_root"]) / config["dataset_json_folder"]
    path = folder / f"{name}.json"
    if path.is_file():
        return path
    if not folder.is_dir():
        raise LNCLIPError(f"no folder {folder} (dataset_json_folder) to find {name}.json in; see lnclip.data_root")
    existing = sorted(file.stem for file in folder.glob("*.json"))
    near = difflib.get_close_matches(name, existing, n=3, cutoff=0.4) or existing
    raise LNCLIPError(f"no dataset file {path}; there is {', '.join(near) or 'no other'}")


def _videos(config, path, name, split):
    stem, compression = (name[:-4], "c40") if _is_c40(name) else (name, config["compression"])
    classes = _mapping(path, read_json(path), stem)
    for label_name in classes:
        key = f"{stem}.{label_name}.{split}"
        records = _mapping(path, _mapping(path, classes, label_name, prefix=stem), split, prefix=f"{stem}.{label_name}")
        level = compression if _has_levels(stem, records) else None
        if level is not None:
            records = _mapping(path, records, level, prefix=key)
            key = f"{key}.{level}"
        for video, record in records.items():
            label, frames, method = _record(config, path, f"{key}.{video}", record)
            if frames:
                yield Video(name, label_name, label, split, level, video, frames, method)


def _is_c40(name):
    return name.endswith("_c40") and name[:-4] in COMPRESSED


def _has_levels(name, records):
    """Whether a split's keys are compression levels rather than videos."""
    holds_videos = any(isinstance(record, dict) and "frames" in record for record in records.values())
    return bool(records) and not holds_videos and (name in COMPRESSED or set(records) <= set(COMPRESSIONS))


def _mapping(path, parent, key, prefix=""):
    where = f"{prefix}.{key}" if prefix else key
    if not isinstance(parent, dict) or key not in parent:
        there = ", ".join(map(str, parent)) if isinstance(parent, dict) else ""
        raise LNCLIPError(f"{path}: no {where}; there is {there[:200] or 'nothing'}")
    if not isinstance(parent[key], dict):
        raise LNCLIPError(f"{path}: {where} is {_shown(parent[key])}, not a mapping")
    return parent[key]


def _record(config, path, key, record):
    """A video's label, its sorted frames and its method, from ``{"label": name, "frames": [path, ...]}``."""
    if not isinstance(record, dict) or not {"label", "frames"} <= set(record):
        raise LNCLIPError(f"{path}: {key} is {_shown(record)}, not a video's label and frames")
    known, label = config["label_dict"], record["label"]
    if not isinstance(label, str) or label not in known:
        near = difflib.get_close_matches(str(label), known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise LNCLIPError(f"{path}: {key}.label {_shown(label)} is not in label_dict{hint}; add it with 0 or 1")
    frames = record["frames"]
    if not isinstance(frames, list) or not all(isinstance(frame, str) and frame for frame in frames):
        raise LNCLIPError(f"{path}: {key}.frames is {_shown(frames)}, not a list of paths")
    if not frames and config["lnclip"]["missing_frames"] == "error":
        raise LNCLIPError(f"{path}: {key}.frames is empty; mend the file, or set lnclip.missing_frames: skip")
    if not frames:
        logger.warning("%s: %s has no frames and is left out", path, key)
    _check_inside(path, key, frames)
    method = record.get("method")
    if method is not None and not isinstance(method, str):
        raise LNCLIPError(f"{path}: {key}.method is {_shown(method)}, not a name")
    return known[label], tuple(_sorted(path, key, frames)), method


def _check_inside(path, key, frames):
    for frame in frames:
        if ".." in frame and posixpath.normpath(slashes(frame)).split("/")[0] == "..":
            raise LNCLIPError(f"{path}: {key}.frames: {frame!r} climbs out of its folder")


def _sorted(path, key, frames):
    try:
        return sorted(frames, key=_frame_index)
    except ValueError as error:
        raise LNCLIPError(f"{path}: {key}.frames: {error}; a frame is named by its integer index") from error


def _frame_index(frame):
    stem = re.split(r"[/\\]", frame)[-1].split(".")[0]
    try:
        return int(stem)
    except ValueError:
        raise ValueError(f"{frame!r} has no index") from None


def slashes(frame: str) -> str:
    """A frame's path with forward separators: files written on Windows have the others."""
    return frame.replace("\\", "/")


def _shown(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
