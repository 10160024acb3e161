"""``lnclip-df export``: a detector's weights in another format, with its configuration and metrics."""

import tempfile
from pathlib import Path

import yaml

from lnclip_df.checkpoints.formats import read_facts
from lnclip_df.checkpoints.frozen import frozen_sha256
from lnclip_df.checkpoints.hub import find_weights
from lnclip_df.checkpoints.load import load_weights
from lnclip_df.checkpoints.read import read_metadata
from lnclip_df.checkpoints.restore import restore_detector
from lnclip_df.checkpoints.save import facts_of, save_weights
from lnclip_df.checkpoints.to_onnx import export_onnx
from lnclip_df.checkpoints.to_transformers import export_transformers
from lnclip_df.checkpoints.vectors import make_vectors
from lnclip_df.config import load_config
from lnclip_df.detector import LNCLIPDetector
from lnclip_df.errors import LNCLIPError

SUFFIXES = {"delta": ".safetensors", "full": ".safetensors", "transformers": "", "onnx": ".onnx"}
# What training saved with the weights, and an export passes on.
_TRAVELS = ("crops", "epoch", "seed", "selection", "metric")


def export(weights, out, format: str, config: dict) -> Path:
    """Write a detector's weights in another format, whole or not at all.

    Configuration, metrics and test vectors travel in the metadata; loading runs the vectors.

    Args:
        weights: what ``lnclip_df.checkpoints.load_weights`` takes.
        out: a ``.safetensors`` file for ``delta`` and ``full``, an ``.onnx`` file for ``onnx``, a folder for
            ``transformers``.
        format: ``delta``, ``full``, ``transformers`` or ``onnx``.
        config: the detector's configuration; see :func:`config_for`.

    Returns:
        ``out``.

    Raises:
        LNCLIPError: the weights cannot be loaded or written, or, for a delta, their frozen part is not the backbone's.
    """
    out = Path(out)
    _check_out(out, format)
    if format == "delta":
        detector, facts = _on_its_backbone(config, weights)
    else:
        detector, facts = restore_detector(config, weights)
    metadata = {"config": config, "origin": facts["load"]["format"]}
    metadata |= {key: facts[key] for key in _TRAVELS if key in facts} | {"vectors": make_vectors(detector)}
    if format in ("delta", "full"):
        save_weights(detector, out, metadata, delta=format == "delta")
    elif format == "transformers":
        export_transformers(detector, out, facts_of(detector, format, metadata))
    else:
        export_onnx(detector, out, facts_of(detector, format, metadata))
    return out


def config_for(weights, config=None, overrides=()) -> dict:
    """The configuration of a file of weights.

    Args:
        weights: what ``lnclip_df.checkpoints.load_weights`` takes.
        config: a YAML, as ``lnclip_df.load_config`` takes it; else ``config.yaml`` beside the weights, else the
            configuration saved with them, else ``lnclip.yaml``.
        overrides: ``key=value`` strings, see ``lnclip_df.load_config``.

    Raises:
        LNCLIPError: no such weights, or the configuration is wrong.
    """
    path = find_weights(weights)
    beside = path.parent / "config.yaml"
    saved = read_facts(read_metadata(path), path).get("config")
    if config is None and not beside.is_file() and saved:
        return _saved_config(path, saved, overrides)
    return load_config(config or (beside if beside.is_file() else "lnclip.yaml"), overrides)


def _saved_config(path, saved, overrides):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(saved), encoding="utf-8")
        try:
            return load_config(file, overrides)
        except LNCLIPError as error:
            raise LNCLIPError(str(error).replace(str(file), f"the configuration saved in {path}")) from error


def _check_out(out, format):
    if format not in SUFFIXES:
        raise LNCLIPError(f"--format {format}: accepted are {', '.join(SUFFIXES)}")
    suffix = SUFFIXES[format]
    if suffix and out.suffix != suffix:
        raise LNCLIPError(f"--out {out}: {format} is written to a file whose name ends in {suffix}")
    if suffix and out.is_dir():
        raise LNCLIPError(f"--out {out} is a folder; name a file")


def _on_its_backbone(config, weights):
    """The detector, made sure that its frozen weights are those that its configuration builds."""
    detector = LNCLIPDetector(config)
    before = frozen_sha256(detector)
    facts = load_weights(detector, weights)
    if frozen_sha256(detector) != before:
        backbone = detector.settings.backbone
        raise LNCLIPError(
            f"{weights}: its frozen weights are not those of {backbone.name} ({backbone.pretrained}), so that a delta "
            "would not be all of it; set lnclip.backbone to the one that it was trained on, or export full"
        )
    return detector, facts
