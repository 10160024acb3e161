"""Augmentation of training frames: lists of albumentations transforms, as functions of image and seed."""

import inspect
import os
import random
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch

from lnclip_df.config.schema import Config
from lnclip_df.core.registry import Registry
from lnclip_df.models.input import at_resolution, model_input, normalize

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise its import asks the network for a newer version
import albumentations as A


class Augmentation(NamedTuple):
    """A list of albumentations transforms for a configuration, applied before or after the resize to ``resolution``."""

    transforms: Callable[[Config], list]
    resize_first: bool = False


class SeededCompose:
    """Albumentations transforms as a function of image (uint8 H×W×3) and seed alone; returns uint8 H×W×3."""

    def __init__(self, transforms: list):
        self.compose = A.Compose(transforms)

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        if not self.compose.transforms:
            return image
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


class TrainTransform:
    """Augment and normalise a frame: ``lnclip.augmentation``, or none without ``use_data_augmentation``.

    ``paper`` augments the stored 256-px crop before any resize, as the authors' released code does: traces of JPEG and
    blur are resampled with the face, as in the test videos. ``deepfakebench`` augments at ``resolution``.
    """

    def __init__(self, config: Config):
        self.config = config
        name = config.lnclip.augmentation if config.use_data_augmentation else "none"
        augmentation = AUGMENTATIONS.choose(name)
        self.augment = SeededCompose(augmentation.transforms(config))
        self.resize_first = augmentation.resize_first

    def __call__(self, image: np.ndarray, seed: int) -> torch.Tensor:
        """Return float32 3×R×R (R: ``resolution``) of a uint8 H×W×3 frame."""
        config = self.config
        if not self.resize_first:
            return model_input(self.augment(image, seed), config)
        return normalize(self.augment(at_resolution(image, config), seed), config.mean, config.std)


def paper(config: Config) -> list:
    """Return the paper's list; kernel, sigma and probabilities are those of the authors' released code."""
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


def deepfakebench(config: Config) -> list:
    """Return DeepfakeBench's list for ``data_aug``; as there, ``brightness_prob`` is not used."""
    limits = config.data_aug
    assert limits is not None  # the schema requires the section for this augmentation
    brightness = A.RandomBrightnessContrast(
        brightness_limit=tuple(limits.brightness_limit), contrast_limit=tuple(limits.contrast_limit)
    )
    return [
        A.HorizontalFlip(p=limits.flip_prob),
        A.Rotate(limit=tuple(limits.rotate_limit), border_mode=cv2.BORDER_REFLECT_101, p=limits.rotate_prob),
        opencv_blur(*limits.blur_limit, p=limits.blur_prob),
        A.OneOf([brightness, A.FancyPCA(), A.HueSaturationValue()], p=0.5),
        _jpeg(limits.quality_lower, limits.quality_upper, p=0.5),
    ]


def opencv_blur(low: int, high: int, p: float):
    """Return a Gaussian blur whose sigma follows from its kernel size by OpenCV's rule, as in albumentations 1."""
    sizes = [size + 1 - size % 2 for size in range(low, high + 1)]
    kernels = [(size, 0.3 * ((size - 1) * 0.5 - 1) + 0.8, sizes.count(size) / len(sizes)) for size in sorted({*sizes})]
    blurs = [A.GaussianBlur(blur_limit=(k, k), sigma_limit=(sigma, sigma), p=weight) for k, sigma, weight in kernels]
    return A.OneOf(blurs, p=p)


def _jpeg(low: int, high: int, p: float):
    if "quality_range" in inspect.signature(A.ImageCompression.__init__).parameters:
        return A.ImageCompression(quality_range=(low, high), p=p)
    return A.ImageCompression(quality_lower=low, quality_upper=high, p=p)


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    {
        "paper": Augmentation(paper),
        "deepfakebench": Augmentation(deepfakebench, resize_first=True),
        "none": Augmentation(lambda config: []),
    },
)
