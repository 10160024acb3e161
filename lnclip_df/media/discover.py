"""Find the videos, image folders and images below a folder."""

import os
import re
import stat
from collections import Counter
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.kinds import IMAGE_SUFFIXES, SUFFIXES, VIDEO_SUFFIXES

WRITTEN = (("frames", "landmarks", "masks"), ("records", "manifests"))  # preprocessing's own, where the first two are


def find_videos(source) -> dict[str, Path]:
    """Find the videos that a path stands for.

    Images in one folder whose names differ in a number alone (``000.png``, ``frame_12.jpg``) are one video, the folder;
    any other image is one by itself. Linked folders are followed, each folder once. Hidden files and folders are
    skipped, and so is what an earlier run wrote: ``frames``, ``landmarks`` and ``masks`` beside each other, and
    ``records`` beside ``manifests``.

    Args:
        source: a video, an image, or a folder that is walked recursively.

    Returns:
        ``{key: path}`` in the order of the keys. A key is the path below ``source`` without its suffix, with ``/``
        between folders; it keeps the suffix where something else would get the same key.

    Raises:
        LNCLIPError: there is no video or image, or a folder cannot be listed.
    """
    source = Path(source)
    accepted = " ".join(suffix[1:] for suffix in SUFFIXES)
    try:
        is_folder = stat.S_ISDIR(os.stat(source).st_mode)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LNCLIPError(f"no video file or folder {source}: {reason}") from error
    if not is_folder:
        if source.suffix.lower() not in SUFFIXES:
            raise LNCLIPError(f"{source} is not a video or image file; accepted are {accepted}")
        return {source.stem: source}
    paths = list(_walk(source))
    if not paths:
        raise LNCLIPError(f"no video below {source}; accepted are {accepted}")
    names = [source.resolve().name if path == source else path.relative_to(source).as_posix() for path in paths]
    stems = [name if path.is_dir() else name[: -len(path.suffix)] for name, path in zip(names, paths, strict=True)]
    shared = Counter(key for pair in zip(names, stems, strict=True) for key in set(pair))
    keys = [stem if shared[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
    return dict(sorted(zip(keys, paths, strict=True)))


def _walk(folder):
    seen = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:  # links lead here twice, or in a circle
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        written = {name for group in WRITTEN if {*group[:2]} <= {*folders} for name in group}
        folders[:] = [name for name in folders if not name.startswith(".") and name not in written]
        shown = [name for name in names if not name.startswith(".")]
        yield from (Path(parent, name) for name in shown if name.lower().endswith(VIDEO_SUFFIXES))
        images = [name for name in shown if name.lower().endswith(IMAGE_SUFFIXES)]
        if _is_sequence(images):
            yield Path(parent)
        else:
            yield from (Path(parent, name) for name in images)


def _refuse(error):
    raise LNCLIPError(f"cannot list {error.filename}: {error.strerror or error}") from error


def _is_sequence(names):
    """Whether images are the frames of one video: two or more whose names differ in their last number alone."""
    around = {re.sub(r"[0-9]+(?=[^0-9]*$)", "#", Path(name).stem) for name in names}
    return len(names) > 1 and len(around) == 1 and "#" in around.pop()
