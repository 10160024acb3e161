"""Images as the frames of a video. Pillow may use the readers of ``IMAGE_FORMATS`` alone."""

import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import one_line
from lnclip_df.media.limits import IMAGE_SUFFIXES, Miscounted, UnreadableVideo, check_pixels

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")


def list_images(folder) -> list[Path]:
    """The images directly in a folder, in the order of the last number in their names, then of the names."""
    found = (path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((path for path in found if not path.name.startswith(".") and path.is_file()), key=_number)


def _number(path):
    numbers = re.findall(r"[0-9]+", path.stem)
    return int(numbers[-1]) if numbers else -1, path.name


class ImageFrames:
    """Images as the frames of a video, indexed from 0 in the order given."""

    seconds = None

    def __init__(self, paths):
        self.paths = list(paths)

    @property
    def count(self) -> int:
        return len(self.paths)

    def time(self, index: int) -> None:
        """None: images have no time."""

    def recount(self):
        """Leave out the images that do not decode; where none does, raise the first one's :class:`UnreadableVideo`."""
        good, faults = [], []
        for path in self.paths:
            try:
                read_image(path)
                good.append(path)
            except UnreadableVideo as error:
                faults.append(error)
        if faults and not good:
            raise faults[0]
        self.paths = good

    def read(self, indices) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, uint8 RGB H×W×3)``, upright as EXIF says; :class:`Miscounted` if one does not decode."""
        for index in indices:
            try:
                yield index, read_image(self.paths[index])
            except UnreadableVideo as error:
                raise Miscounted from error


def read_image(path) -> np.ndarray:
    """An image as uint8 RGB H×W×3, upright as EXIF says; :class:`UnreadableVideo` if broken or too large."""
    image_module, operations = pillow()
    try:
        with image_module.open(path, formats=IMAGE_FORMATS) as image:
            check_pixels(*image.size)
            return np.asarray(operations.exif_transpose(image).convert("RGB"))
    except UnreadableVideo:
        raise
    except Exception as error:  # of a broken image, Pillow's readers raise nearly anything
        raise UnreadableVideo(f"cannot be decoded: {one_line(error)}") from error


@cache
def pillow():
    """Pillow's modules Image and ImageOps, without its warning of sizes that this package accepts."""
    from PIL import Image, ImageOps

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    return Image, ImageOps
