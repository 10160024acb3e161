"""Iterators that are made ahead in another thread."""

import threading
from threading import Event

import pytest

from lnclip_df.core.iteration import prefetch


@pytest.mark.parametrize("ahead", [1, 3])
def test_items_are_made_so_far_ahead_and_come_in_order(ahead):
    made, may_go_on = [], [Event() for _ in range(10)]

    def items():
        for number in range(10):
            made.append(number)
            yield number
            may_go_on[number].set()  # asked for the next one

    found = []
    for item in prefetch(items(), ahead):
        found.append(item)
        last = item + ahead  # items up to this one are made while ``item`` is used
        if last < 10:
            assert may_go_on[last - 1].wait(5)
        assert len(made) <= last + 1
    assert found == list(range(10))


def test_where_the_user_ends_early_the_item_in_progress_is_the_last():
    made, begun, hold = [], Event(), Event()

    def items():
        for number in range(10):
            made.append(number)
            if number == 1:
                begun.set()
                hold.wait(5)
            yield number

    started = set(threading.enumerate())
    ahead = prefetch(items(), ahead=5)
    assert next(ahead) == 0 and begun.wait(5)
    ahead.close()  # does not wait for item 1
    hold.set()
    for thread in set(threading.enumerate()) - started:
        thread.join(5)
    assert made == [0, 1]


def test_what_fails_ahead_fails_in_its_turn():
    def items():
        yield 1
        raise ValueError("the second")

    found = prefetch(items(), ahead=4)
    assert next(found) == 1
    with pytest.raises(ValueError, match="the second"):
        next(found)
