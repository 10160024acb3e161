"""The formats of a detector's weights, recognised by their tensors' names and converted to the detector's names.

To add a format, add a :class:`Converter` to ``FORMATS``.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from lnclip_df.config.schema import Backbone
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.weights.compatibility import read_mapping
from lnclip_df.weights.delta import FROZEN
from lnclip_df.weights.facts import Facts
from lnclip_df.weights.hub_names import AUTHORS_SIZE, backbone_of
from lnclip_df.weights.read import Weights
from lnclip_df.weights.tensor_names import LAYOUTS, from_transformers

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


@dataclass
class Recognised:
    """Weights under a detector's names, and what is known of them.

    Attributes:
        format: in words.
        state: ``backbone.…`` and ``head.…``; of a delta, LayerNorms and head alone.
        unused: names in the file that belong to the format and that a detector does not need.
        family: the backbone's, if the format tells it by the names.
        claims: keys of ``LNCLIPDetector.backbone_identity``, as recorded beside the tensors; None if the format
            records them otherwise.
        backbone: the recorded one, if it is known.
        source: where the claims are recorded, for messages.
    """

    format: str
    state: dict[str, torch.Tensor]
    unused: list[str] = field(default_factory=list)
    family: str | None = None
    claims: dict[str, Any] | None = None
    backbone: Backbone | None = None
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
        f"{weights.path} contains no detector weights (found tensor {next(iter(weights.tensors))}); a backbone's own "
        "weights belong under lnclip.backbone.pretrained"
    )


def _any_starts_with(*prefixes):
    return lambda names: any(name.startswith(prefixes) for name in names)


def _convert_gend(weights, facts):
    """The authors' released models (GenD): transformers' or timm's names, some with PEFT's LayerNorms beside frozen."""
    tensors = {_ENCODER.sub("", name): tensor for name, tensor in weights.tensors.items()}
    if len(tensors) != len(weights.tensors):
        raise LNCLIPError(f"{weights.path} contains a tensor twice, with and without PEFT's prefix")
    tuned = {name: name.replace(_TUNED, "") for name in tensors if _TUNED in name}  # instead of the frozen ones
    unused = [frozen for name in tuned if (frozen := name.replace(_TUNED, "base_layer.")) in tensors]
    tensors = {tuned.get(name, name): tensor for name, tensor in tensors.items() if name not in unused}
    unused += [name for name in tensors if _UNUSED.match(name)]
    tensors = {name: tensor for name, tensor in tensors.items() if name not in unused}
    family = next((each for each, of in LAYOUTS.items() if _any_starts_with(of.tower + of.marks)(tensors)), "clip")
    layout = LAYOUTS[family]
    tower = {n.removeprefix(layout.tower): t for n, t in tensors.items() if n.startswith(layout.tower)}
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(layout.tower)}
    state = {f"backbone.{name}": tensor for name, tensor in layout.to_ours(tower).items()}
    state |= {re.sub(r"^model\.linear\.", "head.", name): tensor for name, tensor in rest.items()}
    kind = "Lightning checkpoint" if weights.hyper_parameters else "transformers layout"
    description = f"GenD, {kind}" + (" with PEFT's LayerNorms" if tuned else "")
    return Recognised(description, state, unused, family, *_claims(weights))


def _claims(weights):
    """What Lightning's hyper-parameters, or else ``config.json`` beside the weights, record.

    The claims, the backbone of the recorded name (None if it is unknown), and the source.
    """
    path = weights.path.parent / "config.json"
    if weights.hyper_parameters:
        recorded, source = weights.hyper_parameters, f"the hyper_parameters of {weights.path}"
    elif path.is_file():
        recorded, source = read_mapping(path), str(path)
    else:
        return {}, None, ""
    if recorded.get("model_type", "GenD") != "GenD":
        raise LNCLIPError(f"{source}: model_type is {recorded['model_type']!r}, but the weights are GenD's; fix it")
    head = recorded.get("head")
    if head is not None and (not isinstance(head, str) or head not in HEADS):
        raise LNCLIPError(f"{source}: head is {head!r}; accepted are {' and '.join(HEADS)}")
    claims = {} if head is None else {"normalize": HEADS[head]}
    vision, options = recorded.get("vision_config", {}), recorded.get("backbone_args") or {}
    for key, mapping in {"vision_config": vision, "backbone_args": options}.items():
        if not isinstance(mapping, dict):
            raise LNCLIPError(f"{source}: {key} is not a mapping; fix it, or remove it")
    if merged := options.get("merge_cls_token_with_patches"):
        raise LNCLIPError(f"{source}: merge_cls_token_with_patches is {merged!r}; a detector takes the CLS token alone")
    claims |= {ours: vision[theirs] for theirs, ours in VISION_CONFIG.items() if theirs in vision}
    if "hidden_act" in vision:
        claims["quick_gelu"] = vision["hidden_act"] == "quick_gelu"
    return claims, backbone_of(recorded.get("backbone"), options.get("img_size", AUTHORS_SIZE)), source


def _convert_plugin(weights, facts):
    """DeepfakeBench's state dict of the detector that ``lnclip-df export-plugin`` writes: transformers' names."""
    tower = {n.removeprefix("backbone."): t for n, t in weights.tensors.items() if n.startswith("backbone.")}
    state = {f"backbone.{name}": tensor for name, tensor in from_transformers(tower).items()}
    head = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith("backbone.")}
    return Recognised("DeepfakeBench's state dict, transformers' names", state | head)


def _convert_state_dict(weights, facts):
    """A detector's own names, saved by lnclip-df, which adds facts, or by DeepfakeBench."""
    state = {name: tensor for name, tensor in weights.tensors.items() if name != FROZEN}
    description = f"lnclip-df, {facts.format or 'full'}" if facts else "DeepfakeBench's state dict"
    return Recognised("DeepfakeBench's delta" if len(state) < len(weights.tensors) else description, state)


FORMATS: Registry[Converter] = Registry(
    "weight format",
    {
        "gend": Converter(_any_starts_with("feature_extractor."), _convert_gend),
        "exported plugin": Converter(
            _any_starts_with("backbone.embeddings.class_embedding", "backbone.pre_layrnorm."), _convert_plugin
        ),
        "state dict": Converter(_any_starts_with("backbone.", "head."), _convert_state_dict),
    },
)
