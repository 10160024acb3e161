"""The table of predictions, one row per frame: our Parquet file with its metadata, and other tools' CSV."""

import json
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path, parse_json
from lnclip_df.core.provenance import METADATA_KEY
from lnclip_df.core.tables import read_columns

STRINGS = ("dataset", "split", "label_name", "video", "frame")
TYPES = dict.fromkeys(STRINGS, pa.string()) | {"label": pa.int8(), "prob": pa.float64()}
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in TYPES.items()])
METHOD = pa.field("method", pa.string())  # optional: how a fake was made, where its label name does not say
CSV_NEEDED = ("dataset", "video", "label", "prob")
TRAINED_ON = "train_dataset"  # optional in a CSV: names of training sets, separated by |
CSV_COLUMNS = (*CSV_NEEDED, METHOD.name, TRAINED_ON)


class Coded(NamedTuple):
    """A column of strings: the index (int32) of each row's value in ``values``, the distinct ones."""

    code: np.ndarray
    values: list[str]


def write_predictions(path, table: dict, metadata: dict):
    """Write a table of predictions, whole or not at all.

    Args:
        path: the Parquet file.
        table: columns of one length: ``dataset``, ``split``, ``label_name``, ``video`` (the full key) and ``frame``
            (its path) strings, ``label`` 0 or 1, ``prob`` the probability of fake, 0..1; optionally ``method``, how a
            fake was made (None or empty where nothing is known).
        metadata: JSON that is stored in the file's schema.

    Raises:
        LNCLIPError: a label or probability is invalid, or the file cannot be written.
        ValueError: columns are missing, unknown, or of several lengths; metadata is not JSON.
    """
    if set(table) - {METHOD.name} != set(SCHEMA.names):
        raise ValueError(f"columns are {sorted(table)}, not {sorted(SCHEMA.names)}")
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in length: {lengths}")
    label, prob = np.asarray(table["label"]), np.asarray(table["prob"], dtype=np.float64)
    _check(path, table["frame"].__getitem__, label, prob)
    schema = SCHEMA.append(METHOD) if METHOD.name in table else SCHEMA
    schema = schema.with_metadata({METADATA_KEY: json.dumps(metadata, allow_nan=False).encode()})
    arrow = pa.table({name: table[name] for name in schema.names}, schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_predictions(path) -> tuple[dict, dict]:
    """Read a table of predictions.

    Returns:
        The columns of ``write_predictions`` – lists of ``str``, ``label`` int8 and ``prob`` float64 arrays – and the
        metadata.

    Raises:
        LNCLIPError: the file is absent, no such table, or contains an invalid label or probability.
    """
    arrow, metadata = _read_parquet(path, SCHEMA.names)
    table = {name: arrow[name].to_pylist() for name in STRINGS}
    table["label"], table["prob"] = arrow["label"].to_numpy(), arrow["prob"].to_numpy()
    _check(path, table["frame"].__getitem__, table["label"], table["prob"])
    return table, metadata


def read_coded(path) -> tuple[dict, dict]:
    """Read what the metrics need of a table of predictions, fast: without frames, and strings as codes.

    Returns:
        ``video``, ``label_name`` and, where the table has it, ``method`` as ``Coded``; ``label`` int8 and ``prob``
        float64 arrays; and the metadata.

    Raises:
        LNCLIPError: as ``read_predictions``.
    """
    arrow, metadata = _read_parquet(path, ["label_name", "video", "label", "prob"])
    return _coded(path, arrow, "predict again"), metadata


def worst_frames(path, videos: Collection[str]) -> dict[str, str]:
    """The path of each video's frame whose probability is farthest from its label, from a table of predictions.

    Raises:
        LNCLIPError: as ``read_predictions``.
    """
    arrow, _ = _read_parquet(path, ["video", "frame", "label", "prob"])
    arrow = arrow.filter(pc.field("video").isin(list(videos)))
    names, frames = arrow["video"].to_pylist(), arrow["frame"].to_pylist()
    order = np.argsort(np.abs(arrow["prob"].to_numpy() - arrow["label"].to_numpy()), kind="stable")
    return {names[row]: frames[row] for row in order}


def read_csv(path) -> dict[str, dict]:
    """Read another tool's predictions: ``dataset, video, label, prob``, optionally ``frame, method, train_dataset``.

    A row is a frame, or a video where there are no frames. Other columns are ignored.

    Returns:
        ``{dataset: table}``, tables as ``read_coded`` gives them, without ``label_name``.

    Raises:
        LNCLIPError: the file is absent, lacks a column, or contains an invalid value.
    """
    columns: dict = read_columns(path, CSV_NEEDED)
    for name in ("dataset", "video"):
        if "" in columns[name]:
            raise LNCLIPError(f"{path}: row {columns[name].index('')}: {name} is empty; write it in every row")
    for name, fix in (("label", "0 for real and 1 for fake"), ("prob", "numbers with a point")):
        try:
            columns[name] = np.array(columns[name], dtype=np.float64)
        except ValueError as error:
            raise LNCLIPError(f"{path}: column {name}: {one_line(error)}; write {fix}") from error
    arrow = pa.table({name: columns[name] for name in ("frame", *CSV_COLUMNS) if name in columns})
    _refuse_repeated_rows(path, arrow)
    whole = _coded(path, arrow.select([name for name in CSV_COLUMNS if name in arrow.column_names]), "fix the file")
    dataset = whole.pop("dataset")
    return {name: _rows(whole, dataset.code == index) for index, name in enumerate(dataset.values)}


def _refuse_repeated_rows(path, arrow):
    """Refuse two rows of one frame, or of one video where no frames are named: two tests in one file."""
    keys = [name for name in ("dataset", "video", "frame") if name in arrow.column_names]
    counts = arrow.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if len(repeated):
        dataset, video, *frames = (repeated[name][0].as_py() for name in keys)
        named = frames and frames[0]
        what = f"frame {frames[0]} of video {video}" if named else f"video {video}"
        fix = "remove one" if named else "remove one, or name the frames in a column frame"
        raise LNCLIPError(f"{path}: the {what} of {dataset} has two rows; {fix}")


def _read_parquet(path, needed):
    """The needed columns, and ``method`` where it is there, in our types; and the metadata."""
    try:
        file = pq.ParquetFile(str(path))
        arrow_schema = file.schema_arrow
        missing = sorted(set(SCHEMA.names) - set(arrow_schema.names))
        if missing:
            raise LNCLIPError(f"{path} is not a table of predictions: no column {', '.join(missing)}")
        metadata = parse_json((arrow_schema.metadata or {}).get(METADATA_KEY.encode(), b"{}"))
        if not isinstance(metadata, dict):
            raise LNCLIPError(f"{path}: its metadata are damaged; predict again")
        fields = [SCHEMA.field(name) for name in needed] + [METHOD] * (METHOD.name in arrow_schema.names)
        schema = pa.schema(fields, metadata=arrow_schema.metadata)
        arrow = file.read(columns=schema.names).select(schema.names).cast(schema)
        arrow.validate(full=True)  # strings may be no UTF-8
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except (pa.ArrowException, ValueError) as error:
        raise LNCLIPError(f"{path} is not a table of predictions: {one_line(error)}") from error
    return arrow, metadata


def _coded(path, arrow, fix):
    table = {}
    for name in arrow.column_names:
        if name in ("label", "prob"):
            table[name] = arrow[name].to_numpy()
        else:
            column = arrow[name].fill_null("").combine_chunks().dictionary_encode()
            table[name] = Coded(column.indices.to_numpy(), column.dictionary.to_pylist())
    video = table["video"]
    _check(path, lambda row: video.values[video.code[row]], table["label"], table["prob"], fix)
    return table | {"label": table["label"].astype(np.int8)}


def _rows(table, chosen):
    return {
        name: Coded(column.code[chosen], column.values) if isinstance(column, Coded) else column[chosen]
        for name, column in table.items()
    }


def _check(path, name_of: Callable[[int], str], label, prob, fix="predict again"):
    """Refuse labels other than 0 and 1, and probabilities outside 0..1."""
    for name, values, valid, accepted in (
        ("label", label, np.isin(label, (0, 1)), "0 or 1"),
        ("prob", prob, (prob >= 0) & (prob <= 1), "within 0..1"),
    ):
        if not valid.all():
            row = int(valid.argmin())
            raise LNCLIPError(f"{path}: row {row} ({name_of(row)}): {name} is {values[row]}, not {accepted}; {fix}")
