"""The lists, CSVs and JSONs that come with a dataset: rows that say which split, label or pair a video has."""

import csv
import io
import json
import re
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.datasets.schema import Table, first


class Rows:
    """The rows of one table, by key.

    Attributes:
        files: the files that it was read from.
        rows: ``{key: {column: text}}``.
        found: keys that some video was found under.
        repeated: number of rows passed over because an earlier one has their key.
    """

    def __init__(self, name: str, table: Table):
        self.name, self.table = name, table
        self.files: list[Path] = []
        self.rows: dict[str, dict[str, str]] = {}
        self.files_of: dict[str, Path] = {}
        self.found: set[str] = set()
        self.repeated = 0

    def read(self, path: Path, columns: dict[str, str]):
        """Add the rows of a file; ``columns`` are those that its name gives.

        Raises:
            LNCLIPError: it cannot be read, a line or entry is malformed, a row's key has no column or leaves the set's
                folder, or two rows contradict each other; the message names the file and the line.
        """
        self.files.append(path)
        for place, row in read_rows(path, self.table):
            row = {**columns, **self.table.add, **row}
            key = first(self.table.key, row)
            if key is None:
                there = ", ".join(name for name in row if name) or "none"
                raise LNCLIPError(f"{path}: {place} lacks a column of the key {self.table.key}; there is {there}")
            if climbs(key):
                raise LNCLIPError(f"{path}: {place}: the path {key!r} leaves its folder; mend the file")
            self._add(path, place, key, row)

    def _add(self, path, place, key, row):
        earlier = self.rows.setdefault(key, row)
        if earlier is row:
            self.files_of[key] = path
            return
        if earlier != row and self.table.repeated == "error":
            other = self.files_of[key].name
            raise LNCLIPError(f"{path}: {place}: {key!r} is listed before, in {other}, with other values; mend one")
        self.repeated += 1

    def get(self, key: str | None) -> dict[str, str]:
        """The row of a key, empty where there is none."""
        row = self.rows.get(key)
        if row is None:
            return {}
        self.found.add(key)
        return row

    @property
    def lost(self) -> list[str]:
        """Keys of listed videos that no video was found under."""
        return [key for key in self.rows if key not in self.found] if self.table.videos else []


def climbs(path: str) -> bool:
    """Whether a path from a file is absolute or steps out of the folder that it starts in."""
    return path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path)


def is_utf8(text: str) -> bool:
    """Whether a name can be written to a file: those that are not UTF-8 on disk hold lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_rows(path: Path, table: Table):
    """Yield ``(place, {column: text})`` of every row; ``place`` is ``line 3`` or ``entry 3``, for messages.

    Raises:
        LNCLIPError: the file cannot be read, or is not in the table's format.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise LNCLIPError(f"{path} is not UTF-8: {one_line(error)}; save it as UTF-8") from error
    return READERS[table.format](path, text, table)


def _lines(path, text, table):
    pattern = re.compile(table.line)
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        match = pattern.fullmatch(line)
        if match:
            yield f"line {number}", _texts(match.groupdict())
        elif line:
            raise LNCLIPError(f"{path}: line {number} is {_shown(line)}, not of the form {table.line}; mend the file")


def _csv(path, text, table):
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = None
    try:
        for cells in reader:
            if not cells:
                continue
            if header is None:
                header = [name.strip() or f"column{place}" for place, name in enumerate(cells)]
            elif len(cells) != len(header):
                raise LNCLIPError(f"{path}: line {reader.line_num} has {len(cells)} cells, not {len(header)}; mend it")
            else:
                row = zip(header, map(str.strip, cells), strict=True)
                yield f"line {reader.line_num}", {name: cell for name, cell in row if cell}
    except csv.Error as error:
        raise LNCLIPError(f"{path}: line {reader.line_num} is no CSV: {error}; mend the file") from error


def _json(path, text, table):
    entries = _document(path, text)
    if table.rows is not None:
        if not isinstance(entries, dict) or table.rows not in entries:
            raise LNCLIPError(f"{path}: no key {table.rows} with the list of videos; mend the file")
        entries = entries[table.rows]
    if isinstance(entries, dict):
        entries = [{"key": key, **entry} if isinstance(entry, dict) else entry for key, entry in entries.items()]
    if not isinstance(entries, list):
        raise LNCLIPError(f"{path} holds {_shown(entries)}, not a list or object of videos; mend the file")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise LNCLIPError(f"{path}: entry {number} is {_shown(entry)}, not an object; mend the file")
        row = _texts(entry)
        if not is_utf8("".join(row.values())):
            raise LNCLIPError(f"{path}: entry {number} has a broken character; mend the file")
        yield f"entry {number}", row


def _pairs(path, text, table):
    entries = _document(path, text)
    if not isinstance(entries, list):
        raise LNCLIPError(f"{path} holds {_shown(entries)}, not a list of pairs; mend the file")
    for number, entry in enumerate(entries, 1):
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)):
            raise LNCLIPError(f'{path}: entry {number} is {_shown(entry)}, not a pair such as ["071", "054"]; mend it')
        a, b = entry
        for video in (a, b, f"{a}_{b}", f"{b}_{a}"):
            yield f"entry {number}", {"video": video}


READERS = {"lines": _lines, "csv": _csv, "json": _json, "pairs": _pairs}


def _document(path, text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LNCLIPError(f"{path} is not JSON: {one_line(error)}") from error


def _texts(row):
    """A row's scalars as text; what has no value, and lists and objects, are left out."""
    texts = {}
    for name, value in row.items():
        if isinstance(value, bool):
            texts[name] = str(value).lower()
        elif isinstance(value, str | int | float):
            texts[name] = str(value)
    return texts


def _shown(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
