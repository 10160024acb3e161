"""Check that weights fit a model: the activation, the architecture, and every tensor by name and shape."""

import logging
import re
from pathlib import Path

import torch

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.models.backbones.clip import VisionSpec, open_clip_names

logger = logging.getLogger(__name__)


def check_activation(name: str, spec: VisionSpec, path, quick_gelu: bool | None):
    """Refuse weights with the other activation; warn if their activation is unknown (None)."""
    words = {True: "QuickGELU", False: "GELU"}
    if quick_gelu is None:
        logger.warning(
            "%s does not record its activation; assuming %s, the activation of %s", path, words[spec.quick_gelu], name
        )
    elif quick_gelu != spec.quick_gelu:
        base = name.removesuffix("-quickgelu")
        right = f"{base}-quickgelu" if quick_gelu else base
        fix = f"use {right}" if right in open_clip_names() else f"set vision.quick_gelu: {str(quick_gelu).lower()}"
        raise LNCLIPError(
            f"lnclip.backbone.name: {path} was trained with {words[quick_gelu]}, {name} has {words[spec.quick_gelu]}; "
            f"{fix}"
        )


def check_shape(name: str, spec: VisionSpec, path, state: dict):
    """Refuse a tower's tensors of another architecture; the error names the open_clip models that they fit."""
    if "conv1.weight" not in state or state["conv1.weight"].ndim != 4:
        raise LNCLIPError(f"{path} contains no CLIP vision transformer (no conv1.weight and no patch embedding)")
    layers = {m[1] for m in map(re.compile(r"transformer\.resblocks\.(\d+)\.").match, state) if m}
    found = {
        "width": state["conv1.weight"].shape[0],
        "layers": len(layers),
        "patch_size": state["conv1.weight"].shape[-1],
        "tokens": state["positional_embedding"].shape[:1].numel() if "positional_embedding" in state else 0,
    }
    wanted = {key: getattr(spec, key) for key in found}
    if found == wanted:
        return
    fits = [n for n, s in open_clip_names().items() if all(getattr(s, key) == found[key] for key in found)]
    hint = f"; they fit {', '.join(fits[:4])}" if fits else ""
    differ = ", ".join(f"{key} {found[key]} instead of {wanted[key]}" for key in found if found[key] != wanted[key])
    raise LNCLIPError(f"the weights {path} do not fit {name}: {differ}{hint}")


def fitting(own: dict, state: dict, path) -> dict[str, torch.Tensor]:
    """Return ``state`` in the order of ``own``; LNCLIPError if names or shapes differ."""
    shape = [n for n in own if n in state and state[n].shape != own[n].shape]
    missing = [n for n in own if n not in state]
    extra = [n for n in state if n not in own]
    faults = []
    if shape:
        name = shape[0]
        faults.append(f"{name} is {_size(state[name])} instead of {_size(own[name])} ({len(shape)} differ in shape)")
    if missing:
        faults.append(f"{len(missing)} tensors missing (first: {missing[0]})")
    if extra:
        faults.append(f"{len(extra)} unknown tensors (first: {extra[0]})")
    if faults:
        raise LNCLIPError(f"the weights {path} do not fit this configuration: {'; '.join(faults)}; nothing was loaded")
    return {name: state[name] for name in own}


def _size(tensor):
    return "×".join(map(str, tensor.shape)) or "a scalar"


def read_mapping(path: Path, section: str | None = None) -> dict:
    """Return a section of a JSON file, or all of it without such a section; LNCLIPError if it is no mapping."""
    config = read_json(path)
    config = config.get(section, config) if isinstance(config, dict) else None
    if not isinstance(config, dict):
        raise LNCLIPError(f"{path}: expected a JSON object; fix the file, or move it away from the weights")
    return config
