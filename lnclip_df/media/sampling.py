"""Which frames of a video are used: evenly spaced ones, random ones, every n-th one, or as many as are needed.

There are two rules for "evenly spaced", which differ by up to one frame. Frames of a video are cut by
:func:`evenly_spaced_floor`, as DeepfakeBench's preprocessing cuts them; crops on disk are chosen by
:func:`evenly_spaced_round`, as this package's predictions always were. To make them one would change crops or figures.
"""

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

SEARCHING = ("at_least", "from_middle")  # more frames are searched until enough show a face
MODES = ("fixed_num_frames", "fixed_stride", *SEARCHING)
T = TypeVar("T")


def evenly_spaced_round(items: Sequence[T], n: int) -> tuple[T, ...]:
    """Choose ``n`` items evenly, first and last included, indices rounded to the nearest; all where there are fewer.

    >>> evenly_spaced_round("abcdef", 4)
    ('a', 'c', 'd', 'f')
    """
    if len(items) <= n:
        return tuple(items)
    return tuple(items[i] for i in np.linspace(0, len(items) - 1, n).round().astype(int))


def randomly_drawn(items: Sequence[T], n: int, seed: int, key: str) -> tuple[T, ...]:
    """Draw ``n`` items without repetition, in their order; all where there are fewer.

    The draw depends on ``seed``, the video's ``key`` and the number of items alone, not on other videos.
    """
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    chosen = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(items))[:n]
    return tuple(items[i] for i in sorted(chosen))


def evenly_spaced_floor(count: int, frames: int) -> list[int]:
    """Indices of ``frames`` evenly spaced frames of ``count``, first and last included, rounded down; each once.

    >>> evenly_spaced_floor(6, 4)
    [0, 1, 3, 5]
    >>> evenly_spaced_floor(2, 8)
    [0, 1]
    """
    if count < 1:
        return []
    # np.unique would import numpy.ma
    return list(dict.fromkeys(np.linspace(0, count - 1, frames, dtype=int).tolist()))


def first_indices(count: int, mode: str, frames: int, stride: int) -> list[int]:
    """Indices of the frames that a mode of ``MODES`` uses first, of ``count``; for ``fixed_*`` there are no others."""
    if mode == "from_middle":
        return [count // 2] if count else []
    return list(range(0, count, stride)) if mode == "fixed_stride" else evenly_spaced_floor(count, frames)


def farthest_first(count: int, taken: list[int]) -> Iterator[int]:
    """The other frames of ``count``, each the farthest in time from all taken and yielded before; ties: the earliest.

    ``taken`` are indices, sorted, at least one.

    >>> list(farthest_first(8, [0, 7]))
    [3, 5, 1, 2, 4, 6]
    """
    gaps: list[tuple[int, int, int, int]] = []

    def add(low, high):
        """The frames between ``low`` and ``high``, both taken; −1 and ``count`` stand for the video's ends."""
        if high - low < 2:
            return
        if low < 0:
            best, distance = 0, high
        elif high >= count:
            best, distance = count - 1, count - 1 - low
        else:
            best, distance = (low + high) // 2, (high - low) // 2
        heapq.heappush(gaps, (-distance, best, low, high))

    for low, high in zip([-1, *taken], [*taken, count], strict=True):
        add(low, high)
    while gaps:
        _, best, low, high = heapq.heappop(gaps)
        yield best
        add(low, best)
        add(best, high)
