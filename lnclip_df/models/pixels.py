"""Images as tensors: stacked into batches of uint8, and normalised on their device."""

from functools import lru_cache

import numpy as np
import torch


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """Return an image H×W×3 as a tensor 3×H×W, of the same memory if it can be written to."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)


def stack(images: list[torch.Tensor]) -> torch.Tensor:
    """Stack images 3×H×W of ``as_tensor`` into B×3×H×W, whose memory is B×H×W×3: each is one copy of its memory."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def normalize(images: torch.Tensor, mean, std) -> torch.Tensor:
    """Scale images to 0..1 and normalise each channel: uint8 …×3×H×W to float32, contiguous, on the same device.

    Images of a floating dtype are normalised already, and returned as they are.
    """
    if images.dtype != torch.uint8:
        return images
    scaled = images.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    mean, std = (per_channel(tuple(each), images.device) for each in (mean, std))
    return scaled.sub_(mean).div_(std)


@lru_cache(maxsize=32)
def per_channel(values: tuple[float, float, float], device: torch.device) -> torch.Tensor:
    """Return one value per channel on ``device``, float32 3×1×1; cached, because the copy makes a GPU wait."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)
