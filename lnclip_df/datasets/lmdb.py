"""The LMDB that DeepfakeBench, and this package, read with ``lmdb: True``, written from a dataset JSON."""

import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import read_json
from lnclip_df.datasets.dataset_json import slashes
from lnclip_df.datasets.frames import database_path, frame_path, lmdb_key
from lnclip_df.media.png_check import check_png

LANDMARKS = (81, 2)
KEY_BYTES = 511  # LMDB's limit
BATCH = 256  # values read, held in memory and written in one transaction
MAP_SIZE = 1 << 28  # bytes; doubled whenever they do not suffice
FULL = 1 << 22  # bytes that a full disk may still have
THREADS = 8  # that wait for the disk


class Entry(NamedTuple):
    """One value to be: its key, the file that it comes from, and ``frames``, ``landmarks`` or ``masks``."""

    key: bytes
    file: Path
    kind: str


class Summary(NamedTuple):
    """What a database got from one dataset JSON.

    Attributes:
        path: the database.
        written: keys that were written.
        unchanged: keys that it held already, with equal bytes.
        frames, landmarks, masks: keys that it now holds of this JSON, by kind.
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
            line += f"; {self.left_out} landmark files left out, which have not the 81 points that it can hold"
        return line


def write_lmdb(json_file, lmdb_dir, *, data_root=".", rgb_dir="./datasets/rgb", progress=True) -> Summary:
    """Write the frames of a dataset JSON, with their landmarks and masks, into ``{lmdb_dir}/{dataset}_lmdb``.

    The dataset is named by the file, and all of the FaceForensics++ family shares one database: a further JSON adds to
    it. A key is the frame's path in the JSON byte for byte (a leading ``./datasets\\`` dropped), its value the PNG's
    bytes. Landmarks and masks have the key that DeepfakeBench derives from the frame's, and lie in the folders
    ``landmarks`` and ``masks`` beside ``frames``; landmarks are 81 points in whole pixels, uint32, a point outside of
    the image moved to its edge at 0. What is there already with equal bytes is passed over, so a run that was
    interrupted is finished by the next one.

    Args:
        json_file: the dataset JSON; every split and compression level in it is written.
        lmdb_dir: folder of the databases.
        data_root: folder that paths beginning with ``.`` start from.
        rgb_dir: folder, below ``data_root``, that bare paths start from.
        progress: show bars.

    Returns:
        The :class:`Summary`.

    Raises:
        LNCLIPError: the JSON is unfit; a file is missing or damaged (nothing is then written); the database cannot be
            written (what it had before stays readable).
    """
    frames = _frames(json_file)
    config = {"lnclip": {"data_root": data_root}, "rgb_dir": rgb_dir}
    entries = _entries(json_file, frames, config)
    values = _check(json_file, entries, progress)
    path = database_path({"lnclip": {"data_root": "."}, "lmdb_dir": lmdb_dir}, Path(json_file).stem)
    with _writable(path) as database:
        written = _write(database, values, progress)
    kinds = Counter(entry.kind for entry in values)
    return Summary(
        path,
        written=written,
        unchanged=len(values) - written,
        frames=kinds["frames"],
        landmarks=kinds["landmarks"],
        masks=kinds["masks"],
        left_out=len(entries) - len(values),
    )


def _frames(json_file) -> dict[str, None]:
    """Every path of a frame in a dataset JSON, once."""
    frames = {}
    for key, record in _records(read_json(json_file)):
        paths = record["frames"]
        if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
            raise LNCLIPError(f"{json_file}: {key}.frames is {str(paths)[:60]!r}, not a list of paths; make it again")
        frames.update(dict.fromkeys(paths))
    if not frames:
        raise LNCLIPError(f"{json_file} names no frame; make it again with rearrange")
    return frames


def _records(value, key="") -> Iterator[tuple[str, dict]]:
    """Videos of a dataset JSON: the mappings that have ``frames``, whatever levels are above them."""
    if isinstance(value, dict) and "frames" in value and not isinstance(value["frames"], dict):
        yield key, value
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _records(below, f"{key}.{name}" if key else name)


def _entries(json_file, frames, config) -> list[Entry]:
    """What there is to write, sorted by key."""
    entries = {}
    for frame in frames:
        file = frame_path(config, frame)
        for entry in (Entry(_key(json_file, frame), file, "frames"), *_companions(json_file, frame, file)):
            other = entries.setdefault(entry.key, entry)
            if other.file != entry.file:
                fault = f"{frame!r} and {other.file} would have one key; name every frame in one way"
                raise LNCLIPError(f"{json_file}: {fault}")
    return sorted(entries.values())


def _companions(json_file, frame, file) -> Iterator[Entry]:
    """A frame's landmarks and mask where they are on disk; DeepfakeBench replaces every ``frames`` for their key."""
    if "frames" not in slashes(frame).split("/")[:-2]:
        return
    place = max(place for place, part in enumerate(file.parts[:-2]) if part == "frames")
    for kind, suffix in (("landmarks", ".npy"), ("masks", ".png")):
        path = Path(*file.parts[:place], kind, *file.parts[place + 1 :]).with_suffix(suffix)
        if path.is_file():
            yield Entry(_key(json_file, frame.replace("frames", kind).replace(".png", suffix)), path, kind)


def _key(json_file, frame) -> bytes:
    try:
        key = lmdb_key(frame).encode()
    except UnicodeEncodeError as error:
        raise LNCLIPError(f"{json_file}: {frame!r} cannot be a key: {error.reason}; rename the file") from error
    if len(key) > KEY_BYTES:
        fault = f"{frame!r} has {len(key)} bytes, more than the {KEY_BYTES} of a key"
        raise LNCLIPError(f"{json_file}: {fault}; write paths relative to the data's root, or shorten the names")
    return key


def _check(json_file, entries, progress) -> list[Entry]:
    """Read every file through; the entries that a database can hold.

    Raises:
        LNCLIPError: files are missing or damaged; all are counted, the first is named.
    """
    fit, faults = [], []
    for entry, value in _in_batches(_checked, entries, progress, "check"):
        if isinstance(value, str):
            faults.append(f"{entry.file}: {value}")
        elif value:
            fit.append(entry)
    if faults:
        count = f"{len(faults)} of the {len(entries)} files that it needs are"
        raise LNCLIPError(f"{json_file}: {count} missing or damaged, the first is {faults[0]}; nothing was written")
    return fit


def _checked(entry) -> bool | str:
    """Whether a database can hold an entry's value, or what is wrong with its file."""
    try:
        value = _value(entry)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or one_line(error)
    return value is not None


def _value(entry) -> bytes | None:
    """An entry's bytes; None for landmarks of other than 81 points.

    Raises:
        OSError, ValueError: the file cannot be read, or is damaged.
    """
    if not entry.file.is_file():  # a pipe would be waited for
        raise ValueError("no such file")
    data = entry.file.read_bytes()
    if entry.kind == "landmarks":
        return _landmarks(data)
    check_png(data)
    return data


def _landmarks(data) -> bytes | None:
    try:
        points = np.load(io.BytesIO(data), allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        raise ValueError("not a NumPy array") from error
    if points.shape != LANDMARKS:
        return None
    if not (np.issubdtype(points.dtype, np.number) and np.isfinite(points).all()):
        raise ValueError("landmarks that are not finite numbers")
    return np.rint(points).clip(0, np.iinfo(np.uint32).max).astype("<u4").tobytes()


def _in_batches(function: Callable, entries, progress, title) -> Iterator[tuple[Entry, object]]:
    """``(entry, function(entry))`` of every entry; a batch at a time is in memory."""
    from tqdm import tqdm

    bar = tqdm(total=len(entries), desc=title, unit="file", disable=not progress)
    with bar, ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            yield from zip(batch, pool.map(function, batch), strict=True)
            bar.update(len(batch))


@contextmanager
def _writable(path):
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
        raise LNCLIPError(f"cannot write {path}: {fault}; run again once that is mended, and it goes on") from error


def _write(database, entries, progress) -> int:
    """Put the entries that the database has not got yet, a batch a transaction; how many these were."""
    written, batch = 0, {}
    for entry, value in _in_batches(_value_again, entries, progress, "write"):
        batch[entry.key] = value
        if len(batch) == BATCH:
            written += _put(database, batch)
            batch = {}
    return written + _put(database, batch)


def _value_again(entry) -> bytes:
    try:
        value = _value(entry)
    except (OSError, ValueError) as error:
        raise LNCLIPError(f"{entry.file} went missing while it was read: {one_line(error)}; run again") from error
    if value is None:
        raise LNCLIPError(f"{entry.file} changed while it was read; run again")
    return value


def _put(database, batch) -> int:
    """One transaction, begun again with a larger map for as long as it does not fit."""
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
