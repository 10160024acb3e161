"""The LMDB that DeepfakeBench, and this package, read with ``lmdb: True``: written from a dataset JSON, and read."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import check_writable
from lnclip_df.core.iteration import map_batches
from lnclip_df.datasets.dataset_json import COMPRESSED, frame_path, read_frame_paths, with_slashes
from lnclip_df.media.crop_files import is_file, read_file
from lnclip_df.media.png_check import check_png

LANDMARKS = (81, 2)
MAX_KEY_BYTES = 511  # LMDB's limit
MAP_SIZE = 1 << 28  # bytes; doubled whenever they do not suffice
FULL = 1 << 22  # a disk with fewer free bytes is called full

_open_databases: dict[str, tuple[int, lmdb.Environment]] = {}


def database_path(lmdb_dir, dataset: str) -> Path:
    """The LMDB folder of a dataset: ``{lmdb_dir}/{dataset}_lmdb``, one for the whole FaceForensics++ family."""
    name = "FaceForensics++" if dataset in COMPRESSED else dataset
    return Path(lmdb_dir) / f"{name}_lmdb"


def lmdb_key(frame: str) -> str:
    """A frame's key: the dataset JSON's path byte for byte, but without a leading ``./datasets\\``."""
    return frame.removeprefix("./datasets\\")


# --- reading ----------------------------------------------------------------------------------------------------------


def read_value(path: Path, key: str) -> bytes:
    """The bytes stored under a key.

    Raises:
        LNCLIPError: the database cannot be read, or does not have the key.
    """
    try:
        with _open_to_read(path).begin() as transaction:
            data = transaction.get(key.encode())
    except lmdb.Error as error:
        raise LNCLIPError(f"cannot read frame {key} in {path}: {error}") from error
    if data is None:
        raise LNCLIPError(f"no frame {key} in {path}")
    return data


def close_databases():
    """Close every database that this process reads; a process that reads a database must do so before it writes it."""
    for _, database in _open_databases.values():
        database.close()
    _open_databases.clear()


def _open_to_read(path) -> lmdb.Environment:
    """The process's one handle of a database; a forked worker closes the one it inherited and opens its own."""
    path = str(path.resolve())
    if path in _open_databases:
        pid, database = _open_databases[path]
        if pid == os.getpid():
            return database
        database.close()
    database = lmdb.open(path, create=False, readonly=True, lock=False, readahead=False)
    _open_databases[path] = os.getpid(), database
    return database


# --- writing ----------------------------------------------------------------------------------------------------------


class LmdbSummary(NamedTuple):
    """What a database got from one dataset JSON.

    Attributes:
        written, unchanged: keys that were written, and that it had already with equal bytes.
        frames, landmarks, masks: keys of this JSON that it now has, by kind.
        left_out: landmark files of other than 81 points, which DeepfakeBench cannot read from a database.
    """

    path: Path
    written: int
    unchanged: int
    frames: int
    landmarks: int
    masks: int
    left_out: int

    def __str__(self):
        kinds = f"{self.frames} frames, {self.landmarks} landmarks, {self.masks} masks"
        line = f"{self.path}: {kinds} ({self.written} written, {self.unchanged} there before)"
        if self.left_out:
            line += f"; {self.left_out} landmark files left out, because they do not have 81 points"
        return line


class _Value(NamedTuple):
    """One value to write: its key, the file that it comes from, and ``frames``, ``landmarks`` or ``masks``."""

    key: bytes
    file: Path
    kind: str

    def read(self) -> bytes | None:
        """The value's bytes, None for landmarks of other than 81 points; raises OSError or ValueError."""
        data = read_file(self.file)
        if self.kind == "landmarks":
            return _landmarks(data)
        check_png(data)
        return data


def write_lmdb(json_file, lmdb_dir, *, data_root=".", rgb_dir="./datasets/rgb", progress: bool = True) -> LmdbSummary:
    """Write the frames of a dataset JSON, with their landmarks and masks, into ``{lmdb_dir}/{dataset}_lmdb``.

    The dataset is named by the file, and all of the FaceForensics++ family shares one database: a further JSON adds to
    it. A key is the frame's path in the JSON byte for byte (a leading ``./datasets\\`` dropped), its value the PNG's
    bytes. Landmarks and masks have the key that DeepfakeBench derives from the frame's, and lie in the folders
    ``landmarks`` and ``masks`` beside ``frames``; landmarks are 81 points in whole pixels, uint32, a negative
    coordinate set to 0. Values that are there already with equal bytes are not written again, so the next run finishes
    an interrupted one.

    Args:
        json_file: the dataset JSON; every split and compression level in it is written.
        lmdb_dir: folder of the databases.
        data_root: folder that paths beginning with ``.`` start from.
        rgb_dir: folder, below ``data_root``, that bare paths start from.

    Raises:
        LNCLIPError: the JSON is invalid; a file is missing or damaged (nothing is then written); the database cannot be
            written (what it had before stays readable).
    """
    path = database_path(lmdb_dir, Path(json_file).stem)
    check_writable(path, folder=True)
    found = _values(json_file, data_root, rgb_dir)
    values = _check(json_file, found, progress)
    written = 0
    with _open_to_write(path) as database:
        for batch in map_batches(_read_again, values, title="write", unit="file", progress=progress):
            written += put(database, {value.key: data for value, data in batch})
    counts = {kind: sum(value.kind == kind for value in values) for kind in ("frames", "landmarks", "masks")}
    left_out = len(found) - len(values)
    return LmdbSummary(path, written=written, unchanged=len(values) - written, left_out=left_out, **counts)


def _values(json_file, data_root, rgb_dir) -> list[_Value]:
    """What there is to write, sorted by key."""
    values: dict[bytes, _Value] = {}
    for frame in read_frame_paths(json_file):
        file = frame_path(frame, data_root, rgb_dir)
        for value in (_Value(_key(json_file, frame), file, "frames"), *_companions(json_file, frame, file)):
            other = values.setdefault(value.key, value)
            if other.file != value.file:
                raise LNCLIPError(
                    f"{json_file}: {frame!r} and {other.file} would have one key; write every frame's path in one way"
                )
    return sorted(values.values())


def _companions(json_file, frame, file) -> Iterator[_Value]:
    """A frame's landmarks and mask where they are on disk; DeepfakeBench replaces every ``frames`` for their key."""
    if "frames" not in with_slashes(frame).split("/")[:-2]:
        return
    last = max(index for index, part in enumerate(file.parts[:-2]) if part == "frames")
    for kind, suffix in (("landmarks", ".npy"), ("masks", ".png")):
        path = Path(*file.parts[:last], kind, *file.parts[last + 1 :]).with_suffix(suffix)
        if is_file(path):
            yield _Value(_key(json_file, frame.replace("frames", kind).replace(".png", suffix)), path, kind)


def _key(json_file, frame) -> bytes:
    try:
        key = lmdb_key(frame).encode()
    except UnicodeEncodeError as error:
        raise LNCLIPError(f"{json_file}: {frame!r} cannot be a key: {error.reason}; rename the file") from error
    if len(key) > MAX_KEY_BYTES:
        fault = f"{frame!r} has {len(key)} bytes, more than the {MAX_KEY_BYTES} of a key"
        raise LNCLIPError(f"{json_file}: {fault}; write paths relative to the data's root, or shorten the names")
    return key


def _landmarks(data) -> bytes | None:
    try:
        points = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # of a broken header, NumPy raises nearly anything
        raise ValueError("not a NumPy array") from error
    if points.shape != LANDMARKS:
        return None
    if not (np.issubdtype(points.dtype, np.number) and np.isfinite(points).all()):
        raise ValueError("landmarks that are not finite numbers")
    return np.rint(points).clip(0, np.iinfo(np.uint32).max).astype("<u4").tobytes()


def _check(json_file, values, progress) -> list[_Value]:
    """Read every file once; returns the values that a database can have."""

    def check(value) -> bool | str:
        try:
            return value.read() is not None
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or one_line(error)

    valid, faults = [], []
    for batch in map_batches(check, values, title="check", unit="file", progress=progress):
        for value, result in batch:
            if isinstance(result, str):
                faults.append(f"{value.file}: {result}")
            elif result:
                valid.append(value)
    if faults:
        count = f"{len(faults)} of the {len(values)} files that it needs are"
        raise LNCLIPError(f"{json_file}: {count} missing or damaged, the first is {faults[0]}; nothing was written")
    return valid


@contextmanager
def _open_to_write(path):
    """Open a database to write to; every fault of it is one line, and what was committed stays."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with lmdb.open(str(path), map_size=MAP_SIZE) as database:
            yield database
    except OSError as error:
        raise LNCLIPError(f"cannot write {path}: {error.strerror or error}") from error
    except lmdb.Error as error:
        full = shutil.disk_usage(path).free < FULL  # LMDB calls a write that is cut short an input/output error
        fault = "no space left on the disk" if full else one_line(error)
        raise LNCLIPError(f"cannot write {path}: {fault}; fix that and run again to continue") from error


def _read_again(value) -> bytes:
    try:
        data = value.read()
    except (OSError, ValueError) as error:
        raise LNCLIPError(f"{value.file} went missing while it was read: {one_line(error)}; run again") from error
    if data is None:
        raise LNCLIPError(f"{value.file} changed while it was read; run again")
    return data


def put(database: lmdb.Environment, batch: dict[bytes, bytes]) -> int:
    """Write a batch in one transaction, with a larger map if it does not fit; returns the number of new values."""
    while True:
        try:
            with database.begin(write=True) as transaction:
                changed = {key: value for key, value in batch.items() if transaction.get(key) != value}
                for key, value in changed.items():
                    transaction.put(key, value)
            return len(changed)
        except lmdb.MapFullError:
            database.set_mapsize(2 * database.info()["map_size"])
        except lmdb.MapResizedError:  # another process made it larger
            database.set_mapsize(0)
