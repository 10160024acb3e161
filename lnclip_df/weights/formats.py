"""The formats that a detector's weights come in, told apart by their tensors' names, and turned into ours."""

import json
import re
from dataclasses import dataclass, field

import torch

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.models.backbones.clip import VisionSpec, open_clip_spec
from lnclip_df.weights.compatibility import read_mapping
from lnclip_df.weights.read import Weights
from lnclip_df.weights.tensor_names import from_transformers

# The Hub's names of OpenAI's models, which the authors' code takes for the backbone, and open_clip's.
HUB_BACKBONES = {
    "openai/clip-vit-base-patch16": "ViT-B-16-quickgelu",
    "openai/clip-vit-base-patch32": "ViT-B-32-quickgelu",
    "openai/clip-vit-large-patch14": "ViT-L-14-quickgelu",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336-quickgelu",
}
HEADS = {"linear": False, "LinearNorm": True}  # the authors' heads: whether features are normalised
# transformers' words for the shape of a vision tower.
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
        facts: what was saved with ours; else empty.
        unused: names in the file that the format is known to carry, and a detector has no use for.
        claims: what is said about the shape and the activation: the fields of ``VisionSpec`` and ``normalize``.
        source: who says it: a file's name.
    """

    format: str
    state: dict[str, torch.Tensor]
    facts: dict = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    claims: dict = field(default_factory=dict)
    source: str = ""

    @property
    def is_delta(self) -> bool:
        return self.facts.get("format") == "delta"


def recognise(weights: Weights) -> Recognised:
    """Tell the format of a file of a detector's weights, and turn its names into ours.

    Raises:
        LNCLIPError: it is of none that is known, or what is said beside the tensors is no sense.
    """
    facts = read_facts(weights.metadata, weights.path)
    if any(name.startswith("feature_extractor.") for name in weights.tensors):
        return _released(weights, facts)
    if not any(name.startswith(("backbone.", "head.")) for name in weights.tensors):
        raise LNCLIPError(
            f"{weights.path} holds no detector, such as tensor {next(iter(weights.tensors))} shows; CLIP's own weights "
            "are named under lnclip.backbone.pretrained"
        )
    words = f"lnclip-df, {facts.get('format', 'full')}" if facts else "DeepfakeBench's state dict"
    return Recognised(words, weights.tensors, facts)


def read_facts(metadata: dict[str, str], path) -> dict:
    """What was saved with our weights, from a file's metadata; empty where it is not ours.

    Raises:
        LNCLIPError: it is damaged.
    """
    try:
        facts = json.loads(metadata.get("lnclip_df", "{}"))
    except (ValueError, RecursionError) as error:
        raise LNCLIPError(f"the metadata of {path} are damaged: {one_line(error)[:200]}") from error
    sections = ("backbone", "config", "frozen", "vectors")
    if not isinstance(facts, dict) or not all(isinstance(facts.get(key, {}), dict) for key in sections):
        raise LNCLIPError(f"the metadata of {path} are damaged: expected mappings")
    if facts.get("format", "full") not in ("full", "delta", "transformers"):
        raise LNCLIPError(f"{path} is of the format {facts['format']!r}, which this version does not know; update it")
    return facts


def _released(weights, facts):
    """The authors' released models (GenD): transformers' names, some with PEFT's LayerNorms beside the frozen ones."""
    if any(name.startswith("feature_extractor.backbone.") for name in weights.tensors):
        raise LNCLIPError(f"{weights.path} is one of GenD's models on another backbone than CLIP; LNCLIP-DF has CLIP's")
    tensors = {_ENCODER.sub("", name): tensor for name, tensor in weights.tensors.items()}
    if len(tensors) != len(weights.tensors):
        raise LNCLIPError(f"{weights.path} holds a tensor twice, with and without PEFT's prefix")
    peft = any(_TUNED in name for name in tensors)
    tensors, unused = _tuned(tensors)
    unused += [name for name in tensors if _UNUSED.match(name)]
    tensors = {name: tensor for name, tensor in tensors.items() if name not in unused}
    tower = {n.removeprefix("vision_model."): t for n, t in tensors.items() if n.startswith("vision_model.")}
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith("vision_model.")}
    state = {f"backbone.{name}": tensor for name, tensor in from_transformers(tower).items()}
    state |= {re.sub(r"^model\.linear\.", "head.", name): tensor for name, tensor in rest.items()}
    claims, source = _claims(weights)
    kind = "Lightning checkpoint" if weights.hyper_parameters else "transformers layout"
    words = f"GenD, {kind}" + (" with PEFT's LayerNorms" if peft else "")
    return Recognised(words, state, facts, unused, claims, source)


def _tuned(tensors):
    """PEFT's tuned LayerNorms in the place of the frozen ones, and the names of the frozen ones."""
    tuned = {name: name.replace(_TUNED, "") for name in tensors if _TUNED in name}
    frozen = [name.replace(_TUNED, "base_layer.") for name in tuned]
    frozen = [name for name in frozen if name in tensors]
    return {tuned.get(name, name): tensor for name, tensor in tensors.items() if name not in frozen}, frozen


def _claims(weights):
    """What ``config.json`` beside the weights, or Lightning's hyper-parameters, say; and which of them says it."""
    path = weights.path.parent / "config.json"
    if weights.hyper_parameters:
        said, source = weights.hyper_parameters, f"the hyper_parameters of {weights.path}"
    elif path.is_file():
        said, source = read_mapping(path), str(path)
    else:
        return {}, ""
    if said.get("model_type", "GenD") != "GenD":
        raise LNCLIPError(f"{source}: model_type is {said['model_type']!r}, and the weights are GenD's; mend the file")
    head = said.get("head")
    if head is not None and (not isinstance(head, str) or head not in HEADS):
        raise LNCLIPError(f"{source}: head is {head!r}; accepted are {' and '.join(HEADS)}")
    claims = {} if head is None else {"normalize": HEADS[head]}
    return claims | _said_of_the_backbone(said, source), source


def _said_of_the_backbone(said, source):
    name, vision = said.get("backbone"), said.get("vision_config", {})
    if not isinstance(vision, dict):
        raise LNCLIPError(f"{source}: vision_config is no mapping; mend the file, or take it out")
    known = isinstance(name, str) and HUB_BACKBONES.get(name.lower())
    claims = spec_claims(open_clip_spec(known)) if known else {}
    claims |= {ours: vision[theirs] for theirs, ours in VISION_CONFIG.items() if theirs in vision}
    if "hidden_act" in vision:
        claims["quick_gelu"] = vision["hidden_act"] == "quick_gelu"
    return claims


def spec_claims(spec: VisionSpec) -> dict:
    """The shape and activation of a tower that transformers' configuration can say."""
    return {field: getattr(spec, field) for field in (*VISION_CONFIG.values(), "quick_gelu")}
