"""The one error that users see: what is wrong, what was expected and how to fix it, in one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

MAX_LENGTH = 600  # characters of a message: a name or a value from a file may have any length
OUT_OF_MEMORY = re.compile(
    r"not enough memory|cannot allocate memory|can't allocate memory|bad.?alloc|insufficient memory|out of memory"
    r"|failed to allocate|alloc_failed"
    r"|failed to map segment|can't start new thread|resource temporarily unavailable",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """Text as one line that a terminal can show: line breaks, control and broken characters are escaped.

    >>> print(printable("a" + chr(27) + "[2J" + chr(10)))
    a\\x1b[2J\\n
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(error: Exception) -> str:
    """The message of another package's exception as one line; its type if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def shorten(text: str, length: int) -> str:
    """Text of at most ``length`` characters: two thirds of them from its start, one from its end, and … between.

    >>> shorten("abcdefghij", 7)
    'abcd…ij'
    """
    tail = (length - 1) // 3
    return text if len(text) <= length else f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of Python or of a library, says that memory or processes are used up."""
    return isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)) is not None


def shown(value) -> str:
    """A value from a file as an error shows it: its ``repr``, shortened to 60 characters."""
    return shorten(repr(value), 60)


class LNCLIPError(Exception):
    """A fault that the user can fix: a wrong key, a missing file, an invalid checkpoint.

    The message is one line that names the file or key, the value found and what to do. The command line prints it
    without a traceback and exits with status 1.
    """

    def __str__(self) -> str:
        return shorten(printable(super().__str__()), MAX_LENGTH)


class NotEnoughMemory(LNCLIPError):
    """The memory of the machine or of a device is used up; the message says what to make smaller."""


def not_enough_memory(error: BaseException, cure: str) -> NotEnoughMemory:
    """The error that says so, of the exception that memory is used up and what to make smaller."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = next(filter(OUT_OF_MEMORY.search, lines), lines[-1])  # of a worker's error, the last line of its trace
    return NotEnoughMemory(f"not enough memory ({shorten(said.strip(), 160)}): {cure}")


@contextmanager
def enough_memory(cure: str) -> Iterator[None]:
    """Raise :class:`NotEnoughMemory` with a ``cure`` for an exception that says that memory is used up."""
    try:
        yield
    except Exception as error:
        if isinstance(error, LNCLIPError) or not is_out_of_memory(error):
            raise
        raise not_enough_memory(error, cure) from error
