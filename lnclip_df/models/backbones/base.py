"""The interface of every vision backbone, and what its own processor does with a crop."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.provenance import installed_version
from lnclip_df.models.pillow_resize import pillow_bicubic
from lnclip_df.models.pixels import normalize

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Processor:
    """How a backbone's own processor makes its input of a square RGB crop.

    Attributes:
        size: height and width of the input in pixels.
        mean, std: the normalisation, per RGB channel of 0..1.
        resample: the filter, always antialiased.
        resized: height and width before the centre of ``size`` is cut out; None: ``size``, nothing is cut off.
    """

    size: int
    mean: Triple
    std: Triple
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    resized: int | None = None


class Backbone(nn.Module):
    """A module that maps normalised images B×3×S×S to features B×D. It has no buffers: see ``without_buffers``.

    Attributes:
        width: D, the channels of a feature.
        processor: what it makes its images with; S is ``processor.size``.
    """

    width: int
    processor: Processor

    def __init__(self):
        super().__init__()
        self._constants: list[tuple[nn.Module, str]] = []

    @property
    def image_size(self) -> int:
        """S, height and width of an image in pixels."""
        return self.processor.size

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return features B×D of images B×3×S×S."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Return what weights must agree with, JSON-able: shape and activation."""
        raise NotImplementedError

    def resize(self, image: torch.Tensor) -> torch.Tensor:
        """Return square images B×3×R×R, uint8 or normalised, as ``processor`` resizes their pixels: float32 B×3×S×S.

        Bicubic as Pillow resizes 8-bit pixels, without a gradient. Bilinear as torchvision resizes floats.
        """
        ours = self.processor
        resized = ours.resized or ours.size
        if ours.resample == "bicubic" and image.shape[-1] != resized:
            image = pillow_bicubic(image, resized, ours.mean, ours.std)
        image = normalize(image, ours.mean, ours.std)
        if image.shape[-1] != resized:
            image = bilinear(image, resized)
        edge = (resized - ours.size) // 2
        return image[..., edge : edge + ours.size, edge : edge + ours.size]

    def compile_blocks(self):
        """Compile what is computed, in place: a family whose blocks are alike compiles them one by one."""
        self.compile()

    @torch.no_grad()
    def init_weights(self, seed: int = 0):
        """Draw random weights, which depend on ``seed`` alone.

        Matrices are N(0, 1/fan_in), tokens N(0, 1/2), biases 0, the factors of LayerNorms and layer scales 1.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1)
            else:
                std = parameter[0].numel() ** -0.5 if name.endswith("weight") else 2**-0.5
                parameter.copy_(torch.empty(parameter.shape).normal_(0, std, generator=generator))

    def layer_norms(self) -> list[nn.LayerNorm]:
        """Return the LayerNorms, which ``lnclip.tune: layernorm`` trains, in the order of their registration."""
        return [module for module in self.modules() if isinstance(module, nn.LayerNorm)]

    def without_buffers(self) -> "Backbone":
        """Make every buffer a plain attribute, which is not saved, and which DDP does not broadcast; returns ``self``.

        It still follows the module to another device or precision.
        """
        for module in self.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                delattr(module, name)
                setattr(module, name, buffer.detach())
                self._constants.append((module, name))
        return self

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        for module, name in self._constants:
            setattr(module, name, fn(getattr(module, name)))
        return self


def bilinear(image: torch.Tensor, size: int) -> torch.Tensor:
    """Resize images B×3×H×W to float32 B×3×size×size, bilinear with antialiasing, as torchvision resizes floats."""
    return nn.functional.interpolate(image.float(), (size, size), mode="bilinear", antialias=True)


def whole_patches(size: int, patch: int) -> int:
    """Return ``lnclip.backbone.image_size``; LNCLIPError unless its patches, of ``patch`` pixels, cover it."""
    if size % patch:
        raise LNCLIPError(f"lnclip.backbone.image_size: {size} is not a multiple of the patches' {patch} pixels")
    return size


def require(package: str, since: str, what: str):
    """Raise LNCLIPError unless a package is installed, in the version ``since`` or a newer one; ``what`` needs it."""
    found = installed_version(package)
    if found is None or _numbers(found) < _numbers(since):
        have = f"{found} is installed" if found else "it is not installed"
        raise LNCLIPError(f"{what} needs {package} {since} or newer, and {have}: pip install -U '{package}>={since}'")


def _numbers(version):
    parts = version.split(".")[:3]
    return [int("".join(filter(str.isdigit, part)) or 0) for part in parts]
