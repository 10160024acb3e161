"""Files are written whole or not at all, and no path from data leaves its folder."""

import hashlib
import json
import os
import secrets
from contextlib import contextmanager
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError


@contextmanager
def atomic_path(path):
    """Yield a temporary path beside ``path``; move it there on success, delete it on any failure.

    Args:
        path: the final file, ``str`` or ``Path``; its folder is created. The suffix is kept, for writers that read it.

    Yields:
        Path of the temporary file (it does not exist yet).

    Raises:
        LNCLIPError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix}")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise LNCLIPError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path, data: bytes):
    """Write ``data`` to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path, text: str):
    """Write ``text`` to ``path`` as UTF-8 with the newlines it has, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path, value):
    """Write ``value`` to ``path`` as indented JSON, whole or not at all.

    Raises:
        ValueError: ``value`` holds NaN or infinity, which JSON has not.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path):
    """Read a JSON file.

    Raises:
        LNCLIPError: the file is absent, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise LNCLIPError(f"{path} is not JSON: {error}") from error


def inside(root, *parts) -> Path:
    """Join ``parts`` below ``root`` and refuse a result outside it.

    Returns:
        The resolved path.

    Raises:
        LNCLIPError: the path climbs out of ``root``.
    """
    root = Path(root).resolve()
    path = root.joinpath(*parts).resolve()
    if path != root and root not in path.parents:
        raise LNCLIPError(f"the path {os.path.join(*map(str, parts))!r} leaves its folder {root}; rename it")
    return path


def sha256(path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
