"""Save a detector's weights as safetensors: all of them, or the delta of LayerNorms and head."""

import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path
from lnclip_df.core.provenance import METADATA_KEY
from lnclip_df.weights.delta import delta_names
from lnclip_df.weights.facts import facts_of


def save_weights(detector, path, metadata: Mapping[str, Any] | None = None, *, delta: bool = False):
    """Save a detector's weights as safetensors, whole or not at all.

    Args:
        detector: an ``LNCLIPDetector``.
        path: ends in ``.safetensors``.
        metadata: JSON-able facts to save with the weights, see ``lnclip_df.weights.facts.Facts``.
        delta: save the LayerNorms and the head alone, for a detector whose frozen weights are those that its
            configuration builds.

    Raises:
        LNCLIPError: the file cannot be written.
    """
    facts = facts_of(detector, "delta" if delta else "full", metadata)
    state = detector.state_dict()
    names = delta_names(detector) if delta else list(state)
    write_safetensors(path, {name: state[name] for name in names}, facts)


def write_safetensors(path, tensors: Mapping, facts: Any, **metadata: str):
    """Write tensors with ``facts``, JSON, and ``metadata`` as safetensors, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # the usual mode; safetensors would let only the owner read the file
        try:
            save_file(tensors, temporary, metadata={METADATA_KEY: json.dumps(facts), **metadata})
            temporary.chmod(mode)
        except SafetensorError as error:
            raise LNCLIPError(f"cannot write {path}: {one_line(error)[:200]}") from error
