"""Which frames of a video are looked at: evenly spaced ones, every n-th one, or as many as are needed."""

import heapq
from collections.abc import Iterator

import numpy as np

MODES = ("fixed_num_frames", "fixed_stride", "at_least")


def frame_indices(count: int, frames: int) -> list[int]:
    """Indices of ``frames`` evenly spaced frames of ``count``, first and last included; each once, in order.

    The indices are rounded down, as DeepfakeBench has them (``np.linspace(0, count − 1, frames, dtype=int)``).

    Example:
        >>> frame_indices(11, 3)
        [0, 5, 10]
        >>> frame_indices(2, 8)
        [0, 1]
    """
    if count < 1:
        return []
    return np.unique(np.linspace(0, count - 1, frames, dtype=int)).tolist()


def first_indices(count: int, mode: str, frames: int, stride: int) -> list[int]:
    """The frames that a mode looks at first, in order: all there are for ``fixed_*``.

    Args:
        count: frames of the video.
        mode: one of ``MODES``.
        frames: how many (``fixed_num_frames``, ``at_least``).
        stride: every how many frames (``fixed_stride``).
    """
    return list(range(0, count, stride)) if mode == "fixed_stride" else frame_indices(count, frames)


def farthest_first(count: int, taken: list[int]) -> Iterator[int]:
    """The other frames of a video, each the farthest in time from all taken and yielded before; ties: the earliest.

    Args:
        count: frames of the video.
        taken: indices looked at already, sorted, not empty.

    Example:
        >>> list(farthest_first(8, [0, 7]))
        [3, 5, 1, 2, 4, 6]
    """
    gaps = []

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
