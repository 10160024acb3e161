"""Augmentation of training frames: lists of albumentations transforms, as functions of image and seed."""

import inspect
import os
import random
from collections.abc import Callable
from functools import partial
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

    ``paper`` and ``gend`` augment the stored crop before any resize, as the authors' code does: traces of JPEG and blur
    are resampled with the face, as in the test videos. ``deepfakebench`` augments at ``resolution``.
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
    """Return the list of the authors' first release: its blur is always applied, 3 pixels wide and 7 high."""
    return _authors((3, 7), blurred=1.0)


def gend(config: Config) -> list:
    """Return the list of the authors' later release (GenD): its blur of 7×7 pixels is applied to every tenth image."""
    return _authors((7, 7), blurred=0.1)


def _authors(kernel, blurred):
    """The transforms of both releases, whose pixels are those of torchvision on Pillow's images."""
    turn = {"angle": (-10, 10), "dx": (-0.1, 0.1), "dy": (-0.1, 0.1), "scale": (0.9, 1.1)}
    return [
        A.HorizontalFlip(p=0.5),
        Drawn(affine, turn),
        Drawn(partial(blur, kernel=kernel), {"sigma": (0.1, 2.0)}, p=blurred),
        A.ColorJitter(brightness=(0.9, 1.1), contrast=(0.9, 1.1), saturation=(1.0, 1.0), hue=(0.0, 0.0), p=1.0),
        Drawn(jpeg, {"quality": (40, 101)}),
    ]


class Drawn(A.ImageOnlyTransform):
    """Applies ``function(image, **numbers)``, each number drawn uniformly from its range, with probability ``p``."""

    def __init__(self, function: Callable[..., np.ndarray], ranges: dict[str, tuple[float, float]], p: float = 1.0):
        super().__init__(p=p)
        self.function, self.ranges = function, ranges

    def get_params(self) -> dict[str, float]:
        generator = getattr(self, "py_random", random)  # older releases draw from the global generator
        return {name: generator.uniform(*limits) for name, limits in self.ranges.items()}

    def apply(self, img: np.ndarray, **params) -> np.ndarray:
        return self.function(img, **{name: params[name] for name in self.ranges})

    def get_transform_init_args_names(self):
        return "function", "ranges"


def affine(image: np.ndarray, angle: float, dx: float, dy: float, scale: float) -> np.ndarray:
    """Turn an image by ``angle`` degrees clockwise about its middle, scale it, and move it by shares of its size.

    As ``torchvision.transforms.v2.RandomAffine``: moved by whole pixels, the nearest pixel is taken, the rest is black.
    """
    height, width = image.shape[:2]
    cos, sin = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
    inverse = np.array([[cos, sin], [-sin, cos]])  # of a place in the result to one in the image
    middle = np.array([width, height]) / 2
    moved = np.round([dx * width, dy * height])
    offset = middle + inverse @ (0.5 - middle - moved) - 0.5  # pixels are squares whose middles are at halves
    return cv2.warpAffine(
        image, np.c_[inverse, offset], (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )


def blur(image: np.ndarray, sigma: float, kernel: tuple[int, int]) -> np.ndarray:
    """Blur an image by a Gaussian, cut to ``kernel`` pixels (width, height), the border mirrored."""
    return cv2.GaussianBlur(image, kernel, sigma, borderType=cv2.BORDER_REFLECT_101)


def jpeg(image: np.ndarray, quality: float) -> np.ndarray:
    """Compress an image; ``quality`` is rounded down. Albumentations' own transform takes red for blue."""
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was just encoded
    return np.ascontiguousarray(decoded[..., ::-1])


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
        _compression(limits.quality_lower, limits.quality_upper, p=0.5),
    ]


def opencv_blur(low: int, high: int, p: float):
    """Return a Gaussian blur whose sigma follows from its kernel size by OpenCV's rule, as in albumentations 1."""
    sizes = [size + 1 - size % 2 for size in range(low, high + 1)]
    kernels = [(size, 0.3 * ((size - 1) * 0.5 - 1) + 0.8, sizes.count(size) / len(sizes)) for size in sorted({*sizes})]
    blurs = [A.GaussianBlur(blur_limit=(k, k), sigma_limit=(sigma, sigma), p=weight) for k, sigma, weight in kernels]
    return A.OneOf(blurs, p=p)


def _compression(low: int, high: int, p: float):
    if "quality_range" in inspect.signature(A.ImageCompression.__init__).parameters:
        return A.ImageCompression(quality_range=(low, high), p=p)
    return A.ImageCompression(quality_lower=low, quality_upper=high, p=p)


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    {
        "paper": Augmentation(paper),
        "gend": Augmentation(gend),
        "deepfakebench": Augmentation(deepfakebench, resize_first=True),
        "none": Augmentation(lambda config: []),
    },
)
