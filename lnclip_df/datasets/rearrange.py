"""From faces on disk to DeepfakeBench's dataset JSON: one file per dataset, and one for each of its subsets."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable
from lnclip_df.datasets.dataset_json import SPLITS, Entry, dataset_document, video_key, write_dataset_json
from lnclip_df.datasets.frame_lists import read_frame_lists
from lnclip_df.datasets.items import Item
from lnclip_df.datasets.scan import scan_faces
from lnclip_df.datasets.schema import Dataset, load_dataset
from lnclip_df.media.sampling import randomly_drawn

logger = logging.getLogger(__name__)


def rearrange(
    dataset,
    root,
    out,
    *,
    faces=None,
    relative_to=".",
    paths: Literal["relative", "absolute"] = "relative",
    lists: Collection = (),
    folders=None,
    level: str | None = None,
    draw: int | None = None,
    seed: int = 0,
    allow_missing: bool = False,
) -> list[Path]:
    """Write the dataset JSON of the faces on disk, and of the dataset's subsets whose labels are all on disk.

    The form is that of DeepfakeBench's ``preprocessing/rearrange.py`` (see ``datasets/dataset_json.py``). In addition,
    a record has ``method`` where its label covers several methods. The same folders give the same bytes.

    Args:
        dataset: what ``load_dataset`` takes.
        root, faces, folders, level, allow_missing: see :func:`~lnclip_df.datasets.scan.scan_faces`.
        out: folder of the JSON files; they are named by their dataset.
        relative_to: the folder that frame paths start from, usually a DeepfakeBench checkout.
        paths: ``relative`` (``./datasets/…``) or ``absolute``.
        lists: text files of frames, or folders of them, to take instead of what is on disk; their paths start from
            ``faces`` or ``root``. See :func:`~lnclip_df.datasets.frame_lists.read_frame_lists`.
        draw: list only this many frames of each training video, drawn by ``seed``: the same that ``train`` draws with
            ``lnclip.train_frames: random``. DeepfakeBench takes the first ones of a longer list.

    Returns:
        The files written, the dataset's own first.

    Raises:
        LNCLIPError: as ``scan_faces``; a video is named twice, no video is in a split, or faces lie outside
            ``relative_to``.
    """
    if paths not in ("relative", "absolute"):
        raise LNCLIPError(f"paths: {paths!r} received; accepted is relative or absolute")
    if draw is not None and draw < 1:
        raise LNCLIPError(f"draw: {draw} received; accepted is a number of frames, at least 1")
    check_writable(out, folder=True)
    dataset = load_dataset(dataset)
    if lists:
        start = root if faces is None else faces
        if start is None:
            raise LNCLIPError("root is missing: name the folder that the paths of the lists start from")
        items = read_frame_lists(dataset, lists, start, level)
    else:
        items = scan_faces(dataset, root, faces=faces, folders=folders, level=level, allow_missing=allow_missing)
    below = _root_of_paths(items, relative_to) if paths == "relative" else None
    _check(dataset, items)
    labels = {item.label for item in items}
    written = []
    subsets: dict[str, Collection[str]] = {dataset.name: labels, **dataset.subsets}
    for name, subset in subsets.items():
        if not labels.issuperset(subset):
            logger.info("%s: %s.json is not written, not all of its labels are on disk", dataset.name, name)
            continue
        path = Path(out) / f"{name}.json"
        of_subset = [item for item in items if item.label in subset]
        entries = _entries(of_subset) if draw is None else _drawn(_entries(of_subset), name, draw, seed)
        write_dataset_json(path, name, entries, root=below, levels=_levels(of_subset))
        logger.info("%s: %s", path, _counts(of_subset))
        written.append(path)
    return written


def document_of_faces(dataset, root) -> dict:
    """The dataset JSON of the faces on disk of a dataset whose YAML says where they are.

    Paths are relative to ``root`` if all faces are below it, otherwise absolute.

    Raises:
        LNCLIPError: as :func:`rearrange`.
    """
    dataset = load_dataset(dataset)
    items = scan_faces(dataset)
    _check(dataset, items)
    below = None if _outside(items, os.path.abspath(root)) else root
    return dataset_document(dataset.name, _entries(items), root=below, levels=_levels(items))


def _levels(items: list[Item]) -> set[tuple[str, str | None]]:
    return {(item.label, item.level) for item in items}


def _root_of_paths(items, relative_to) -> str:
    root = os.path.abspath(relative_to)
    if outside := _outside(items, root):
        raise LNCLIPError(
            f"faces in {outside} are not below {root}, which relative paths start from; "
            "name a folder that holds them with relative_to, or choose paths: absolute"
        )
    return root


def _outside(items: list[Item], root: str) -> str | None:
    """The first folder of faces that is not below ``root``."""
    folders = (os.path.abspath(item.frames[0].parent) for item in items)
    return next((folder for folder in folders if os.path.commonpath([root, folder]) != root), None)


def _check(dataset: Dataset, items: list[Item]):
    """Raise an error if two videos have one key, or no video is in a split."""
    seen: dict[tuple, str] = {}
    for item in items:
        other = seen.setdefault((item.label, item.level, item.name), item.path)
        if other != item.path:
            raise LNCLIPError(
                f"{dataset.name}: {other} and {item.path} are both {item.name!r} of {item.label}; "
                "remove one, or change the YAML's name so that they differ"
            )
    unused = [item.path for item in items if not item.splits]
    if len(unused) == len(items):
        raise LNCLIPError(
            f"{dataset.name}: none of {len(items)} videos is in train, val or test; "
            f"are its lists there ({', '.join(table.file for table in dataset.tables.values()) or 'none is named'})?"
        )
    if unused:
        logger.info("%s: %d videos are in no split, for example %s", dataset.name, len(unused), min(unused))


def _entries(items: list[Item]) -> Iterator[Entry]:
    methods = defaultdict(set)
    for item in items:
        methods[item.label].add(item.method)
    for item in items:
        method = item.method if len(methods[item.label] - {None}) > 1 else None
        masks = item.masks if item.has_masks else None
        for split in item.splits:
            yield Entry(item.label, split, item.name, item.frames, item.level, masks, method)


def _drawn(entries: Iterable[Entry], dataset: str, count: int, seed: int) -> Iterator[Entry]:
    """The entries, with ``count`` frames of each training video."""
    for entry in entries:
        if entry.split == "train":
            key = video_key(dataset, entry.label_name, entry.compression, entry.name)
            entry = entry._replace(frames=randomly_drawn(entry.frames, count, seed, key))
        yield entry


def _counts(items: Iterable[Item]) -> str:
    """``c23 train 720 + 2880, …``: real and fake videos of each level and split."""
    counts = Counter((item.level or "", SPLITS.index(split), item.fake) for item in items for split in item.splits)
    shown = (
        f"{level} {SPLITS[split]} {counts[level, split, False]} + {counts[level, split, True]}".lstrip()
        for level, split in sorted({(level, split) for level, split, _ in counts})
    )
    return f"real + fake videos: {', '.join(shown)}"
