"""Fewer lines in the log for a while."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_from(level: int, *names: str) -> Iterator[None]:
    """Let the loggers of these names, and those below them, log from this level on while the context lasts."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(level)
    try:
        yield
    finally:
        for each, before in zip(loggers, levels, strict=True):
            each.setLevel(before)
