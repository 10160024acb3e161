"""One frame of a video and the recipe that it carries, read from the source that has its dataset."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.datasets.dataset_json import Video
from lnclip_df.datasets.frame_source import FILES, FrameSource, of_images
from lnclip_df.datasets.lmdb import database_path, lmdb_key, read_value
from lnclip_df.datasets.pack import PACK
from lnclip_df.media.recipe import count_recipes, recipe_facts
from lnclip_df.media.sampling import evenly_spaced_round


def _from_lmdb(config, dataset, frame, size):
    path, key = database_path(Path(config.lnclip.data_root) / config.lmdb_dir, dataset), lmdb_key(frame)
    data = read_value(path, key)
    return data if size < 0 else data[:size], f"{key} in {path}"


FRAME_SOURCES: Registry[FrameSource] = Registry(  # the first that has a dataset is read; FILES where none has it
    "source of frames",
    {
        "lmdb": of_images(lambda config, dataset: config.lmdb, _from_lmdb),
        "pack": PACK,
    },
)


def source_of(config: Config, dataset: str) -> FrameSource:
    """The source that a dataset's frames are read from."""
    return next((source for source in FRAME_SOURCES.values() if source.has(config, dataset)), FILES)


def check_frames(config: Config, frames: Iterable[tuple[str, str]]):
    """Raise LNCLIPError if a source is not up to date with some frames, each given as ``(dataset, frame)``."""
    by_dataset = defaultdict(list)
    for dataset, frame in frames:
        by_dataset[dataset].append(frame)
    for dataset, names in by_dataset.items():
        source_of(config, dataset).check(config, dataset, names)


def read_frame(config: Config, dataset: str, frame: str) -> np.ndarray:
    """Read one frame.

    Args:
        config: says where frames are stored: see ``FRAME_SOURCES``.
        dataset: the dataset's name.
        frame: the path as the dataset JSON has it.

    Returns:
        uint8 H×W×3, RGB; it may be read-only.

    Raises:
        LNCLIPError: the frame is absent or cannot be decoded; it is never replaced by another frame.
    """
    return source_of(config, dataset).read(config, dataset, frame)


def crop_recipes(config: Config, videos: list[Video]) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Count the recipes that the crops of some videos carry.

    The first frame of at most 256 videos, evenly spaced, is read; one that cannot be read is not counted.

    Returns:
        ``{fingerprint, or "foreign" where there is none: videos}``, the most frequent first; and ``{fingerprint: what
        the recipe says}``.
    """
    recipes = []
    for video in evenly_spaced_round(videos, 256):
        source = source_of(config, video.dataset)
        try:
            recipes += [source.recipe(config, video.dataset, frame) for frame in video.frames[:1]]
        except LNCLIPError:
            continue
    return count_recipes(recipes), recipe_facts(recipes)
