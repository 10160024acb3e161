"""The interface of every vision backbone."""

from typing import Any

import torch
from torch import nn


class Backbone(nn.Module):
    """A module that maps normalised images B×3×S×S to features B×D. It has no buffers.

    Attributes:
        width: D, the channels of a feature.
        image_size: S, height and width of an image in pixels.
        mean, std: the normalisation of its images, per RGB channel of 0..1.
    """

    width: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return features B×D of images B×3×S×S."""
        raise NotImplementedError

    def init_weights(self, seed: int = 0):
        """Draw random weights, which depend on ``seed`` alone."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Return what weights must agree with, JSON-able: shape and activation."""
        raise NotImplementedError

    def layer_norms(self) -> list[nn.LayerNorm]:
        """Return the LayerNorms, which ``lnclip.tune: layernorm`` trains, in the order of their registration."""
        return [module for module in self.modules() if isinstance(module, nn.LayerNorm)]
