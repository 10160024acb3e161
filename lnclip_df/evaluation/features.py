"""Frames' features beside their predictions: written by ``test --save-features``, read by the studies."""

import json
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path

KEY = "lnclip_df"
SAME = ("dataset", "split", "videos_sha256", "config_sha256")


def features_file(run, name: str) -> Path:
    """Where a run keeps the features of a dataset's frames."""
    return Path(run) / "features" / f"{name}.safetensors"


def write_features(path, features, facts: dict):
    """Write the features of the rows of a table of predictions, as float16 in one safetensors tensor ``features``.

    Args:
        path: the file.
        features: N×D.
        facts: the predictions' metadata, some of which is kept to tell whose rows they are.
    """
    from safetensors.numpy import save_file

    metadata = {KEY: json.dumps(_identity(facts))}
    with atomic_path(path) as temporary:
        save_file({"features": np.ascontiguousarray(features, dtype=np.float16)}, temporary, metadata=metadata)


def read_features(path, facts: dict, rows: int) -> np.ndarray:
    """Read features, float16 N×D.

    Args:
        path: the file.
        facts: metadata of the predictions that they belong to.
        rows: how many these are.

    Raises:
        LNCLIPError: the file is absent or damaged, or of other predictions.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            made = json.loads((file.metadata() or {}).get(KEY, "null"))
            features = file.get_tensor("features")
    except (OSError, SafetensorError, ValueError) as error:
        raise LNCLIPError(f"cannot read the features {path}: {one_line(error)}; test again with them") from error
    if made != _identity(facts) or features.ndim != 2 or len(features) != rows:
        raise LNCLIPError(f"{path} is of another test than the predictions; test again with --save-features")
    return features


def has_features(path, facts: dict) -> bool:
    """Whether a file holds the features of the predictions that ``facts`` describe."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            return json.loads((file.metadata() or {}).get(KEY, "null")) == _identity(facts)
    except (OSError, SafetensorError, ValueError):
        return False


def _identity(facts):
    weights = facts.get("weights")
    return [facts.get(key) for key in SAME] + [weights.get("sha256") if isinstance(weights, dict) else None]
