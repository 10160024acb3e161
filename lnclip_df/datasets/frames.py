"""One frame of a video, read from its PNG or from LMDB as DeepfakeBench keeps them, and the recipe that it carries."""

import os
from pathlib import Path

import cv2
import lmdb
import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import COMPRESSED, Video, evenly_spaced, slashes
from lnclip_df.media.recipe import HEAD, count_recipes

_open_databases = {}


def read_frame(config: dict, dataset: str, frame: str) -> np.ndarray:
    """Read one frame.

    Args:
        config: ``lmdb`` chooses the source; see ``lnclip_df.config.loading.load_config``.
        dataset: the dataset's name, which names its database.
        frame: the path as the dataset JSON has it.

    Returns:
        uint8 H×W×3, RGB.

    Raises:
        LNCLIPError: the frame is absent or cannot be decoded; another frame never takes its place.
    """
    if config["lmdb"]:
        path = database_path(config, dataset)
        data, source = _from_database(path, lmdb_key(frame)), f"{lmdb_key(frame)} in {path}"
    else:
        path = frame_path(config, frame)
        data, source = _from_file(path), str(path)
    return _decode(data, source)


def crop_recipes(config: dict, videos: list[Video], most: int = 256) -> dict[str, int]:
    """Which recipes the crops of some videos carry.

    Args:
        config: as for ``read_frame``.
        videos: see ``lnclip_df.datasets.dataset_json.read_videos``.
        most: how many videos, evenly spaced, are looked at; of each the first frame.

    Returns:
        ``{fingerprint, or "foreign" where there is none: videos}``, the most frequent first. Frames that cannot be read
        are passed over.
    """
    return count_recipes(filter(None, (_head(config, video) for video in evenly_spaced(videos, most) if video.frames)))


def _head(config, video):
    """The first bytes of a video's first frame, or None."""
    try:
        if config["lmdb"]:
            return _from_database(database_path(config, video.dataset), lmdb_key(video.frames[0]))[:HEAD]
        return _from_file(frame_path(config, video.frames[0]), HEAD)
    except LNCLIPError:
        return None


def frame_path(config: dict, frame: str) -> Path:
    """Where a frame lies: a path that begins with ``.`` below ``lnclip.data_root``, a bare one below ``rgb_dir``."""
    root, frame = Path(config["lnclip"]["data_root"]), slashes(frame)
    return root / frame if frame.startswith(".") else root / config["rgb_dir"] / frame


def database_path(config: dict, dataset: str) -> Path:
    """The LMDB folder of a dataset: ``{lmdb_dir}/{dataset}_lmdb``, one for the whole FaceForensics++ family."""
    name = "FaceForensics++" if dataset in COMPRESSED else dataset
    return Path(config["lnclip"]["data_root"]) / config["lmdb_dir"] / f"{name}_lmdb"


def lmdb_key(frame: str) -> str:
    """A frame's key: the dataset JSON's path byte for byte, but without a leading ``./datasets\\``."""
    return frame.removeprefix("./datasets\\")


def _from_file(path, most=-1):
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise LNCLIPError(f"frame {path} is not a regular file")
        with path.open("rb") as file:
            return file.read(most)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL or a lone surrogate
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise LNCLIPError(f"cannot read frame {shown}: {getattr(error, 'strerror', None) or error}") from error


def _from_database(path, key):
    try:
        with _database(path).begin() as transaction:
            data = transaction.get(key.encode())
    except lmdb.Error as error:
        raise LNCLIPError(f"cannot read frame {key} in {path}: {error}") from error
    if data is None:
        raise LNCLIPError(f"no frame {key} in {path}")
    return data


def _database(path):
    """The process's one handle of a database; a forked worker closes the one it inherited and opens its own."""
    path = str(path.resolve())
    pid, database = _open_databases.get(path, (None, None))
    if pid != os.getpid():
        if database is not None:
            database.close()
        database = lmdb.open(path, create=False, readonly=True, lock=False, readahead=False)
        _open_databases[path] = os.getpid(), database
    return database


def _decode(data, source):
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise LNCLIPError(f"frame {source} is broken: {len(data)} bytes that do not decode")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
