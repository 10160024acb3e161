"""The dataset JSON that DeepfakeBench and this package read, from what preprocessing wrote."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lnclip_df.errors import LNCLIPError
from lnclip_df.files import write_json

SPLITS = ("train", "val", "test")


class Entry(NamedTuple):
    """One video: its label's name, ``train``, ``val`` or ``test``, its name, and its frames in order."""

    label: str
    split: str
    video: str
    frames: Sequence[str | os.PathLike]


def write_dataset_json(path, dataset: str, entries: Iterable[Entry], *, root=None, compression=None) -> dict:
    """Write ``{dataset: {label: {train|val|test: {video: {"label": label, "frames": [path, …]}}}}}``.

    Every label has all three splits, empty where it has no video there, since DeepfakeBench looks each one up. Labels
    and videos are sorted, frames stay in the order given: the same entries make the same bytes.

    Args:
        path: the JSON file.
        dataset: the dataset's name in it.
        entries: :class:`Entry` tuples, in any order.
        root: write frame paths relative to this folder, beginning with ``./``; without it they are absolute.
        compression: a further level under the split (``c23``), for the sets that have one.

    Returns:
        What was written.

    Raises:
        LNCLIPError: an unknown split, a video named twice, a video without frames, or a frame outside ``root``.
    """
    table = {}
    for entry in sorted(entries, key=lambda entry: tuple(entry[:3])):
        videos = _videos(table, entry, compression)
        if entry.video in videos:
            raise LNCLIPError(f"{dataset}: video {entry.video!r} is twice in {entry.label}/{entry.split}; rename one")
        if not entry.frames:
            raise LNCLIPError(f"{dataset}: video {entry.video!r} of {entry.label}/{entry.split} has no frames")
        videos[entry.video] = {"label": entry.label, "frames": [_frame_path(frame, root) for frame in entry.frames]}
    document = {dataset: table}
    write_json(path, document)
    return document


def _videos(table, entry, compression):
    """The mapping of videos that ``entry`` belongs to, with the label's splits made at its first video."""
    if entry.split not in SPLITS:
        raise LNCLIPError(f"video {entry.video!r}: split {entry.split!r} is none of {', '.join(SPLITS)}")
    if entry.label not in table:
        table[entry.label] = {split: {} if compression is None else {compression: {}} for split in SPLITS}
    videos = table[entry.label][entry.split]
    return videos if compression is None else videos[compression]


def _frame_path(frame, root):
    path = Path(os.path.abspath(frame))
    if root is None:
        return path.as_posix()
    root = Path(os.path.abspath(root))
    if root not in path.parents:
        raise LNCLIPError(f"frame {path} is not below the root {root}; give a root that holds all frames")
    return f"./{path.relative_to(root).as_posix()}"
