"""A detector from a file of weights: which configuration it has, and where its backbone's own weights are had."""

from lnclip_df.config.loading import load_config, make_config
from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.backbones import build_backbone
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.weights.formats import read_facts
from lnclip_df.weights.hub import find_weights
from lnclip_df.weights.load import load_weights
from lnclip_df.weights.pretrained import pretrained_backbone
from lnclip_df.weights.read import read_metadata


def config_for(weights, config=None, overrides=()) -> Config:
    """The configuration of a file of weights.

    Args:
        weights: what ``lnclip_df.weights.load_weights`` takes.
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


def build_detector(config: Config) -> LNCLIPDetector:
    """Build a detector with the pretrained (or random) backbone that its configuration names, in training mode.

    Raises:
        LNCLIPError: the configuration is invalid, or the pretrained weights cannot be had or do not fit.
    """
    return LNCLIPDetector(config, pretrained_backbone(config))


def restore_detector(config: Config, weights) -> tuple[LNCLIPDetector, dict]:
    """Build a detector and load its weights.

    A delta holds LayerNorms and head: the rest comes from ``lnclip.backbone``, whose weights file or tag must be at
    hand. Every other format holds the backbone too, and CLIP's weights are not asked for.

    Args:
        config: see ``config_for``.
        weights: see ``lnclip_df.weights.load_weights``.

    Returns:
        The detector, in evaluation mode, and what ``load_weights`` returns.

    Raises:
        LNCLIPError: the weights do not fit, or the backbone of a delta cannot be had.
    """
    path = find_weights(weights)
    if read_facts(read_metadata(path), path).get("format") != "delta":
        detector = LNCLIPDetector(config, build_backbone(config))
    else:
        try:
            detector = build_detector(config)
        except LNCLIPError as error:
            raise LNCLIPError(f"{path} is a delta and needs its backbone's weights: {error}") from error
    facts = load_weights(detector, path)
    return detector.eval(), facts


def _saved_config(path, saved, overrides):
    if not isinstance(saved, dict):
        raise LNCLIPError(f"the configuration saved in {path} is not a mapping of keys to values")
    return make_config(saved, overrides, f"the configuration saved in {path}")
