"""What becomes of a frame before the model: augmentation, resize, normalisation."""

import inspect
import os
import random
from collections.abc import Callable

import cv2
import numpy as np
import torch
from PIL import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A


def resize(image: np.ndarray, size: int, how: str) -> np.ndarray:
    """Resize a frame to ``size`` × ``size``.

    Args:
        image: uint8 H×W×3.
        size: side in pixels.
        how: ``deepfakebench`` (OpenCV's bicubic, no antialiasing: what it trains and tests on) or ``clip``
            (antialiased bicubic, as CLIP's own processor).

    Returns:
        uint8 ``size`` × ``size`` × 3.
    """
    if how == "deepfakebench":
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    if how == "clip":
        return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    raise ValueError(f"how is {how!r}, not deepfakebench or clip")


def normalize(image: np.ndarray, mean, std) -> torch.Tensor:
    """Scale a frame to 0..1 and normalise it per channel: uint8 H×W×3 to float32 3×H×W."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
    mean, std = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (mean, std))
    return tensor.sub_(mean).div_(std)


def train_transform(config: dict) -> Callable:
    """Augmentation and resize in the order that the augmentation's source has.

    ``paper`` augments the stored 256-px crop and then resizes, as the authors' released code does: what JPEG and blur
    leave behind is resampled with the face, as in the test videos. ``deepfakebench`` resizes first, then augments.

    Returns:
        A callable (uint8 H×W×3, seed) → uint8 R×R×3, R being ``config["resolution"]``.
    """
    augment, size, how = augmentation(config), config["resolution"], config["lnclip"]["resize"]
    if config["lnclip"]["augmentation"] == "deepfakebench":
        return lambda image, seed: augment(resize(image, size, how), seed)
    return lambda image, seed: resize(augment(image, seed), size, how)


def augmentation(config: dict) -> Callable:
    """The augmentation that ``lnclip.augmentation`` names; ``none`` also where ``use_data_augmentation`` is false.

    Returns:
        A callable (uint8 H×W×3, int seed) → uint8 H×W×3. Its result depends on the image and the seed alone.
    """
    name = config["lnclip"]["augmentation"] if config["use_data_augmentation"] else "none"
    if name == "paper":
        return Augmentation(_paper())
    if name == "deepfakebench":
        return Augmentation(_deepfakebench(config["data_aug"]))
    return lambda image, seed: image


class Augmentation:
    """Albumentations transforms as a function of image and seed."""

    def __init__(self, transforms: list):
        self.compose = A.Compose(transforms)

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        # Compose.set_random_seed would give every transform the same numbers: a flipped face would always be blurred.
        if hasattr(self.compose, "set_random_state"):
            self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
            return self.compose(image=image)["image"]
        state = random.getstate()  # older releases draw from the global generator
        try:
            random.seed(seed)
            return self.compose(image=image)["image"]
        finally:
            random.setstate(state)


def _paper():
    """The spec's list; the kernel, sigma and the probabilities (all but the flip: always) are the released code's."""
    shift = (-0.1, 0.1)
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(
            rotate=(-10, 10), translate_percent={"x": shift, "y": shift}, scale=(0.9, 1.1), keep_ratio=True, p=1.0
        ),
        A.GaussianBlur(blur_limit=(3, 7), sigma_limit=(0.1, 2.0), p=1.0),
        A.ColorJitter(brightness=(0.9, 1.1), contrast=(0.9, 1.1), saturation=(1.0, 1.0), hue=(0.0, 0.0), p=1.0),
        _jpeg(40, 100, p=1.0),
    ]


def _deepfakebench(data_aug):
    """DeepfakeBench's training augmentation; like it, it leaves ``brightness_prob`` unread."""
    return [
        A.HorizontalFlip(p=data_aug["flip_prob"]),
        A.Rotate(limit=tuple(data_aug["rotate_limit"]), border_mode=cv2.BORDER_REFLECT_101, p=data_aug["rotate_prob"]),
        _blur(*data_aug["blur_limit"], p=data_aug["blur_prob"]),
        A.OneOf(
            [
                A.RandomBrightnessContrast(
                    brightness_limit=tuple(data_aug["brightness_limit"]),
                    contrast_limit=tuple(data_aug["contrast_limit"]),
                ),
                A.FancyPCA(),
                A.HueSaturationValue(),
            ],
            p=0.5,
        ),
        _jpeg(data_aug["quality_lower"], data_aug["quality_upper"], p=0.5),
    ]


def _blur(low, high, p):
    """A Gaussian blur whose sigma follows from its kernel size by OpenCV's rule, as albumentations 1 has it."""
    sizes = [size + 1 - size % 2 for size in range(low, high + 1)]
    kernels = [(size, 0.3 * ((size - 1) * 0.5 - 1) + 0.8, sizes.count(size) / len(sizes)) for size in sorted({*sizes})]
    blurs = [A.GaussianBlur(blur_limit=(k, k), sigma_limit=(sigma, sigma), p=weight) for k, sigma, weight in kernels]
    return A.OneOf(blurs, p=p)


def _jpeg(low, high, p):
    if "quality_range" in inspect.signature(A.ImageCompression.__init__).parameters:
        return A.ImageCompression(quality_range=(low, high), p=p)
    return A.ImageCompression(quality_lower=low, quality_upper=high, p=p)
