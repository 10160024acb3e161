"""Convert the tensor names of backbones between those of published files and ours.

CLIP: transformers' names, and ours, which are open_clip's. Perception Encoder: timm's. DINO: transformers', of any
version.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import torch

from lnclip_df.core.registry import Registry

_OUTSIDE = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight",
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
}
_IN_A_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_KINDS = ("weight", "bias")


def _pairs(layers):
    """``{transformers' name: ours}`` of every tensor except query, key and value."""
    blocks = {
        f"encoder.layers.{n}.{theirs}.{kind}": f"transformer.resblocks.{n}.{ours}.{kind}"
        for n in layers
        for theirs, ours in _IN_A_BLOCK.items()
        for kind in _KINDS
    }
    return _OUTSIDE | blocks


def _qkv(layers):
    """``(our name, transformers' three names)`` of the projections to query, key and value."""
    for n in layers:
        for kind in _KINDS:
            theirs = [f"encoder.layers.{n}.self_attn.{part}_proj.{kind}" for part in "qkv"]
            yield f"transformer.resblocks.{n}.attn.in_proj_{kind}", theirs


def from_transformers(state: dict) -> dict:
    """Rename a vision tower's tensors from transformers' names (without prefix) to ours; other names stay."""
    layers = {m[1] for m in map(re.compile(r"encoder\.layers\.(\d+)\.").match, state) if m}
    ours, pairs = dict(state), _pairs(layers)
    for name in [name for name in ours if name in pairs]:
        ours[pairs[name]] = ours.pop(name)
    for name, parts in _qkv(layers):
        three = [ours[part] for part in parts if part in ours]
        if len(three) == 3 and len({tensor.shape for tensor in three}) == 1 and three[0].ndim:
            ours = {n: t for n, t in ours.items() if n not in parts} | {name: torch.cat(three)}
    return ours


def to_transformers(state: dict) -> dict:
    """Rename a vision tower's tensors from our names to transformers' (without prefix)."""
    layers = {m[1] for m in map(re.compile(r"transformer\.resblocks\.(\d+)\.").match, state) if m}
    theirs = {name: state[ours] for name, ours in _pairs(layers).items() if ours in state}
    for name, parts in _qkv(layers):
        theirs |= zip(parts, (part.clone() for part in state[name].chunk(3)), strict=True)
    return theirs


def from_timm(state: dict) -> dict:
    """Rename timm's Perception Encoder to ours; its projection, which a detector does not need, is left out."""
    return {f"trunk.{name}": tensor for name, tensor in state.items() if not name.startswith("head.")}


def to_timm(state: dict) -> dict:
    """Rename our Perception Encoder to timm's."""
    return {name.removeprefix("trunk."): tensor for name, tensor in state.items()}


_DINOV2 = {  # ours, and transformers' of version 4, with which DINOv2 was published
    "layer.": "encoder.layer.",
    "norm.": "layernorm.",
    "attention.q_proj.": "attention.attention.query.",
    "attention.k_proj.": "attention.attention.key.",
    "attention.v_proj.": "attention.attention.value.",
    "attention.o_proj.": "attention.output.dense.",
}


def from_dino(state: dict) -> dict:
    """Rename a DINO's tensors from transformers' names, of version 4 or 5, to ours, which are DINOv3's of version 4."""
    ours = _renamed(state, {theirs: own for own, theirs in _DINOV2.items()})
    return {name.removeprefix("model."): tensor for name, tensor in ours.items()}


def to_dino(state: dict) -> dict:
    """Rename our DINO's tensors to transformers' names of version 4."""
    is_dinov2 = "embeddings.position_embeddings" in state
    return _renamed(state, _DINOV2 if is_dinov2 else {})


def _renamed(state, parts):
    """The tensors, with each part of a name that begins as a key of ``parts`` replaced."""
    names = {name: name for name in state}
    for old, new in parts.items():
        names = {name: re.sub(rf"(^|(?<=\.)){re.escape(old)}", new, made) for name, made in names.items()}
    return {names[name]: tensor for name, tensor in state.items()}


class Layout(NamedTuple):
    """The names of a family's published tensors.

    Attributes:
        tower: what comes before them in the authors' detectors.
        marks: how one of them begins that no other family has.
    """

    tower: str
    marks: str
    to_ours: Callable[[dict], dict]
    to_published: Callable[[dict], dict]


LAYOUTS = Registry(
    "backbone family in the authors' code",
    {
        "clip": Layout("vision_model.", "", from_transformers, to_transformers),
        "pe": Layout("backbone.", "blocks.", from_timm, to_timm),
        "dino": Layout("backbone.", "embeddings.", from_dino, to_dino),
    },
)
