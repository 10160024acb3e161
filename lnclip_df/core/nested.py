"""Nested dicts."""

from collections.abc import Mapping
from typing import Any


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of a nested dict under its dotted key.

    >>> flatten({"a": 1, "b": {"c": None, "d": [2]}})
    {'a': 1, 'b.c': None, 'b.d': [2]}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
