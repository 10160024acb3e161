"""Load the published weights of backbones: CLIP's in any of their layouts, timm's and transformers' of the others."""

import logging
import re
from pathlib import Path

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.models.backbones import build_backbone, family_of
from lnclip_df.models.backbones.base import Backbone
from lnclip_df.models.backbones.clip import VisionTower
from lnclip_df.weights.compatibility import check_activation, check_shape, fitting, read_mapping
from lnclip_df.weights.hub import HUB_ID, SUFFIXES, fetched, in_hub_cache, require_hub
from lnclip_df.weights.hub_names import hub_name
from lnclip_df.weights.read import read_weights
from lnclip_df.weights.tensor_names import LAYOUTS, from_transformers

logger = logging.getLogger(__name__)

# What CLIP's published files contain beside the vision tower; everything else that is left over is an error.
_CLIP_EXTRAS = re.compile(
    r"(transformer\.|token_embedding\.|positional_embedding$|ln_final\.|text|logit_scale$|logit_bias$|proj$"
    r"|visual_projection\.|input_resolution$|context_length$|vocab_size$|.*position_ids$)"
)


def pretrained_backbone(config: Config) -> Backbone:
    """Build the backbone of a configuration with its pretrained weights, or random ones for ``pretrained: none``."""
    backbone, wanted = build_backbone(config), config.lnclip.backbone
    if wanted.pretrained == "none":
        backbone.init_weights(wanted.seed)
    elif isinstance(backbone, VisionTower):
        load_pretrained(backbone, wanted.name, wanted.pretrained)
    elif (layout := LAYOUTS.get(family_of(wanted))) is not None:
        path = _published_file(wanted)
        state = layout.to_ours(read_weights(path).tensors)
        backbone.load_state_dict(fitting(backbone.state_dict(), state, path))
        logger.info("backbone %s: %d tensors from %s", wanted.name, len(state), path)
    else:
        raise LNCLIPError(f"lnclip.backbone.pretrained: {wanted.name} has no pretrained weights; set it to none")
    return backbone


def _published_file(wanted):
    """The file of a Perception Encoder's or a DINO's weights: itself, in its folder, or fetched from the Hub."""
    path = Path(wanted.pretrained).expanduser()
    path = path / "model.safetensors" if path.is_dir() else path
    if path.is_file():
        return path
    repository = _timm_repository(wanted) if family_of(wanted) == "pe" else wanted.pretrained
    if repository is None or not HUB_ID.fullmatch(repository) or path.suffix in SUFFIXES:
        raise LNCLIPError(
            f"lnclip.backbone.pretrained: {wanted.pretrained} is neither a file nor a folder with model.safetensors, "
            f"nor {_accepted(wanted)}; or set it to none for random weights"
        )
    if (cached := in_hub_cache(repository, ("model.safetensors",))) is not None:
        return cached
    try:
        return fetched(repository, "model.safetensors")
    except Exception as error:  # whatever a network, a proxy or a hub can raise
        raise _not_fetched(
            wanted.pretrained, wanted.name, f"model.safetensors of {repository} on the Hugging Face Hub", error
        ) from error


def _timm_repository(wanted):
    import timm

    model = f"{wanted.name.removeprefix('pe:')}.{wanted.pretrained}"
    return f"timm/{model}" if model in timm.list_pretrained("vit_pe_core_*") else None


def _accepted(wanted):
    """What ``pretrained`` may name beside files, in words."""
    if family_of(wanted) == "pe":
        return f"timm's tag of {wanted.name} (fb)"
    return f"a repository of the Hub ({hub_name(wanted) or 'owner/name'})"


def _not_fetched(what, name, file, error):
    return LNCLIPError(
        f"cannot fetch the weights {what!r} of {name} ({one_line(error)[:200]}). On a machine with a network, download "
        f"{file}; copy it here, and set lnclip.backbone.pretrained to its path"
    )


def load_pretrained(tower: VisionTower, name: str, pretrained: str):
    """Load CLIP's published weights into a tower.

    Args:
        tower: every parameter of it is set.
        name: the open_clip model name that the tower was built from.
        pretrained: an open_clip tag (downloaded once), or a file in open_clip's, OpenAI's or transformers' layout.

    Raises:
        LNCLIPError: the weights cannot be fetched (the message says which file to put where), or are of another
            architecture or activation.
    """
    path = Path(pretrained).expanduser()
    if path.is_dir() or (not path.is_file() and (path.suffix or len(path.parts) > 1)):
        what = "is a folder" if path.is_dir() else "does not exist"
        raise LNCLIPError(f"lnclip.backbone.pretrained: {pretrained} {what}; give a weights file, a tag, or none")
    if not path.is_file():
        path = Path(_fetch(name, pretrained, tower.spec.quick_gelu))
    layout, state = _as_open_clip(read_weights(path).tensors, path)
    check_activation(name, tower.spec, path, _quick_gelu(path, layout))
    check_shape(name, tower.spec, path, state)
    tower.load_state_dict(fitting(tower.state_dict(), state, path))
    logger.info("backbone %s: %d tensors from %s (%s layout)", name, len(state), path, layout)


def _fetch(name, tag, quick_gelu):
    from open_clip import pretrained as hub

    base = name.removesuffix("-quickgelu")
    card = hub.get_pretrained_cfg(base, tag) or hub.get_pretrained_cfg(name, tag)
    if not card:
        tags = ", ".join(hub.list_pretrained_tags_by_model(name)) or "none"
        raise LNCLIPError(
            f"lnclip.backbone.pretrained: {tag!r} is neither a file nor a tag of {name} (its tags: {tags}); "
            "give a tag, a weights file, or none for random weights"
        )
    theirs = bool(card.get("quick_gelu")) or tag == "openai"
    if theirs != quick_gelu:
        trained, right = ("QuickGELU", f"{base}-quickgelu") if theirs else ("GELU", base)
        raise LNCLIPError(
            f"lnclip.backbone.name: the weights tagged {tag!r} were trained with {trained}; {name} has the other "
            f"activation. Use {right}"
        )
    source = card.get("hf_hub", "").rstrip("/")
    cached = source and in_hub_cache(source, ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"))
    if cached:
        return cached
    try:
        if source:
            require_hub()
        return hub.download_pretrained(card)
    except Exception as error:  # whatever a network, a proxy or a hub can raise
        file = f"open_clip_model.safetensors of {source} on the Hugging Face Hub" if source else card.get("url")
        raise _not_fetched(tag, name, file, error) from error


def _as_open_clip(state, path):
    """The vision tower's tensors under open_clip's names, and the layout they came in."""
    patches = next((name for name in state if name.endswith("embeddings.patch_embedding.weight")), None)
    if patches is not None:
        layout, prefix = "transformers", patches.removesuffix("embeddings.patch_embedding.weight")
    else:
        layout = "OpenAI" if {"input_resolution", "context_length", "vocab_size"} & set(state) else "open_clip"
        prefix = "visual." if any(name.startswith("visual.") for name in state) else ""
    left = [name for name in state if not name.startswith(prefix) and not _CLIP_EXTRAS.match(name)]
    if left:
        raise LNCLIPError(f"{path} contains {len(left)} tensors that CLIP does not have (first: {left[0]}); not loaded")
    state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if layout == "transformers":
        return layout, from_transformers({n: t for n, t in state.items() if not _CLIP_EXTRAS.match(n)})
    return layout, {name: tensor for name, tensor in state.items() if name != "proj"}


def _quick_gelu(path, layout):
    """The activation that a file, or its configuration beside it, records; None if unknown."""
    if layout == "transformers" and (path.parent / "config.json").is_file():
        config = read_mapping(path.parent / "config.json", "vision_config")
        return config.get("hidden_act", "quick_gelu") == "quick_gelu"
    if layout == "open_clip" and (path.parent / "open_clip_config.json").is_file():
        return bool(read_mapping(path.parent / "open_clip_config.json", "model_cfg").get("quick_gelu", False))
    return True if layout == "OpenAI" else None
