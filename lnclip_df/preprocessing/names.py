"""Which names of videos cannot become the names of what is written of them, and why."""

import os
import re
from pathlib import Path

FACE = re.compile(r"[0-9]{3,}\.(png|npy)")
TEMPORARY = 32  # bytes that a face's own name, and that of the temporary file beside it, may add to its folder's path


def unfit_names(videos: dict[str, Path], out: Path) -> dict[str, str]:
    """Find the videos that have to be renamed before their faces can be written.

    Args:
        videos: ``{key: path}`` of :func:`~lnclip_df.preprocessing.video.find_videos`.
        out: the output folder, absolute; it need not exist.

    Returns:
        ``{key: reason}`` of those whose name is not UTF-8, too long once ``.json`` follows it, or taken by another
        video's faces or record.
    """
    name_limit, path_limit = _limits(out)
    reasons = {}
    for key, path in videos.items():
        names = [os.fsencode(name) for name in f"{key}.json".split("/")]
        folder = os.fsencode(out / "landmarks" / key)
        other = _owner(key, videos)
        if not _is_utf8(path):
            reasons[key] = "its name is not UTF-8; rename the file"
        elif max(map(len, names)) > name_limit or len(folder) + TEMPORARY > path_limit:
            reasons[key] = "its name is too long; rename the file"
        elif other:
            reasons[key] = f"its name collides with what is written of {other!r}; rename the file"
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
