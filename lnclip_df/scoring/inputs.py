"""Find the videos and images that paths, folders and patterns name, and give each a unique name."""

import glob
import logging
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.discover import Found, find_videos

logger = logging.getLogger(__name__)


class InputFile(NamedTuple):
    """A video, an image, or a folder of images that is one video; ``name`` is unique and relative, with ``/``."""

    name: str
    path: Path


def find_inputs(paths, *, sequences: bool = False) -> list[InputFile]:
    """Find the videos and images that paths name, each once, in the order given. What is passed over is logged.

    Args:
        paths: one path or several. Each is a file, a folder (see :func:`lnclip_df.media.discover.find_videos`), or a
            pattern, ``*.mp4`` or ``clips/**/*.mp4``, unless a file has that very name. Inputs that were found before
            are returned as they are.
        sequences: see :func:`lnclip_df.media.discover.find_videos`.

    Raises:
        LNCLIPError: no path is given, a path does not exist or is no video or image, or a pattern or folder has none.
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if paths and all(isinstance(path, InputFile) for path in paths):
        return paths
    found, known, whole = [], set(), Found()
    for source in (match for path in paths for match in _matches(path)):
        part = find_videos(source, sequences=sequences)
        whole.add(part)
        for name, path in part.videos.items():
            if (real := os.path.realpath(path)) not in known:
                known.add(real)
                found.append(InputFile(name, path))
    if not found:
        raise LNCLIPError("nothing to score: name a video, an image, or a folder of them")
    for note in whole.notes():
        logger.warning("%s", note)
    return _with_unique_names(found)


def _matches(path):
    """The paths that match one path or pattern."""
    text = os.fspath(path)
    if os.path.lexists(path) or not glob.has_magic(text):
        return [path]
    found = sorted(glob.glob(text, recursive=True))
    if not found:
        raise LNCLIPError(f"no file or folder matches {text}")
    return found


def _with_unique_names(inputs):
    """Rename where names are equal (ignoring case), or where one is the folder of another."""
    taken, folders, renamed = set(), set(), []
    left: dict[str, Iterator[str]] = {}  # names that were not tried yet, by the name found: what is taken stays so

    def free(name):
        return name.casefold() not in folders and not taken & {name.casefold(), *_parents(name)}

    for file in inputs:
        name = next(filter(free, left.setdefault(file.name, _numbered(file.name))))
        taken.add(name.casefold())
        folders |= _parents(name)
        renamed.append(file._replace(name=name))
    return renamed


def _numbered(name):
    """Yield a name, and the same with the numbers 2, 3, … behind its first part."""
    head, slash, rest = name.partition("/")
    yield name
    yield from (f"{head}-{number}{slash}{rest}" for number in count(2))


def _parents(name):
    return {str(parent) for parent in PurePosixPath(name.casefold()).parents}
