"""The videos of a dataset on disk, raw or as faces, as its YAML describes them; also those of a combination."""

import logging
import os
import re
import unicodedata
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.logs import log_from
from lnclip_df.datasets.folder_listing import Listing
from lnclip_df.datasets.items import Item, draw_key
from lnclip_df.datasets.rules import Kind, Matcher
from lnclip_df.datasets.schema import Dataset, Folder, load_dataset
from lnclip_df.datasets.splits import split_by_shares
from lnclip_df.datasets.tables import Rows

logger = logging.getLogger(__name__)


def scan_videos(dataset, root=None, *, folders=None, level=None, allow_missing=False) -> list[Item]:
    """Find the raw videos of a dataset.

    Args:
        dataset: what ``load_dataset`` takes.
        root: folder that contains the dataset's folders, as the YAML names them; not needed where the YAML says where
            they lie.
        folders: ``{name in the YAML: path}`` for folders that lie elsewhere or have another name.
        level: compression level to take; by default the YAML's, or all where the dataset JSON tells them apart.
        allow_missing: leave out the parts of a combination that are not on disk; each is named in the log.

    Returns:
        Items sorted by path, with ``file`` and ``mask``. What is passed over (broken links, invalid names, files that
        fit no rule, listed videos that are absent) is counted in the log, one line per reason.

    Raises:
        LNCLIPError: a folder or a required list is absent, a list is malformed or contradicts the tree, or no video
            is found.
    """
    return _scan(dataset, _Location("videos", _path(root), None, folders or {}, level, allow_missing))


def scan_faces(dataset, root=None, *, faces=None, folders=None, level=None, allow_missing=False) -> list[Item]:
    """Find the face images of a dataset's videos: ``<dir>/frames/<stem>/<index>.png`` of ``<dir>/<stem>.mp4``.

    The tar ``<dir>/frames/<stem>.tar`` is as good as its folder.

    Args:
        dataset, root, folders, level, allow_missing: as for :func:`scan_videos`; lists are read below ``root``.
        faces: folder that contains the dataset's folders with faces; by default the YAML's ``faces``, else ``root``.

    Returns:
        Items sorted by path, with ``frames`` and ``masks``, of the videos that have a frame.

    Raises:
        LNCLIPError: as :func:`scan_videos`.
    """
    return _scan(dataset, _Location("faces", _path(root), _path(faces), folders or {}, level, allow_missing))


def silent() -> AbstractContextManager[None]:
    """Leave out what scans log of the files that they pass over."""
    return log_from(logging.CRITICAL, "lnclip_df.datasets")


def _path(value) -> Path | None:
    return None if value is None else Path(value)


class NotOnDisk(LNCLIPError):
    """A dataset, a folder that it needs, or a split of it is not on disk."""


@dataclass(frozen=True)
class _Location:
    """Where a dataset lies, and what of it is wanted.

    ``root`` contains its folders and lists, ``faces`` its folders with faces if these lie elsewhere.
    """

    kind: Kind
    root: Path | None
    faces: Path | None
    folders: dict
    level: str | None
    allow_missing: bool

    def of(self, dataset: Dataset) -> "_Location":
        """The same with the dataset's own folder of faces, if it has one and none is named."""
        named = self.faces is not None or self.kind == "videos"
        return self if named else replace(self, faces=_path(dataset.faces) or self.root)

    @property
    def base(self) -> Path | None:
        """The folder that contains the dataset's folders."""
        return self.root if self.kind == "videos" else self.faces

    @property
    def text(self) -> str:
        """Where things are looked for, for messages."""
        return "its folders" if self.base is None else str(self.base)

    def paths(self, dataset: Dataset, folder: Folder, below: Path | None) -> list[Path]:
        """Existing paths of one of the dataset's folders; faces may also lie under its name in the YAML."""
        paths = [below / name for name in (folder.name, *folder.aliases)] if below is not None else []
        named = _named(folder, self)
        if folder.name in self.folders and not os.path.isdir(self.folders[folder.name]):
            raise LNCLIPError(f"{dataset.name}: {folder.name} is mapped to {named}, which is not a folder")
        if named is not None and below == self.root:
            paths = [Path(named)] if self.kind == "videos" else [Path(named), *paths]
        there = {os.path.realpath(path): path for path in reversed(paths) if path.is_dir()}
        return sorted(there.values(), key=paths.index)


def _scan(dataset, location: _Location) -> list[Item]:
    dataset = load_dataset(dataset)
    parts = [load_dataset(part.dataset) for part in dataset.combine.parts] if dataset.combine else [dataset]
    known = {folder.name for part in parts for folder in part.folders}
    for name in location.folders:
        if name not in known:
            raise LNCLIPError(f"{dataset.name} has no folder {name} to map; there is {', '.join(sorted(known))}")
    return _draw(dataset, parts, location) if dataset.combine else _scan_one(dataset, location)


def _scan_one(dataset, location) -> list[Item]:
    location = location.of(dataset)
    level = _level(dataset, location.level)
    listing = _list(dataset, location)
    tables = _tables(dataset, listing.files)
    matcher = Matcher(dataset, tables, listing, level, location.kind)
    items = matcher.items(getattr(listing, location.kind))
    matcher.check_lists()
    listing.log(dataset.name)
    matcher.log()
    if not items or (matcher.other_levels and not matcher.levels[matcher.level]):
        raise NotOnDisk(_why_nothing(dataset, location, listing, tables, matcher))
    return _with_shares(dataset, location, listing, level, items, matcher.undecided)


def _with_shares(dataset, location, listing, level, items, undecided) -> list[Item]:
    """The items with a split where the dataset's shares decide it.

    All videos of the dataset take part, as videos or as faces: a video without a face moves no other one.
    """
    if not undecided:
        return items
    paths = {*getattr(listing, location.kind)}
    other: Kind = "faces" if location.kind == "videos" else "videos"
    with suppress(NotOnDisk):
        paths |= {*getattr(_list(dataset, replace(location, kind=other).of(dataset)), other)}
    every = Matcher(dataset, _tables(dataset, listing.files), listing, level, None)
    splits = split_by_shares(every.items(paths), every.undecided, dataset.split, dataset.name)
    return [replace(item, splits=(splits[item.path],)) if item.path in undecided else item for item in items]


def _why_nothing(dataset, location, listing, tables, matcher) -> str:
    what = "video" if location.kind == "videos" else "video with faces (…/frames/<video>/<index>.png)"
    if matcher.other_levels:
        there = ", ".join(matcher.other_levels)
        return (
            f"{dataset.name}: no {what} of level {matcher.level} below {location.text}; there is {there}: "
            "choose it as level"
        )
    why = [f"there is no file {rows.table.file}" for rows in tables.values() if not rows.files]
    for paths, fault in ((matcher.unmatched, "fit no rule"), (matcher.empty, "have no images")):
        why += [f"{len(paths)} {fault}, for example {min(paths)}"] if paths else []
    if location.kind == "videos" and any(folder.crops for folder in dataset.folders):
        why = ["its folders contain face crops, which need no preprocessing"]
    if location.kind == "faces" and listing.videos:
        why.append(f"its videos are there, {len(listing.videos)}, and have not been preprocessed")
    return f"{dataset.name}: no {what} below {location.text}: {'; '.join(why) or 'its folders are empty'}"


def _list(dataset, location) -> Listing:
    """The listing of a dataset's folders; lists lie below the root, also where the faces lie elsewhere."""

    def paths_below(folder: Path | None) -> dict[str, list[Path]]:
        return {each.name: location.paths(dataset, each, folder) for each in dataset.folders}

    def listing_of(paths) -> Listing:
        listing = Listing()
        for folder in dataset.folders:
            for path in paths[folder.name]:
                listing.walk(path, folder.name, crops=folder.crops)
        return listing

    if location.base is None and (lost := [each.name for each in dataset.folders if not _named(each, location)]):
        raise NotOnDisk(f"{dataset.name}: root is missing: name the folder that contains {lost[0]}")
    paths = paths_below(location.base)
    absent = [name for name, there in paths.items() if not there]
    required = [folder.name for folder in dataset.folders if folder.required and folder.name in absent]
    if required or len(absent) == len(paths):
        raise NotOnDisk(_why_absent(dataset, location, required or absent))
    listing = listing_of(paths)
    if location.base != location.root:
        listing.files = listing_of(paths_below(location.root)).files
    return listing


def _named(folder: Folder, location) -> str | None:
    """Where a folder lies, if not below the root."""
    return location.folders.get(folder.name, folder.path)


def _why_absent(dataset, location, names) -> str:
    where = next((folder.path for folder in dataset.folders if folder.name == names[0]), None)
    if where is not None and location.base == location.root:
        return f"{dataset.name}: no folder {where} (its YAML's {names[0]}); correct the path there, or map it"
    made = "; preprocess the dataset first" if where is not None else f"; put it there or map it: {names[0]}=PATH"
    return f"{dataset.name}: no folder {' or '.join(names)} below {location.text}{made}"


def _tables(dataset, files) -> dict[str, Rows]:
    """Every table of the YAML, with the rows of all its files."""
    tables = {name: Rows(table) for name, table in dataset.tables.items()}
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


def _draw(dataset, parts, location) -> list[Item]:
    """A combination's items: of each part and class the first videos in an order that the seed gives."""
    items = []
    for part, source in zip(dataset.combine.parts, parts, strict=True):
        try:
            items += _draw_part(dataset, part, _scan_one(source, replace(location, level=None)))
        except NotOnDisk as error:
            if not location.allow_missing:
                raise NotOnDisk(
                    f"{dataset.name}: part {part.dataset} is missing: {error}; or leave it out (allow_missing)"
                ) from error
            logger.warning("%s: made without %s: %s", dataset.name, part.dataset, error)
    if not items:
        raise NotOnDisk(f"{dataset.name}: none of its parts is on disk")
    return sorted(items, key=lambda item: item.path)


def _draw_part(dataset, part, items) -> list[Item]:
    combine, drawn = dataset.combine, []
    allowed = [
        item for item in items if set(item.splits) & set(part.splits) and not set(item.splits) & set(combine.never)
    ]
    for fake, kind in ((False, "real"), (True, "fake")):
        of_class = sorted((item for item in allowed if item.fake == fake), key=partial(draw_key, combine.seed))
        if not of_class:
            raise NotOnDisk(f"{part.dataset} has no {kind} video in {' or '.join(part.splits)}")
        if len(of_class) < part.videos:
            there = len(of_class)
            logger.warning("%s: all %d %s videos of %s, not %d", dataset.name, there, kind, part.dataset, part.videos)
        drawn += [replace(item, splits=tuple(combine.splits)) for item in of_class[: part.videos]]
    return drawn
