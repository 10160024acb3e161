"""Resize a frame for the detector."""

import cv2
import numpy as np
import torch
from PIL import Image

from lnclip_df.config.schema import Config
from lnclip_df.models.backbones import processor_of
from lnclip_df.models.backbones.base import Processor, bilinear
from lnclip_df.models.pixels import as_tensor, normalize


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize a uint8 H×W×3 frame to ``size`` × ``size`` pixels as DeepfakeBench does: bicubic, without antialiasing."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)


def resize_as(image: np.ndarray, processor: Processor) -> np.ndarray:
    """Resize a uint8 H×W×3 frame as a backbone's own processor does, antialiased and rounded: uint8 S×S×3."""
    resized = processor.resized or processor.size
    low = (resized - processor.size) // 2
    picture = Image.fromarray(image).resize((resized, resized), Image.Resampling[processor.resample.upper()])
    return np.array(picture.crop((low, low, low + processor.size, low + processor.size)))


def at_resolution(image: np.ndarray, config: Config) -> np.ndarray:
    """Resize a uint8 H×W×3 frame to ``resolution``, which a 256-pixel crop has by default.

    With ``lnclip.resize: backbone`` the detector resizes from there to its backbone's size. What is not yet at
    ``resolution`` is resized as by DeepfakeBench. If ``resolution`` is the backbone's size, the detector has nothing
    left to do, and the backbone's own resize is applied here.
    """
    own = _own_resize(config)
    return resize(image, config.resolution) if own is None else resize_as(image, own)


def model_input(image: np.ndarray, config: Config) -> torch.Tensor:
    """Resize a frame: uint8 H×W×3 to the detector's input, uint8 3×R×R; R is ``resolution``.

    Float32 and normalised, where a backbone's own bilinear resize, which does not round, is applied here.
    """
    if is_float(config):
        return bilinear(normalize(as_tensor(image), config.mean, config.std)[None], config.resolution)[0]
    return as_tensor(at_resolution(image, config))


def is_float(config: Config) -> bool:
    """Whether ``model_input`` gives float32."""
    own = _own_resize(config)
    return own is not None and own.resample == "bilinear"


def _own_resize(config):
    """The backbone's processor, where its resize is applied to the frame, not in the detector; else None."""
    own = processor_of(config.lnclip.backbone)
    return own if config.lnclip.resize == "backbone" and config.resolution == own.size else None
