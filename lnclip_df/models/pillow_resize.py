"""Pillow's antialiased bicubic resize of 8-bit images, as matrix products on normalised tensors: equal to the bit.

Pillow resizes 8-bit images along rows, then along columns. Each output value is a sum of grey levels, weighted by
integers of 22 fractional bits, rounded and limited to 0..255. A float32 product cannot represent such sums. So each
weight is split into three digits of 8 bits: every partial sum is then an integer below 2²⁴, which float32 represents
exactly, in any order of summation, also where TF32 or bfloat16 operands are allowed.
"""

from functools import lru_cache

import numpy as np
import torch

from lnclip_df.models.pixels import per_channel
from lnclip_df.models.uncompiled import uncompiled

FRACTION = 22  # bits of Pillow's weights after the binary point
DIGIT = 8  # bits
BLOCK = 64  # outputs that are computed at once


@lru_cache(maxsize=32)
def pillow_weights(old: int, new: int) -> np.ndarray:
    """Return the weights with which Pillow's bicubic filter resizes ``old`` pixels to ``new``, times 2²².

    int64 new×old. The filter is Keys' cubic with a = −0.5, widened by the scale where the image shrinks.
    """
    scale = old / new
    stretch = max(scale, 1.0)
    weights = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * scale
        low, high = max(int(centre - 2 * stretch + 0.5), 0), min(int(centre + 2 * stretch + 0.5), old)
        x = np.abs((np.arange(low, high) - centre + 0.5) / stretch)
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        values = np.where(x < 1, near, np.where(x < 2, far, 0.0))
        weights[row, low:high] = values / values.sum()
    return np.trunc(weights * (1 << FRACTION) + np.copysign(0.5, weights)).astype(np.int64)


@lru_cache(maxsize=32)
def _blocks(old, new, device):
    """The weights of each block of outputs, on ``device``: its first and last input, and three digits side by side.

    Digits are float32 inputs×(3·outputs), the lowest first. Only the inputs that a block needs are multiplied.
    """
    rest, digits, base = pillow_weights(old, new), [], 1 << DIGIT
    for _ in range(2):
        digits.append((rest + base // 2) % base - base // 2)  # within −128..127
        rest = (rest - digits[-1]) // base
    weights = np.stack([*digits, rest]).transpose(2, 0, 1).astype(np.float32)  # inputs×3×outputs
    blocks = []
    for start in range(0, new, BLOCK):
        block = weights[:, :, start : start + BLOCK]
        used = np.flatnonzero(block.any(axis=(1, 2)))
        low, high = used[0], used[-1] + 1
        with torch.inference_mode(False):
            blocks.append((low, high, torch.from_numpy(block[low:high].reshape(high - low, -1)).to(device)))
    return blocks


def _resize_rows(grey, new):
    """Resize whole grey levels float32 …×old to …×new."""
    old = grey.shape[-1]
    if old == new:
        return grey
    parts = []
    for low, high, digits in _blocks(old, new, grey.device):
        units, middle, top = (grey[..., low:high] @ digits).chunk(3, dim=-1)
        carry = units.add_(1 << (FRACTION - 1)).mul_(2**-DIGIT).floor_()  # the half that rounds
        carry = middle.add_(carry).mul_(2**-DIGIT).floor_()
        parts.append(top.add_(carry).mul_(2.0 ** (2 * DIGIT - FRACTION)).floor_().clamp_(0, 255))
    return torch.cat(parts, dim=-1)


@uncompiled
@torch.no_grad()
def pillow_bicubic(image: torch.Tensor, size: int, mean, std) -> torch.Tensor:
    """Resize images as Pillow's ``Image.resize(…, BICUBIC)`` resizes their uint8 pixels, to the last bit.

    Runs outside autocast. Rounding to grey levels has no gradient: none flows to ``image``. Of images that are not
    square, Pillow 13 resizes some along columns first, which changes the rounding.

    Args:
        image: uint8 B×3×R×R; or normalised, (pixel / 255 − mean) / std, then rounded to grey levels first.
        size: height and width of the result.
        mean, std: of the normalisation, one value per channel.

    Returns:
        float32 B×3×size×size, normalised.
    """
    with torch.autocast(image.device.type, enabled=False):
        mean, std = (per_channel(tuple(each), image.device) for each in (mean, std))
        if image.dtype == torch.uint8:
            grey = image.to(torch.float32, memory_format=torch.contiguous_format)
        else:
            grey = (image.float() * std + mean).mul_(255).round_().clamp_(0, 255)
        grey = _resize_rows(_resize_rows(grey, size).mT, size).mT
        return (grey / 255).sub_(mean).div_(std).contiguous()
