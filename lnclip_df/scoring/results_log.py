"""The rows of an unfinished run in a file, from which the run resumes."""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import parse_json, write_text
from lnclip_df.scoring.output import as_text


class ResultsLog:
    """Results of a run, written to one file at the end; until then to a hidden file beside it, one line per row.

    A run that was interrupted finds its finished rows there. A row is reused if its input is unchanged (path, size,
    modification time), and also ``provenance``: what a row depends on, JSON values. Each ``shard`` of a run (``i/n``)
    has a hidden file of its own, and reads those of all others.
    """

    def __init__(self, path, provenance: dict, shard: str | None = None):
        self.path = Path(path)
        self.name = f".{self.path.name[:60]}"
        own = f".{shard.replace('/', '-of-')}" if shard else ""
        self.pending = self.path.with_name(f"{self.name}{own}.part")
        self.provenance = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()
        self.rows: dict[tuple, dict] = {}  # by the identity of the input
        self.read()

    def read(self):
        """Read the finished rows of all shards."""
        for path in self._files():
            lines = []
            with suppress(OSError, ValueError):
                lines = path.read_text(encoding="utf-8").splitlines()
            for line in lines:
                with suppress(ValueError, TypeError, KeyError):  # an empty line, or one that was cut short
                    entry = parse_json(line)
                    if entry["provenance"] == self.provenance:
                        self.rows[tuple(entry["input"])] = entry["row"]

    def _files(self):
        """The hidden files of all shards that there are."""
        own = re.compile(re.escape(self.name) + r"(\.\d+-of-\d+)?\.part")
        return [path for path in self.path.parent.glob(".*.part") if own.fullmatch(path.name)]

    def row(self, path) -> dict | None:
        """The finished row of an input, or None."""
        return self.rows.get(_identity(path))

    def add(self, path, row: dict):
        """Append a row to the hidden file."""
        identity = _identity(path)
        self.rows[identity] = row
        line = json.dumps({"provenance": self.provenance, "input": identity, "row": row}, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.pending, "a", encoding="utf-8") as file:
                file.write("\n" + line)  # the line before may have been cut short
        except OSError as error:
            raise LNCLIPError(f"cannot write {self.pending}: {error.strerror or error}") from error

    def finish(self, rows: list[dict], format: str):
        """Write the final file and delete the hidden ones."""
        write_text(self.path, as_text(rows, format))
        for path in self._files():
            path.unlink(missing_ok=True)


def _identity(path):
    """Path, size and modification time of a file, or of a folder and the files directly in it."""
    path = Path(path)
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        states = [file.stat() for file in files]
    except OSError:
        return (os.fspath(path), 0, 0)
    return (os.fspath(path), sum(state.st_size for state in states), max(state.st_mtime_ns for state in states))
