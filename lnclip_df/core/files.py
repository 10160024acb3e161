"""Write files whole or not at all; keep paths from data inside their folder."""

import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from lnclip_df.core.errors import LNCLIPError

HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:2]
LEFTOVER = re.compile(rf"\..*-{HOST}([0-9a-f]{{6}})(\.[^.]*)?")  # a temporary file of a process, by its number


def check_writable(path: str | Path, *, folder: bool = False) -> None:
    """Check, before the work, that its results can be written; nothing is created.

    Args:
        path: the file to be written, or the folder to write in; neither need exist.
        folder: whether it is a folder.

    Raises:
        LNCLIPError: ``path`` is something else, its folder cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        if path.exists() and not (path.is_dir() if folder else path.is_file()):
            kind = "a folder" if path.is_dir() else "a file" if path.is_file() else "no regular file"
            raise LNCLIPError(f"cannot write {path}: it is {kind}; name another {'folder' if folder else 'file'}")
        nearest = path if folder else path.parent
        while not os.path.lexists(nearest):
            nearest = nearest.parent
        with tempfile.NamedTemporaryFile(dir=nearest, prefix=".lnclip-") as file:
            file.write(bytes(4096))
            file.flush()
    except (OSError, ValueError) as error:
        raise LNCLIPError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def check_not_read(written: Iterable[str | Path], read: Iterable[str | Path]) -> None:
    """Raise :class:`LNCLIPError` where a file to be written is one of those that are read: it would be lost."""
    sources = set(map(os.path.realpath, read))
    for path in written:
        if os.path.realpath(path) in sources:
            raise LNCLIPError(f"cannot write {path}: it is an input; name another place for the results")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move the file or folder there on success, delete it on any failure.

    The folder around it is created. Nothing is at the temporary path yet, see :func:`temporary_beside`.

    Raises:
        LNCLIPError: the folder cannot be written, the disk is full, or ``path`` is a device or a pipe.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise LNCLIPError(f"cannot write {path}: it is no regular file; name another file")
        temporary = temporary_beside(path)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise LNCLIPError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            _remove(temporary)


def _remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A hidden path beside ``path`` with its suffix; what killed processes left under such a path is removed.

    It is what a process finds in a folder where it first writes: to list the folder each time, with 100,000 frames in
    it, would take longer than writing them.
    """
    start = f".{path.stem[:40]}-"
    for name in _temporary_names(path.parent.absolute()):
        if name.startswith(start) and is_leftover(name) and (left := path.parent / name).suffix == path.suffix:
            _remove(left)
    return path.with_name(f"{start}{HOST}{os.getpid() & 0xFFFFFF:06x}{path.suffix}")


@lru_cache(maxsize=1024)
def _temporary_names(folder):
    return [name for name in os.listdir(folder) if LEFTOVER.fullmatch(name)]


def is_leftover(name: str) -> bool:
    """Whether this is the name of a temporary file that a process of this machine left when it was killed."""
    match = LEFTOVER.fullmatch(name)
    return match is not None and not _is_alive(int(match[1], 16))


def _is_alive(process):
    if os.name != "posix" or process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Yield a private folder on the local disk (``TMPDIR``), deleted at the end; so are those of killed processes."""
    top, start = tempfile.gettempdir(), f".lnclip-{os.getuid() if os.name == 'posix' else 0}-"
    for name in os.listdir(top):
        if name.startswith(start) and is_leftover(name):
            shutil.rmtree(os.path.join(top, name), ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{start}{HOST}{os.getpid() & 0xFFFFFF:06x}.") as folder:
        yield folder


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8 with unchanged newlines, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON, whole or not at all; ValueError if it has NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; :class:`LNCLIPError` if it is missing, unreadable or not JSON."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise LNCLIPError(f"{path} is not JSON: {error}") from error


def parse_json(text: str | bytes, **options) -> Any:
    """The value of JSON text, by ``json.loads`` with ``options``; ValueError if it is not JSON or nested too deeply."""
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def inside(root: str | Path, *parts: str | Path) -> Path:
    """The resolved path of ``parts`` below ``root``; :class:`LNCLIPError` if it leaves ``root``."""
    root = Path(root).resolve()
    path = root.joinpath(*parts).resolve()
    if not path.is_relative_to(root):
        raise LNCLIPError(f"the path {os.path.join(*map(str, parts))!r} leaves its folder {root}; rename it")
    return path


def is_utf8(text: str) -> bool:
    """Whether text can be written to a file: names that are not UTF-8 on disk contain lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
