"""What earlier runs finished, and whether its crops have the recipe of this one."""

import os
from dataclasses import fields
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.media.recipe import FOREIGN, HEAD, read_recipe
from lnclip_df.preprocess.paths import FACE, Source, face_name
from lnclip_df.preprocess.video_job import UNREADABLE, Record


def read_record(source: Source, out) -> Record | None:
    """The record of a video, whatever made it; None where there is none that can be read."""
    names = {field.name for field in fields(Record)}
    try:
        found = read_json(source.record_path(out))
        record = Record(**{key: value for key, value in found.items() if key in names})
        return record if record.key == source.key and isinstance(record.saved, list) else None
    except (LNCLIPError, AttributeError, TypeError):
        return None


def finished(source: Source, out, recipe: dict) -> Record | None:
    """The record of a video that need not be done again: its file, its recipe and its faces' files are as they were.

    Videos that could not be read are tried again.

    Raises:
        LNCLIPError: crops of another recipe lie where this video's would go.
    """
    record = read_record(source, out)
    if record is None or record.outcome == UNREADABLE or record.recipe != recipe["fingerprint"]:
        _refuse_other_crops(source, out, recipe)
        return None
    try:
        status = os.stat(source.path)
    except OSError:
        return None
    same = (record.bytes, record.modified_ns) == (status.st_size, status.st_mtime_ns)
    crops, landmarks = ({path.name for path in _faces(source, out, kind)} for kind in ("frames", "landmarks"))
    complete = crops == {*map(face_name, record.saved)} and len(landmarks) == len(record.saved)
    if not (same and complete):
        return None
    record.resumed = True
    return record


def _refuse_other_crops(source, out, recipe):
    crops = _faces(source, out, "frames")
    if not crops:
        return
    try:
        with open(min(crops), "rb") as file:
            found = read_recipe(file.read(HEAD))
    except OSError as error:
        raise LNCLIPError(f"cannot read {min(crops)}: {error.strerror or error}") from error
    if found and found["fingerprint"] == recipe["fingerprint"]:
        return  # an interrupted run's
    difference = _difference(found, recipe) if found else f"they are {FOREIGN}: made by another tool"
    raise LNCLIPError(
        f"{min(crops).parent} holds crops of another recipe ({difference}); give another --out, or remove them"
    )


def _faces(source, out, kind):
    """The files of a video's faces among its ``frames`` or ``landmarks``."""
    try:
        with os.scandir(source.folder_of(out, kind)) as entries:
            return [Path(entry.path) for entry in entries if FACE.fullmatch(entry.name) and entry.is_file()]
    except (OSError, LNCLIPError):  # nothing there, or a name that process_video will refuse
        return []


def _difference(old, new):
    """The settings in which two recipes differ, as ``size 128, now 256``."""
    old, new = _flat(old), _flat(new)
    keys = [key for key in {**new, **old} if old.get(key) != new.get(key) and key != "fingerprint"]
    return "; ".join(f"{key} {old.get(key, 'none')}, now {new.get(key, 'none')}" for key in keys)


def _flat(recipe, prefix=""):
    flat = {}
    for key, value in recipe.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
