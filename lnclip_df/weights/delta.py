"""The tensors of a delta, and the hash of those it leaves out, which identifies its backbone."""

import hashlib

import torch
from torch import nn

from lnclip_df.core.errors import LNCLIPError

FROZEN = "frozen_sha256"  # the name of the hash in a state dict, uint8 32


def delta_names(detector) -> list[str]:
    """Return the names of the tensors in a delta: the backbone's LayerNorms and the head."""
    norms = [
        f"backbone.{module}.{name}"
        for module, norm in detector.backbone.named_modules()
        if isinstance(norm, nn.LayerNorm)
        for name, _ in norm.named_parameters()
    ]
    return norms + [f"head.{name}" for name, _ in detector.head.named_parameters()]


def frozen_sha256(detector) -> str:
    """Return the SHA-256 of the tensors that a delta leaves out: name, shape and fp32 values, sorted by name.

    It does not depend on the layout or precision of the file they came from. ViT-L/14 takes about a second.
    """
    saved = set(delta_names(detector))
    digest = hashlib.sha256()
    for name, tensor in sorted(detector.named_parameters()):
        if name not in saved:
            values = tensor.detach().to("cpu", torch.float32).contiguous()
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(memoryview(values.view(-1).numpy()).cast("B"))
    return digest.hexdigest()


def hash_as_tensor(sha256: str) -> torch.Tensor:
    """Return a hexadecimal hash as a state dict can contain it, under ``FROZEN``."""
    return torch.tensor(list(bytes.fromhex(sha256)), dtype=torch.uint8)


def hash_of_tensor(recorded: torch.Tensor) -> str:
    """Return the hexadecimal hash that a state dict contains; LNCLIPError if it is damaged."""
    if recorded.dtype != torch.uint8 or recorded.shape != (32,):
        raise LNCLIPError(f"{FROZEN} of the checkpoint is damaged: expected 32 bytes")
    return bytes(recorded.tolist()).hex()
