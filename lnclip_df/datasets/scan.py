"""The videos of a dataset, raw or as faces on disk, as its YAML describes them; also those that a combination draws."""

import hashlib
import logging
import os
import re
import unicodedata
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.folder_listing import Listing, walk
from lnclip_df.datasets.rules import Matcher
from lnclip_df.datasets.schema import Dataset, Folder, Item, load_dataset
from lnclip_df.datasets.tables import Rows

logger = logging.getLogger(__name__)


def scan_videos(dataset, root, *, folders=None, level=None, allow_missing=False) -> list[Item]:
    """Find the raw videos of a dataset.

    Args:
        dataset: a :class:`~lnclip_df.datasets.schema.Dataset`, or what ``load_dataset`` takes.
        root: folder that holds the dataset's folders, as the YAML names them.
        folders: ``{name in the YAML: path}`` for folders that lie elsewhere or are named otherwise.
        level: compression level to take; by default the YAML's, or all where the dataset JSON tells them apart.
        allow_missing: a combination may do without the parts that are not on disk; each is named in the log.

    Returns:
        Items sorted by path, with ``file`` and ``mask``. What is passed over (links that lead nowhere, unfit names,
        files that fit no rule, listed videos that are absent) is counted in the log, a line each.

    Raises:
        LNCLIPError: a folder or a required list is absent, a list is malformed or contradicts the tree, or no video
            is found.
    """
    return _scan(dataset, _Place(Path(root), None, folders or {}, level, allow_missing))


def scan_faces(dataset, root, *, faces=None, folders=None, level=None, allow_missing=False) -> list[Item]:
    """Find the face images of a dataset's videos: ``<dir>/frames/<stem>/<index>.png`` of ``<dir>/<stem>.mp4``.

    Args:
        dataset, root, folders, level, allow_missing: as for :func:`scan_videos`; lists are looked for below ``root``.
        faces: folder that holds the dataset's folders with faces, ``root`` by default.

    Returns:
        Items sorted by path, with ``frames`` and ``masks``, of the videos that have a frame.

    Raises:
        LNCLIPError: as :func:`scan_videos`.
    """
    faces = Path(root if faces is None else faces)
    return _scan(dataset, _Place(Path(root), faces, folders or {}, level, allow_missing))


class NotOnDisk(LNCLIPError):
    """A dataset, a folder that it needs, or a split of it is not on disk."""


@dataclass
class _Place:
    """Where to look and what for: the faces where ``faces`` is set, else the raw videos."""

    root: Path
    faces: Path | None
    folders: dict
    level: str | None
    allow_missing: bool

    def of(self, dataset: Dataset, folder: Folder, below: Path) -> list[Path]:
        """Where one of the dataset's folders lies; faces may lie below their root under its name in the YAML too."""
        paths = [Path(below, name) for name in (folder.name, *folder.aliases)]
        if folder.name in self.folders and below == self.root:
            mapped = Path(self.folders[folder.name])
            if not mapped.is_dir():
                raise LNCLIPError(f"{dataset.name}: {folder.name} is mapped to {mapped}, which is no folder")
            paths = [mapped] if self.faces is None else [mapped, *paths]
        there = {os.path.realpath(path): path for path in reversed(paths) if path.is_dir()}
        return sorted(there.values(), key=paths.index)


def _scan(dataset, place):
    dataset = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    parts = [load_dataset(part.dataset) for part in dataset.combine.parts] if dataset.combine else [dataset]
    known = {folder.name for part in parts for folder in part.folders}
    for name in place.folders:
        if name not in known:
            raise LNCLIPError(f"{dataset.name} has no folder {name} to map; there is {', '.join(sorted(known))}")
    return _draw(dataset, parts, place) if dataset.combine else _scan_one(dataset, place)


def _scan_one(dataset, place):
    level = _level(dataset, place.level)
    listing = _list(dataset, place)
    found = listing.videos if place.faces is None else listing.faces
    tables = _tables(dataset, listing.files)
    matcher = Matcher(dataset, tables, listing, level, place.faces is not None)
    items = matcher.items(found)
    listing.log(dataset.name)
    matcher.log()
    if not items or (matcher.other_levels and not matcher.levels[matcher.level]):
        raise NotOnDisk(_nothing(dataset, place, tables, matcher))
    return items


def _nothing(dataset, place, tables, matcher):
    """Why there is no video."""
    where = place.root if place.faces is None else place.faces
    what = "video" if place.faces is None else "video with faces (…/frames/<video>/<index>.png)"
    if matcher.other_levels:
        there = ", ".join(matcher.other_levels)
        return f"{dataset.name}: no {what} of level {matcher.level} below {where}; there is {there}: choose it as level"
    why = [f"there is no file {rows.table.file}" for rows in tables.values() if not rows.files]
    for paths, fault in ((matcher.unmatched, "fit no rule"), (matcher.empty, "have no images")):
        why += [f"{len(paths)} {fault}, such as {min(paths)}"] if paths else []
    return f"{dataset.name}: no {what} below {where}: {'; '.join(why) or 'its folders are empty'}"


def _list(dataset, place):
    """The listing of a dataset's folders; lists lie below the root, also where the faces lie elsewhere."""
    below = place.root if place.faces is None else place.faces
    paths = _paths(dataset, place, below)
    absent = [name for name, there in paths.items() if not there]
    required = [folder.name for folder in dataset.folders if folder.required and folder.name in absent]
    if required or len(absent) == len(paths):
        names = required or absent
        raise NotOnDisk(
            f"{dataset.name}: no folder {' or '.join(names)} below {below}; put it there or map it: {names[0]}=PATH"
        )
    listing = _walk_all(paths)
    if below != place.root:
        listing.files = _walk_all(_paths(dataset, place, place.root)).files
    return listing


def _paths(dataset, place, below):
    return {folder.name: place.of(dataset, folder, below) for folder in dataset.folders}


def _walk_all(paths):
    listing = Listing()
    for name, there in paths.items():
        for path in there:
            walk(path, name, listing)
    return listing


def _tables(dataset, files) -> dict[str, Rows]:
    """Every table of the YAML with the rows of all its files."""
    tables = {name: Rows(name, table) for name, table in dataset.tables.items()}
    for rows in tables.values():
        pattern = re.compile(rf"[^/]*/{rows.table.file}")
        for path, file in sorted(files):
            match = pattern.fullmatch(unicodedata.normalize("NFC", path))
            if match:
                rows.read(file, {name: text for name, text in match.groupdict().items() if text is not None})
        if rows.table.required and not rows.files:
            raise LNCLIPError(
                f"{dataset.name}: no file {rows.table.file} below {', '.join(f.name for f in dataset.folders)}; "
                f"it comes with the dataset, see access and notes in its YAML"
            )
    return tables


def _level(dataset, level):
    """The one level to take, or None for all."""
    levels = dataset.levels
    if level is None:
        return levels.use if levels else None
    if levels is None:
        raise LNCLIPError(f"{dataset.name} has no compression levels; leave out level {level!r}")
    level = levels.aliases.get(level, level)
    if level not in levels.names:
        raise LNCLIPError(f"{dataset.name}: level {level!r} is none of {', '.join(levels.names)}")
    return level


# --- combinations -----------------------------------------------------------------------------------------------------


def _draw(dataset, parts, place):
    """A combination's items: of each part and class the first videos in an order that the seed gives."""
    items = []
    for part, source in zip(dataset.combine.parts, parts, strict=True):
        try:
            items += _drawn(dataset, part, _scan_one(source, replace(place, level=None)))
        except NotOnDisk as error:
            if not place.allow_missing:
                raise NotOnDisk(
                    f"{dataset.name}: part {part.dataset} is missing: {error}; or do without it: --allow-missing"
                ) from error
            logger.warning("%s: made without %s: %s", dataset.name, part.dataset, error)
    if not items:
        raise NotOnDisk(f"{dataset.name}: none of its parts is on disk")
    return sorted(items, key=lambda item: item.path)


def _drawn(dataset, part, items):
    combine, source, drawn = dataset.combine, part.dataset, []
    fit = [item for item in items if set(item.splits) & set(part.splits) and not set(item.splits) & set(combine.never)]
    for fake, kind in ((False, "real"), (True, "fake")):
        of_class = sorted((item for item in fit if item.fake == fake), key=partial(_order, combine.seed))
        if not of_class:
            raise NotOnDisk(f"{source} has no {kind} video in {' or '.join(part.splits)}")
        if len(of_class) < part.videos:
            there = len(of_class)
            logger.warning("%s: all %d %s videos of %s, not %d", dataset.name, there, kind, source, part.videos)
        drawn += [replace(item, splits=tuple(combine.splits)) for item in of_class[: part.videos]]
    return drawn


def _order(seed, item):
    """A place in the draw that depends on the seed and the video alone, not on what else is on disk or where."""
    return hashlib.sha256(f"{seed}/{item.label}/{item.name}".encode()).hexdigest()
