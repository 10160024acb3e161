"""Names as users give them: separated by commas, or in a repeated option."""

from collections.abc import Iterable


def split_names(values: Iterable[str]) -> list[str]:
    """The names in values that may each list several, separated by commas; each name once.

    >>> split_names(["a, b", "c", "a"])
    ['a', 'b', 'c']
    """
    return list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))
