"""Convert the tensor names of a CLIP vision tower between transformers' and ours, which are open_clip's."""

import re

import torch

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
