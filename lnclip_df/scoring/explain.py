"""Where in a face a detector sees signs of a fake: gradient-weighted attention rollout, and its overlay on the crop."""

from contextlib import contextmanager

import cv2
import numpy as np
import torch

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.sphere import normalize

OPACITY = 0.8  # of the colour where the heat is greatest


def rollout(detector, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Relevance of each patch to the CLS token's decision, by gradient-weighted attention rollout.

    Chefer, Gur & Wolf, *Generic Attention-Model Explainability*, ICCV 2021, equations 5 and 6: with A the attention of
    a block after softmax and ∇A = ∂y/∂A, Ā = E_heads((∇A ⊙ A)⁺) and R ← R + Ā R, from R = 1 through all blocks. The map
    is R's CLS row without CLS itself. y is the logit of fake less that of real, through normalisation and head: the
    probability is σ(y), whereas what a patch adds to both logits decides nothing. So the heat is what speaks for fake,
    also in a face that is found real.

    Everything is computed in the parameters' precision, without autocast: where ``lnclip.precision`` is bf16, the
    probability differs from the detector's own by that rounding. The gradients reach the attention alone, one image at
    a time; the parameters need none and are given none, and the detector's mode is as before.

    Args:
        detector: an ``LNCLIPDetector``.
        images: B×3×H×W as the detector takes them, on any device.

    Returns:
        The heat, float32 B×g×g, 0 or more, g patches a side, in row order from the top left; and the probability of
        fake, float64 B, in 0..1.

    Raises:
        LNCLIPError: heat or probability is not a number: the weights are damaged.
        ValueError: the images' shape or dtype is not the detector's.
    """
    side = detector.backbone.spec.image_size // detector.backbone.spec.patch_size
    heat, prob = np.zeros((len(images), side, side), np.float32), np.zeros(len(images))
    for place in range(len(images)):
        row, logit = _relevance(detector, images[place : place + 1])
        heat[place], prob[place] = row.view(side, side).cpu().numpy(), logit.sigmoid().item()
    if not (np.isfinite(heat).all() and np.isfinite(prob).all()):
        raise LNCLIPError("the detector's attention or probability is not a number; the weights are damaged")
    return heat, prob


def overlay(crop: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a heat map over the crop that it is of.

    The heat is enlarged bilinearly and divided by its maximum: colours compare places in one picture, not pictures.
    Colour (the perceptually uniform *viridis*, unlike any skin) and opacity grow with it, so that a patch without heat,
    or a whole map of zeros, leaves the crop as it is.

    Args:
        crop: uint8 S×S×3, RGB.
        heat: g×g, finite, 0 or more, as ``rollout`` gives it.

    Returns:
        uint8 S×S×3, RGB.

    Raises:
        ValueError: the crop's shape or dtype is another.

    >>> crop = np.full((8, 8, 3), 90, np.uint8)
    >>> bool((overlay(crop, np.zeros((2, 2))) == crop).all())
    True
    """
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[0] != crop.shape[1] or crop.shape[2] != 3:
        raise ValueError(f"crop: received {crop.shape} {crop.dtype}; needs S×S×3 uint8")
    strength = cv2.resize(np.asarray(heat, np.float32), crop.shape[:2], interpolation=cv2.INTER_LINEAR)
    strength /= strength.max() or 1
    colour = cv2.applyColorMap((255 * strength).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    opacity = OPACITY * strength[..., None]
    return ((1 - opacity) * crop + opacity * colour).round().astype(np.uint8)


class _Kept:
    """Attention written out, for ``VisionTower.forward``; every block's weights, B×heads×N×N, are kept for a gradient.

    The last block's are B×heads×1×N, those of the CLS token.
    """

    def __init__(self):
        self.weights = []

    def __call__(self, q, k, v):
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
        if not weights.requires_grad:  # nothing before them is trained
            weights.requires_grad_()
        self.weights.append(weights)
        return weights @ v


def _relevance(detector, image):
    """The patches' relevance, float N−1, and the logit of fake less that of real, a scalar."""
    kept, device = _Kept(), detector.head.weight.device
    with _differentiable(detector.backbone, device):
        image = image.detach().clone().to(device)  # an ordinary tensor, also where it was made in inference mode
        feature = detector.backbone.forward(image, kept)  # by forward, as the call may be compiled
        logits = detector.classifier(normalize(feature) if detector.settings.normalize else feature)
        logit = logits[0, 1] - logits[0, 0]
        gradients = torch.autograd.grad(logit, kept.weights)
        return _cls_row(kept.weights, gradients), logit.detach()


@torch.no_grad()
def _cls_row(weights, gradients):
    """The CLS row of (1 + Ā_L) … (1 + Ā_1), without CLS: one row times one matrix a block, from the last to the first.

    Of the last block only the first row counts, and is there: CLS alone is asked for there.
    """
    tokens = weights[0].shape[-1]
    row = torch.eye(1, tokens, dtype=weights[0].dtype, device=weights[0].device)
    for attention, gradient in zip(reversed(weights), reversed(gradients), strict=True):
        relevance = (gradient * attention).clamp(min=0).mean(dim=1)[0]
        row = row + row[:, : len(relevance)] @ relevance
    return row[0, 1:]


@contextmanager
def _differentiable(module, device):
    """Gradients within, whatever is without; no autocast, the backward pass included; the module in evaluation mode."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        module.train(training)
