"""How a run over many videos is carried out; none of it changes a crop (that is what ``CropSettings`` says)."""

from dataclasses import dataclass
from numbers import Integral

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.iteration import part_of
from lnclip_df.faces.recipes import crop_settings
from lnclip_df.faces.settings import CropSettings, check_number

FORMATS = ("png", "tar")

__all__ = ["CropSettings", "RunOptions", "crop_settings"]


@dataclass(frozen=True)
class RunOptions:
    """Where a run works, on which part of the videos, and how it stores crops.

    Attributes:
        workers: number of processes, 1 or more; the number of cores by default. 1 works in this process.
        scheduler: address of a Dask scheduler (``tcp://host:8786``); its workers must see the same paths.
        shard: ``i/n``: only the i-th of n parts of the videos, for job arrays.
        format: ``png``, a file for each crop, or ``tar``, a tar for each video (see ``media/crop_files.py``). Videos
            that are finished stay as they are stored.
        progress: show a bar with the rate and the remaining time.

    Raises:
        LNCLIPError: an option is out of range.
    """

    workers: int | None = None
    scheduler: str | None = None
    shard: str | None = None
    progress: bool = True
    format: str = "png"

    def __post_init__(self):
        if self.workers is not None:
            check_number("workers", self.workers, Integral, 1)
        if self.format not in FORMATS:
            raise LNCLIPError(f"format: {self.format!r} received; accepted are {' and '.join(FORMATS)}")
        self.part()

    def part(self) -> slice:
        """Which of the videos, in the order of their keys, belong to this shard."""
        return part_of(self.shard)
