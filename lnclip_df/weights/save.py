"""A detector's weights as safetensors: all of them, or the delta of LayerNorms and head."""

import json

from safetensors import SafetensorError
from safetensors.torch import save_file

import lnclip_df
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path
from lnclip_df.weights.delta import delta_names, frozen_sha256


def save_weights(detector, path, metadata: dict | None = None, *, delta: bool = False):
    """Save a detector's weights as safetensors, whole or not at all.

    Args:
        detector: an ``LNCLIPDetector``.
        path: ends in ``.safetensors``.
        metadata: JSON-able facts that travel with the weights (configuration, epoch, metric, …).
        delta: save the LayerNorms and the head alone, with the backbone's name, source and the hash of its frozen
            weights. For a detector whose frozen weights are those that its configuration builds.

    Raises:
        LNCLIPError: the file cannot be written.
    """
    facts = facts_of(detector, "delta" if delta else "full", metadata)
    state = detector.state_dict()
    names = delta_names(detector) if delta else list(state)
    write_safetensors(path, {name: state[name] for name in names}, facts)


def facts_of(detector, format: str, metadata: dict | None) -> dict:
    """What travels with a detector's weights: version, format, the backbone's identity, and ``metadata``.

    With a ``delta`` also the backbone's name, source and the hash of its frozen weights.
    """
    facts = {
        "lnclip_df": lnclip_df.__version__,
        "format": format,
        "backbone": detector.backbone_identity(),
        **(metadata or {}),
    }
    if format == "delta":
        frozen = detector.settings.backbone.model_dump(mode="json", include={"name", "pretrained", "seed"})
        facts["frozen"] = frozen | {"sha256": frozen_sha256(detector)}
    return facts


def write_safetensors(path, tensors: dict, facts: dict, **metadata: str):
    """Write tensors with our facts in the metadata, whole or not at all; the same bytes for the same content.

    ``metadata`` adds entries; with one or more, their order in the file is safetensors' choice.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # as for every other file; safetensors alone would keep all but the owner out
        try:
            save_file(tensors, temporary, metadata={"lnclip_df": json.dumps(facts), **metadata})
            temporary.chmod(mode)
        except SafetensorError as error:
            raise LNCLIPError(f"cannot write {path}: {one_line(error)[:200]}") from error
