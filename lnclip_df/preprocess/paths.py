"""Where a video comes from, where its faces go (DeepfakeBench's folders and names), and which names cannot."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import is_utf8
from lnclip_df.media.crop_files import TAR

FACE = re.compile(r"[0-9]{3,}\.(png|npy)")
LEFT_FACE = re.compile(r"\.[0-9]{3,}-[0-9a-f]{8}\.(png|npy)")  # a killed process leaves it, see files.atomic_path
TEMPORARY = 32  # bytes that a face's own name, and that of the temporary file beside it, may add to its folder's path


@dataclass(frozen=True)
class Source:
    """One video: a name for it, its file or image folder, and where its faces go below the output folder.

    Attributes:
        key: its identity, with ``/`` between folders; its record is ``records/<key>.json``.
        path: the video, the image, or the folder of images; or the URL of a video or an image.
        folder: contains ``frames/``, ``landmarks/`` and ``masks/``; the output folder itself where empty.
        name: its folder in each of the three; the key where empty.
        mask: the video of its manipulation mask, None where there is none.
    """

    key: str
    path: str = field(repr=False)  # a URL has passwords
    folder: str = ""
    name: str = ""
    mask: str | None = None

    def folder_of(self, out, kind: str) -> Path:
        """The folder of its ``frames``, ``landmarks`` or ``masks``.

        Raises:
            LNCLIPError: it would lie outside ``out``.
        """
        return Path(out, *_parts(self.folder), kind, *_parts(self.name or self.key))

    def tar_path(self, out) -> Path:
        """The tar that its three folders may be instead. Raises as :meth:`folder_of`."""
        folder = self.folder_of(out, "frames")
        return folder.with_name(folder.name + TAR)

    def record_path(self, out) -> Path:
        """The file that says what became of it. Raises as :meth:`folder_of`."""
        return Path(out, "records", *_parts(f"{self.key}.json"))


def face_name(index: int, suffix: str = ".png") -> str:
    """The name of a frame's face: its index, three digits or more."""
    return f"{index:03d}{suffix}"


def _parts(key):
    parts = key.split("/") if key else []
    if any(part in ("", ".", "..") for part in parts):
        raise LNCLIPError(f"the video name {key!r} is no folder name; rename the file")
    return parts


def invalid_names(sources: Iterable[Source], out: Path) -> dict[str, str]:
    """Find the videos that have to be renamed before their faces can be written.

    Args:
        sources: the videos.
        out: the output folder, absolute; it need not exist.

    Returns:
        ``{key: reason}``: a name is not UTF-8, too long with ``.json``, or taken by another video's faces or record.
    """
    name_limit, path_limit = _limits(out)
    sources = list(sources)
    keys = {source.key for source in sources}
    reasons = {}
    for source in sources:
        names = [os.fsencode(name) for name in f"{source.key}.json".split("/")]
        folder = os.fsencode(os.path.join(out, source.folder, "landmarks", source.name or source.key))
        other = _owner(source.key, keys)
        if not is_utf8(str(source.path)):
            reasons[source.key] = "its name is not UTF-8; rename the file"
        elif max(map(len, names)) > name_limit or len(folder) + TEMPORARY > path_limit:
            reasons[source.key] = "its name is too long; rename the file"
        elif other:
            reasons[source.key] = f"its name collides with what is written of {other!r}; rename the file"
    return reasons


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
