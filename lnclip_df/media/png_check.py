"""Check face images in parallel: decode them, measure them, hash their pixels, and read their recipe."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import one_line
from lnclip_df.core.processes import worker_pool
from lnclip_df.media.crop_files import read_file
from lnclip_df.media.images import read_image
from lnclip_df.media.limits import UnreadableVideo
from lnclip_df.media.recipe import SIGNATURE, Recipe, read_recipe, recipe_facts, recipe_name

CHUNK = 8  # videos given to a process at once


@dataclass
class CheckedImages:
    """What was found in one video's images.

    Attributes:
        decoded: how many could be decoded.
        broken: ``{file: reason}`` of those that could not.
        sizes: ``{file: (width, height)}`` of those of another size than asked.
        recipes: images by the fingerprint of their recipe, ``foreign`` without one.
        facts: what these recipes say, by fingerprint.
        hashes: uint64, one per decoded image: the first 8 bytes of the BLAKE2b of its size and RGB pixels.
        indices: of the image of each hash among the video's files.
    """

    decoded: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    recipes: Counter = field(default_factory=Counter)
    facts: dict[str, dict] = field(default_factory=dict)
    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    indices: list[int] = field(default_factory=list)


def check_images(
    videos: Sequence[Sequence[Path]], size: int | None, *, workers: int, progress=True
) -> list[CheckedImages]:
    """Decode the images of some videos: one :class:`CheckedImages` per video, in their order.

    Args:
        videos: the files of each.
        size: side that every image should have, in pixels; None: any, as long as it is square.
        workers: processes; 1 works in this one.

    Raises:
        LNCLIPError: an image ended the process that decoded it.
    """
    from tqdm import tqdm

    bar = partial(tqdm, total=len(videos), desc="decode", unit="video", disable=not progress)
    check = partial(_check, size=size)
    if workers == 1:
        return list(bar(map(check, videos)))
    with worker_pool(workers) as pool:
        return list(bar(pool.map(check, videos, chunksize=CHUNK)))


def check_png(data: bytes):
    """Raise ValueError where data is no PNG, or a chunk is cut short or differs from its checksum."""
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG")
    start, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        end = start + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[start + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError("a broken PNG")
        start = end + 4


def _check(files, size) -> CheckedImages:
    checked, hashes = CheckedImages(), []
    for index, file in enumerate(files):
        try:
            width, height, digest, recipe = _decode(file)
        except (OSError, ValueError) as error:
            checked.broken[str(file)] = getattr(error, "strerror", None) or one_line(error)
            continue
        checked.decoded += 1
        checked.recipes[recipe_name(recipe)] += 1
        checked.facts |= recipe_facts([recipe])
        checked.indices.append(index)
        hashes.append(digest)
        if (width, height) != (size or height, size or height):
            checked.sizes[str(file)] = (width, height)
    checked.hashes = np.array(hashes, np.uint64)
    return checked


def _decode(file) -> tuple[int, int, int, Recipe | None]:
    """``(width, height, hash of the pixels, recipe)`` ; OSError or ValueError if broken."""
    data = read_file(file)
    check_png(data)
    try:
        pixels = read_image(data)
    except UnreadableVideo as error:
        raise ValueError(one_line(error)) from error
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(np.array([width, height], "<u4").tobytes() + pixels.tobytes(), digest_size=8).digest()
    return width, height, int.from_bytes(digest, "little"), read_recipe(data)
