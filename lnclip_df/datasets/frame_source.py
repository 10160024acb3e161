"""What a source of frames is, and the one that every dataset has: an image for each frame, in a file or a tar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import frame_path
from lnclip_df.media.crop_files import read_file
from lnclip_df.media.images import read_image
from lnclip_df.media.limits import UnreadableVideo
from lnclip_df.media.recipe import HEAD, Recipe, read_recipe


@dataclass(frozen=True)
class FrameSource:
    """Where frames are stored. A frame is named by its path as the dataset JSON has it.

    Attributes:
        has: ``(config, dataset)`` → whether the frames of this dataset are read here.
        read: ``(config, dataset, frame)`` → uint8 H×W×3, RGB; it may be read-only.
        recipe: ``(config, dataset, frame)`` → the recipe of the crop, None if it has none.
        check: ``(config, dataset, frames)``; LNCLIPError if the source is not up to date with these frames.
    """

    has: Callable[[Config, str], bool]
    read: Callable[[Config, str, str], np.ndarray]
    recipe: Callable[[Config, str, str], Recipe | None]
    check: Callable[[Config, str, Sequence[str]], None] = lambda config, dataset, frames: None


def of_images(
    has: Callable[[Config, str], bool], read_bytes: Callable[[Config, str, str, int], tuple[bytes, str]]
) -> FrameSource:
    """A source that stores every frame as an image file.

    Args:
        has: see :class:`FrameSource`.
        read_bytes: ``(config, dataset, frame, size)`` → the first ``size`` bytes of the file (all for -1), and where it
            is stored, for messages.
    """

    def read(config, dataset, frame):
        return decode(*read_bytes(config, dataset, frame, -1))

    def recipe(config, dataset, frame):
        head, stored = read_bytes(config, dataset, frame, HEAD)
        if not head:
            raise LNCLIPError(f"frame {stored} is empty")
        return read_recipe(head)

    return FrameSource(has, read, recipe)


def decode(data: bytes, stored) -> np.ndarray:
    """The pixels of an image file, uint8 H×W×3, RGB; LNCLIPError with where it is ``stored`` if it is broken."""
    try:
        return np.array(read_image(data))  # a copy that may be written to
    except UnreadableVideo as error:
        raise LNCLIPError(f"frame {stored} is broken: {len(data)} bytes that do not decode: {error}") from error


def read_bytes(path: Path, size: int = -1) -> bytes:
    """The first ``size`` bytes (all for -1) of a frame's file; LNCLIPError if it cannot be read."""
    try:
        return read_file(path, size)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL or a lone surrogate
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise LNCLIPError(f"cannot read frame {shown}: {getattr(error, 'strerror', None) or error}") from error


def _from_file(config, dataset, frame, size):
    path = frame_path(frame, config.lnclip.data_root, config.rgb_dir)
    return read_bytes(path, size), str(path)


FILES = of_images(lambda config, dataset: True, _from_file)
