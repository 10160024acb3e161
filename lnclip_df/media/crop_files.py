"""The files of a video's crops: in folders, or in one tar that is read by offset.

``frames/VIDEO.tar`` unpacks into ``frames/VIDEO/012.png``, ``landmarks/VIDEO/012.npy`` and ``masks/VIDEO/012.png``.
These are the paths of its files all the time: where there is no such file, it is read from the tar. The tar's last
member, ``index.json``, says where each begins. Its names and sizes are checked: a tar is not trusted.
"""

import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import parse_json

KINDS = ("frames", "landmarks", "masks")
TAR = ".tar"
MEMBER = re.compile(r"(frames|landmarks|masks)/[0-9]{3,}\.(png|npy)")
END = bytes(2 * tarfile.BLOCKSIZE)  # of a tar
STATED = 16  # the last bytes of the index: its own length, and a bracket
MAX_INDEX, MAX_FILE = 1 << 25, 1 << 28  # bytes


# --- writing ----------------------------------------------------------------------------------------------------------


def pending_path(path: Path) -> Path:
    """Where a video's only file is written before it is moved to its path: a name that no other video's has."""
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}{path.suffix}")


@contextmanager
def new_tar(path: Path, video: str) -> Iterator[Callable[[str, str, bytes], None]]:
    """Yield ``save(kind, name, data)``, which adds a file to a video's tar; it is there when the block ends, if ever.

    A block that saves nothing writes no tar.

    Raises:
        LNCLIPError: the tar cannot be written.
    """
    pending, index = pending_path(path), {}
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(pending, "wb")  # noqa: SIM115
    try:
        with file:
            tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)

            def add(name, data):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                with _writing(path):
                    tar.addfile(member, BytesIO(data))

            def save(kind, name, data):
                add(f"{kind}/{video}/{name}", data)
                index[f"{kind}/{name}"] = file.tell() - _padded(len(data)), len(data)

            yield save
            add("index.json", _index_text(index))
            with _writing(path):
                file.write(END)
        if index:
            with _writing(path):
                os.replace(pending, path)
    finally:
        pending.unlink(missing_ok=True)


@contextmanager
def _writing(path):
    try:
        yield
    except OSError as error:
        raise LNCLIPError(f"cannot write {path}: {error.strerror or error}") from error


def _padded(size: int) -> int:
    """The bytes that a file of this size takes in a tar."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _index_text(index) -> bytes:
    """JSON ``[{name: [offset, size]}, length of this text]`` that fills whole blocks."""
    text = f"[{json.dumps(index)},"
    length = _padded(len(text) + STATED)
    return f"{text:{length - STATED}}{length:{STATED - 1}}]".encode("ascii")


# --- reading ----------------------------------------------------------------------------------------------------------


def read_file(path: Path, size: int = -1) -> bytes:
    """The first ``size`` bytes (all for -1) of a file of crops, from disk or else from its video's tar.

    Raises:
        OSError, ValueError: it is in neither, it is no regular file, or the tar is damaged.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block
            raise ValueError("not a regular file")
        with open(path, "rb") as file:
            return file.read(size)
    except (FileNotFoundError, NotADirectoryError):
        place = _place_in_tar(path)
        if place is None:
            raise
    tar, offset, length = place
    with open(tar, "rb") as file:
        file.seek(offset)
        data = file.read(length if size < 0 else min(size, length))
    return data


def stamp(path: Path) -> tuple[int, int]:
    """The size in bytes of a file of crops, and when it, or its video's tar, was changed, in nanoseconds.

    Raises:
        OSError, ValueError: as :func:`read_file`.
    """
    try:
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        place = _place_in_tar(path)
        if place is None:
            raise
    return place[2], os.stat(place[0]).st_mtime_ns


def is_file(path: Path) -> bool:
    """Whether there is this file, on disk or in its video's tar; also in one that is damaged, as reading it says."""
    try:
        return path.is_file() or _place_in_tar(path) is not None
    except ValueError:
        return True


def file_names(folder: Path) -> list[str]:
    """The names of what is in a folder of crops, or else of the files that the video's tar has of it, in any order.

    Raises:
        OSError, ValueError: there is neither, it cannot be listed, or the tar is damaged.
    """
    try:
        return [entry.name for entry in os.scandir(folder) if not entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        found = _tar_of(folder)
        if found is None:
            raise
    tar, kind = found
    return [name.rpartition("/")[2] for name in members(tar) if name.startswith(f"{kind}/")]


def stored_at(folder: Path) -> Path:
    """A video's folder of crops, or its tar where there is no such folder."""
    tar = None if folder.exists() else _tar_of(folder)
    return tar[0] if tar else folder


def masks_in_tar(folder: Path) -> Path | None:
    """The folder of masks that unpacking the tar of a ``frames/VIDEO`` gives; None where it has no mask, or no tar."""
    found = None if folder.is_dir() else _tar_of(folder)
    if found is None or not any(name.startswith("masks/") for name in members(found[0])):
        return None
    at = max((at for at, part in enumerate(folder.parts[:-1]) if part == KINDS[0]), default=None)
    return None if at is None else Path(*folder.parts[:at], "masks", *folder.parts[at + 1 :])


def members(tar: Path) -> dict[str, tuple[int, int]]:
    """``{kind/name: (offset, size)}`` of the files in a video's tar, in the order in which they were written.

    Raises:
        OSError, ValueError: it cannot be read, is damaged, or was made by another tool.
    """
    status = os.stat(tar)
    return _members(os.fspath(tar), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _members(tar, size, _modified):
    try:
        with open(tar, "rb") as file:
            file.seek(max(0, size - len(END) - STATED))
            length = int(file.read(STATED)[:-1])
            start = size - len(END) - length
            if not 0 < length <= min(MAX_INDEX, size):
                raise ValueError
            file.seek(start)
            found, _ = parse_json(file.read(length))
        places = {name: (offset, length) for name, (offset, length) in found.items()}
        for name, place in places.items():
            offset, length = (number if type(number) is int else -1 for number in place)
            if not (MEMBER.fullmatch(name) and offset >= 0 and 0 <= length <= MAX_FILE and offset + length <= start):
                raise ValueError
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{tar} is damaged, or no tar of preprocess; preprocess its video again") from error
    return places


def _place_in_tar(path) -> tuple[Path, int, int] | None:
    """Where a file is in its video's tar: the tar, offset and size; None where there is none."""
    found = _tar_of(path.parent)
    if found is None:
        return None
    tar, kind = found
    place = members(tar).get(f"{kind}/{path.name}")
    return place and (tar, *place)


def _tar_of(folder: Path) -> tuple[Path, str] | None:
    """The tar that stands for a folder of ``frames``, ``landmarks`` or ``masks``, and which of them; or None."""
    if not folder.name:
        return None
    own = folder.with_name(folder.name + TAR)
    if own.is_file():
        return own, KINDS[0]
    for at in range(len(folder.parts) - 2, -1, -1):
        if folder.parts[at] in KINDS[1:]:
            tar = Path(*folder.parts[:at], KINDS[0], *folder.parts[at + 1 : -1], own.name)
            if tar.is_file():
                return tar, folder.parts[at]
    return None
