"""CLIP's vision transformer with its own forward pass: fused QKV, SDPA, and a last block for the CLS token alone.

Parameters carry open_clip's names, so that its state dicts load as they are.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from lnclip_df.config.schema import Backbone as BackboneSettings
from lnclip_df.config.schema import Settings
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.backbones.base import Backbone, Processor


@dataclass(frozen=True)
class VisionSpec:
    """The shape of a CLIP vision transformer: sizes in pixels, ``mlp`` and ``width`` in channels."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    quick_gelu: bool
    ln_pre: bool = True
    layer_scale: bool = False

    @property
    def tokens(self) -> int:
        """Number of tokens of an image: the patches and the CLS token."""
        return (self.image_size // self.patch_size) ** 2 + 1

    @classmethod
    def from_cfg(cls, cfg: dict, quick_gelu: bool) -> "VisionSpec":
        """From open_clip's ``vision_cfg``."""
        width, head_width = cfg.get("width", 768), cfg.get("head_width", 64)
        return cls(
            image_size=cfg.get("image_size", 224),
            patch_size=cfg.get("patch_size", 16),
            width=width,
            layers=cfg.get("layers", 12),
            heads=width // head_width,
            mlp=int(width * cfg.get("mlp_ratio", 4.0)),
            quick_gelu=quick_gelu,
            ln_pre=not cfg.get("no_ln_pre", False),
            layer_scale=cfg.get("ls_init_value") is not None,
        )


# Options of open_clip's vision_cfg under which the class token is absent, or computed in another way than here.
_UNSUPPORTED = (
    "timm_model_name", "attentional_pool", "patch_dropout", "block_type", "qk_norm", "scaled_cosine_attn",
    "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc", "act_kwargs", "norm_kwargs",
)  # fmt: skip


def _open_clip_configs() -> dict[str, Path]:
    spec = find_spec("open_clip")
    assert spec is not None and spec.origin is not None
    return {path.stem: path for path in sorted((Path(spec.origin).parent / "model_configs").glob("*.json"))}


def open_clip_spec(name: str) -> VisionSpec:
    """Return the shape of the vision tower of open_clip's model ``name``, for example ``ViT-L-14-quickgelu``.

    Raises:
        LNCLIPError: open_clip has no such model, or its vision tower is not a transformer with a CLS token.
    """
    path = _open_clip_configs().get(name.replace("/", "-"))
    if path is None:
        raise LNCLIPError(
            f"lnclip.backbone.name: open_clip has no model {name!r}; name one of its vision transformers (for example "
            "ViT-L-14-quickgelu, ViT-B-16-quickgelu, ViT-H-14), or describe your own under lnclip.backbone.vision"
        )
    config = json.loads(path.read_text(encoding="utf-8"))
    cfg = config["vision_cfg"]
    odd = [key for key in _UNSUPPORTED if cfg.get(key)]
    odd += [
        key
        for key, plain in {"pool_type": "tok", "pos_embed_type": "learnable"}.items()
        if cfg.get(key, plain) != plain
    ]
    odd += [key for key in ("layers", "image_size") if not isinstance(cfg.get(key, 0), int)]
    if odd:
        raise LNCLIPError(
            f"lnclip.backbone.name: {name} does not compute its CLS token as a plain vision transformer does "
            f"(vision_cfg: {', '.join(f'{key}={cfg.get(key)}' for key in odd)}); name a plain one"
        )
    return VisionSpec.from_cfg(cfg, quick_gelu=config.get("quick_gelu", False))


def open_clip_names() -> dict[str, VisionSpec]:
    """Return every open_clip model that can be the backbone, by name."""
    specs = {}
    for name in _open_clip_configs():
        with suppress(LNCLIPError):
            specs[name] = open_clip_spec(name)
    return specs


def _autocast_dtype(device):
    return torch.get_autocast_dtype(device) if device != "meta" and torch.is_autocast_enabled(device) else None


@lru_cache
def can_pack() -> bool:
    """Whether oneDNN's products with packed matrices are faster here than PyTorch's: on CPUs with AVX-512."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


class Copies:
    """A module's frozen parameters as its products take them, copied once instead of in every product.

    They are no parameters: ``state_dict`` and hashes do not see them. A parameter that changed or moved is copied anew;
    of one that is trained no copy is kept. PyTorch does not count changes through ``.data``, nor those of a fused
    optimizer: after them call ``train()`` or ``eval()`` so that the mode changes, which drops the copies.
    """

    def __init__(self):
        self.kept: dict[str, tuple] = {}

    def __reduce__(self):
        return Copies, ()  # a copy of a module makes its own

    def cast(self, name: str, parameter: torch.Tensor) -> torch.Tensor:
        """Return ``parameter`` in autocast's precision; ``name`` tells it from the module's others."""
        dtype = _autocast_dtype(parameter.device.type)
        if dtype is None:
            return parameter
        if torch.compiler.is_compiling() or not _is_frozen(parameter):
            return parameter.to(dtype)
        return self._copy(name, parameter, dtype, parameter.to)

    def packed(self, name: str, weight: torch.Tensor, scale: float = 1.0) -> torch.Tensor | None:
        """Return scale · ``weight`` in autocast's precision and oneDNN's layout, for products on CPUs; else None."""
        dtype = _autocast_dtype("cpu") or weight.dtype
        if (
            torch.compiler.is_compiling()
            or torch.jit.is_tracing()  # it knows nothing of oneDNN's products
            or weight.device.type != "cpu"
            or dtype not in (torch.float32, torch.bfloat16)
            or not can_pack()
            or not _is_frozen(weight)
        ):
            return None

        def pack(dtype):
            scaled = weight if scale == 1 else scale * weight
            return torch.ops.mkldnn._reorder_linear_weight(scaled.to(dtype))

        return self._copy(f"packed {name}", weight, dtype, pack)

    def _copy(self, name, parameter, dtype, make):
        state = (parameter.data_ptr(), parameter._version, parameter.device, dtype)
        kept = self.kept.get(name)  # read once: another thread may put that of another precision there
        if kept is None or kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                kept = self.kept[name] = state, make(dtype)
        return kept[1]


def _is_frozen(parameter):
    return not (parameter.requires_grad or parameter.is_inference())  # the latter has no count of its changes


def onednn_linear(x, packed, bias=None, activation="none"):
    """x Wᵀ + b by oneDNN, of W as ``Copies.packed`` gives it, and an activation by oneDNN's name for it."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], "")


class FrozenLinear(torch.autograd.Function):
    """scale · x Wᵀ + b for frozen W and b, in ``parts`` along the channels.

    Autograd would copy the gradients of the parts into one matrix for its product with W, and multiply the result by
    ``scale`` in a pass of its own. Here each part's product is scaled and added to the gradient of x as it is computed.
    ``packed`` is scale · W in oneDNN's layout (``Copies.packed``), or None.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, scale, parts, packed):
        ctx.save_for_backward(weight)
        ctx.scale = scale
        if packed is None:
            out = torch.addmm(bias, x.flatten(0, -2), weight.T, alpha=scale).view(*x.shape[:-1], -1)
        else:
            out = onednn_linear(x, packed, bias)
        return out.chunk(parts, dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        (weight,) = ctx.saved_tensors
        shape = (*grads[0].shape[:-1], weight.shape[1])
        out = grads[0].new_empty(shape).flatten(0, -2)
        for index, (grad, part) in enumerate(zip(grads, weight.chunk(len(grads)), strict=True)):
            out.addmm_(grad.flatten(0, -2), part, beta=min(index, 1), alpha=ctx.scale)
        return out.view(shape), None, None, None, None, None


class PackedLinear(torch.autograd.Function):
    """:class:`FrozenLinear` by oneDNN, whose products take matrices in a layout of their own (``Copies.packed``).

    ``back`` are the transposed matrices of the parts, for the gradient of x.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, back):
        ctx.back = back
        return onednn_linear(x, weight, bias).chunk(len(back), dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        out = onednn_linear(grads[0], ctx.back[0])
        for grad, part in zip(grads[1:], ctx.back[1:], strict=True):
            out = torch.ops.mkldnn._linear_pointwise.binary(grad, out, part, None, "add")
        return out, None, None, None


class Products(nn.Module):
    """Base of modules whose matrix products take their frozen matrices as ``Copies`` keeps them."""

    def __init__(self):
        super().__init__()
        self.copies = Copies()

    def train(self, mode: bool = True):
        if mode != self.training:
            self.copies.kept.clear()
        return super().train(mode)

    def _apply(self, fn, recurse=True):
        self.copies.kept.clear()  # another matrix may come to lie where a copied one lay
        return super()._apply(fn, recurse)

    def linear(
        self, name: str, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, scale: float = 1.0, parts: int = 1,
        silu: bool = False,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        """Return scale · x Wᵀ + b, or silu of it, of x ..., D, in ``parts`` along the channels."""
        packed = None if bias.requires_grad else self.copies.packed(name, weight, scale)
        kept = self.copies.cast(name, weight) if packed is None else packed
        x, bias = x.to(kept.dtype), bias.to(kept.dtype)
        if packed is not None and not (torch.is_grad_enabled() and x.requires_grad):
            return onednn_linear(x, packed, bias, "swish" if silu else "none").chunk(parts, dim=-1)
        outs: tuple[torch.Tensor, ...]
        if packed is not None and x.dtype != weight.dtype:
            back = [
                self.copies.packed(f"{name}, {part} of {parts}, transposed", matrix.T, scale)
                for part, matrix in enumerate(weight.chunk(parts))
            ]
            outs = PackedLinear.apply(x, packed, bias, back)
        elif packed is not None:  # in float32 a second layout would take the memory of the weights once more
            outs = FrozenLinear.apply(x, weight, bias, scale, parts, packed)
        elif scale == parts == 1:
            outs = (F.linear(x, kept, bias),)
        elif weight.requires_grad or bias.requires_grad:
            outs = torch.addmm(bias, x.flatten(0, -2), kept.T, alpha=scale).view(*x.shape[:-1], -1).chunk(parts, dim=-1)
        else:
            outs = FrozenLinear.apply(x, kept, bias, scale, parts, None)
        return tuple(map(F.silu, outs)) if silu else outs


class Attention(Products):
    """Multi-head self-attention with one QKV product; parameters named as in ``nn.MultiheadAttention``.

    ``attend`` gives softmax(q kᵀ/√d) v of queries, keys and values, each B×heads×N×d.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, cls_only: bool = False, attend: Callable = F.scaled_dot_product_attention
    ) -> torch.Tensor:
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, x.shape[-1]
        if cls_only:
            queries = self.linear("q", x[:, :1], weight[:width], bias[:width])
            qkv = *queries, *self.linear("kv", x, weight[width:], bias[width:], parts=2)
        else:
            qkv = self.linear("qkv", x, weight, bias, parts=3)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv)
        out = attend(q, k, v).transpose(1, 2).flatten(2)
        return self.linear("out", out, self.out_proj.weight, self.out_proj.bias)[0]


class MLP(Products):
    """Two linear layers with CLIP's activation between them: QuickGELU x·σ(1.702 x), or GELU.

    QuickGELU(x) = silu(1.702 x) / 1.702. Both factors are part of the matrix products, which leaves one elementwise
    pass and one saved tensor instead of three and two. The bias is scaled beforehand: a GPU's product adds it as it is.
    ``torch.compile`` fuses the plain form by itself.
    """

    def __init__(self, width: int, hidden: int, quick_gelu: bool):
        super().__init__()
        self.quick_gelu = quick_gelu
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up, down = self.c_fc, self.c_proj
        if not self.quick_gelu or torch.compiler.is_compiling():
            (x,) = self.linear("up", x, up.weight, up.bias)
            x = x * torch.sigmoid(1.702 * x) if self.quick_gelu else F.gelu(x)
            return self.linear("down", x, down.weight, down.bias)[0]
        (x,) = self.linear("up", x, up.weight, 1.702 * up.bias, 1.702, silu=True)
        return self.linear("down", x, down.weight, down.bias, 1 / 1.702)[0]


class LayerScale(nn.Module):
    """One learnt factor per channel."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


class Block(nn.Module):
    """A pre-norm residual block; ``cls_only`` computes queries and MLP for the CLS token alone."""

    def __init__(self, spec: VisionSpec):
        super().__init__()
        self.ln_1 = nn.LayerNorm(spec.width)
        self.attn = Attention(spec.width, spec.heads)
        self.ls_1 = LayerScale(spec.width) if spec.layer_scale else nn.Identity()
        self.ln_2 = nn.LayerNorm(spec.width)
        self.mlp = MLP(spec.width, spec.mlp, spec.quick_gelu)
        self.ls_2 = LayerScale(spec.width) if spec.layer_scale else nn.Identity()

    def forward(
        self, x: torch.Tensor, cls_only: bool = False, attend: Callable = F.scaled_dot_product_attention
    ) -> torch.Tensor:
        attended = self.ls_1(self.attn(self.ln_1(x), cls_only, attend))
        x = (x[:, :1] if cls_only else x) + attended
        return x + self.ls_2(self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    """The blocks, under open_clip's name for them."""

    def __init__(self, spec: VisionSpec):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))


class VisionTower(Backbone):
    """CLIP's vision transformer up to the CLS token after ``ln_post``, before the projection.

    ``activation_checkpointing`` recomputes each block in the backward pass: less memory for a third more time. With
    ``bf16_residual`` the sums of the blocks are kept in bf16 inside bf16 autocast, not in float32.
    """

    def __init__(self, spec: VisionSpec, activation_checkpointing: bool = False, bf16_residual: bool = False):
        super().__init__()
        self.spec, self.width, self.processor = spec, spec.width, _processor(spec.image_size)
        self.activation_checkpointing, self.bf16_residual = activation_checkpointing, bf16_residual
        self.conv1 = nn.Conv2d(3, spec.width, spec.patch_size, spec.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(spec.width))
        self.positional_embedding = nn.Parameter(torch.empty(spec.tokens, spec.width))
        self.ln_pre = nn.LayerNorm(spec.width) if spec.ln_pre else nn.Identity()
        self.transformer = Transformer(spec)
        self.ln_post = nn.LayerNorm(spec.width)

    def identity(self) -> dict[str, Any]:
        return asdict(self.spec)

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        """Return tokens B×N×D of images B×3×H×W: the CLS token, then the patches, after ``ln_pre``."""
        patches = self.conv1(image).flatten(2).transpose(1, 2)
        cls = (self.class_embedding + self.positional_embedding[0]).expand(len(patches), 1, -1)
        return self.ln_pre(torch.cat([cls, patches + self.positional_embedding[1:]], dim=1))

    def forward(self, image: torch.Tensor, attend: Callable = F.scaled_dot_product_attention) -> torch.Tensor:
        """Return the CLS features B×D, not normalised, of images.

        Args:
            image: B×3×H×W, normalised with CLIP's mean and std, of any floating dtype; H = W = ``spec.image_size``.
            attend: computes attention in every block (see ``Attention``).

        Raises:
            ValueError: ``image`` has another shape or dtype.
        """
        size = self.image_size
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, size, size) or not image.is_floating_point():
            raise ValueError(
                f"image: received {tuple(image.shape)} {image.dtype}; needs B×3×{size}×{size} of a floating dtype, "
                "normalised with CLIP's mean and std"
            )
        x = self.embed(image.to(self.conv1.weight.dtype))
        if self.bf16_residual and _autocast_dtype(x.device.type) == torch.bfloat16:
            x = x.bfloat16()
        plain = attend is F.scaled_dot_product_attention
        *blocks, last = (block if plain else block.forward for block in self.transformer.resblocks)  # a call: compiled
        recompute = self.activation_checkpointing and self.training and torch.is_grad_enabled()
        for block in blocks:
            x = checkpoint(block, x, attend=attend, use_reentrant=False) if recompute else block(x, attend=attend)
        return self.ln_post(last(x, cls_only=True, attend=attend)[:, 0])

    def compile_blocks(self):
        for block in self.transformer.resblocks:
            block.compile()

    @torch.no_grad()
    def init_weights(self, seed: int = 0):
        """Draw variance-preserving random weights: N(0, 1/fan_in) matrices, unit-variance tokens, zero biases.

        The two branches of L blocks are scaled by 1/√(2L), so that the residual stream keeps its variance to a factor
        of two. The draw depends on ``seed`` alone.
        """
        generator = torch.Generator().manual_seed(seed)
        branch = (2 * self.spec.layers) ** -0.5

        def draw(parameter, std):
            parameter.copy_(torch.empty(parameter.shape).normal_(0, std, generator=generator))

        for name, parameter in self.named_parameters():
            if name.endswith(("ln_1.weight", "ln_2.weight", "ln_pre.weight", "ln_post.weight")):
                parameter.fill_(1)
            elif name.endswith("gamma"):
                parameter.fill_(branch)
            elif name.endswith("bias"):
                parameter.zero_()
            elif name.endswith("embedding"):
                draw(parameter, 2**-0.5)
            else:
                gain = branch if name.endswith(("out_proj.weight", "c_proj.weight")) else 1.0
                draw(parameter, gain * parameter[0].numel() ** -0.5)


def build_tower(spec: VisionSpec, activation_checkpointing: bool = False, bf16_residual: bool = False) -> VisionTower:
    """Return a tower whose weights are allocated but not set: load them, or call ``init_weights``."""
    with torch.device("meta"):
        tower = VisionTower(spec, activation_checkpointing, bf16_residual)
    return tower._apply(lambda empty: torch.empty(empty.shape, dtype=empty.dtype))  # ``to_empty`` imports SymPy


def spec_of(backbone: BackboneSettings) -> VisionSpec:
    """Return the shape of ``lnclip.backbone``; LNCLIPError if open_clip has no such vision transformer."""
    if backbone.vision is None:
        return open_clip_spec(backbone.name)
    return VisionSpec.from_cfg(backbone.vision.model_dump(), backbone.vision.quick_gelu)


def _processor(size):
    return Processor(size, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))


def processor(backbone: BackboneSettings) -> Processor:
    """Return CLIP's processor for ``lnclip.backbone``.

    Raises:
        LNCLIPError: open_clip has no such vision transformer, or ``image_size`` is not that of its positions.
    """
    size = spec_of(backbone).image_size
    if backbone.image_size not in (None, size):
        raise LNCLIPError(
            f"lnclip.backbone.image_size: CLIP's {backbone.name} takes images of {size} pixels alone; leave it out"
        )
    return _processor(size)


def build(settings: Settings) -> VisionTower:
    """Return the tower of ``lnclip.backbone``; errors as for ``spec_of``."""
    return build_tower(spec_of(settings.backbone), settings.activation_checkpointing, settings.residual == "bf16")
