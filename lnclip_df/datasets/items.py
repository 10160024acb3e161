"""One video of a dataset, as found on disk and described by the dataset's YAML."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class Frames(Sequence):
    """The images of one video, in order: like a tuple of paths, but as small as their names.

    >>> list(Frames(Path("frames/a"), ("000.png", "004.png")))
    [PosixPath('frames/a/000.png'), PosixPath('frames/a/004.png')]
    """

    __slots__ = ("folder", "names")

    def __init__(self, folder: Path = Path(), names: Sequence[str] = ()):
        self.folder, self.names = folder, tuple(names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Frames(self.folder, self.names[index])
        return self.folder / self.names[index]

    def __len__(self):
        return len(self.names)

    def __eq__(self, other):
        return tuple(self) == tuple(other) if isinstance(other, Frames | tuple) else NotImplemented

    def __hash__(self):
        return hash(tuple(self))

    def __repr__(self):
        return f"Frames({str(self.folder)!r}, {self.names!r})"


@dataclass(frozen=True)
class Item:
    """One video of a dataset.

    Attributes:
        path: its identity: ``/``-separated, ``<folder named in the YAML>/<path below it>``, without a ``videos`` or
            ``frames`` level and without suffix: ``Celeb-DF-v2/Celeb-real/id0_0000``.
        label: the name of its label in the dataset JSON.
        fake: whether that label is a fake's.
        splits: of train, val and test; empty if the video is known but unused.
        name: its key in the dataset JSON.
        level: its compression level in the dataset JSON; None if the dataset has none.
        method: its forgery method if one is known; None for real videos.
        pair: ``path`` of the real video that it was made from; None for real videos, and if that video is unknown or
            not on disk.
        ids: its source ids (persons, clips): two videos that share one are not independent.
        file: the raw video, from ``scan_videos``.
        mask: the raw mask video, from ``scan_videos``; None if there is none.
        frames: face images in the order of their index, from ``scan_faces``.
        masks: mask images likewise.
        has_masks: whether its record in the dataset JSON has a list of masks, even an empty one.
    """

    path: str
    label: str
    fake: bool
    splits: tuple[str, ...]
    name: str
    level: str | None = None
    method: str | None = None
    pair: str | None = None
    ids: tuple[str, ...] = ()
    file: Path | None = None
    mask: Path | None = None
    frames: Sequence[Path] = ()
    masks: Sequence[Path] = ()
    has_masks: bool = False


def draw_key(seed: int, item: Item) -> str:
    """A sort key that depends on the seed and the video alone, not on what else is on disk or where."""
    return hashlib.sha256(f"{seed}/{item.label}/{item.name}".encode()).hexdigest()
