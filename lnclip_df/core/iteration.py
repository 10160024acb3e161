"""Iterators in batches, in threads and prefetched, and shares of a list for job arrays."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from lnclip_df.core.errors import LNCLIPError

T = TypeVar("T")
R = TypeVar("R")
BATCH = 256  # results that are in memory at once
THREADS = 8  # which mostly wait for the disk


def part_of(shard: str | None) -> slice:
    """Which items of a list belong to shard ``i/n``, the i-th of n; all where it is None. LNCLIPError if it is invalid.

    >>> [0, 1, 2, 3, 4][part_of("2/2")]
    [1, 3]
    """
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", "1/1" if shard is None else shard)
    number, parts = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= parts:
        raise LNCLIPError(f"shard: {shard!r} received; accepted is i/n with 1 ≤ i ≤ n, for example 1/8")
    return slice(number - 1, None, parts)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of ``size``, the last one perhaps shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def map_batches(
    function: Callable[[T], R], items: Sequence[T], *, title: str, unit: str, progress: bool
) -> Iterator[list[tuple[T, R]]]:
    """Batches of ``(item, function(item))``, computed in threads; one batch at a time is in memory.

    ``title`` and ``unit`` (of an item) are shown with the progress bar.
    """
    from tqdm import tqdm

    bar = tqdm(total=len(items), desc=title, unit=unit, disable=not progress)
    with bar, ThreadPoolExecutor(THREADS) as pool:
        for batch in batched(items, BATCH):
            yield list(zip(batch, pool.map(function, batch), strict=True))
            bar.update(len(batch))


def prefetch(items: Iterator[T], ahead: int = 1) -> Iterator[T]:
    """The same items (none of them None), made in another thread, ``ahead`` of them while the one before is used.

    Where the user of the items ends early, the item in progress is not waited for.
    """
    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque(pool.submit(next, items, None) for _ in range(ahead))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
