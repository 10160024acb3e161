"""Frames' features beside their predictions: written by ``test --save-features``, read by the studies."""

from pathlib import Path

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import parse_json
from lnclip_df.core.provenance import METADATA_KEY, Provenance

SAME = ("dataset", "split", "videos_sha256", "config_sha256")


def features_file(run, name: str) -> Path:
    """The file with the features of a dataset's frames in a run."""
    return Path(run) / "features" / f"{name}.safetensors"


def write_features(path, features, provenance: Provenance):
    """Write the features N×D of a table of N predictions, as float16 in one safetensors tensor ``features``.

    Some of the ``provenance`` of the predictions is written too: it identifies them.
    """
    from torch import from_numpy

    from lnclip_df.weights.save import write_safetensors

    write_safetensors(path, {"features": from_numpy(np.asarray(features, np.float16))}, _identity(provenance))


def read_features(path, provenance: Provenance, rows: int) -> np.ndarray:
    """Read the features, float16 N×D, of the N = ``rows`` predictions that ``provenance`` describes.

    Raises:
        LNCLIPError: the file is absent or damaged, or of other predictions.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            made = parse_json((file.metadata() or {}).get(METADATA_KEY, "null"))
            features = file.get_tensor("features")
    except (OSError, SafetensorError, ValueError) as error:
        raise LNCLIPError(f"cannot read the features {path}: {one_line(error)}; test again with them") from error
    if made != _identity(provenance) or features.ndim != 2 or len(features) != rows:
        raise LNCLIPError(f"{path} is of another test than the predictions; test again with save_features")
    return features


def has_features(path, provenance: Provenance) -> bool:
    """Whether a file contains the features of the predictions that ``provenance`` describes."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            return parse_json((file.metadata() or {}).get(METADATA_KEY, "null")) == _identity(provenance)
    except (OSError, SafetensorError, ValueError):
        return False


def _identity(provenance):
    return [*(getattr(provenance, name) for name in SAME), provenance.weights.sha256]
