"""DINOv2, DINOv2 with registers and DINOv3, by transformers: the CLS token after the last LayerNorm."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.checkpoint import checkpoint

from lnclip_df.config.schema import Backbone as BackboneSettings
from lnclip_df.config.schema import Settings, Vision
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.backbones.base import Backbone, Processor, require, whole_patches

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
SIZE = 224  # pixels, of the input that every published processor makes


@dataclass(frozen=True)
class Version:
    """What the models of one version of DINO share.

    Attributes:
        model: the name of transformers' classes, before ``Config`` and ``Model``.
        since: the oldest transformers whose blocks have the parameters' names that are used here.
        options: of transformers' configuration.
        resample: the filter of the processor.
        resized: the height to which the processor resizes before it takes the centre, in sevenths of the input's.
    """

    model: str
    since: str
    options: dict[str, Any]
    resample: Literal["bicubic", "bilinear"]
    resized: int


VERSIONS = {
    "dinov2-with-registers": Version(
        "Dinov2WithRegisters", "5.18", {"layer_norm_eps": 1e-6, "num_register_tokens": 4}, "bicubic", 8
    ),
    "dinov2": Version("Dinov2", "5.18", {"layer_norm_eps": 1e-6}, "bicubic", 8),
    # pos_embed_rescale would augment the positions in training mode; the authors' tower stays in evaluation mode.
    "dinov3": Version("DINOv3ViT", "4.56", {"num_register_tokens": 4, "pos_embed_rescale": None}, "bilinear", 7),
}


def _published():
    for size, (width, layers) in {"small": (384, 12), "base": (768, 12), "large": (1024, 24)}.items():
        shape = {"width": width, "layers": layers, "head_width": 64}
        for version in ("dinov2", "dinov2-with-registers"):
            yield f"{version}-{size}", f"facebook/{version}-{size}", Vision(image_size=518, patch_size=14, **shape)
        name = f"dinov3-vit{size[0]}16"
        yield name, f"facebook/{name}-pretrain-lvd1689m", Vision(image_size=SIZE, patch_size=16, **shape)


SHAPES = {name: shape for name, _, shape in _published()}
HUB = {name: hub for name, hub, _ in _published()}  # the Hub's repositories of their weights


def _version(backbone):
    name = short_name(backbone)
    version = next((version for prefix, version in VERSIONS.items() if name.startswith(f"{prefix}-")), None)
    if version is None or (backbone.vision is None and name not in SHAPES):
        accepted = ", ".join(f"dino:{known}" for known in SHAPES)
        raise LNCLIPError(f"lnclip.backbone.name: there is no DINO {backbone.name}; accepted: {accepted}")
    return version


def short_name(backbone: BackboneSettings) -> str:
    """Return the name without its family, for example ``dinov3-vitl16``."""
    return backbone.name.removeprefix("dino:")


def processor(backbone: BackboneSettings) -> Processor:
    """Return the processor of a DINO's published weights, at ``image_size`` (by default 224).

    DINOv3's resizes the crop to the input, bilinear. DINOv2's resizes it to 8/7 of that, bicubic, and takes the centre.

    Raises:
        LNCLIPError: there is no such model, or the size is no multiple of the patches'.
    """
    version = _version(backbone)
    shape = backbone.vision or SHAPES[short_name(backbone)]
    size = whole_patches(backbone.image_size or (shape.image_size if backbone.vision else SIZE), shape.patch_size)
    return Processor(size, MEAN, STD, version.resample, size * version.resized // 7)


class DINO(Backbone):
    """A DINO vision transformer: transformers' embeddings and blocks, and the last LayerNorm on the CLS token alone.

    Parameters carry the names of the published DINOv3. ``activation_checkpointing`` recomputes each block in the
    backward pass.
    """

    def __init__(self, settings: Settings):
        super().__init__()
        backbone, version = settings.backbone, _version(settings.backbone)
        require("transformers", version.since, f"lnclip.backbone.name: {backbone.name}")
        self.processor, self.activation_checkpointing = processor(backbone), settings.activation_checkpointing
        self.model, self.shape = version.model, backbone.vision or SHAPES[short_name(backbone)]
        self.width = self.shape.width
        with torch.device("meta"):
            model = _create(version, self.shape)
        modules = dict(model.named_modules())
        self.embeddings = model.embeddings
        self.layer = next(modules[path] for path in ("layer", "model.layer", "encoder.layer") if path in modules)
        self.norm = modules.get("norm") or model.layernorm
        self.to_empty(device="cpu")
        rope = modules.get("rope_embeddings")
        self.rope_embeddings = type(rope)(model.config) if rope else None  # anew, as "meta" has no values
        self.without_buffers()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return CLS features B×D, not normalised, of images B×3×S×S of any floating dtype."""
        image = image.to(self.norm.weight.dtype)
        x = self.embeddings(image)
        positions = {"position_embeddings": self.rope_embeddings(image)} if self.rope_embeddings else {}
        recompute = self.activation_checkpointing and self.training and torch.is_grad_enabled()
        for layer in self.layer:
            x = checkpoint(layer, x, use_reentrant=False, **positions) if recompute else layer(x, **positions)
        return self.norm(x[:, 0])

    def compile_blocks(self):
        for layer in self.layer:
            layer.compile()

    def requires_grad_(self, requires_grad: bool = True):
        """As ``Module.requires_grad_``, but for the mask token, which only pretraining uses."""
        super().requires_grad_(requires_grad)
        self.embeddings.mask_token.requires_grad_(False)
        return self

    def identity(self):
        shape = self.shape
        return {
            "family": "dino",
            "model": self.model,
            "image_size": self.image_size,
            "patch_size": shape.patch_size,
            "width": shape.width,
            "layers": shape.layers,
            "heads": shape.width // shape.head_width,
            "mlp": int(shape.width * shape.mlp_ratio),
        }


def _create(version, shape):
    """transformers' model of a shape."""
    import transformers

    options = {
        "image_size": shape.image_size, "patch_size": shape.patch_size, "hidden_size": shape.width,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.width // shape.head_width,
    }  # fmt: skip
    if version.model == "DINOv3ViT":
        options["intermediate_size"] = int(shape.width * shape.mlp_ratio)
    elif shape.mlp_ratio.is_integer():
        options["mlp_ratio"] = int(shape.mlp_ratio)
    else:
        raise LNCLIPError(f"lnclip.backbone.vision.mlp_ratio: {shape.mlp_ratio}; DINOv2 takes whole numbers")
    config = getattr(transformers, f"{version.model}Config")(**version.options, **options)
    return getattr(transformers, f"{version.model}Model")(config)
