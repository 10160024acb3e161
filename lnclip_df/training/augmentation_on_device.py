"""The augmentation of the authors' code for batches on any device, with the numbers that ``Authors`` draws on the CPU.

It makes no GPU wait. Its pixels are those of ``lnclip_df.training.augmentation`` but for rounding; JPEG is computed
without its lossless part, which changes no pixel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from lnclip_df.training.augmentation import Draws

Columns = Any  # a Draws whose fields are tensors B

# The example tables of ITU-T T.81, annex K.1, for brightness and colour, which libjpeg scales by the quality.
LUMINANCE = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
               18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101
               72 92 95 98 112 100 103 99"""
CHROMINANCE = """17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
                 99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99"""


@torch.no_grad()
def augment(images: torch.Tensor, draws: torch.Tensor, kernel: tuple[int, int]) -> torch.Tensor:
    """Augment square images.

    Args:
        images: uint8 B×3×R×R.
        draws: float32 B×10, a row of :class:`Draws` for each image, on the images' device.
        kernel: width and height of the blur in pixels.

    Returns:
        uint8 B×3×R×R.
    """
    drawn: Columns = Draws(*draws.T)
    with _exact(images.device):
        pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
        pixels = affine(pixels, drawn)
        pixels = blur(pixels, drawn.sigma, kernel)
        pixels = adjust(pixels, drawn)
        return jpeg(pixels, drawn.quality).to(torch.uint8)


@contextmanager
def _exact(device) -> Iterator[None]:
    """Products in float32: neither autocast nor TF32, which ``lnclip.precision: tf32`` allows, rounds them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def affine(images: torch.Tensor, drawn: Columns) -> torch.Tensor:
    """Mirror images B×3×R×R where that is drawn, and turn, scale and move them as ``augmentation.affine``."""
    angle, middle = drawn.angle.deg2rad(), images.shape[-1] / 2
    cos, sin = angle.cos() / drawn.scale, angle.sin() / drawn.scale
    dx, dy = ((share * images.shape[-1]).round() / middle for share in (drawn.dx, drawn.dy))
    sign = 1 - 2 * drawn.mirrored
    rows = [sign * cos, sign * sin, -sign * (cos * dx + sin * dy), -sin, cos, sin * dx - cos * dy]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)


def blur(images: torch.Tensor, sigma: torch.Tensor, kernel: tuple[int, int]) -> torch.Tensor:
    """Blur images B×3×R×R, each by its sigma B, as ``augmentation.blur``; none where it is 0."""
    for size, dim in zip(kernel, (3, 2), strict=True):
        half, length = size // 2, images.shape[dim]
        distance = torch.arange(-half, half + 1, device=images.device) / sigma.clamp(min=1e-3)[:, None]
        weight = (-(distance**2) / 2).softmax(dim=1)
        padded = F.pad(images, (half, half, 0, 0) if dim == 3 else (0, 0, half, half), mode="reflect")
        images = torch.zeros_like(images)
        for at in range(size):
            images.addcmul_(_each(weight[:, at]), padded.narrow(dim, at, length))
    return images.round()


def adjust(images: torch.Tensor, drawn: Columns) -> torch.Tensor:
    """Change brightness and contrast of images B×3×R×R in the order that is drawn for each."""
    for first in (1, 0):
        contrast = drawn.contrast_first == first
        factor = torch.where(contrast, drawn.contrast, drawn.brightness)
        offset = contrast * _grey(images).round().mean((1, 2, 3)) * (1 - factor)
        images = (images * _each(factor) + _each(offset)).clamp_(0, 255).floor_()
    return images


def jpeg(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Return images B×3×H×W, of whole numbers 0..255, as libjpeg compresses and decodes them at a quality B, 1..100.

    Colours are stored at half the width and height. Differs from libjpeg, whose arithmetic is in whole numbers, by a
    rounding here and there.
    """
    height, width = images.shape[2:]
    images = F.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate")
    luma = _grey(images).round()
    red, _, blue = images.split(1, dim=1)
    grey = _grey(images)
    colours = torch.cat([(blue - grey) / 1.772, (red - grey) / 1.402], dim=1).round()
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    luminance, chrominance = _tables(images.device)
    luma = _coded(luma - 128, luminance, scale).add_(128)
    colours = _doubled(_coded(_halved(colours), chrominance, scale))
    blue, red = colours.split(1, dim=1)
    green = -0.344136 * blue - 0.714136 * red
    decoded = luma + torch.cat([1.402 * red, green, 1.772 * blue], dim=1)
    return decoded.round_().clamp_(0, 255)[..., :height, :width]


def _grey(images):
    red, green, blue = images.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _each(values):
    """One value per image, for images B×3×H×W."""
    return values.view(-1, 1, 1, 1)


def _halved(images):
    """The mean of every 2×2 pixels; libjpeg rounds 0.5 down in the even columns, up in the odd ones."""
    mean = F.avg_pool2d(images, 2)
    bias = torch.arange(mean.shape[-1], device=images.device) % 2
    return ((4 * mean).round() + 1 + bias).div_(4).floor_()


def _doubled(planes):
    """Planes B×C×H×W at twice the size, by libjpeg's triangle filter; it rounds 0.5 up in the even columns alone."""
    doubled = F.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)
    odd = torch.arange(doubled.shape[-1], device=planes.device) % 2
    return doubled.add_((8 - odd) / 16).floor_()


def _coded(planes, table, scale):
    """Planes B×C×H×W around 0, whose 8×8 blocks' coefficients are rounded to multiples of a scaled table."""
    batch, channels, height, width = planes.shape
    dct = _dct(planes.device)
    steps = ((table * scale.view(-1, 1, 1) + 50) / 100).floor().clamp(1, 255).view(batch, 1, 1, 1, 8, 8)
    blocks = planes.view(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    multiples = dct @ blocks @ dct.T / steps
    coefficients = (multiples.abs() + 0.5001).floor_().copysign_(multiples).mul_(steps)  # libjpeg rounds 0.5 up
    decoded = (dct.T @ coefficients @ dct).transpose(3, 4).reshape(planes.shape)
    return decoded.round_().clamp_(-128, 127)


@lru_cache
def _tables(device) -> torch.Tensor:
    """The quantisation tables 2×8×8; cached, because the copy makes a GPU wait."""
    numbers = [[float(word) for word in text.split()] for text in (LUMINANCE, CHROMINANCE)]
    with torch.inference_mode(False):
        return torch.tensor(numbers, device=device).view(2, 8, 8)


@lru_cache
def _dct(device) -> torch.Tensor:
    """The orthonormal matrix 8×8 of the discrete cosine transform."""
    at = torch.arange(8.0, dtype=torch.float64)
    with torch.inference_mode(False):
        waves = torch.cos(torch.pi / 8 * at[:, None] * (at + 0.5)) / 2
        waves[0] /= 2**0.5
        return waves.to(device, torch.float32)
