"""Vision towers of several small shapes with random parameters, and images for them."""

import torch

from lnclip_df.models.backbones.clip import VisionSpec, build_tower

SHAPES = {
    "patch 8": VisionSpec(32, 8, 64, 3, 4, 256, quick_gelu=True),
    "patch 16, gelu": VisionSpec(48, 16, 96, 2, 3, 200, quick_gelu=False),
    "one layer": VisionSpec(28, 14, 64, 1, 1, 128, quick_gelu=True),
    "deep, no ln_pre": VisionSpec(32, 16, 48, 6, 2, 192, quick_gelu=False, ln_pre=False),
    "layer scale": VisionSpec(32, 16, 48, 2, 2, 192, quick_gelu=True, layer_scale=True),
}


def random_tower(spec, seed=0):
    """A tower whose every parameter, LayerNorms and biases included, is random."""
    tower = build_tower(spec)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            noise = torch.empty(parameter.shape).normal_(0, 0.15, generator=generator)
            parameter.copy_(1 + noise if ".ln_" in f".{name}" and name.endswith("weight") else noise)
    return tower


def batch(n=16, seed=1, **more):
    """Random images of 32 pixels, of both classes, as a detector takes them."""
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.randn(n, 3, 32, 32, generator=generator), "label": torch.arange(n) % 2, **more}


def images(spec, batch=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, spec.image_size, spec.image_size, generator=generator).to(dtype)
