"""The tensors of a delta, and the hash of those it leaves out, which identifies its backbone."""

import hashlib

import torch
from torch import nn


def delta_names(detector) -> list[str]:
    """Names of the tensors in a delta: the backbone's LayerNorms and the head."""
    norms = [
        f"backbone.{module}.{name}"
        for module, norm in detector.backbone.named_modules()
        if isinstance(norm, nn.LayerNorm)
        for name, _ in norm.named_parameters()
    ]
    return norms + [f"head.{name}" for name, _ in detector.head.named_parameters()]


def frozen_sha256(detector) -> str:
    """SHA-256 over the tensors that a delta leaves out: name, shape and fp32 values, in the order of the names.

    Only their values matter, not the layout or precision of the file they came from. ViT-L/14's 303 M weights take
    about a second.
    """
    left_out = set(detector.state_dict()) - set(delta_names(detector))
    digest = hashlib.sha256()
    for name, tensor in sorted(detector.state_dict().items()):
        if name in left_out:
            values = tensor.detach().to("cpu", torch.float32).contiguous()
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(memoryview(values.view(-1).numpy()).cast("B"))
    return digest.hexdigest()
