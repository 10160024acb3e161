"""Worker processes end when they are told to, and leave the caller's ``__main__`` alone."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.utils.data import DataLoader

from lnclip_df.core.processes import worker_pool


def test_an_error_ends_the_workers_at_once_also_beside_a_loader_with_processes():
    """A loader's processes are forked: they have all open pipes of this one."""
    with pytest.raises(ValueError, match="stop"), worker_pool(2, at_once=True) as pool:
        for _ in range(2):
            pool.submit(time.sleep, 600)
        loader = iter(DataLoader(range(4), num_workers=1))
        assert next(loader) == 0
        started = time.monotonic()
        raise ValueError("stop")
    assert time.monotonic() - started < 60
    assert list(map(int, loader)) == [1, 2, 3]  # it lived all the time


def test_pools_of_several_threads_leave_main_as_it_was():
    main = sys.modules["__main__"]

    def start(number):
        with worker_pool(1) as pool:
            return pool.submit(abs, number).result()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(start, range(-4, 0))) == [4, 3, 2, 1]
    assert sys.modules["__main__"] is main
