"""A dataset's crops as one memory-mapped file: written from a dataset JSON, and read without decoding.

``{pack_dir}/{dataset}.pack`` is a NumPy file (``.npy``) of all crops, uint8 N×H×W×3, RGB. Its index follows, a JSON
list of each row's :class:`Crop`, and then ``FOOTER``: a mark, the index's length in bytes, and its CRC-32.
"""

import errno
import json
import logging
import math
import os
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from pydantic import TypeAdapter

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import check_writable
from lnclip_df.core.iteration import map_batches
from lnclip_df.datasets.dataset_json import frame_path, read_frame_paths
from lnclip_df.datasets.frame_source import FrameSource, decode, read_bytes
from lnclip_df.media.crop_files import is_file, read_file, stamp, stored_at
from lnclip_df.media.images import open_image
from lnclip_df.media.limits import UnreadableVideo
from lnclip_df.media.recipe import Recipe, read_recipe
from lnclip_df.media.sampling import evenly_spaced_round

FOOTER = struct.Struct("<8sQI")
MARK = b"LNCLPACK"
SAME = "same"  # a crop has the recipe of the one before it
COMPARED = 256  # crops of a pack whose pixels are compared with their checksums before it is used
FIX = "run lnclip-df pack again, or set lnclip.pack_dir: null to read the PNG files"

logger = logging.getLogger(__name__)


class Crop(NamedTuple):
    """A row of the index: a frame's path in the dataset JSON, and what the crop's file and its pixels were.

    ``stamp`` is that of ``crop_files.stamp``; ``crc`` the CRC-32 of the pixels; ``recipe`` None if it has none, or
    ``SAME``.
    """

    frame: str
    stamp: tuple[int, int]
    crc: int
    recipe: dict[str, Any] | str | None


# --- reading ----------------------------------------------------------------------------------------------------------


class Pack:
    """An open pack.

    Attributes:
        pixels: uint8 N×H×W×3, RGB, read-only: mapped from the file.
        crops: the index of its rows.
        rows: the row of each frame.

    Raises:
        LNCLIPError: the file cannot be read, is cut short, or is no pack.
    """

    def __init__(self, path: str):
        self.path = path
        try:
            with open(path, "rb") as file:
                npy.read_magic(file)
                shape, fortran, dtype = npy.read_array_header_1_0(file)
                start, end = file.tell(), file.seek(-FOOTER.size, os.SEEK_END)
                mark, length, crc = FOOTER.unpack(file.read())
                if (mark, fortran, dtype, shape[3:]) != (MARK, False, np.uint8, (3,)):
                    raise ValueError("it does not end as a pack does")
                if start + math.prod(shape) + length != end:
                    raise ValueError("its size is not the one that it states")
                file.seek(end - length)
                index = file.read(length)
            if zlib.crc32(index) != crc:
                raise ValueError("its index differs from its checksum")
            self.crops = TypeAdapter(list[Crop]).validate_json(index)
            self.rows = {crop.frame: row for row, crop in enumerate(self.crops)}
            if len(self.rows) != shape[0]:
                raise ValueError("its index does not fit its pixels")
            self.pixels = np.asarray(np.memmap(path, np.uint8, "r", start, shape))
        except (OSError, ValueError) as error:
            fault = getattr(error, "strerror", None) or one_line(error)[:200]
            raise LNCLIPError(f"{path} is damaged or no pack: {fault}; {FIX}") from error

    def row(self, frame: str) -> int:
        """The row of a frame; :class:`LNCLIPError` if the pack lacks it."""
        if (row := self.rows.get(frame)) is None:
            raise LNCLIPError(f"{self.path} lacks the frame {frame}; {FIX}")
        return row


def pack_path(data_root, pack_dir, dataset: str) -> str:
    """The path of a dataset's pack; a relative ``pack_dir`` starts from ``data_root``."""
    return os.path.normpath(os.path.join(data_root, pack_dir, f"{dataset}.pack"))


def _path(config, dataset):
    return pack_path(config.lnclip.data_root, config.lnclip.pack_dir, dataset)


def _has(config, dataset):
    return config.lnclip.pack_dir is not None and os.path.isfile(_path(config, dataset))


def _of(config, dataset) -> Pack:
    path = _path(config, dataset)
    found = os.stat(path)
    return _opened(path, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _opened(path, *version) -> Pack:
    """A process's one view of a pack; a forked process shares it, another opens its own."""
    logger.info("frames are read from the pack %s", path)
    return Pack(path)


def _read(config, dataset, frame):
    pack = _of(config, dataset)
    return pack.pixels[pack.row(frame)]


def _recipe(config, dataset, frame):
    pack = _of(config, dataset)
    row = pack.row(frame)
    while (recipe := pack.crops[row].recipe) == SAME and row:
        row -= 1
    return Recipe(recipe, str(recipe.get("fingerprint", ""))) if isinstance(recipe, dict) else None


def _check(config, dataset: str, frames: Sequence[str]):
    """Raise LNCLIPError unless the pack has these frames, with the pixels of their files where those are there."""
    pack = _of(config, dataset)
    if absent := [frame for frame in frames if frame not in pack.rows]:
        raise LNCLIPError(f"{pack.path} lacks {len(absent)} of the {len(frames)} frames, {absent[0]} first; {FIX}")
    paths = {
        frame_path(frame, config.lnclip.data_root, config.rgb_dir): pack.crops[pack.rows[frame]] for frame in frames
    }
    on_disk = {folder for folder in {path.parent for path in paths} if stored_at(folder).exists()}
    touched = []
    for path, crop in paths.items():
        with suppress(OSError, ValueError):  # there is no such file
            if path.parent in on_disk and stamp(path) != crop.stamp:
                touched.append((path, crop))
    if len(touched) > COMPARED:
        logger.info(
            "%s: %d of the crops' files have another size or time than when it was written, and are read to compare "
            "their pixels; to avoid that, run lnclip-df pack again", pack.path, len(touched),
        )  # fmt: skip
    for batch in map_batches(_crc_on_disk, touched, title="compare", unit="crop", progress=False):
        for (path, crop), crc in batch:
            if crc != crop.crc:
                raise LNCLIPError(f"{pack.path} is out of date: {path} has changed; {FIX}")
    for row in (pack.rows[frame] for frame in evenly_spaced_round(frames, COMPARED)):
        if _crc(pack.pixels[row]) != pack.crops[row].crc:
            raise LNCLIPError(f"{pack.path} is damaged: the pixels of {pack.crops[row].frame} have changed; {FIX}")


def _crc(pixels: np.ndarray) -> int:
    return zlib.crc32(pixels.data)


def _crc_on_disk(file: tuple[Path, Crop]) -> int:
    return _crc(decode(read_bytes(file[0]), file[0]))


PACK = FrameSource(_has, _read, _recipe, _check)


# --- writing ----------------------------------------------------------------------------------------------------------


class PackSummary(NamedTuple):
    """What a pack contains: ``shape`` of its pixels, and how many of the crops were ``written`` by this run."""

    path: str
    shape: tuple[int, int, int, int]
    written: int

    def __str__(self):
        count, height, width, _ = self.shape
        size = f"{count} crops of {width} × {height} pixels, {math.prod(self.shape) / 1e9:.2f} GB"
        return f"{self.path}: {size} ({self.written} written, {count - self.written} there before)"


class _Source(NamedTuple):
    """A crop to write: its path in the dataset JSON, its file, that file's stamp, and its (width, height)."""

    frame: str
    path: Path
    stamp: tuple[int, int]
    size: tuple[int, int]


def write_pack(json_file, pack_dir, *, data_root=".", rgb_dir="./datasets/rgb", progress: bool = True) -> PackSummary:
    """Write the frames of a dataset JSON into ``{pack_dir}/{dataset}.pack``; the dataset is named by the file.

    The pack is written beside its place, with a journal, and moved there when it is whole. The next run continues an
    interrupted one. A pack whose files have not changed is not written again.

    Args:
        json_file: the dataset JSON; every split and compression level in it is written.
        pack_dir: folder of the packs, below ``data_root`` if it is relative, as ``lnclip.pack_dir``.
        data_root: folder that paths beginning with ``.`` start from.
        rgb_dir: folder, below ``data_root``, that bare paths start from.

    Raises:
        LNCLIPError: the JSON is invalid, a file is missing or broken, crops differ in size, the disk is too small, or
            another process writes the same pack. A pack that was there before stays.
    """
    path = pack_path(data_root, pack_dir, Path(json_file).stem)
    check_writable(path)
    sources = _sources(json_file, data_root, rgb_dir, progress)
    shape = len(sources), *sources[0].size[::-1], 3
    if _is_up_to_date(path, sources, progress):
        return PackSummary(path, shape, 0)
    with _unfinished(path) as (pack, journal):
        npy.write_array_header_1_0(header := BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": shape})
        start, bytes_each = header.tell(), math.prod(shape[1:])
        lines = _journalled(journal, sources, (os.path.getsize(pack.name) - start) // bytes_each)
        done = len(lines)
        needed, free = (len(sources) - done) * bytes_each, shutil.disk_usage(pack.name).free
        if needed > free:
            raise LNCLIPError(
                f"cannot write {path}: {needed / 1e9:.2f} GB more are needed, {free / 1e9:.2f} GB are free"
            )
        pack.write(header.getvalue())
        pack.truncate(pack.seek(start + done * bytes_each))
        for batch in map_batches(_decoded, sources[done:], title="write", unit="crop", progress=progress):
            new: list[bytes] = []
            last: Any = SAME
            for source, (pixels, recipe) in batch:
                if pixels.shape != shape[1:]:
                    raise LNCLIPError(
                        f"{source.path} decodes to {pixels.shape}, the others to {shape[1:]}; make it again"
                    )
                pack.write(pixels.data)
                crop = Crop(source.frame, source.stamp, _crc(pixels), SAME if recipe == last else recipe)
                new.append(json.dumps(crop).encode() + b"\n")
                last = recipe
            _sync(pack)
            journal.writelines(new)
            _sync(journal)
            lines += new
        index = b"[" + b",".join(lines) + b"]"
        pack.write(index + FOOTER.pack(MARK, len(index), zlib.crc32(index)))
        _sync(pack)
    return PackSummary(path, shape, len(sources) - done)


def _sources(json_file, data_root, rgb_dir, progress) -> list[_Source]:
    """The crops that a dataset JSON names, all of one size."""

    def look(frame) -> _Source | str:
        path = frame_path(frame, data_root, rgb_dir)
        try:
            if not is_file(path):  # a pipe would block
                raise ValueError("no such file")
            with open_image(path if path.exists() else read_file(path)) as image:
                return _Source(frame, path, stamp(path), image.size)
        except (OSError, ValueError, UnreadableVideo) as error:
            return f"{path}: {getattr(error, 'strerror', None) or one_line(error)}"

    batches = map_batches(look, read_frame_paths(json_file), title="check", unit="crop", progress=progress)
    found = [result for batch in batches for _, result in batch]
    sources = [source for source in found if isinstance(source, _Source)]
    if faults := [fault for fault in found if isinstance(fault, str)]:
        fault = f"{len(faults)} of the {len(found)} frames are missing or broken, the first is {faults[0]}"
        raise LNCLIPError(f"{json_file}: {fault}; nothing was written")
    sizes = Counter(source.size for source in sources).most_common()
    if len(sizes) > 1:
        counts = ", ".join(f"{count} of {width} × {height}" for (width, height), count in sizes)
        rare = next(source.path for source in sources if source.size == sizes[-1][0])
        raise LNCLIPError(
            f"{json_file}: a pack needs crops of one size, and there are {counts} pixels (the last: {rare}); "
            "preprocess all with the same size"
        )
    return sources


def _is_up_to_date(path, sources, progress) -> bool:
    try:
        pack = Pack(path)
    except LNCLIPError:  # there is none, or a damaged one
        return False
    if [crop[:2] for crop in pack.crops] != [(source.frame, source.stamp) for source in sources]:
        return False
    rows = map_batches(
        lambda row: _crc(pack.pixels[row]), range(len(sources)), title="verify", unit="crop", progress=progress
    )
    return all(crc == pack.crops[row].crc for batch in rows for row, crc in batch)


@contextmanager
def _unfinished(path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The pack that is being written and its journal, which one process alone has. At the end it moves to ``path``.

    What interrupts it leaves both files for the next run. Every fault is one line.
    """
    folder, name = os.path.split(path)
    part, log = (os.path.join(folder, f".{name}.{suffix}") for suffix in ("part", "journal"))
    try:
        os.makedirs(folder or ".", exist_ok=True)
        with open(log, "a+b") as journal:
            _lock(journal, path)
            with open(part, "r+b" if os.path.exists(part) else "w+b") as pack:
                yield pack, journal
            os.replace(part, path)
            os.unlink(log)
    except OSError as error:
        fault = error.strerror or error
        raise LNCLIPError(f"cannot write {path}: {fault}; fix that and run again to continue") from error


def _lock(file, path):
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LNCLIPError(f"another process is writing {path}; wait until it has ended") from None
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        logger.warning("%s: its file system has no locks; let one process alone write it", path)


def _journalled(journal, sources, rows) -> list[bytes]:
    """The index of the first crops, as far as they were written: at most ``rows``. Other lines are cut off."""
    journal.seek(0)
    lines: list[bytes] = []
    for source, line in zip(sources[: max(rows, 0)], journal, strict=False):
        if not line.endswith(b"\n") or json.loads(line)[:2] != [source.frame, [*source.stamp]]:
            break
        lines.append(line)
    journal.truncate(journal.seek(sum(map(len, lines))))
    return lines


def _decoded(source) -> tuple[np.ndarray, dict | None]:
    """The pixels of a crop, and its recipe."""
    data = read_bytes(source.path)
    pixels, recipe = decode(data, source.path), read_recipe(data)
    if stamp(source.path) != source.stamp:
        raise LNCLIPError(f"{source.path} changed while it was read; run again to continue")
    return pixels, None if recipe is None else recipe.to_dict()


def _sync(file):
    file.flush()
    os.fsync(file.fileno())
