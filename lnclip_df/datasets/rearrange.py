"""From faces on disk to DeepfakeBench's dataset JSON: one file a dataset, and one for each of its subsets."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.scan import scan_faces
from lnclip_df.datasets.schema import Dataset, Item, load_dataset
from lnclip_df.datasets.write_json import SPLITS, Entry, write_dataset_json

PATHS = ("relative", "absolute")

logger = logging.getLogger(__name__)


def rearrange(
    dataset,
    root,
    out,
    *,
    faces=None,
    relative_to=".",
    paths="relative",
    folders=None,
    level=None,
    allow_missing=False,
) -> list[Path]:
    """Write the dataset JSON of the faces on disk, in the form of DeepfakeBench's ``preprocessing/rearrange.py``.

    ``{dataset: {label: {train|val|test: {video: {"label": label, "frames": [path, …]}}}}}``, with the compression level
    under the split for sets that tell them apart. Beside that form, a record has ``method`` where its label covers
    several. The same tree gives the same bytes.

    Args:
        dataset: a :class:`~lnclip_df.datasets.schema.Dataset`, or what ``load_dataset`` takes.
        root: folder that holds the dataset's folders, with its lists.
        out: folder of the JSON files; they are named by their dataset.
        faces: folder that holds the dataset's folders with faces, ``root`` by default.
        relative_to: the folder that frame paths start from, a DeepfakeBench checkout for example.
        paths: ``relative`` (``./datasets/…``) or ``absolute``.
        folders, level, allow_missing: see :func:`~lnclip_df.datasets.scan.scan_faces`.

    Returns:
        The files written, the dataset's own first.

    Raises:
        LNCLIPError: as ``scan_faces``; a video is named twice, no video is in a split, or faces lie outside
            ``relative_to``.
    """
    if paths not in PATHS:
        raise LNCLIPError(f"paths: {paths!r} received; accepted is {' or '.join(PATHS)}")
    dataset = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    items = scan_faces(dataset, root, faces=faces, folders=folders, level=level, allow_missing=allow_missing)
    base = faces if faces is not None else root
    below = _root_of_paths(base, relative_to) if paths == "relative" else None
    return write_items(dataset, items, out, root=below)


def write_items(dataset: Dataset, items: Iterable[Item], out, *, root=None) -> list[Path]:
    """Write the dataset JSON of items that have frames, and those of the dataset's subsets.

    Args:
        dataset: what the items belong to.
        items: from ``scan_faces``.
        out: folder of the JSON files.
        root: write frame paths relative to this folder; without it they are absolute.

    Returns:
        The files written.

    Raises:
        LNCLIPError: a video is named twice, no video is in a split, or a frame lies outside ``root``.
    """
    items = list(items)
    _check(dataset, items)
    labels = {item.label for item in items}
    subsets = {name: set(subset) for name, subset in dataset.subsets.items()}
    chosen = {dataset.name: labels} | {name: subset for name, subset in subsets.items() if subset <= labels}
    written = []
    for name, subset in chosen.items():
        path = Path(out) / f"{name}.json"
        of_subset = [item for item in items if item.label in subset]
        levels = {(item.label, item.level) for item in of_subset}
        write_dataset_json(path, name, _entries(of_subset), root=root, levels=levels)
        logger.info("%s: %s", path, _counts(of_subset))
        written.append(path)
    for name in dataset.subsets.keys() - chosen.keys():
        logger.info("%s: %s.json is not written, not all of its labels are on disk", dataset.name, name)
    return written


def _root_of_paths(faces, relative_to):
    root, faces = os.path.abspath(relative_to), os.path.abspath(faces)
    if os.path.commonpath([root, faces]) != root:
        raise LNCLIPError(
            f"faces in {faces} are not below {root}, which relative paths start from; "
            "name a folder that holds them with relative_to, or choose paths: absolute"
        )
    return root


def _check(dataset, items):
    """Two videos under one key, or none in any split, make no dataset JSON."""
    seen = {}
    for item in items:
        key = (item.label, item.level, item.name)
        if key in seen:
            raise LNCLIPError(
                f"{dataset.name}: {seen[key]} and {item.path} are both {item.name!r} of {item.label}; "
                "remove one, or let the YAML's name tell them apart"
            )
        seen[key] = item.path
    unused = [item.path for item in items if not item.splits]
    if len(unused) == len(items):
        raise LNCLIPError(
            f"{dataset.name}: none of {len(items)} videos is in train, val or test; "
            f"are its lists there ({', '.join(table.file for table in dataset.tables.values()) or 'none is named'})?"
        )
    if unused:
        logger.info("%s: %d videos are in no split, such as %s", dataset.name, len(unused), min(unused))


def _entries(items):
    several = _several_methods(items)
    for item in items:
        extra = {"method": item.method} if item.label in several and item.method is not None else {}
        masks = item.masks if item.has_masks else None
        for split in item.splits:
            yield Entry(item.label, split, item.name, item.frames, item.level, masks, extra)


def _several_methods(items):
    methods = defaultdict(set)
    for item in items:
        methods[item.label].add(item.method)
    return {label for label, known in methods.items() if len(known - {None}) > 1}


def _counts(items):
    """``c23 train 720 + 2880, …``: real and fake videos of each level and split."""
    counts = Counter((item.level or "", split, item.fake) for item in items for split in item.splits)
    places = sorted({(level, SPLITS.index(split)) for level, split, _ in counts})
    shown = (
        f"{level} {SPLITS[place]} {counts[level, SPLITS[place], False]} + {counts[level, SPLITS[place], True]}".lstrip()
        for level, place in places
    )
    return f"real + fake videos: {', '.join(shown)}"
