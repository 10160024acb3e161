"""A detector with its weights, from a configuration and a file: the backbone's own weights are had where needed."""

from lnclip_df.checkpoints.formats import read_facts
from lnclip_df.checkpoints.hub import find_weights
from lnclip_df.checkpoints.load import load_weights
from lnclip_df.checkpoints.read import read_metadata
from lnclip_df.detector import LNCLIPDetector
from lnclip_df.errors import LNCLIPError


def restore_detector(config: dict, weights) -> tuple[LNCLIPDetector, dict]:
    """Build a detector and load its weights.

    A delta holds LayerNorms and head: the rest comes from ``lnclip.backbone``, whose weights file or tag must be at
    hand. Every other format holds the backbone too, and CLIP's weights are not asked for.

    Args:
        config: see ``lnclip_df.config.load_config``.
        weights: see ``lnclip_df.checkpoints.load_weights``.

    Returns:
        The detector, in evaluation mode, and what ``load_weights`` returns.

    Raises:
        LNCLIPError: the weights do not fit, or the backbone of a delta cannot be had.
    """
    path = find_weights(weights)
    if read_facts(read_metadata(path), path).get("format") != "delta":
        detector = LNCLIPDetector(_without_pretrained(config))
    else:
        try:
            detector = LNCLIPDetector(config)
        except LNCLIPError as error:
            raise LNCLIPError(f"{path} is a delta and needs its backbone's weights: {error}") from error
    facts = load_weights(detector, path)
    return detector.eval(), facts


def _without_pretrained(config):
    backbone = config["lnclip"]["backbone"] | {"pretrained": "none"}
    return config | {"lnclip": config["lnclip"] | {"backbone": backbone}}
