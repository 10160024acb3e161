"""The formats of the lists that come with a dataset: each reads a file's text into rows of named columns."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lnclip_df.core.errors import LNCLIPError, one_line, shown
from lnclip_df.core.files import is_utf8
from lnclip_df.core.registry import Registry

if TYPE_CHECKING:
    from lnclip_df.datasets.schema import Table

Row = tuple[str, dict[str, str]]  # "line 3" or "entry 3", for messages, and the row's columns
TABLE_FORMATS: Registry[Callable[[Path, str, Table], Iterator[Row]]] = Registry("table format")


def read_rows(path: Path, table: Table) -> Iterator[Row]:
    """Read the rows of a file in the table's format.

    Raises:
        LNCLIPError: the file cannot be read, or is not in the table's format.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise LNCLIPError(f"{path} is not UTF-8: {one_line(error)}; save it as UTF-8") from error
    return TABLE_FORMATS[table.format](path, text, table)


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
    """One row per line after the header; a column without a name is named by its index (``column9``, from 0)."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = None
    try:
        for cells in reader:
            if not cells:
                continue
            if header is None:
                header = [name.strip() or f"column{index}" for index, name in enumerate(cells)]
            elif len(cells) != len(header):
                raise LNCLIPError(
                    f"{path}: line {reader.line_num} has {len(cells)} cells, not {len(header)}; fix the file"
                )
            else:
                row = zip(header, map(str.strip, cells), strict=True)
                yield f"line {reader.line_num}", {name: cell for name, cell in row if cell}
    except csv.Error as error:
        raise LNCLIPError(f"{path}: line {reader.line_num} is not CSV: {error}; fix the file") from error


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
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LNCLIPError(f"{path} is not JSON: {one_line(error)}") from error


def _texts(row: dict) -> dict[str, str]:
    """A row's scalars as text; null, lists and objects are left out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in row.items()
        if isinstance(value, str | int | float)
    }
