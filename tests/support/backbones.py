"""Small random backbones of every family, and the libraries' own models with the same weights."""

import json

import torch
from torch import nn

from lnclip_df import LNCLIPDetector, load_config

STATS = {
    "pe": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "dino": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
NAMES = {  # of the families other than CLIP, and how many tokens come before the patches'
    "pe:small": 1,
    "dino:dinov3-tiny": 5,
    "dino:dinov2-tiny": 1,
    "dino:dinov2-with-registers-tiny": 5,
}
POSITIONS, IMAGE, PATCH, WIDTH, LAYERS, HEADS = 48, 32, 8, 64, 2, 2  # the images are smaller than the positions' grid


def small_config(name, *overrides, image_size=IMAGE):
    """The configuration of a small detector on the backbone ``name``, in fp32."""
    mean, std = STATS[name.partition(":")[0] if ":" in name else "clip"]
    vision = {
        "image_size": POSITIONS,
        "patch_size": PATCH,
        "width": WIDTH,
        "layers": LAYERS,
        "head_width": WIDTH // HEADS,
    }
    backbone = {"name": name, "pretrained": "none", "image_size": image_size, "vision": vision}
    return load_config(
        "lnclip.yaml",
        [f"lnclip.backbone={json.dumps(backbone)}", f"mean={list(mean)}", f"std={list(std)}", "lnclip.precision=fp32",
         "lnclip.slerp.enabled=false", *overrides],
    )  # fmt: skip


@torch.no_grad()
def small_detector(name, *overrides, **options):
    """A small detector on the backbone ``name`` whose every parameter is random, in evaluation mode."""
    torch.manual_seed(3)
    detector = LNCLIPDetector(small_config(name, *overrides, **options)).eval()
    for parameter in detector.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    return detector


class Library(nn.Module):
    """The model of timm or transformers on which the authors' encoders are, with its published tensors' names."""

    def __init__(self, name):
        super().__init__()
        self.is_timm = name.startswith("pe:")
        self.backbone = _timm() if self.is_timm else _transformers(name.removeprefix("dino:"))
        self.eval()

    def forward(self, image):
        return self.backbone(image) if self.is_timm else self.backbone(image).last_hidden_state[:, 0]


def _timm():
    import timm

    grid = POSITIONS // PATCH
    model = timm.create_model(
        "vit_pe_core_base_patch16_224", patch_size=PATCH, img_size=POSITIONS, embed_dim=WIDTH, depth=LAYERS,
        num_heads=HEADS, attn_pool_num_heads=HEADS, ref_feat_shape=(grid, grid), dynamic_img_size=True,
    )  # fmt: skip
    model.head = nn.Identity()
    return model


def _transformers(name):
    import transformers

    shape = {
        "image_size": POSITIONS, "patch_size": PATCH, "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }  # fmt: skip
    if name.startswith("dinov3"):
        config = transformers.DINOv3ViTConfig(intermediate_size=4 * WIDTH, num_register_tokens=4, **shape)
        return transformers.DINOv3ViTModel(config)
    if name.startswith("dinov2-with-registers"):
        return transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(num_register_tokens=4, **shape)
        )
    return transformers.Dinov2Model(transformers.Dinov2Config(**shape))


def our_name(name, theirs):
    """The name in our backbone ``name`` of a tensor of ``Library``."""
    theirs = theirs.removeprefix("backbone.")
    if name.startswith("pe:"):
        return f"trunk.{theirs}"
    theirs = theirs.removeprefix("encoder.").removeprefix("model.")
    return theirs.replace("layernorm.", "norm.") if theirs.startswith("layernorm.") else theirs
