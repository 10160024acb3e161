"""Resize and normalise a frame for the model."""

import cv2
import numpy as np
import torch
from PIL import Image

from lnclip_df.config.schema import Config


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


def model_input(image: np.ndarray, config: Config) -> torch.Tensor:
    """Resize and normalise a frame: uint8 H×W×3 to float32 3×R×R, where R is ``resolution``."""
    resized = resize(image, config.resolution, config.lnclip.resize)
    return normalize(resized, config.mean, config.std)
