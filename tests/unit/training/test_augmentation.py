"""Augmentation, as a function of image and seed, and against the references of others."""

import random
from importlib.metadata import version

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from authors_augmentation import in_albumentations
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as torchvision

from lnclip_df.config.loading import load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.input import model_input, resize
from lnclip_df.models.pixels import as_tensor
from lnclip_df.training.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    Authors,
    SeededCompose,
    TrainTransform,
    affine,
    blur,
    brightness,
    contrast,
    jpeg,
    opencv_blur,
)

NAMES = ["paper", "gend", "deepfakebench"]


def config(name="paper", **keys):
    settings = load_config("lnclip.yaml", [f"lnclip.augmentation={name}"])
    return settings.replace(keys)


def augmentation(settings):
    """The augmentation that a configuration names, without resize and normalisation."""
    return TrainTransform(settings).augment


@pytest.fixture(scope="module")
def face():
    """A smooth image with detail: noise, blurred, asymmetric."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("name", NAMES)
def test_augmentation_depends_on_image_and_seed_alone(face, name):
    augment = augmentation(config(name))
    first = [augment(face, seed) for seed in range(12)]
    random.seed(99)
    np.random.seed(99)
    another = augmentation(config(name))
    for seed in reversed(range(12)):
        another(face[::-1].copy(), seed + 100)
        assert (another(face, seed) == first[seed]).all()
    assert len({image.tobytes() for image in first}) > 10


@pytest.mark.parametrize("name", NAMES)
def test_augmentation_leaves_the_global_generators_and_the_image_alone(face, name):
    before, image = (random.getstate(), np.random.get_state()[1].copy()), face.copy()
    out = augmentation(config(name))(image, 2**63 + 5)
    assert random.getstate() == before[0] and (np.random.get_state()[1] == before[1]).all()
    assert (image == face).all()
    assert out.shape == face.shape and out.dtype == np.uint8


def test_no_augmentation_is_the_identity(face):
    assert augmentation(config("none"))(face, 3) is face
    assert augmentation(config("paper", use_data_augmentation=False))(face, 3) is face


def test_transforms_are_drawn_independently():
    """With one generator each, all seeded alike, one flip would always bring the other."""
    augment = SeededCompose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    corner = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    seen = [int(augment(corner, seed)[0, 0, 0]) for seed in range(400)]
    assert all(60 <= seen.count(value) <= 140 for value in (0, 3, 6, 9))


def augmented(face, name, **data_aug):
    """The results of 200 seeds."""
    settings = config(name)
    settings = settings.replace({f"data_aug.{key}": value for key, value in data_aug.items()})
    augment = augmentation(settings)
    return [augment(face, seed) for seed in range(200)]


def mostly_flipped(face, image):
    return np.abs(image[:, ::-1].astype(int) - face).mean() < np.abs(image.astype(int) - face).mean()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_half_of_the_images_are_flipped(name):
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 256, axis=0).repeat(3, axis=2)
    flips = sum(mostly_flipped(ramp, image) for image in augmented(ramp, name))
    assert 70 <= flips <= 130


@pytest.mark.slow
def test_deepfakebench_off_but_the_colour_and_jpeg_leaves_a_quarter_untouched(face):
    images = augmented(face, "deepfakebench", flip_prob=0, rotate_prob=0, blur_prob=0)
    untouched = sum((image == face).all() for image in images)
    assert 25 <= untouched <= 80


def angle(image):
    """The tilt, in degrees, of a bright line on a dark ground."""
    rows, columns = np.nonzero(image[..., 1] > np.median(image) + 60)
    return np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0]))


@pytest.mark.parametrize(("name", "share"), [("paper", 1.0), ("gend", 1.0), ("deepfakebench", 0.5)])
@pytest.mark.slow
def test_rotations_are_within_ten_degrees(name, share):
    line = np.full((256, 256, 3), 90, np.uint8)
    line[126:130, 60:196] = 255
    angles = np.abs([angle(image) for image in augmented(line, name)])
    assert 8 < angles.max() < 10.3
    assert (angles > 0.3).mean() == pytest.approx(share, abs=0.12)


@pytest.mark.slow
def test_deepfakebench_rotation_mirrors_the_border_and_the_papers_fills_it_black():
    white = np.full((256, 256, 3), 255, np.uint8)
    assert min(image.min() for image in augmented(white, "deepfakebench", brightness_limit=[0, 0])) > 150
    assert min(image.min() for image in augmented(white, "paper")) < 20


def difference(ours, theirs):
    """The largest difference of each pixel's channels."""
    return np.abs(ours.astype(int) - np.asarray(theirs)).max(axis=2)


@pytest.mark.parametrize("size", [(256, 256), (200, 317)])
def test_affine_is_torchvisions_but_for_pixels_halfway_between_two(face, size):
    rng, image = np.random.default_rng(0), cv2.resize(face, size)
    for _ in range(20):
        angle, dx, dy, scale = rng.uniform([-10, -0.1, -0.1, 0.9], [10, 0.1, 0.1, 1.1])
        moved = [round(dx * size[0]), round(dy * size[1])]
        theirs = torchvision.affine(Image.fromarray(image), angle, moved, scale, [0.0, 0.0])
        assert (difference(affine(image, angle, dx, dy, scale), theirs) > 0).mean() < 0.005


@pytest.mark.parametrize("kernel", [(3, 7), (7, 7)])
@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 2.0])
def test_blur_is_torchvisions(face, kernel, sigma):
    theirs = torchvision.gaussian_blur(Image.fromarray(face), list(kernel), [sigma, sigma])
    assert difference(blur(face, sigma, kernel), theirs).max() <= 1


def test_brightness_and_contrast_are_torchvisions(face):
    rng, image = np.random.default_rng(0), Image.fromarray(face)
    for factor in rng.uniform(0.9, 1.1, 8):
        assert difference(brightness(face, factor), torchvision.adjust_brightness(image, factor)).max() <= 1
        assert difference(contrast(face, factor), torchvision.adjust_contrast(image, factor)).max() <= 1


@pytest.mark.parametrize("quality", [40, 70, 100])
def test_jpeg_is_torchvisions(face, quality):
    theirs = v2.JPEG((quality, quality))(Image.fromarray(face))
    assert difference(jpeg(face, quality + 0.9), theirs).max() <= 1


@pytest.mark.skipif(
    int(version("albumentations")[0]) < 2, reason="albumentations 1 draws the order of the jitter otherwise"
)
@pytest.mark.parametrize(("name", "kernel", "blurred"), [("paper", (3, 7), 1.0), ("gend", (7, 7), 0.1)])
def test_draws_and_pixels_are_those_of_the_transforms_in_albumentations(face, name, kernel, blurred):
    reference, augment = SeededCompose(in_albumentations(kernel, blurred)), augmentation(config(name))
    for seed in range(60):
        assert (augment(face, seed * 7919) == reference(face, seed * 7919)).all()


@pytest.mark.parametrize(("name", "share"), [("paper", 1.0), ("gend", 0.1)])
def test_how_many_images_are_blurred(name, share):
    dots = np.full((64, 64, 3), 60, np.uint8)
    dots[::8, ::8] = 200
    augment, sharp = AUGMENTATIONS[name].make(config(name)), Authors((7, 7), blurred=0)
    highest, unblurred = ([each(dots, seed).max() for seed in range(200)] for each in (augment, sharp))
    dimmed = np.less(highest, min(unblurred)).mean()
    assert dimmed == pytest.approx(0.7 * share, abs=0.12)  # by a sigma above about 0.65


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_deepfakebench_blur_is_opencvs_of_its_kernel_size(face, kernel):
    ours = SeededCompose([opencv_blur(kernel, kernel, p=1.0)])(face, 0).astype(int)
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    assert np.abs(ours - cv2.GaussianBlur(face, (kernel, kernel), sigma)).max() <= 1
    assert np.abs(ours - cv2.GaussianBlur(face, (kernel, kernel), 0)).max() <= 3


@pytest.mark.parametrize("resize", ["backbone", "deepfakebench"])
def test_paper_augments_the_crop_and_then_resizes(face, resize):
    settings = config("paper", **{"lnclip.resize": resize, "resolution": 224})
    expected = model_input(augmentation(settings)(face, 5), settings)
    assert torch.equal(TrainTransform(settings)(face, 5), expected)


def test_deepfakebench_resizes_and_then_augments(face):
    settings = config("deepfakebench", **{"lnclip.resize": "deepfakebench", "resolution": 224})
    augmented = augmentation(settings)(resize(face, 224), 5)
    assert torch.equal(TrainTransform(settings)(face, 5), as_tensor(augmented))


@pytest.mark.parametrize("name", NAMES)
def test_a_crop_at_resolution_is_augmented_and_not_resized(face, name):
    settings = config(name)
    augmented = augmentation(settings)(face, 5)
    assert augmented.shape == (256, 256, 3)
    assert torch.equal(TrainTransform(settings)(face, 5), as_tensor(augmented))


def test_an_augmentation_is_one_entry(face, monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "paper", Augmentation(lambda config: lambda image, seed: image[::-1]))
    assert (augmentation(config("paper"))(face, 0) == face[::-1]).all()
    monkeypatch.delitem(AUGMENTATIONS, "deepfakebench")
    with pytest.raises(LNCLIPError, match=r"no augmentation 'deepfakebench'; accepted: paper, gend, none"):
        TrainTransform(config("deepfakebench"))
