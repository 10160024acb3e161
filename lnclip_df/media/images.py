"""Pictures, and the frames of animated ones, as uint8 RGB by Pillow. It may use the readers of ``FORMATS`` alone.

All pixels become 8 bits as OpenCV makes them: of 16 bits the upper 8. Transparent pixels are shown on black.
"""

import re
import warnings
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np

from lnclip_df.core.errors import one_line
from lnclip_df.media.kinds import IMAGE_SUFFIXES
from lnclip_df.media.limits import MAX_ANIMATION, MAX_RATE, Miscounted, UnreadableVideo, check_pixels

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "AVIF", "HEIF")
ANIMATED = ("PNG", "GIF", "WEBP", "AVIF")
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF
DURATION = 100  # milliseconds of a frame that states none, as browsers show it


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
    changes: ClassVar[dict[str, str]] = {}

    def __init__(self, paths):
        self.paths = list(paths)

    @property
    def count(self) -> int:
        return len(self.paths)

    def time(self, index: int) -> None:
        """None: images have no time."""

    def _image(self, path):
        return read_image(path)

    def recount(self):
        """Leave out the images that do not decode; where none does, raise the first one's :class:`UnreadableVideo`."""
        good, faults = [], []
        for path in self.paths:
            try:
                self._image(path)
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
                yield index, self._image(self.paths[index])
            except UnreadableVideo as error:
                raise Miscounted from error


class Animation:
    """The frames of an animated picture, indexed from 0.

    Attributes:
        count: how many decode.
        seconds: how long one round takes.
        tick: the unit of its times, in seconds.
    """

    rate, tick, start = None, Fraction(1, 1000), Fraction(0)
    changes: ClassVar[dict[str, str]] = {}

    def __init__(self, path, max_seconds: float | None = None):
        self.path, self.max_seconds = path, max_seconds
        self.recount()

    def recount(self):
        """Decode everything once, for the number of frames and their times; what comes after a fault is left out."""
        limit, ends = self.max_seconds, [0]
        try:
            for _, image in self._decoded():
                ends.append(ends[-1] + round(image.info.get("duration") or DURATION))
                if limit is not None and (ends[-1] > limit * 1000 or len(ends) - 1 > limit * MAX_RATE):
                    raise UnreadableVideo(f"longer than the limit of {limit:g} s")
        except Miscounted as error:
            if len(ends) == 1:
                raise UnreadableVideo("no frame can be decoded") from error
        *self._times, total = ends
        self.count, self.seconds = len(self._times), total / 1000

    def moment(self, index: int) -> Fraction:
        """When a frame is shown, in seconds from the first, exactly."""
        return self._times[index] * self.tick

    def time(self, index: int) -> float:
        """When a frame is shown, in seconds from the first."""
        return self._times[index] / 1000

    def read(self, indices) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, uint8 RGB H×W×3)`` for rising ``indices``; :class:`Miscounted` if one does not decode."""
        wanted = set(indices)
        for index, image in self._decoded(max(wanted, default=-1) + 1):
            if index in wanted:
                yield index, to_rgb(pillow().exif_transpose(image))

    def _decoded(self, end=None):
        """Yield ``(index, picture)``, before ``end``; :class:`Miscounted` where one does not decode."""
        try:
            with open_image(self.path) as image:
                width, height = image.size
                if width * height * image.n_frames > MAX_ANIMATION:
                    raise UnreadableVideo(
                        f"{image.n_frames:,} frames of {width} × {height} pixels are too many to decode"
                    )
                for index in range(image.n_frames if end is None else end):
                    image.seek(index)
                    check_pixels(*image.size)
                    image.load()
                    yield index, image
        except (UnreadableVideo, MemoryError):
            raise
        except Exception as error:  # of a broken image, Pillow's readers raise nearly anything
            raise Miscounted from error


def open_pictures(path, max_seconds: float | None = None) -> ImageFrames | Animation:
    """The frames of one picture's file: several where it is animated."""
    try:
        with open_image(path) as image:
            animated = image.format in ANIMATED and getattr(image, "is_animated", False)
    except MemoryError:
        raise
    except Exception:  # of a broken image, Pillow's readers raise nearly anything
        animated = False  # it is refused with the reason when it is read
    return Animation(path, max_seconds) if animated else ImageFrames([path])


def read_image(source) -> np.ndarray:
    """An image (its path, or its bytes) as uint8 RGB H×W×3, upright as EXIF says.

    Raises:
        UnreadableVideo: broken, too large, or of pixels that have no defined colour.
    """
    try:
        with open_image(source) as image:
            pillow().exif_transpose(image, in_place=True)
            return to_rgb(image)
    except (UnreadableVideo, MemoryError):
        raise
    except Exception as error:  # of a broken image, Pillow's readers raise nearly anything
        raise UnreadableVideo(f"cannot be decoded: {one_line(error)}") from error


def open_image(source):
    """An image (its path, or its bytes) as Pillow opens it: its pixels are not decoded yet.

    Raises:
        UnreadableVideo: not one of ``FORMATS``, or of too many pixels.
    """
    from PIL import Image

    pillow()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableVideo(f"cannot be decoded: {_why(source, error)}") from error
    try:
        check_pixels(*image.size)
    except UnreadableVideo:
        image.close()
        raise
    return image


def _why(source, error):
    """Why Pillow cannot open an image; of formats that it may know in another installation, how to add them."""
    from PIL import Image, UnidentifiedImageError

    if not isinstance(source, bytes) and "HEIF" not in Image.OPEN:
        with open(source, "rb") as file:
            if re.match(rb".{4}ftyp(?!avi[fs])", file.read(12), re.DOTALL):
                return "HEIC needs pi-heif; install the extra: pip install 'lnclip-df[preprocess]'"
    if isinstance(error, UnidentifiedImageError):
        return f"damaged, or no {', '.join(FORMATS)} with 8 or 16 bits; save it again as PNG"
    return one_line(error)


def to_rgb(image) -> np.ndarray:
    """The pixels of an open image of any mode as uint8 RGB H×W×3."""
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode == "F":
        return np.repeat(_grey(image)[..., None], 3, axis=2)
    if image.mode == "I":
        reason = "its pixels are signed or 32-bit integers, whose white is not defined; save it with 8 or 16 bits"
        raise UnreadableVideo(reason)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _grey(image):
    """uint8 H×W of an image of one channel with more than 8 bits, whose tags and transparent value Pillow leaves."""
    pixels, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode == "F":
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN is neither
            raise UnreadableVideo("its pixels are floating-point numbers beyond 0 to 1; save it with 8 or 16 bits")
        grey = np.rint(pixels * 255).astype(np.uint8)
    else:
        grey = (pixels >> tags.get(BITS_PER_SAMPLE, (16,))[0] - 8).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    return np.where(pixels == image.info.get("transparency", -1), np.uint8(0), grey)


@cache
def pillow():
    """Pillow's module ImageOps, with every reader that there is, and without its warnings of what is accepted here."""
    from PIL import Image, ImageOps

    Image.init()
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of faulty EXIF
    return ImageOps
