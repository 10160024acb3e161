"""Results as JSON, CSV and a table."""

import json

from lnclip_df.core.errors import printable
from lnclip_df.core.tables import csv_text
from lnclip_df.scoring.results import SCORED, Result

FORMATS = ("table", "csv", "jsonl")
COLUMNS = (
    "path", "outcome", "decision", "score", "calibrated", "threshold", "used", "frames", "found", "faces", "persons",
    "seconds", "recipe", "reason", "people", "notes",
)  # fmt: skip
FIELDS = (
    "path", "outcome", "reason", "decision", "score", "calibrated", "threshold", "frames", "found", "faces", "decoded",
    "seconds", "recipe", "changes", "size", "people", "notes",
)  # fmt: skip
FRAME_FIELDS = ("index", "seconds", "box", "prob", "level")


def as_json(result: Result) -> dict:
    """A result as JSON values: floats are not rounded, boxes are in pixels, unknown values are null."""
    row = {name: getattr(result, name) for name in FIELDS}
    row["persons"] = [
        {
            "number": person.number,
            "score": person.score,
            "brief": person.brief,
            "frames": [{name: getattr(frame, name) for name in FRAME_FIELDS} for frame in person.frames],
        }
        for person in result.persons
    ]
    return row


def as_text(rows: list[dict], format: str) -> str:
    """Results, as :func:`as_json` returns them, in one of ``FORMATS``."""
    if format == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n" for row in rows)
    if format == "table":
        return _table(rows)
    shown = [
        row | {
            "used": _used(row), "persons": len(row["persons"]), "path": printable(row["path"]),
            "notes": "; ".join(row["notes"]),
        } for row in rows
    ]  # fmt: skip
    return csv_text([COLUMNS, *([row[column] for column in COLUMNS] for row in shown)], digits=None)


def _table(rows):
    width = max([len(printable(row["path"])) for row in rows] + [4])
    extra = 10 if any(row["calibrated"] is not None for row in rows) else 0  # width of the column of calibrated scores
    lines = [f"{'file':{width}}  {'P(fake)':>7}  {'calibrated'[:extra]:{extra}}  decision  frames  persons"]
    for row in rows:
        name = f"{printable(row['path']):{width}}"
        if row["outcome"] != SCORED:
            lines.append(f"{name}  {row['outcome']}: {printable(row['reason'])}")
            continue
        calibrated = "" if row["calibrated"] is None else f"{row['calibrated']:.4f}"
        frames = f"{_used(row)}/{row['frames']}"
        lines.append(
            f"{name}  {row['score']:7.4f}  {calibrated:{extra}}  {row['decision']:8}  {frames:>6}  {_persons(row)}"
        )
        lines += [f"  note: {note}" for note in row["notes"]]
    return "".join(line.rstrip() + "\n" for line in lines)


def _persons(row):
    persons = row["persons"]
    if len(persons) == 1:
        return "1"
    shown = [f"no. {person['number']} {person['score']:.4f}{' (brief)' * person['brief']}" for person in persons[:6]]
    return f"{len(persons)}: {', '.join(shown)}{', …' if len(persons) > 6 else ''}"


def _used(row):
    """Number of frames that the score is the mean of."""
    return len(row["persons"][0]["frames"]) if row["persons"] else 0
