"""Which names of videos cannot become the names of what is written of them, and why."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from lnclip_df.preprocess.paths import Source

FACE = re.compile(r"[0-9]{3,}\.(png|npy)")
LEFT_FACE = re.compile(r"\.[0-9]{3,}-[0-9a-f]{8}\.(png|npy)")  # a killed process leaves it, see files.atomic_path
TEMPORARY = 32  # bytes that a face's own name, and that of the temporary file beside it, may add to its folder's path


def unfit_names(sources: Iterable[Source], out: Path) -> dict[str, str]:
    """Find the videos that have to be renamed before their faces can be written.

    Args:
        sources: the videos.
        out: the output folder, absolute; it need not exist.

    Returns:
        ``{key: reason}`` of those whose name is not UTF-8, too long once ``.json`` follows it, or taken by another
        video's faces or record.
    """
    name_limit, path_limit = _limits(out)
    sources = list(sources)
    keys = {source.key for source in sources}
    reasons = {}
    for source in sources:
        names = [os.fsencode(name) for name in f"{source.key}.json".split("/")]
        folder = os.fsencode(os.path.join(out, source.folder, "landmarks", source.name or source.key))
        other = _owner(source.key, keys)
        if not _is_utf8(source.path):
            reasons[source.key] = "its name is not UTF-8; rename the file"
        elif max(map(len, names)) > name_limit or len(folder) + TEMPORARY > path_limit:
            reasons[source.key] = "its name is too long; rename the file"
        elif other:
            reasons[source.key] = f"its name collides with what is written of {other!r}; rename the file"
    return reasons


def _is_utf8(path):
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _owner(key, keys):
    """The video whose face (``good/000.png``) or record (``good.json``) has the name of a folder of ``key``."""
    parts = key.split("/")
    for depth in range(1, len(parts)):
        folder = "/".join(parts[:depth])
        if folder in keys and FACE.fullmatch(parts[depth]):
            return folder
        if folder.endswith(".json") and folder[: -len(".json")] in keys:
            return folder[: -len(".json")]
    return None


def _limits(out):
    """Bytes that a name, and a path, may have where ``out`` is or will be."""
    folder = next(folder for folder in (out, *out.parents) if folder.is_dir())
    limits = []
    for name, usual in (("PC_NAME_MAX", 255), ("PC_PATH_MAX", 4096)):
        try:
            limit = os.pathconf(folder, name)
        except (AttributeError, OSError, ValueError):
            limit = usual
        limits.append(limit if limit > 0 else usual)
    return limits
