"""The formats of a detector's weights, recognised by their tensors' names and converted to the detector's names.

To add a format, add a :class:`Converter` to ``FORMATS``.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.models.backbones.clip import VisionSpec, open_clip_spec
from lnclip_df.weights.compatibility import read_mapping
from lnclip_df.weights.delta import FROZEN
from lnclip_df.weights.facts import Facts
from lnclip_df.weights.read import Weights
from lnclip_df.weights.tensor_names import from_transformers

# The Hub's names of OpenAI's models, which the authors' code uses for the backbone, and open_clip's.
HUB_BACKBONES = {
    "openai/clip-vit-base-patch16": "ViT-B-16-quickgelu",
    "openai/clip-vit-base-patch32": "ViT-B-32-quickgelu",
    "openai/clip-vit-large-patch14": "ViT-L-14-quickgelu",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336-quickgelu",
}
HEADS = {"linear": False, "LinearNorm": True}  # the authors' heads: whether features are normalised
# transformers' keys for the shape of a vision tower, and the fields of VisionSpec.
VISION_CONFIG = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "mlp",
}
_ENCODER = re.compile(r"^feature_extractor\.(base_model\.model\.)?")
_TUNED = "ln_tuning_layers.default."
_UNUSED = re.compile(r"visual_projection\.weight$|vision_model\.embeddings\.position_ids$")


@dataclass(frozen=True)
class Format:
    """The format of a file of weights."""

    description: str


@dataclass
class Recognised:
    """Weights under a detector's names, and what is known of them.

    Attributes:
        state: ``backbone.…`` and ``head.…``; of a delta, LayerNorms and head alone.
        unused: names in the file that belong to the format and that a detector does not need.
        claims: fields of ``VisionSpec`` and ``normalize``, as recorded beside the tensors; None if the format
            records them otherwise.
        source: where the claims are recorded, for messages.
    """

    format: Format
    state: dict[str, torch.Tensor]
    unused: list[str] = field(default_factory=list)
    claims: dict[str, Any] | None = None
    source: str = ""


class Converter(NamedTuple):
    """How one format is recognised and converted."""

    recognises: Callable[[Collection[str]], bool]  # by the names of the tensors
    convert: Callable[[Weights, Facts], Recognised]


def recognise(weights: Weights, facts: Facts) -> Recognised:
    """Recognise the format of a detector's weights, and convert their names; LNCLIPError if it is unknown."""
    for converter in FORMATS.values():
        if converter.recognises(weights.tensors):
            return converter.convert(weights, facts)
    raise LNCLIPError(
        f"{weights.path} contains no detector weights (found tensor {next(iter(weights.tensors))}); CLIP's own weights "
        "belong under lnclip.backbone.pretrained"
    )


def _any_starts_with(*prefixes):
    return lambda names: any(name.startswith(prefixes) for name in names)


def _convert_gend(weights, facts):
    """The authors' released models (GenD): transformers' names, some with PEFT's LayerNorms beside the frozen ones."""
    if any(name.startswith("feature_extractor.backbone.") for name in weights.tensors):
        raise LNCLIPError(f"{weights.path} is a GenD model on another backbone than CLIP; only CLIP's are supported")
    tensors = {_ENCODER.sub("", name): tensor for name, tensor in weights.tensors.items()}
    if len(tensors) != len(weights.tensors):
        raise LNCLIPError(f"{weights.path} contains a tensor twice, with and without PEFT's prefix")
    tuned = {name: name.replace(_TUNED, "") for name in tensors if _TUNED in name}  # instead of the frozen ones
    unused = [frozen for name in tuned if (frozen := name.replace(_TUNED, "base_layer.")) in tensors]
    tensors = {tuned.get(name, name): tensor for name, tensor in tensors.items() if name not in unused}
    unused += [name for name in tensors if _UNUSED.match(name)]
    tensors = {name: tensor for name, tensor in tensors.items() if name not in unused}
    tower = {n.removeprefix("vision_model."): t for n, t in tensors.items() if n.startswith("vision_model.")}
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith("vision_model.")}
    state = {f"backbone.{name}": tensor for name, tensor in from_transformers(tower).items()}
    state |= {re.sub(r"^model\.linear\.", "head.", name): tensor for name, tensor in rest.items()}
    claims, source = _claims(weights)
    kind = "Lightning checkpoint" if weights.hyper_parameters else "transformers layout"
    description = f"GenD, {kind}" + (" with PEFT's LayerNorms" if tuned else "")
    return Recognised(Format(description), state, unused, claims, source)


def _claims(weights):
    """What Lightning's hyper-parameters, or else ``config.json`` beside the weights, record; and their source."""
    path = weights.path.parent / "config.json"
    if weights.hyper_parameters:
        recorded, source = weights.hyper_parameters, f"the hyper_parameters of {weights.path}"
    elif path.is_file():
        recorded, source = read_mapping(path), str(path)
    else:
        return {}, ""
    if recorded.get("model_type", "GenD") != "GenD":
        raise LNCLIPError(f"{source}: model_type is {recorded['model_type']!r}, but the weights are GenD's; fix it")
    head = recorded.get("head")
    if head is not None and (not isinstance(head, str) or head not in HEADS):
        raise LNCLIPError(f"{source}: head is {head!r}; accepted are {' and '.join(HEADS)}")
    claims = {} if head is None else {"normalize": HEADS[head]}
    return claims | _backbone_claims(recorded, source), source


def _backbone_claims(recorded, source):
    name, vision = recorded.get("backbone"), recorded.get("vision_config", {})
    if not isinstance(vision, dict):
        raise LNCLIPError(f"{source}: vision_config is not a mapping; fix it, or remove it")
    known = isinstance(name, str) and HUB_BACKBONES.get(name.lower())
    claims = spec_claims(open_clip_spec(known)) if known else {}
    claims |= {ours: vision[theirs] for theirs, ours in VISION_CONFIG.items() if theirs in vision}
    if "hidden_act" in vision:
        claims["quick_gelu"] = vision["hidden_act"] == "quick_gelu"
    return claims


def spec_claims(spec: VisionSpec) -> dict[str, Any]:
    """Return the shape and activation of a tower, as far as transformers' configuration can record them."""
    return {field: getattr(spec, field) for field in (*VISION_CONFIG.values(), "quick_gelu")}


def _convert_plugin(weights, facts):
    """DeepfakeBench's state dict of the detector that ``lnclip-df export-plugin`` writes: transformers' names."""
    tower = {n.removeprefix("backbone."): t for n, t in weights.tensors.items() if n.startswith("backbone.")}
    state = {f"backbone.{name}": tensor for name, tensor in from_transformers(tower).items()}
    head = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith("backbone.")}
    return Recognised(Format("DeepfakeBench's state dict, transformers' names"), state | head)


def _convert_state_dict(weights, facts):
    """A detector's own names, saved by lnclip-df, which adds facts, or by DeepfakeBench."""
    state = {name: tensor for name, tensor in weights.tensors.items() if name != FROZEN}
    description = f"lnclip-df, {facts.format or 'full'}" if facts else "DeepfakeBench's state dict"
    return Recognised(Format("DeepfakeBench's delta" if len(state) < len(weights.tensors) else description), state)


FORMATS: Registry[Converter] = Registry(
    "weight format",
    {
        "gend": Converter(_any_starts_with("feature_extractor."), _convert_gend),
        "exported plugin": Converter(_any_starts_with("backbone.embeddings."), _convert_plugin),
        "state dict": Converter(_any_starts_with("backbone.", "head."), _convert_state_dict),
    },
)
