"""One pass over a dataset's folders: its videos, the faces and masks cut out of them, and its lists."""

import logging
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from lnclip_df.datasets.tables import is_utf8
from lnclip_df.media.video import VIDEO_SUFFIXES

LISTS = (".csv", ".json", ".txt")
WRITTEN = ("landmarks", "records")  # folders that preprocessing fills and that hold no video
HIDDEN = (".", "__MACOSX")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

logger = logging.getLogger(__name__)


@dataclass
class Listing:
    """What is below a dataset's folders, by logical path: without ``videos`` or ``frames`` level, without suffix."""

    videos: dict[str, Path] = field(default_factory=dict)
    faces: dict[str, Path] = field(default_factory=dict)  # the folder of a video's face images
    masks: dict[str, Path] = field(default_factory=dict)  # the folder of a video's mask images
    files: list[tuple[str, Path]] = field(default_factory=list)  # lists, with their logical path and suffix
    twice: dict[tuple[str, str], Path] = field(default_factory=dict)  # second paths, by kind and logical path
    passed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, logical: str, path: Path):
        """Note a video's file or folder under ``kind``; a second one of the same logical path is remembered."""
        if getattr(self, kind).setdefault(logical, path) is not path:
            self.twice.setdefault((kind, logical), path)

    def log(self, name):
        """Say in a line for each reason how many entries were passed over, and show one."""
        for reason, paths in self.passed.items():
            logger.warning("%s: %d passed over: %s, such as %s", name, len(paths), reason, ascii(min(paths))[1:-1])


def walk(folder: Path, prefix: str, listing: Listing):
    """List what is below ``folder``, once; the images within videos' folders are not looked at.

    Args:
        folder: an existing folder, or a link to one.
        prefix: its logical path.
        listing: is added to.
    """
    _walk(os.fspath(folder), prefix, listing, ())


def _walk(folder, prefix, listing, above):
    try:
        status = os.stat(folder)
    except OSError as error:
        listing.passed[error.strerror or "cannot be read"].append(folder)
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        listing.passed["a link to a folder above it"].append(folder)
        return
    for entry in _entries(folder, listing):
        if entry.is_file():
            _file(entry, prefix, listing)
        elif entry.name in LEAVES:
            LEAVES[entry.name](entry.path, prefix, listing)
        elif entry.name not in WRITTEN:
            _walk(entry.path, f"{prefix}/{entry.name}", listing, (*above, here))


def _fit(entry, listing):
    """Whether an entry is a file or folder whose name can be written to a dataset JSON and read from it."""
    reason = None
    if not is_utf8(entry.name):
        reason = "the name is not UTF-8; rename it"
    elif "\\" in entry.name or CONTROL.search(entry.name):
        reason = "the name has a backslash or a control character; rename it"
    else:
        try:
            if not (entry.is_file() or entry.is_dir()):
                reason = "a link to nothing, or no regular file"
        except OSError as error:  # links in a circle
            reason = error.strerror
    if reason:
        listing.passed[reason].append(entry.path)
    return reason is None


def _file(entry, prefix, listing):
    stem, suffix = os.path.splitext(entry.name)
    if suffix.lower() in VIDEO_SUFFIXES:
        listing.add("videos", f"{prefix}/{stem}", Path(entry.path))
    elif suffix.lower() in LISTS:
        listing.files.append((f"{prefix}/{entry.name}", Path(entry.path)))


def _videos(folder, prefix, listing):
    """The files of a ``videos`` folder; nothing lies deeper."""
    for entry in _entries(folder, listing):
        if entry.is_file():
            _file(entry, prefix, listing)


def _faces(folder, prefix, listing):
    """The folders of a ``frames`` folder, one a video."""
    for entry in _entries(folder, listing):
        if entry.is_dir():
            listing.add("faces", f"{prefix}/{entry.name}", Path(entry.path))


def _masks(folder, prefix, listing):
    """What a ``masks`` folder holds: mask videos, also below ``videos``, and folders of mask images, one a video."""
    for entry in _entries(folder, listing):
        if entry.is_file():
            _file(entry, f"{prefix}/masks", listing)
        elif entry.name == "videos":
            _videos(entry.path, f"{prefix}/masks", listing)
        else:
            listing.add("masks", f"{prefix}/{entry.name}", Path(entry.path))


LEAVES = {"videos": _videos, "frames": _faces, "masks": _masks}


def _entries(folder, listing):
    """What a folder holds, in order, without what is hidden or unfit."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        listing.passed[error.strerror or "cannot be read"].append(folder)
        return []
    return [entry for entry in entries if not entry.name.startswith(HIDDEN) and _fit(entry, listing)]
