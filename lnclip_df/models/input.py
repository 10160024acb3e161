"""Resize and normalise a frame for the detector."""

import cv2
import numpy as np
import torch
from PIL import Image

from lnclip_df.config.schema import Config
from lnclip_df.models.backbones import image_size


def resize(image: np.ndarray, size: int, how: str) -> np.ndarray:
    """Resize a uint8 H×W×3 frame to ``size`` × ``size`` pixels.

    ``how`` is ``deepfakebench`` (OpenCV's bicubic without antialiasing, as DeepfakeBench trains and tests) or ``clip``
    (antialiased bicubic, as CLIP's own processor).
    """
    if how == "deepfakebench":
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    if how == "clip":
        return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    raise ValueError(f"how is {how!r}; expected deepfakebench or clip")


def normalize(image: np.ndarray, mean, std) -> torch.Tensor:
    """Scale a frame to 0..1 and normalise each channel: uint8 H×W×3 to float32 3×H×W."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
    mean, std = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (mean, std))
    return tensor.sub_(mean).div_(std)


def at_resolution(image: np.ndarray, config: Config) -> np.ndarray:
    """Resize a uint8 H×W×3 frame to ``resolution``, which a 256-pixel crop has by default.

    With ``lnclip.resize: clip`` the detector resizes from there to its backbone's size. What is not yet at
    ``resolution`` is resized as by DeepfakeBench. If ``resolution`` is the backbone's size, the detector has nothing
    left to do, and CLIP's resize is applied here.
    """
    clip_here = config.lnclip.resize == "clip" and config.resolution == image_size(config.lnclip.backbone)
    return resize(image, config.resolution, "clip" if clip_here else "deepfakebench")


def model_input(image: np.ndarray, config: Config) -> torch.Tensor:
    """Resize and normalise a frame: uint8 H×W×3 to the detector's input, float32 3×R×R; R is ``resolution``."""
    return normalize(at_resolution(image, config), config.mean, config.std)
