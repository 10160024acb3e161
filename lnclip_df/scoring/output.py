"""Results as JSON, CSV and a table; and a file of them that a run which was broken off goes on with."""

import csv
import hashlib
import io
import json
import os
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.files import write_text
from lnclip_df.scoring.results import SCORED, Result

FORMATS = ("table", "csv", "jsonl")
COLUMNS = (
    "path", "outcome", "decision", "score", "calibrated", "threshold", "used", "frames", "found", "faces", "persons",
    "seconds", "recipe", "reason",
)  # fmt: skip


def as_json(result: Result) -> dict:
    """A result as JSON values: floats unrounded, boxes in pixels, what is unknown null."""
    same = (
        "path", "outcome", "reason", "decision", "score", "calibrated", "threshold", "frames", "found", "faces",
        "decoded", "seconds", "recipe",
    )  # fmt: skip
    size = None if result.size is None else list(result.size)
    return {name: getattr(result, name) for name in same} | {"size": size, "persons": [*map(_person, result.persons)]}


def _person(person):
    frames = [
        {
            "index": frame.index,
            "seconds": frame.seconds,
            "box": None if frame.box is None else list(frame.box),
            "prob": frame.prob,
        }
        for frame in person.frames
    ]
    return {"number": person.number, "score": person.score, "frames": frames}


def as_text(rows: list[dict], format: str) -> str:
    """Results, as :func:`as_json` gives them, in one of ``FORMATS``."""
    if format == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n" for row in rows)
    return _csv(rows) if format == "csv" else _table(rows)


def _csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"used": _used(row), "persons": len(row["persons"]), "path": printable(row["path"])})
    return text.getvalue()


def _table(rows):
    width = max([len(printable(row["path"])) for row in rows] + [4])
    calibrated = any(row["calibrated"] is not None for row in rows)
    head = f"{'file':{width}}  {'score':>6}  {'calibrated' if calibrated else '':{10 if calibrated else 0}}"
    lines = [f"{head.rstrip():{len(head)}}  decision  frames  persons"]
    for row in rows:
        name = f"{printable(row['path']):{width}}"
        if row["outcome"] != SCORED:
            lines.append(f"{name}  {row['outcome']}: {printable(row['reason'])}")
            continue
        middle = "" if not calibrated else "" if row["calibrated"] is None else f"{row['calibrated']:.4f}"
        frames = f"{_used(row)}/{row['frames']}"
        lines.append(
            f"{name}  {row['score']:6.4f}  {middle:{10 if calibrated else 0}}  {row['decision']:8}  {frames:>6}  "
            f"{_persons(row)}"
        )
    return "".join(line.rstrip() + "\n" for line in lines)


def _persons(row):
    persons = row["persons"]
    if len(persons) == 1:
        return "1"
    shown = ", ".join(f"no. {person['number']} {person['score']:.4f}" for person in persons[:6])
    return f"{len(persons)}: {shown}{', …' if len(persons) > 6 else ''}"


def _used(row):
    """How many frames the score is the mean of."""
    return len(row["persons"][0]["frames"]) if row["persons"] else 0


class Book:
    """Results of a run in one file, written whole at the end; until then in a hidden one beside it, a line each.

    A run that was broken off finds there what it had finished: the same files (path, size, time of change), scored the
    same way.

    Args:
        path: the file, of any of ``FORMATS``.
        facts: what a score depends on, JSON values; lines of other facts are not taken up.

    Raises:
        LNCLIPError: the folder cannot be written to.
    """

    def __init__(self, path, facts: dict):
        self.path = Path(path)
        self.pending = self.path.with_name(f".{self.path.name[:60]}.part")
        self.facts = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self.rows = self._left()

    def _left(self):
        """``{identity of a file: its row}`` of what a run that was broken off had finished."""
        try:
            lines = self.pending.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return {}
        rows = {}
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["facts"] == self.facts:
                    rows[tuple(entry["of"])] = entry["row"]
            except (ValueError, TypeError, KeyError):  # cut short
                continue
        return rows

    def row(self, path) -> dict | None:
        """What is known of a file already."""
        return self.rows.get(_identity(path))

    def add(self, path, row: dict):
        """Keep a row at once."""
        of = _identity(path)
        self.rows[of] = row
        line = json.dumps({"facts": self.facts, "of": of, "row": row}, allow_nan=False) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.pending, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise LNCLIPError(f"cannot write {self.pending}: {error.strerror or error}") from error

    def finish(self, rows: list[dict], format: str):
        """Write the file, and forget the hidden one."""
        write_text(self.path, as_text(rows, format))
        self.pending.unlink(missing_ok=True)


def _identity(path):
    """Name, size and time of change of a file, or of a folder and what lies directly in it."""
    path = Path(path)
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        states = [file.stat() for file in files]
    except OSError:
        return (os.fspath(path), 0, 0)
    return (os.fspath(path), sum(state.st_size for state in states), max(state.st_mtime_ns for state in states))
