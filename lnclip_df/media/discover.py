"""Find the videos, image folders and images below a folder, and say what is passed over."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeVar

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.crop_files import TAR, members
from lnclip_df.media.kinds import AMBIGUOUS, IMAGE_SUFFIXES, SUFFIXES, kind_of

WRITTEN = (("frames", "landmarks", "masks"), ("records", "manifests"))  # preprocessing's own, where the first two are
T = TypeVar("T")
FRAME_NAME = re.compile(r"(?:frame)?[ _-]?[0-9]+", re.IGNORECASE)


@dataclass
class Found:
    """What there is below a folder.

    Attributes:
        videos: ``{key: path or URL}`` in the order of the keys. A key is the path below the folder without its suffix,
            with ``/`` between folders; it keeps the suffix where something else would get the same key.
        skipped: number of files passed over, by suffix, and of those ``without a suffix``, ``hidden`` ones, and
            ``folders of an earlier run``.
        sequences: folders of images of which each is one video.
        numbered: images with numbered names that are each one video, and could be frames of one.
    """

    videos: dict[str, Any] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    sequences: int = 0
    numbered: int = 0

    def add(self, other: "Found"):
        """Add what was found elsewhere, but for its videos."""
        self.skipped += other.skipped
        self.sequences += other.sequences
        self.numbered += other.numbered

    def notes(self) -> list[str]:
        """What was passed over and how images were grouped, one line each."""
        notes = []
        if kinds := ", ".join(f"{count} {kind}" for kind, count in self.skipped.most_common()):
            notes.append(f"passed over: {kinds}")
        if self.sequences:
            notes.append(f"numbered images: {self.sequences} folders of them are one video each")
        if self.numbered:
            notes.append(
                f"numbered images: {self.numbered} of them are one video each; sequences makes a folder one video"
            )
        return notes


def find_videos(source, *, sequences: bool = False) -> Found:
    """Find the videos that a path stands for.

    What a file is, its suffix says, and of a file with another suffix its content. Two or more images that are alone
    in a folder and named by frame numbers (``000.png``, ``frame_12.jpg``) are one video, the folder; any other image is
    one by itself. Linked folders are followed, each folder once. What an earlier run wrote is no video: ``frames``,
    ``landmarks`` and ``masks`` beside each other, ``frames`` with tars of crops, and ``records`` beside ``manifests``.

    Args:
        source: a video, an image, or a folder that is walked recursively.
        sequences: whether images of one folder whose names differ in their last number alone (``IMG_0001.jpg``) are
            one video too.

    Raises:
        LNCLIPError: there is no video or image, or a folder cannot be listed.
    """
    source = Path(source)
    accepted = " ".join(suffix[1:] for suffix in SUFFIXES)
    try:
        mode = os.stat(source).st_mode
        known = _known(source) if not stat.S_ISDIR(mode) else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LNCLIPError(f"no video file or folder {source}: {reason}") from error
    if not stat.S_ISDIR(mode):
        if not known:
            raise LNCLIPError(f"{source} is not a video or image file; accepted are {accepted}")
        return Found({source.stem: source})
    found = Found()
    paths = list(_walk(source, found, sequences))
    if not paths:
        passed = "".join(f"; {note}" for note in found.notes())
        raise LNCLIPError(f"no video below {source}; accepted are {accepted}{passed}")
    names = [source.resolve().name if path == source else path.relative_to(source).as_posix() for path in paths]
    found.videos = unique_keys(zip(names, paths, strict=True))
    return found


def unique_keys(named: Iterable[tuple[str, T]]) -> dict[str, T]:
    """``{key: video}`` in the order of the keys, of videos (a path, or a URL) with their names; see :class:`Found`."""
    named = list(named)
    names = [name for name, _ in named]
    stems = [name if isinstance(path, Path) and path.is_dir() else name[: -len(PurePath(name).suffix) or None]
             for name, path in named]  # fmt: skip
    shared = Counter(key for pair in zip(names, stems, strict=True) for key in set(pair))
    keys = [stem if shared[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
    return dict(sorted(zip(keys, (path for _, path in named), strict=True)))


def _walk(folder, found, sequences):
    seen = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:  # links lead here twice, or in a circle
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        written = earlier_run({*folders})
        if "frames" in {*folders} - written and _has_tars(Path(parent, "frames"), nested="records" in written):
            written.add("frames")
        hidden = {name for name in folders if name.startswith(".")}
        found.skipped += Counter({"folders of an earlier run": len(written), "hidden": len(hidden)})
        folders[:] = [name for name in folders if name not in written | hidden]
        taken = [path for path in (Path(parent, name) for name in sorted(names)) if _taken(path, found)]
        images = [path for path in taken if path.suffix.lower() in IMAGE_SUFFIXES]
        if is_sequence(images, sequences):
            found.sequences += 1
            yield Path(parent)
            yield from (path for path in taken if path.suffix.lower() not in IMAGE_SUFFIXES)
        else:
            found.numbered += len(images) if is_sequence(images, True) else 0
            yield from taken


def earlier_run(folders: set[str]) -> set[str]:
    """The folders beside each other that an earlier run wrote; one with tars alone is not told by its name."""
    return folders & {name for group in WRITTEN if {*group[:2]} <= folders for name in group}


def _has_tars(frames, nested):
    """Whether there is a tar of crops in a folder; ``nested``: or below it."""
    try:
        return any(map(_is_tar_of_crops, frames.rglob(f"*{TAR}") if nested else frames.glob(f"*{TAR}")))
    except OSError:  # not to be read: the walk says so
        return False


def _refuse(error):
    raise LNCLIPError(f"cannot list {error.filename}: {error.strerror or error}") from error


def _taken(path, found):
    """Whether a file of a folder is a video or an image; if not, it is counted."""
    hidden = path.name.startswith(".")
    try:
        if not hidden and _known(path):
            return True
    except OSError:  # gone, or not to be read: its suffix says what it is not
        pass
    found.skipped["hidden" if hidden else path.suffix.lower() or "without a suffix"] += 1
    return False


def _known(path):
    """Whether a file is a video or an image by its suffix, or else by its content."""
    suffix = path.suffix.lower()
    if suffix == TAR:
        return _is_tar_of_crops(path)
    if suffix in SUFFIXES and suffix not in AMBIGUOUS:
        return True
    return stat.S_ISREG(os.stat(path).st_mode) and kind_of(path) is not None


def _is_tar_of_crops(path):
    try:
        return bool(members(path))
    except ValueError:  # another tar
        return False


def is_sequence(images, by_any_number):
    """Whether images are the frames of one video: two or more, named by frame numbers or alike but for the last one."""
    stems = [path.stem for path in images if path.suffix.lower() != ".gif"]
    around = {re.sub(r"[0-9]+(?=[^0-9]*$)", "#", stem) for stem in stems}
    alike = 1 < len(stems) == len(images) and len(around) == 1 and "#" in around.pop()
    return alike and (by_any_number or FRAME_NAME.fullmatch(stems[0]) is not None)
