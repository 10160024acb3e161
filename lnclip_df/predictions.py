"""The table of predictions, one row a frame, as a Parquet file with its metadata."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lnclip_df.errors import LNCLIPError, one_line
from lnclip_df.files import atomic_path

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in {
            "dataset": pa.string(),
            "split": pa.string(),
            "label_name": pa.string(),
            "video": pa.string(),
            "frame": pa.string(),
            "label": pa.int8(),
            "prob": pa.float64(),
        }.items()
    ]
)
METADATA = b"lnclip_df"


def write_predictions(path, table: dict, metadata: dict):
    """Write a table of predictions, whole or not at all.

    Args:
        path: the Parquet file.
        table: columns of one length: ``dataset``, ``split``, ``label_name``, ``video`` (the full key) and ``frame``
            (its path) strings, ``label`` 0 or 1, ``prob`` the probability of fake, 0..1.
        metadata: anything that JSON holds; it travels in the file's schema.

    Raises:
        LNCLIPError: a label or probability is unfit (the message names file, row and frame), or the file cannot be
            written.
        ValueError: columns are missing, unknown, or of several lengths; metadata is not JSON.
    """
    if set(table) != set(SCHEMA.names):
        raise ValueError(f"columns are {sorted(table)}, not {sorted(SCHEMA.names)}")
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in length: {lengths}")
    _check(path, table["frame"], np.asarray(table["label"]), np.asarray(table["prob"], dtype=np.float64))
    schema = SCHEMA.with_metadata({METADATA: json.dumps(metadata, allow_nan=False).encode()})
    arrow = pa.table({name: table[name] for name in SCHEMA.names}, schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_predictions(path) -> tuple[dict, dict]:
    """Read a table of predictions.

    Returns:
        The columns of ``write_predictions`` – lists of ``str``, ``label`` int8 and ``prob`` float64 arrays – and the
        metadata.

    Raises:
        LNCLIPError: the file is absent, no such table, or holds an unfit label or probability.
    """
    try:
        arrow = pq.read_table(str(path), partitioning=None)
        missing = sorted(set(SCHEMA.names) - set(arrow.column_names))
        if missing:
            raise LNCLIPError(f"{path} is not a table of predictions: no column {', '.join(missing)}")
        metadata = json.loads((arrow.schema.metadata or {}).get(METADATA, b"{}"))
        if not isinstance(metadata, dict):
            raise LNCLIPError(f"{path}: its metadata are damaged; predict again")
        arrow = arrow.select(SCHEMA.names).cast(SCHEMA.with_metadata(arrow.schema.metadata))
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except (pa.ArrowException, ValueError) as error:
        raise LNCLIPError(f"{path} is not a table of predictions: {one_line(error)}") from error
    table = {name: arrow[name].to_pylist() for name in SCHEMA.names if pa.types.is_string(SCHEMA.field(name).type)}
    table["label"], table["prob"] = arrow["label"].to_numpy(), arrow["prob"].to_numpy()
    _check(path, table["frame"], table["label"], table["prob"])
    return table, metadata


def _check(path, frames, label, prob):
    unfit = {"label": ~np.isin(label, (0, 1)), "prob": ~((prob >= 0) & (prob <= 1))}
    accepted = {"label": "0 or 1", "prob": "within 0..1"}
    values = {"label": label, "prob": prob}
    for name, rows in unfit.items():
        if rows.any():
            row = int(rows.argmax())
            raise LNCLIPError(
                f"{path}: row {row} ({frames[row]}): {name} is {values[name][row]}, not {accepted[name]}; predict again"
            )
