"""One pass over a dataset's folders: its videos, the faces and masks cut out of them, and its lists."""

import logging
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from lnclip_df.core.files import is_utf8
from lnclip_df.media.crop_files import TAR
from lnclip_df.media.kinds import VIDEO_SUFFIXES

FRAME = re.compile(r"([0-9]+)\.png")  # a face image, by its index
LISTS = (".csv", ".json", ".txt")
WRITTEN = ("landmarks", "records")  # folders that preprocessing fills and that contain no video
LEVELS = ("videos", "frames")  # folders that are no part of a logical path
HIDDEN = (".", "__MACOSX")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

logger = logging.getLogger(__name__)


@dataclass
class Listing:
    """What is below a dataset's folders, by logical path: without ``videos`` or ``frames`` level, without suffix."""

    videos: dict[str, Path] = field(default_factory=dict)
    faces: dict[str, Path] = field(default_factory=dict)  # the folder of a video's face images, or its tar's
    masks: dict[str, Path] = field(default_factory=dict)  # the folder of a video's mask images
    files: list[tuple[str, Path]] = field(default_factory=list)  # lists, with their logical path and suffix
    twice: dict[tuple[str, str], Path] = field(default_factory=dict)  # second paths, by kind and logical path
    other: Counter[str] = field(default_factory=Counter)  # files that are neither videos nor lists, by suffix
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # paths by reason

    def walk(self, folder, prefix: str, above: tuple = (), *, crops: bool = False):
        """Add what is below ``folder`` (logical path ``prefix``); the images of a video are not listed.

        ``above`` has the device and inode of the folders that this one is in, against links in a circle. With ``crops``
        every folder of numbered images, and every tar, is a video's faces.
        """
        try:
            status = os.stat(folder)
        except OSError as error:
            self.skipped[error.strerror or "cannot be read"].append(os.fspath(folder))
            return
        inode = (status.st_dev, status.st_ino)
        if inode in above:
            self.skipped["a link to a folder above it"].append(os.fspath(folder))
            return
        entries = self._entries(folder)
        if crops and any(FRAME.fullmatch(entry.name) for entry in entries):
            self._add("faces", without_suffix(prefix), Path(folder))
            return
        for entry in entries:
            if crops and entry.name.endswith(TAR) and entry.is_file():
                self._add_tar(entry, prefix)
            elif entry.is_file():
                self._add_file(entry, prefix)
            elif entry.name == "frames" and not crops:
                self._add_faces(entry.path, prefix)
            elif entry.name == "masks":
                self._add_masks(entry.path, prefix)
            elif entry.name not in WRITTEN:
                below = prefix if entry.name in LEVELS else f"{prefix}/{entry.name}"
                self.walk(entry.path, below, (*above, inode), crops=crops)

    def log(self, name: str):
        """Log one line per reason with the number of skipped entries and an example, and the other files by suffix."""
        for reason, paths in self.skipped.items():
            logger.warning("%s: %d passed over: %s, for example %s", name, len(paths), reason, ascii(min(paths))[1:-1])
        if self.other:
            logger.info("%s: passed over files that are neither videos nor lists: %s", name, by_suffix(self.other))

    def _add(self, kind, logical, path):
        if getattr(self, kind).setdefault(logical, path) is not path:
            self.twice.setdefault((kind, logical), path)

    def _add_file(self, entry, prefix):
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in VIDEO_SUFFIXES:
            self._add("videos", f"{prefix}/{stem}", Path(entry.path))
        elif suffix.lower() in LISTS:
            self.files.append((f"{prefix}/{entry.name}", Path(entry.path)))
        else:
            self.other[suffix.lower() or "without a suffix"] += 1

    def _add_files(self, folder, prefix):
        """The files of a ``videos`` folder; its subfolders are not listed."""
        for entry in self._entries(folder):
            if entry.is_file():
                self._add_file(entry, prefix)

    def _add_faces(self, folder, prefix):
        """The folders and tars of a ``frames`` folder, one per video."""
        for entry in self._entries(folder):
            if entry.is_dir():
                self._add("faces", f"{prefix}/{entry.name}", Path(entry.path))
            else:
                self._add_tar(entry, prefix)

    def _add_tar(self, entry, prefix):
        stem, suffix = os.path.splitext(entry.path)
        if suffix == TAR:
            self._add("faces", f"{prefix}/{os.path.basename(stem)}", Path(stem))

    def _add_masks(self, folder, prefix):
        """A ``masks`` folder: mask videos, also below ``videos``, and folders of mask images, one per video."""
        for entry in self._entries(folder):
            if entry.is_file():
                self._add_file(entry, f"{prefix}/masks")
            elif entry.name == "videos":
                self._add_files(entry.path, f"{prefix}/masks")
            else:
                self._add("masks", f"{prefix}/{entry.name}", Path(entry.path))

    def _entries(self, folder) -> list[os.DirEntry]:
        """A folder's entries in order, without those that are hidden or invalid."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.skipped[error.strerror or "cannot be read"].append(os.fspath(folder))
            return []
        valid = []
        for entry in entries:
            if entry.name.startswith(HIDDEN):
                continue
            fault = _fault(entry)
            if fault:
                self.skipped[fault].append(entry.path)
            else:
                valid.append(entry)
        return valid


def logical_path(path: str) -> str:
    """A path from a list as :class:`Listing` has it: without suffix and without the levels ``videos`` and ``frames``.

    >>> logical_path("a\\\\videos/001.mp4"), logical_path("faces/frames/real/001/")
    ('a/001', 'faces/real/001')
    """
    *folders, name = path.replace("\\", "/").rstrip("/").split("/")
    return "/".join([*(folder for folder in folders if folder not in (*LEVELS, ".")), without_suffix(name)])


def without_suffix(name: str) -> str:
    """A video's name without its suffix, or that of its tar of crops."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in (*VIDEO_SUFFIXES, TAR) else name


def _fault(entry) -> str | None:
    """Why a dataset JSON cannot name this entry, or why it cannot be read."""
    if not is_utf8(entry.name):
        return "the name is not UTF-8; rename it"
    if "\\" in entry.name or CONTROL.search(entry.name):
        return "the name has a backslash or a control character; rename it"
    try:
        return None if entry.is_file() or entry.is_dir() else "a link to nothing, or no regular file"
    except OSError as error:  # links in a circle
        return error.strerror


def by_suffix(counts: Counter[str]) -> str:
    """Numbers of files by suffix, in words: ``2 .jpg, 1 .gif``."""
    return ", ".join(f"{count} {ascii(suffix)[1:-1]}" for suffix, count in counts.most_common())
