"""The record of a video: what became of it. It is written last, and tells a later run what is finished."""

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.media.crop_files import file_names, members, pending_path, read_file
from lnclip_df.media.recipe import FOREIGN, HEAD, Recipe, read_recipe
from lnclip_df.media.remote import source_state
from lnclip_df.preprocess.paths import FACE, Source, face_name

DONE, NO_FACE, UNREADABLE = "done", "no face", "unreadable"
WAITING = "waiting"  # of a manifest's row: for another shard


class OtherCrops(LNCLIPError):
    """Crops of another recipe are where those of a video would go."""


@dataclass
class Record:
    """What became of one video.

    Attributes:
        key: of the :class:`~lnclip_df.preprocess.paths.Source`.
        outcome: ``done``, ``no face`` or ``unreadable``.
        reason: one line where it is not ``done``, and a note where a mask could not be used.
        asked, decoded, found: frames searched; frames that the video has; frames searched that show a face.
        saved: indices of the frames whose face was written, in order.
        score: mean score of the faces written. ``box``: median side of their boxes (√area), in pixels.
        size: width and height of the frames, in pixels.
        seconds: time it took.
        recipe: fingerprint of the crops' recipe.
        people: how many people the faces written are of, at least: those seen in one frame are different.
        changes: what was done to its frames before faces were searched, as the crops' recipe has it.
        bytes, modified_ns: of the source when it was read; of a URL, a number of its version.
        source: the URL that it was read from, without passwords and query; empty for a file.
        resumed: whether an earlier run had finished it (not in the file).
    """

    key: str
    outcome: str
    reason: str = ""
    asked: int = 0
    decoded: int = 0
    found: int = 0
    saved: list[int] = field(default_factory=list)
    score: float | None = None
    box: float | None = None
    size: list[int] = field(default_factory=list)
    seconds: float = 0.0
    recipe: str = ""
    people: int = 0
    bytes: int = 0
    modified_ns: int = 0
    changes: dict[str, str] = field(default_factory=dict)
    source: str = ""
    resumed: bool = False


def write_record(path: Path, record: Record):
    """Write a record, whole or not at all."""
    value = {key: value for key, value in vars(record).items() if key != "resumed"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        pending_path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(pending_path(path), path)
    except OSError as error:
        raise LNCLIPError(f"cannot write {path}: {error.strerror or error}") from error


def read_record(source: Source, out) -> Record | None:
    """The record of a video, whatever made it; None where there is none that can be read."""
    names = {field.name for field in fields(Record)}
    try:
        found = read_json(source.record_path(out))
        record = Record(**{key: value for key, value in found.items() if key in names})
        return record if record.key == source.key and isinstance(record.saved, list) else None
    except (LNCLIPError, AttributeError, TypeError):
        return None


def finished(source: Source, out, recipe: Recipe) -> Record | None:
    """The record of a video that need not be done again: its file, its recipe and its faces' files are as they were.

    Videos that could not be read are tried again.

    Raises:
        OtherCrops: crops of another recipe are where this video's would go.
    """
    record = read_record(source, out)
    if record is None or record.outcome == UNREADABLE or record.recipe != recipe.fingerprint:
        _refuse_other_crops(source, out, recipe)
        return None
    try:
        same = (record.bytes, record.modified_ns) == source_state(source.path)
    except OSError:
        return None
    crops, landmarks = ({path.name for path in _faces(source, out, kind)} for kind in ("frames", "landmarks"))
    complete = crops == {*map(face_name, record.saved)} and len(landmarks) == len(record.saved)
    if not (same and complete):
        return None
    record.resumed = True
    return record


def _refuse_other_crops(source, out, recipe):
    tar = source.tar_path(out)
    try:
        if tar.is_file():
            members(tar)
    except ValueError as error:
        raise LNCLIPError(f"{tar} was made by another tool; give another output folder, or remove it") from error
    except OSError as error:
        raise LNCLIPError(f"cannot read {tar}: {error.strerror or error}") from error
    crops = _faces(source, out, "frames")
    if not crops:
        return
    try:
        found = read_recipe(read_file(min(crops), HEAD))
    except OSError as error:
        raise LNCLIPError(f"cannot read {min(crops)}: {error.strerror or error}") from error
    if found and found.fingerprint == recipe.fingerprint:
        return  # an interrupted run's
    difference = found.differences(recipe) if found else f"they are {FOREIGN}: made by another tool"
    raise OtherCrops(
        f"{min(crops).parent} has crops of another recipe ({difference}); give another output folder, or remove them"
    )


def _faces(source, out, kind):
    """The files of a video's faces among its ``frames`` or ``landmarks``, on disk or in its tar."""
    try:
        folder = source.folder_of(out, kind)
        return [folder / name for name in file_names(folder) if FACE.fullmatch(name)]
    except (OSError, ValueError, LNCLIPError):  # nothing there, a damaged tar, or a name that process_video will refuse
        return []
