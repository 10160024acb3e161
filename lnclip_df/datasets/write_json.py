"""The dataset JSON that DeepfakeBench and this package read, from what preprocessing wrote."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_json

SPLITS = ("train", "val", "test")


class Entry(NamedTuple):
    """One video: its label's name, ``train``, ``val`` or ``test``, its name, and its frames in order.

    ``level`` is its compression level in the file (``c23``), ``masks`` its mask images where its record is to list
    them, ``extra`` further keys of the record.
    """

    label: str
    split: str
    video: str
    frames: Sequence[str | os.PathLike]
    level: str | None = None
    masks: Sequence[str | os.PathLike] | None = None
    extra: Mapping[str, str] = {}


def write_dataset_json(path, dataset: str, entries: Iterable[Entry], *, root=None, compression=None, levels=()) -> dict:
    """Write ``{dataset: {label: {train|val|test: {video: {"label": label, "frames": [path, …]}}}}}``.

    Every label has all three splits, empty where it has no video there, since DeepfakeBench looks each one up. Labels
    and videos are sorted, frames stay in the order given: the same entries make the same bytes.

    Args:
        path: the JSON file.
        dataset: the dataset's name in it.
        entries: :class:`Entry` tuples, in any order.
        root: write frame paths relative to this folder, beginning with ``./``; without it they are absolute.
        compression: a further level under the split (``c23``) for entries that name none, for the sets that have one.
        levels: ``(label, level)`` of further levels (None: no such level) that each split of a label has, be it empty.

    Returns:
        What was written.

    Raises:
        LNCLIPError: an unknown split, a video named twice, a video without frames, a frame outside ``root``, or a label
            with a level for some of its videos only.
    """
    entries = [entry if entry.level else entry._replace(level=compression) for entry in entries]
    table = _skeleton(dataset, {*levels, *((entry.label, entry.level) for entry in entries)})
    below = None if root is None else os.path.join(os.path.abspath(root), "")
    for entry in sorted(entries, key=lambda entry: (entry.label, entry.split, entry.level or "", entry.video)):
        videos = _videos(table, entry)
        if entry.video in videos:
            raise LNCLIPError(f"{dataset}: video {entry.video!r} is twice in {entry.label}/{entry.split}; rename one")
        if not entry.frames:
            raise LNCLIPError(f"{dataset}: video {entry.video!r} of {entry.label}/{entry.split} has no frames")
        videos[entry.video] = _record(entry, below)
    document = {dataset: table}
    write_json(path, document)
    return document


def _skeleton(dataset, levels):
    """Every label with its three splits and their levels, still without videos."""
    table = {}
    for label, level in sorted(levels, key=lambda pair: (pair[0], pair[1] or "")):
        splits = table.setdefault(label, {split: {} for split in SPLITS})
        if (level is None and splits["train"]) or (level and (label, None) in levels):
            raise LNCLIPError(f"{dataset}: label {label} has videos with and without a compression level")
        for videos in splits.values() if level else ():
            videos[level] = {}
    return table


def _videos(table, entry):
    """The mapping of videos that ``entry`` belongs to."""
    if entry.split not in SPLITS:
        raise LNCLIPError(f"video {entry.video!r}: split {entry.split!r} is none of {', '.join(SPLITS)}")
    videos = table[entry.label][entry.split]
    return videos[entry.level] if entry.level else videos


def _record(entry, below):
    record = {"label": entry.label, **entry.extra, "frames": [_frame_path(frame, below) for frame in entry.frames]}
    if entry.masks is not None:
        record["masks"] = [_frame_path(mask, below) for mask in entry.masks]
    return record


def _frame_path(frame, below):
    path = os.path.abspath(frame)
    if below is None:
        return path.replace(os.sep, "/")
    if not path.startswith(below):
        raise LNCLIPError(f"frame {path} is not below the root {below}; give a root that holds all frames")
    return f"./{path[len(below) :].replace(os.sep, '/')}"
