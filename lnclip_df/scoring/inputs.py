"""What the paths that a user gives mean: files, folders and patterns, each video or image under a name of its own."""

import glob
import os
from pathlib import Path
from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.discover import find_videos


class Medium(NamedTuple):
    """A video, an image, or a folder of images that are one video; ``name`` is unique, relative, with ``/``."""

    name: str
    path: Path


def find_media(paths) -> list[Medium]:
    """The videos and images that paths stand for, each once, in the order given.

    Args:
        paths: files; folders, see :func:`lnclip_df.media.discover.find_videos`; patterns such as ``*.mp4`` or
            ``clips/**/*.mp4``, where no file has that very name. One path or several; or media that were found before.

    Raises:
        LNCLIPError: nothing given, a path does not exist or is no video or image, a pattern or folder holds none.
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if paths and all(isinstance(path, Medium) for path in paths):
        return paths
    found, seen = [], set()
    for source in (matched for path in paths for matched in _matches(path)):
        for name, path in find_videos(source).items():
            if (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                found.append(Medium(name, path))
    if not found:
        raise LNCLIPError("nothing to score: name a video, an image, or a folder of them")
    return _named_apart(found)


def _matches(path):
    """The paths that one path stands for."""
    text = os.fspath(path)
    if os.path.lexists(path) or not glob.has_magic(text):
        return [path]
    found = sorted(glob.glob(text, recursive=True))
    if not found:
        raise LNCLIPError(f"no file or folder matches {text}")
    return found


def _named_apart(media):
    """The same with names that differ, upper and lower case aside, and of which none is another's folder."""
    taken, folders, named = set(), set(), []
    for medium in media:
        name, number = medium.name, 1
        head, slash, rest = name.partition("/")
        while name.casefold() in taken | folders or taken & _parents(name):
            number += 1
            name = f"{head}-{number}{slash}{rest}"
        taken.add(name.casefold())
        folders |= _parents(name)
        named.append(medium._replace(name=name))
    return named


def _parents(name):
    parts = name.casefold().split("/")[:-1]
    return {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}
