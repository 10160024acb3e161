"""Test vectors: an input and its logits, saved with exported weights, which loading verifies."""

import math

import torch
from torch import nn
from torch.func import functional_call

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.sphere import normalize

TOLERANCE = 1e-4
_FORMULA = "sin(0.37 n), n = 0, 1, 2, … over 1×3×H×W"


class Logits(nn.Module):
    """A detector as a function of images alone, in its parameters' own precision, without autocast.

    Images B×3×H×W, normalised with the backbone's mean and std → logits B×2 (real, fake).
    """

    def __init__(self, detector):
        super().__init__()
        self.backbone, self.head, self.normalize = detector.backbone, detector.head, detector.settings.normalize

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        feature = self.backbone(image)
        return self.head(normalize(feature) if self.normalize else feature)


def probe_image(size: int) -> torch.Tensor:
    """Return the image of the test vectors, 1×3×size×size, float32: a formula, so that anyone can compute it."""
    return torch.sin(0.37 * torch.arange(3 * size * size, dtype=torch.float64)).view(1, 3, size, size).float()


@torch.no_grad()
def make_vectors(detector) -> dict:
    """Return a detector's test vectors, JSON-able: the input's formula, shape and first numbers, and the logits."""
    model = Logits(detector)
    image = probe_image(detector.backbone.image_size).to(detector.head.weight.device)
    return {
        "input": _FORMULA,
        "shape": list(image.shape),
        "input_begins": [round(x, 6) for x in image.flatten()[:4].tolist()],
        "logits": [round(x, 6) for x in model(image)[0].tolist()],
    }


@torch.no_grad()
def check_vectors(detector, state: dict, vectors: dict, path) -> float:
    """Return the largest difference from the recorded logits of a detector with ``state``, which is not loaded.

    The difference is relative if the logit is above 1.

    Raises:
        LNCLIPError: it is above ``TOLERANCE``, or the vectors are damaged.
    """
    image = probe_image(detector.backbone.image_size).to(detector.head.weight.device)
    expected = vectors.get("logits")
    if not isinstance(expected, list) or len(expected) != 2 or not all(isinstance(x, (int, float)) for x in expected):
        expected = []
    if not expected or vectors.get("input") != _FORMULA or vectors.get("shape") != list(image.shape):
        raise LNCLIPError(f"{path}: the test vectors are damaged, or of another model; export the weights again")
    found = functional_call(Logits(detector), state, (image,))[0].tolist()
    worst = max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(found, expected, strict=True))
    if not worst <= TOLERANCE or not all(map(math.isfinite, found)):
        shown = ", ".join(f"{x:.4f}" for x in found), ", ".join(f"{x:.4f}" for x in expected)
        raise LNCLIPError(
            f"{path} fails its own test vectors: logits {shown[0]} instead of {shown[1]}; the weights, the activation "
            "or the configuration differ from those that were exported. Nothing was loaded"
        )
    return worst
