"""Augmentation of training frames, as functions of image and seed."""

import inspect
import os
import random
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.models.input import as_tensor, at_resolution, model_input

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise its import asks the network for a newer version

Augment = Callable[[np.ndarray, int], np.ndarray]


class Augmentation(NamedTuple):
    """Makes a configuration's function (uint8 H×W×3 image, int seed) → uint8 H×W×3, which depends on these two alone.

    It is applied before the resize to ``resolution``, or after it with ``resize_first``.
    """

    make: Callable[[Config], Augment]
    resize_first: bool = False


class TrainTransform:
    """Augment a frame: ``lnclip.augmentation``, or none without ``use_data_augmentation``.

    ``paper`` and ``gend`` augment the stored crop before any resize, as the authors' code does: traces of JPEG and blur
    are resampled with the face, as in the test videos. ``deepfakebench`` augments at ``resolution``.

    Attributes:
        varies: whether an image depends on the seed.
        draw: with ``lnclip.augment_on: device`` it draws an image's numbers from its seed (:class:`Draws`); frames are
            then not changed here, but in batches by ``lnclip_df.training.augmentation_on_device``. Otherwise None.
    """

    def __init__(self, config: Config):
        self.config = config
        name = config.lnclip.augmentation if config.use_data_augmentation else "none"
        augmentation = AUGMENTATIONS.choose(name)
        self.varies = name != "none"
        self.augment = augmentation.make(config)
        self.resize_first = augmentation.resize_first
        self.draw = getattr(self.augment, "draw", None) if config.lnclip.augment_on == "device" else None

    def __call__(self, image: np.ndarray, seed: int) -> torch.Tensor:
        """Return uint8 3×R×R (R: ``resolution``) of a uint8 H×W×3 frame."""
        if self.resize_first:
            return as_tensor(self.augment(at_resolution(image, self.config), seed))
        if self.draw is None:
            return model_input(self.augment(image, seed), self.config)
        tensor = model_input(image, self.config)
        if tensor.dtype != torch.uint8 or not np.array_equal(tensor.permute(1, 2, 0), image):
            raise LNCLIPError(
                f"lnclip.augment_on: device augments crops of resolution {self.config.resolution}, which the detector "
                f"resizes; these, of {image.shape[1]} × {image.shape[0]} pixels, are resized before it: set "
                "lnclip.augment_on: cpu, or resolution to the crops' size"
            )
        return tensor


class Draws(NamedTuple):
    """What ``Authors`` does with one image."""

    mirrored: bool
    angle: float
    dx: float
    dy: float
    scale: float
    sigma: float
    """Of the blur; 0 for none."""
    brightness: float
    contrast: float
    contrast_first: bool
    quality: int


class Authors:
    """The augmentation of the authors' code, whose pixels are those of torchvision on Pillow's images.

    Half of the images are mirrored; then each is turned and moved, blurred, changed in brightness and contrast in
    either order, and compressed. Numbers are drawn as albumentations 2 draws them for a list of these transforms.

    Args:
        kernel: width and height of the blur in pixels.
        blurred: the share of images that are blurred.
    """

    def __init__(self, kernel: tuple[int, int], blurred: float):
        self.kernel, self.blurred = kernel, blurred

    def draw(self, seed: int) -> Draws:
        """Draw an image's numbers."""
        generator = random.Random(seed)
        draw = generator.uniform
        generator.random()  # whether to augment at all, with probability 1
        mirrored = generator.random() < 0.5
        angle, dx, dy, scale = draw(-10, 10), draw(-0.1, 0.1), draw(-0.1, 0.1), draw(0.9, 1.1)
        sigma = draw(0.1, 2.0) if self.blurred >= 1 or generator.random() < self.blurred else 0.0
        light, distance = draw(0.9, 1.1), draw(0.9, 1.1)
        draw(1, 1), draw(0, 0)  # saturation and hue stay as they are
        order = [*range(4)]
        np.random.default_rng(seed).shuffle(order)
        contrast_first = order.index(1) < order.index(0)
        return Draws(mirrored, angle, dx, dy, scale, sigma, light, distance, contrast_first, int(draw(40, 101)))

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        draws = self.draw(seed)
        if draws.mirrored:
            image = cv2.flip(image, 1)
        image = affine(image, draws.angle, draws.dx, draws.dy, draws.scale)
        if draws.sigma:
            image = blur(image, draws.sigma, self.kernel)
        steps = [(brightness, draws.brightness), (contrast, draws.contrast)]
        for adjust, factor in reversed(steps) if draws.contrast_first else steps:
            image = adjust(image, factor)
        return jpeg(image, draws.quality)


def paper(config: Config) -> Augment:
    """Return the augmentation of the authors' first release: its blur is always applied, 3 pixels wide and 7 high."""
    return Authors((3, 7), blurred=1.0)


def gend(config: Config) -> Augment:
    """Return that of the authors' later release (GenD): its blur of 7×7 pixels is applied to every tenth image."""
    return Authors((7, 7), blurred=0.1)


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


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply all values by ``factor``, rounded down."""
    return _mapped(image, factor, 0.0)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the distances of all values from the mean of the grey image by ``factor``, rounded down."""
    return _mapped(image, factor, cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] * (1 - factor))


def _mapped(image, factor, offset):
    table = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    return cv2.LUT(image, table.clip(0, 255).astype(np.uint8))


def jpeg(image: np.ndarray, quality: float) -> np.ndarray:
    """Compress an image; ``quality`` is rounded down. Albumentations' own transform takes red for blue."""
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was just encoded
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


class SeededCompose:
    """A list of albumentations transforms as a function of image (uint8 H×W×3) and seed alone; returns uint8 H×W×3."""

    def __init__(self, transforms: list):
        import albumentations as A

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


def deepfakebench(config: Config) -> Augment:
    """Return DeepfakeBench's augmentation for ``data_aug``; as there, ``brightness_prob`` is not used."""
    import albumentations as A

    limits = config.data_aug
    assert limits is not None  # the schema requires the section for this augmentation
    light = A.RandomBrightnessContrast(
        brightness_limit=tuple(limits.brightness_limit), contrast_limit=tuple(limits.contrast_limit)
    )
    transforms = [
        A.HorizontalFlip(p=limits.flip_prob),
        A.Rotate(limit=tuple(limits.rotate_limit), border_mode=cv2.BORDER_REFLECT_101, p=limits.rotate_prob),
        opencv_blur(*limits.blur_limit, p=limits.blur_prob),
        A.OneOf([light, A.FancyPCA(), A.HueSaturationValue()], p=0.5),
        _compression(limits.quality_lower, limits.quality_upper, p=0.5),
    ]
    return SeededCompose(transforms)


def opencv_blur(low: int, high: int, p: float):
    """Return a Gaussian blur whose sigma follows from its kernel size by OpenCV's rule, as in albumentations 1."""
    import albumentations as A

    sizes = [size + 1 - size % 2 for size in range(low, high + 1)]
    kernels = [(size, 0.3 * ((size - 1) * 0.5 - 1) + 0.8, sizes.count(size) / len(sizes)) for size in sorted({*sizes})]
    blurs = [A.GaussianBlur(blur_limit=(k, k), sigma_limit=(sigma, sigma), p=weight) for k, sigma, weight in kernels]
    return A.OneOf(blurs, p=p)


def _compression(low: int, high: int, p: float):
    import albumentations as A

    if "quality_range" in inspect.signature(A.ImageCompression.__init__).parameters:
        return A.ImageCompression(quality_range=(low, high), p=p)
    return A.ImageCompression(quality_lower=low, quality_upper=high, p=p)


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    {
        "paper": Augmentation(paper),
        "gend": Augmentation(gend),
        "deepfakebench": Augmentation(deepfakebench, resize_first=True),
        "none": Augmentation(lambda config: lambda image, seed: image),
    },
)
