"""``lnclip-df export``: a detector's weights in another format, with its configuration and metrics."""

from pathlib import Path

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text
from lnclip_df.weights.delta import frozen_sha256
from lnclip_df.weights.load import load_weights
from lnclip_df.weights.model_card import model_card, read_metrics
from lnclip_df.weights.onnx import export_onnx
from lnclip_df.weights.restore import build_detector, restore_detector
from lnclip_df.weights.save import facts_of, save_weights
from lnclip_df.weights.test_vectors import make_vectors
from lnclip_df.weights.transformers import export_transformers

SUFFIXES = {"delta": ".safetensors", "full": ".safetensors", "transformers": "", "onnx": ".onnx"}
# What training saved with the weights, and an export passes on.
_TRAVELS = ("crops", "epoch", "seed", "selection", "metric")


def export(weights, out, format: str, config: Config, *, card=None, metrics=()) -> Path:
    """Write a detector's weights in another format, whole or not at all.

    Configuration, metrics and test vectors travel in the metadata; loading runs the vectors. The folder of
    ``transformers`` also gets a model card, its ``README.md``.

    Args:
        weights: what ``lnclip_df.weights.load_weights`` takes.
        out: a ``.safetensors`` file for ``delta`` and ``full``, an ``.onnx`` file for ``onnx``, a folder for
            ``transformers``.
        format: ``delta``, ``full``, ``transformers`` or ``onnx``.
        config: the detector's configuration; see ``lnclip_df.weights.restore.config_for``.
        card: file for the model card of the other formats.
        metrics: files or folders of what ``lnclip-df test`` measured of these weights, for the card.

    Returns:
        ``out``.

    Raises:
        LNCLIPError: the weights cannot be loaded or written, or, for a delta, their frozen part is not the backbone's;
            or the metrics are not of these weights.
    """
    out = Path(out)
    _check_out(out, format)
    _check_card(card, format, metrics)
    tests = read_metrics(metrics, weights)
    if format == "delta":
        detector, facts = _on_its_backbone(config, weights)
    else:
        detector, facts = restore_detector(config, weights)
    metadata = {"config": config.to_dict(), "origin": facts["load"]["format"]}
    metadata |= {key: facts[key] for key in _TRAVELS if key in facts} | {"vectors": make_vectors(detector)}
    exported = facts_of(detector, format, metadata)
    text = model_card(out.name.removesuffix(SUFFIXES[format]), exported, trained=_trained(facts), tests=tests)
    if format == "transformers":
        export_transformers(detector, out, exported, text)
    elif format == "onnx":
        export_onnx(detector, out, exported)
    else:
        save_weights(detector, out, metadata, delta=format == "delta")
    if card is not None:
        write_text(card, text)
    return out


def _trained(facts):
    """The configuration that weights were trained with, where training left it with them and it can be read."""
    if "epoch" not in facts or "config" not in facts:
        return None
    try:
        return Config.from_dict(facts["config"], facts["load"]["path"])
    except LNCLIPError:  # of another version; the export goes by the one that was given
        return None


def _check_card(card, format, metrics):
    if card is not None and format == "transformers":
        raise LNCLIPError(f"--card {card}: the folder of transformers has its card, README.md; leave the option out")
    if metrics and card is None and format != "transformers":
        raise LNCLIPError("--metrics are for a model card; name its file with --card")


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
    detector = build_detector(config)
    before = frozen_sha256(detector)
    facts = load_weights(detector, weights)
    if frozen_sha256(detector) != before:
        backbone = detector.settings.backbone
        raise LNCLIPError(
            f"{weights}: its frozen weights are not those of {backbone.name} ({backbone.pretrained}), so that a delta "
            "would not be all of it; set lnclip.backbone to the one that it was trained on, or export full"
        )
    return detector, facts
