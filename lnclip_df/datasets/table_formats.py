"""The formats of the lists that come with a dataset: each reads a file's text into rows of named columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lnclip_df.core.errors import LNCLIPError, one_line, shown
from lnclip_df.core.files import is_utf8, parse_json
from lnclip_df.core.registry import Registry
from lnclip_df.core.tables import csv_rows, read_text

if TYPE_CHECKING:
    from lnclip_df.datasets.schema import Table

Row = tuple[str, dict[str, str]]  # "line 3" or "entry 3", for messages, and the row's columns
TABLE_FORMATS: Registry[Callable[[Path, str, Table], Iterator[Row]]] = Registry("table format")


def read_rows(path: Path, table: Table) -> Iterator[Row]:
    """Read the rows of a file in the table's format.

    Raises:
        LNCLIPError: the file cannot be read, or is not in the table's format.
    """
    return TABLE_FORMATS[table.format](path, read_text(path), table)


@TABLE_FORMATS.register("lines")
def read_lines(path: Path, text: str, table: Table) -> Iterator[Row]:
    """One row per line; the columns are the groups of the pattern ``line``. A backslash is read as a slash."""
    pattern = re.compile(table.line or "")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip().replace("\\", "/")
        match = pattern.fullmatch(line)
        if match:
            yield f"line {number}", _texts(match.groupdict())
        elif line:
            raise LNCLIPError(f"{path}: line {number} is {shown(line)}, not of the form {table.line}; fix the file")


@TABLE_FORMATS.register("csv")
def read_csv(path: Path, text: str, table: Table) -> Iterator[Row]:
    """One row per line after the header, whose empty cells are left out; see ``lnclip_df.core.tables.csv_rows``."""
    header: list[str] = []
    for number, cells in csv_rows(path, text):
        if header:
            yield f"line {number}", {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        header = header or cells


@TABLE_FORMATS.register("json")
def read_json_rows(path: Path, text: str, table: Table) -> Iterator[Row]:
    """A list of objects, or an object of objects whose own keys become the column ``key``; below ``rows`` if set."""
    entries = _parse(path, text)
    if table.rows is not None:
        if not isinstance(entries, dict) or table.rows not in entries:
            raise LNCLIPError(f"{path}: no key {table.rows} with the list of videos; fix the file")
        entries = entries[table.rows]
    if isinstance(entries, dict):
        entries = [{"key": key, **entry} if isinstance(entry, dict) else entry for key, entry in entries.items()]
    if not isinstance(entries, list):
        raise LNCLIPError(f"{path} contains {shown(entries)}, not a list or object of videos; fix the file")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise LNCLIPError(f"{path}: entry {number} is {shown(entry)}, not an object; fix the file")
        row = _texts(entry)
        if not is_utf8("".join(row.values())):
            raise LNCLIPError(f"{path}: entry {number} has a broken character; fix the file")
        yield f"entry {number}", row


@TABLE_FORMATS.register("pairs")
def read_pairs(path: Path, text: str, table: Table) -> Iterator[Row]:
    """A JSON list of ``[a, b]``: the videos ``a``, ``b``, ``a_b`` and ``b_a``, each in the column ``video``."""
    entries = _parse(path, text)
    if not isinstance(entries, list):
        raise LNCLIPError(f"{path} contains {shown(entries)}, not a list of pairs; fix the file")
    for number, entry in enumerate(entries, 1):
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)):
            raise LNCLIPError(
                f'{path}: entry {number} is {shown(entry)}; expected a pair like ["071", "054"]; fix the file'
            )
        a, b = entry
        for video in (a, b, f"{a}_{b}", f"{b}_{a}"):
            yield f"entry {number}", {"video": video}


def _parse(path, text):
    try:
        return parse_json(text, object_pairs_hook=_object)
    except ValueError as error:
        raise LNCLIPError(f"{path} is not JSON: {one_line(error)}") from error


def _object(pairs):
    """A JSON object; ValueError where a key has two values, of which Python would take the last."""
    found: dict = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise ValueError(f"the key {shown(key)} has two values; fix the file")
    return found


def _texts(row: dict) -> dict[str, str]:
    """A row's scalars as text; null, lists and objects are left out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in row.items()
        if isinstance(value, str | int | float)
    }
