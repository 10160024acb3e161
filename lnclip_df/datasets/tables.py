"""The tables that come with a dataset: rows that say which split, label or pair a video has, found by key."""

import re
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.folder_listing import logical_path
from lnclip_df.datasets.schema import Table, first
from lnclip_df.datasets.table_formats import read_rows


class Rows:
    """The rows of one table, by key.

    Attributes:
        rows: ``{key: {column: text}}``.
        found: keys that some video was found under.
        repeated: number of rows left out because an earlier row has their key.
    """

    def __init__(self, table: Table):
        self.table = table
        self.files: list[Path] = []
        self.rows: dict[str, dict[str, str]] = {}
        self.files_of: dict[str, Path] = {}
        self.found: set[str] = set()
        self.repeated = 0

    def read(self, path: Path, columns: dict[str, str]):
        """Add the rows of a file; ``columns`` are those that its name gives.

        Raises:
            LNCLIPError: the file cannot be read, a line or entry is malformed, a row's key has no column or leaves the
                dataset's folder, or two rows contradict each other; the message names the file and the line.
        """
        self.files.append(path)
        for line, row in read_rows(path, self.table):
            row = {**columns, **self.table.add, **row}
            row |= {column: logical_path(row[column]) for column in self.table.paths if column in row}
            key = first(self.table.key, row)
            if key is None:
                there = ", ".join(name for name in row if name) or "none"
                raise LNCLIPError(f"{path}: {line} lacks a column of the key {self.table.key}; there is {there}")
            if climbs(key):
                raise LNCLIPError(f"{path}: {line}: the path {key!r} leaves its folder; fix the file")
            key = key.replace("\\", "/").removeprefix("./")
            earlier = self.rows.setdefault(key, row)
            if earlier is row:
                self.files_of[key] = path
            elif earlier != row and self.table.repeated == "error":
                other = self.files_of[key].name
                raise LNCLIPError(f"{path}: {line}: {key!r} is listed before, in {other}, with other values; fix one")
            else:
                self.repeated += 1

    def get(self, key: str | None) -> dict[str, str]:
        """The row of a key; empty if there is none."""
        if key not in self.rows:
            return {}
        self.found.add(key)
        return self.rows[key]

    @property
    def not_found(self) -> list[str]:
        """Keys of listed videos that no video was found under."""
        return [key for key in self.rows if key not in self.found] if self.table.videos else []


def climbs(path: str) -> bool:
    """Whether a path from a file is absolute or leaves the folder that it starts in."""
    return path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path)
