"""One frame of a video, read from its PNG or from LMDB as DeepfakeBench keeps them, and the recipe that it carries."""

from pathlib import Path
from typing import Any

import numpy as np

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import Video, frame_path
from lnclip_df.datasets.lmdb import database_path, lmdb_key, read_value
from lnclip_df.media.images import read_image
from lnclip_df.media.limits import UnreadableVideo
from lnclip_df.media.recipe import HEAD, count_recipes, recipe_facts
from lnclip_df.media.sampling import evenly_spaced_round


def read_frame(config: Config, dataset: str, frame: str) -> np.ndarray:
    """Read one frame.

    Args:
        config: ``lmdb`` chooses the source.
        dataset: the dataset's name, which names its database.
        frame: the path as the dataset JSON has it.

    Returns:
        uint8 H×W×3, RGB.

    Raises:
        LNCLIPError: the frame is absent or cannot be decoded; it is never replaced by another frame.
    """
    data, source = _read_bytes(config, dataset, frame)
    try:
        return np.array(read_image(data))  # a copy that may be written to
    except UnreadableVideo as error:
        raise LNCLIPError(f"frame {source} is broken: {len(data)} bytes that do not decode: {error}") from error


def crop_recipes(
    config: Config, videos: list[Video], max_videos: int = 256
) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Count the recipes that the crops of some videos carry.

    The first frame of at most ``max_videos`` videos, evenly spaced, is read; one that cannot be read is not counted.

    Returns:
        ``{fingerprint, or "foreign" where there is none: videos}``, the most frequent first; and ``{fingerprint: what
        the recipe says}``.
    """
    heads = []
    for video in evenly_spaced_round(videos, max_videos):
        try:
            heads += [_read_bytes(config, video.dataset, frame, HEAD)[0] for frame in video.frames[:1]]
        except LNCLIPError:
            continue
    heads = [head for head in heads if head]
    return count_recipes(heads), recipe_facts(heads)


def _read_bytes(config, dataset, frame, size=-1) -> tuple[bytes, str]:
    """The first ``size`` bytes (all by default) of a frame's PNG, and where it is stored."""
    data_root = Path(config.lnclip.data_root)
    if config.lmdb:
        path, key = database_path(data_root / config.lmdb_dir, dataset), lmdb_key(frame)
        data = read_value(path, key)
        return data if size < 0 else data[:size], f"{key} in {path}"
    path = frame_path(frame, data_root, config.rgb_dir)
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise LNCLIPError(f"frame {path} is not a regular file")
        with path.open("rb") as file:
            return file.read(size), str(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL or a lone surrogate
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise LNCLIPError(f"cannot read frame {shown}: {getattr(error, 'strerror', None) or error}") from error
