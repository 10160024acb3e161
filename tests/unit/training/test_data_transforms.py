"""Resize, normalisation and augmentation, against references of others and as functions of image and seed."""

import random

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from lnclip_df.config.loading import load_config
from lnclip_df.training.transforms import Augmentation, _blur, augmentation, normalize, resize, train_transform

NAMES = ["paper", "deepfakebench"]


def config(name="paper", **keys):
    settings = load_config("lnclip.yaml", [f"lnclip.augmentation={name}"])
    return {**settings, **keys}


@pytest.fixture(scope="module")
def face():
    """A smooth image with detail: noise, blurred, asymmetric."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)


def test_clip_resize_is_clips_own_processor(face):
    """Equal to the Pillow one; the torchvision one rounds differently, by 2/255 in one value of 100,000."""
    transformers = pytest.importorskip("transformers")
    ours = resize(face, 224, "clip").transpose(2, 0, 1) / 255
    for name, most in {"CLIPImageProcessorPil": 0, "CLIPImageProcessor": 2}.items():
        if not hasattr(transformers, name):
            continue
        processor = getattr(transformers, name)(do_normalize=False)
        apart = np.abs(processor(face, return_tensors="np")["pixel_values"][0] - ours)
        assert apart.max() <= most / 255 + 1e-6
        assert (apart <= 1 / 255 + 1e-6).mean() > 0.9999


def test_deepfakebench_resize_is_opencvs_bicubic(face):
    assert (resize(face, 224, "deepfakebench") == cv2.resize(face, (224, 224), interpolation=cv2.INTER_CUBIC)).all()


def test_an_unknown_resize_is_refused(face):
    with pytest.raises(ValueError, match="'nearest'"):
        resize(face, 224, "nearest")


def test_normalize_is_torchvisions(face):
    transforms = pytest.importorskip("torchvision.transforms")
    mean, std = config()["mean"], config()["std"]
    theirs = transforms.Normalize(mean, std)(transforms.ToTensor()(face))
    ours = normalize(face, mean, std)
    assert ours.dtype == torch.float32 and ours.is_contiguous()
    assert torch.equal(ours, theirs)


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
    augment = Augmentation([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    corner = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    seen = [int(augment(corner, seed)[0, 0, 0]) for seed in range(400)]
    assert all(60 <= seen.count(value) <= 140 for value in (0, 3, 6, 9))


def augmented(face, name, **data_aug):
    """The results of 200 seeds."""
    settings = config(name)
    settings["data_aug"] = {**settings["data_aug"], **data_aug}
    augment = augmentation(settings)
    return [augment(face, seed) for seed in range(200)]


def mostly_flipped(face, image):
    return np.abs(image[:, ::-1].astype(int) - face).mean() < np.abs(image.astype(int) - face).mean()


@pytest.mark.parametrize("name", NAMES)
def test_half_of_the_images_are_flipped(name):
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 256, axis=0).repeat(3, axis=2)
    flips = sum(mostly_flipped(ramp, image) for image in augmented(ramp, name))
    assert 70 <= flips <= 130


def test_deepfakebench_off_but_the_colour_and_jpeg_leaves_a_quarter_untouched(face):
    images = augmented(face, "deepfakebench", flip_prob=0, rotate_prob=0, blur_prob=0)
    untouched = sum((image == face).all() for image in images)
    assert 25 <= untouched <= 80


def angle(image):
    """The tilt, in degrees, of a bright line on a dark ground."""
    rows, columns = np.nonzero(image[..., 1] > np.median(image) + 60)
    return np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0]))


@pytest.mark.parametrize(("name", "share"), [("paper", 1.0), ("deepfakebench", 0.5)])
def test_rotations_are_within_ten_degrees(name, share):
    line = np.full((256, 256, 3), 90, np.uint8)
    line[126:130, 60:196] = 255
    angles = np.abs([angle(image) for image in augmented(line, name)])
    assert 8 < angles.max() < 10.3
    assert (angles > 0.3).mean() == pytest.approx(share, abs=0.12)


def test_deepfakebench_rotation_mirrors_the_border_and_the_papers_fills_it_black():
    white = np.full((256, 256, 3), 255, np.uint8)
    assert min(image.min() for image in augmented(white, "deepfakebench", brightness_limit=[0, 0])) > 150
    assert min(image.min() for image in augmented(white, "paper")) < 20


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_deepfakebench_blur_is_opencvs_of_its_kernel_size(face, kernel):
    ours = Augmentation([_blur(kernel, kernel, p=1.0)])(face, 0).astype(int)
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    assert np.abs(ours - cv2.GaussianBlur(face, (kernel, kernel), sigma)).max() <= 1
    assert np.abs(ours - cv2.GaussianBlur(face, (kernel, kernel), 0)).max() <= 3


def test_paper_augments_the_crop_and_then_resizes(face):
    settings = config("paper")
    assert (train_transform(settings)(face, 5) == resize(augmentation(settings)(face, 5), 224, "deepfakebench")).all()


def test_deepfakebench_resizes_and_then_augments(face):
    settings = config("deepfakebench")
    expected = augmentation(settings)(resize(face, 224, "deepfakebench"), 5)
    assert (train_transform(settings)(face, 5) == expected).all()
