"""Iterators in batches, and prefetched in a thread."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of ``size``, the last one perhaps shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """The same items (none of them None), each made in another thread while the one before it is used.

    Where the user of the items ends early, the item in progress is not waited for.
    """
    pool = ThreadPoolExecutor(1)
    try:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item
    finally:
        pool.shutdown(wait=False)
