"""Heat maps of what a detector takes for signs of a fake: gradient-weighted attention rollout, and its overlay."""

from contextlib import contextmanager

import cv2
import numpy as np
import torch

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.backbones.clip import VisionTower
from lnclip_df.models.sphere import normalize

OPACITY = 0.8  # of the colour at the maximum of the heat


def rollout(detector, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Relevance of each patch to the CLS token's decision, by gradient-weighted attention rollout.

    Chefer, Gur & Wolf, *Generic Attention-Model Explainability*, ICCV 2021, equations 5 and 6: with A the attention of
    a block after softmax and ∇A = ∂y/∂A, Ā = E_heads((∇A ⊙ A)⁺) and R ← R + Ā R, from R = 1 through all blocks. The map
    is R's CLS row without CLS itself. y is the logit of fake minus that of real, after normalisation and head: the
    probability is σ(y), and what a patch adds to both logits cancels. So the heat shows evidence for fake, also in a
    face that is classified as real.

    Everything is computed in the parameters' precision, without autocast: where ``lnclip.precision`` is bf16, the
    probability differs from the detector's own by that rounding. Images are processed one at a time. Gradients are
    computed for the attention only, never for the parameters, and the detector keeps its mode.

    Args:
        detector: an ``LNCLIPDetector``.
        images: the detector's input, B×3×H×W, on any device.

    Returns:
        The heat, float32 B×g×g, 0 or more, for g×g patches from the top left; and the probability of fake, float64 B,
        0..1.

    Raises:
        LNCLIPError: the backbone is not CLIP's; or heat or probability is not a number: the weights are damaged.
        ValueError: the images have another shape or dtype than the detector takes.
    """
    require_attention(detector)
    side = detector.backbone.spec.image_size // detector.backbone.spec.patch_size
    heat, prob = np.zeros((len(images), side, side), np.float32), np.zeros(len(images))
    for index in range(len(images)):
        row, logit = _relevance(detector, images[index : index + 1])
        heat[index], prob[index] = row.view(side, side).cpu().numpy(), logit.sigmoid().item()
    if not (np.isfinite(heat).all() and np.isfinite(prob).all()):
        raise LNCLIPError("the detector's attention or probability is not a number; the weights are damaged")
    return heat, prob


def gives_attention(detector) -> bool:
    """Whether the detector's backbone gives the attention that heat maps are made of: CLIP's does."""
    return isinstance(detector.backbone, VisionTower)


def require_attention(detector):
    """Raise LNCLIPError, which names the backbone, unless it gives the attention for heat maps."""
    if not gives_attention(detector):
        name = detector.settings.backbone.name
        raise LNCLIPError(f"heat maps need the attention of a CLIP backbone; {name} does not give it")


def overlay(crop: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Draw a heat map over its crop.

    The heat is enlarged bilinearly and divided by its maximum: colours can be compared within one picture, not between
    pictures. Colour (the perceptually uniform *viridis*, unlike any skin) and opacity grow with the heat. Where it is 0
    the crop is unchanged.

    Args:
        crop: uint8 S×S×3, RGB.
        heat: g×g, finite, 0 or more; see ``rollout``.

    Returns:
        uint8 S×S×3, RGB.

    Raises:
        ValueError: the crop has another shape or dtype.

    >>> crop = np.full((8, 8, 3), 90, np.uint8)
    >>> bool((overlay(crop, np.zeros((2, 2))) == crop).all())
    True
    """
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[0] != crop.shape[1] or crop.shape[2] != 3:
        raise ValueError(f"crop: {crop.shape} {crop.dtype} received; needs S×S×3 uint8")
    strength = cv2.resize(np.asarray(heat, np.float32), crop.shape[:2], interpolation=cv2.INTER_LINEAR)
    strength = strength / (strength.max() or 1)
    colour = cv2.applyColorMap((255 * strength).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    opacity = OPACITY * strength[..., None]
    return ((1 - opacity) * crop + opacity * colour).round().astype(np.uint8)


class _RecordingAttention:
    """Attention for ``VisionTower.forward`` that records every block's weights, B×heads×N×N, for their gradients.

    The last block computes the CLS token only: B×heads×1×N.
    """

    def __init__(self):
        self.weights = []

    def __call__(self, q, k, v):
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
        if not weights.requires_grad:  # no parameter before them is trained
            weights.requires_grad_()
        self.weights.append(weights)
        return weights @ v


def _relevance(detector, image):
    """The patches' relevance, float N−1, and the logit of fake minus that of real, a scalar."""
    attention, device = _RecordingAttention(), detector.head.weight.device
    with _differentiable(detector.backbone, device):
        image = image.detach().clone().to(device)  # an ordinary tensor, even if it was made in inference mode
        image = detector.backbone_input(image)
        feature = detector.backbone.forward(image, attention)  # not a call, which may be compiled
        logits = detector.classifier(normalize(feature) if detector.settings.normalize else feature)
        logit = logits[0, 1] - logits[0, 0]
        gradients = torch.autograd.grad(logit, attention.weights)
        return _cls_row(attention.weights, gradients), logit.detach()


@torch.no_grad()
def _cls_row(weights, gradients):
    """The CLS row of (1 + Ā_L) … (1 + Ā_1), without CLS: one row times one matrix per block, from last to first."""
    row = torch.eye(1, weights[0].shape[-1]).to(weights[0])
    for attention, gradient in zip(reversed(weights), reversed(gradients), strict=True):
        relevance = (gradient * attention).clamp(min=0).mean(dim=1)[0]
        row = row + row[:, : len(relevance)] @ relevance
    return row[0, 1:]


@contextmanager
def _differentiable(module, device):
    """Gradients on and autocast off, for the backward pass too, with the module in evaluation mode."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        module.train(training)
