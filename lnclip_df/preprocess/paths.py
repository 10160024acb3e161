"""Where a video comes from, and where its faces go: DeepfakeBench's folders and names."""

from dataclasses import dataclass
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError


@dataclass(frozen=True)
class Source:
    """One video: a name for it, its file or image folder, and where its faces go below the output folder.

    Attributes:
        key: its identity, with ``/`` between folders; its record is ``records/<key>.json``.
        path: the video, the image, or the folder of images.
        folder: holds ``frames/``, ``landmarks/`` and ``masks/``; the output folder itself where empty.
        name: its folder in each of the three; the key where empty.
        mask: the video of its manipulation mask, None where there is none.
    """

    key: str
    path: str
    folder: str = ""
    name: str = ""
    mask: str | None = None

    def place(self, out, kind: str) -> Path:
        """The folder of its ``frames``, ``landmarks`` or ``masks``.

        Raises:
            LNCLIPError: it would lie outside ``out``.
        """
        return Path(out, *_parts(self.folder), kind, *_parts(self.name or self.key))

    def record(self, out) -> Path:
        """The file that says what became of it. Raises as :meth:`place`."""
        return Path(out, "records", *_parts(f"{self.key}.json"))


def face_name(index: int, suffix: str = ".png") -> str:
    """The name of a frame's face: its index, three digits or more."""
    return f"{index:03d}{suffix}"


def _parts(key):
    parts = key.split("/") if key else []
    if any(part in ("", ".", "..") for part in parts):
        raise LNCLIPError(f"the video name {key!r} is no folder name; rename the file")
    return parts
