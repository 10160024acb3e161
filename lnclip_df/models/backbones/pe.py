"""Perception Encoder, by timm: its vision transformer with attention pooling, without the projection."""

import re

import torch

from lnclip_df.config.schema import Backbone as BackboneSettings
from lnclip_df.config.schema import Settings
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.backbones.base import Backbone, Processor, require, whole_patches

TIMM = "1.0.21"  # the first that builds a model without allocating it
_NAME = re.compile(r"vit_pe_core_[a-z]+_patch(?P<patch>[1-9]\d?)_(?P<size>[1-9]\d\d)")


def processor(backbone: BackboneSettings) -> Processor:
    """Return timm's processor of PE at ``image_size``, by default the size that the weights were trained at.

    Raises:
        LNCLIPError: the name is not one of timm's ``vit_pe_core_…`` and there is no ``vision``, or the size is no
            multiple of the patches'.
    """
    named, vision = _NAME.fullmatch(_short(backbone)), backbone.vision
    if vision is not None:
        patch, size = vision.patch_size, vision.image_size
    elif named is not None:
        patch, size = int(named["patch"]), int(named["size"])
    else:
        raise LNCLIPError(
            f"lnclip.backbone.name: {backbone.name} is no Perception Encoder; accepted are timm's names, for example "
            "pe:vit_pe_core_base_patch16_224, pe:vit_pe_core_large_patch14_336, pe:vit_pe_core_gigantic_patch14_448"
        )
    size = whole_patches(backbone.image_size or size, patch)
    return Processor(size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class PerceptionEncoder(Backbone):
    """timm's ``vit_pe_core_…`` up to its pooled feature; positions are interpolated to the image's size.

    Parameters carry timm's names after ``trunk.``.
    """

    def __init__(self, settings: Settings):
        super().__init__()
        require("timm", TIMM, f"lnclip.backbone.name: {settings.backbone.name}")
        self.processor = processor(settings.backbone)
        with torch.device("meta"):
            trunk = _create(settings.backbone)
        self.trunk, self.width = trunk.to_empty(device="cpu"), trunk.num_features
        head = self.width // trunk.blocks[0].attn.num_heads  # the frequencies of the positions depend on it alone
        self.trunk.rope = _create(settings.backbone, embed_dim=head, num_heads=1, depth=1, attn_pool_num_heads=1).rope
        self.trunk.set_grad_checkpointing(settings.activation_checkpointing)
        self.without_buffers()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return pooled features B×D, not normalised, of images B×3×S×S of any floating dtype."""
        return self.trunk(image.to(self.trunk.norm.weight.dtype))

    def compile_blocks(self):
        for block in self.trunk.blocks:
            block.compile()

    def identity(self):
        block = self.trunk.blocks[0]
        return {
            "family": "pe",
            "image_size": self.image_size,
            "patch_size": self.trunk.patch_embed.patch_size[0],
            "positions": self.trunk.pos_embed.shape[1],
            "width": self.width,
            "layers": len(self.trunk.blocks),
            "heads": block.attn.num_heads,
            "mlp": block.mlp.fc1.out_features,
        }


def _short(backbone):
    return backbone.name.removeprefix("pe:")


def _create(backbone, **changes):
    """timm's model, its weights drawn by timm; ``changes`` are timm's own options."""
    import timm

    vision, name = backbone.vision, _short(backbone)
    if vision is not None:
        name, heads, side = "vit_pe_core_base_patch16_224", vision.width // vision.head_width, vision.image_size
        grid = side // vision.patch_size
        changes = {
            "patch_size": vision.patch_size, "img_size": side, "ref_feat_shape": (grid, grid),
            "embed_dim": vision.width, "depth": vision.layers, "num_heads": heads, "attn_pool_num_heads": heads,
            "mlp_ratio": vision.mlp_ratio,
        } | changes  # fmt: skip
    elif name not in timm.list_models("vit_pe_core_*"):
        raise LNCLIPError(
            f"lnclip.backbone.name: timm {timm.__version__} has no {name}; it has "
            f"{', '.join(timm.list_models('vit_pe_core_*'))}"
        )
    return timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True, **changes)
