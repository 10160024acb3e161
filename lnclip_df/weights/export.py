"""``lnclip-df export``: a detector's weights in another format, with its configuration and metrics."""

from pathlib import Path

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable, write_text
from lnclip_df.core.registry import Registry
from lnclip_df.weights.checkpoint import Checkpoint
from lnclip_df.weights.facts import Facts, facts_of
from lnclip_df.weights.load import build_detector, load_on_same_backbone
from lnclip_df.weights.model_card import model_card, read_metrics
from lnclip_df.weights.onnx import export_onnx
from lnclip_df.weights.save import save_weights
from lnclip_df.weights.test_vectors import make_vectors
from lnclip_df.weights.transformers import export_transformers

SUFFIXES = Registry(
    "export format", {"delta": ".safetensors", "full": ".safetensors", "transformers": "", "onnx": ".onnx"}
)


def export(weights, out, format: str, config: Config, *, card=None, metrics=()) -> Path:
    """Write a detector's weights in another format, whole or not at all.

    The metadata contain the configuration, the facts of the training, and test vectors, which loading runs.

    Args:
        weights: see ``Checkpoint.open``.
        out: a ``.safetensors`` file for ``delta`` and ``full``, an ``.onnx`` file for ``onnx``, a folder for
            ``transformers``.
        format: ``delta``, ``full``, ``transformers`` or ``onnx``.
        config: the detector's configuration; see ``Checkpoint.config_for``.
        card: file for the model card; ``transformers`` always writes one, ``README.md``.
        metrics: files or folders of metrics that ``lnclip-df test`` wrote for these weights, for the card.

    Returns:
        ``out``.

    Raises:
        LNCLIPError: the weights cannot be loaded or written; their frozen part is not the backbone's (for a delta); or
            the metrics are of other weights.
    """
    out = Path(out)
    _check(out, format, card, metrics)
    check_writable(out, folder=format == "transformers")
    if card is not None:
        check_writable(card)
    checkpoint = Checkpoint.open(weights)
    tests = read_metrics(metrics, checkpoint)
    if format == "delta":
        detector = build_detector(config)
        if not load_on_same_backbone(detector, checkpoint):
            backbone = config.lnclip.backbone
            raise LNCLIPError(
                f"{checkpoint}: its frozen weights are not those of {backbone.name} ({backbone.pretrained}), so a "
                "delta would be incomplete; set lnclip.backbone to the one it was trained on, or export full"
            )
    else:
        detector = build_detector(config, checkpoint)
    trained = {key: getattr(checkpoint.facts, key) for key in ("crops", "epoch", "seed", "selection", "metric")}
    metadata = {
        "config": config.to_dict(),
        "origin": checkpoint.format,
        **{key: value for key, value in trained.items() if value is not None},
        "vectors": make_vectors(detector),
    }
    exported = facts_of(detector, format, metadata)
    name = out.name.removesuffix(SUFFIXES[format])
    text = model_card(name, Facts.from_dict(exported), trained=_trained(checkpoint), tests=tests)
    if format == "transformers":
        export_transformers(detector, out, exported, text)
    elif format == "onnx":
        export_onnx(detector, out, exported)
    else:
        save_weights(detector, out, metadata, delta=format == "delta")
    if card is not None:
        write_text(card, text)
    return out


def _trained(checkpoint):
    """The configuration of the training; None if none was saved or this version cannot read it."""
    if checkpoint.facts.epoch is None or not checkpoint.facts.config:
        return None
    try:
        return Config.from_dict(checkpoint.facts.config)
    except LNCLIPError:  # of another version
        return None


def _check(out, format, card, metrics):
    suffix = SUFFIXES.choose(format)
    if suffix and out.suffix != suffix:
        raise LNCLIPError(f"{out}: the format {format} is written to a file whose name ends in {suffix}")
    if card is not None and format == "transformers":
        raise LNCLIPError(f"{card}: transformers writes its model card to README.md; leave the file out")
    if metrics and card is None and format != "transformers":
        raise LNCLIPError("metrics are written to a model card only; name a file for the card")
