"""Names as users give them: with commas, or in an option repeated."""

from collections.abc import Iterable


def split_names(values: Iterable[str]) -> list[str]:
    """Names that were given with commas, or in several values, each once.

    >>> split_names(["a, b", "c", "a"])
    ['a', 'b', 'c']
    """
    return list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))
