"""Augmentation on the device, against albumentations' draws and OpenCV's pixels."""

from importlib.metadata import version

import cv2
import numpy as np
import pytest
import torch
from authors_augmentation import in_albumentations
from tiny import configured, make_toy
from waits import WaitCounter

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset, collate
from lnclip_df.training import augmentation as on_cpu
from lnclip_df.training.augmentation import Authors, SeededCompose, TrainTransform
from lnclip_df.training.augmentation_on_device import adjust, augment, blur, jpeg

RECIPES = {"paper": ((3, 7), 1.0), "gend": ((7, 7), 0.1)}


@pytest.fixture(scope="module")
def faces():
    """Eight smooth images with detail, and one of noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (9, 128, 128, 3), dtype=np.uint8)
    smooth = [cv2.normalize(cv2.GaussianBlur(image, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX) for image in noise[:8]]
    return np.stack([*smooth, noise[8]])


def batch(images, dtype=torch.float32):
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype)


def difference(ours, theirs):
    """The differences of all pixels' channels: B×H×W×3."""
    return np.abs(ours.permute(0, 2, 3, 1).numpy().astype(int) - np.stack(theirs))


def frames(root, *settings):
    config = configured(root, *settings)
    transform = TrainTransform(config)
    videos = read_videos(config, ["toy"], "train")
    return FrameDataset(config, videos, frames_per_video=2, transform=transform, draw=transform.draw, seed=3)


@pytest.mark.skipif(
    int(version("albumentations")[0]) < 2, reason="albumentations 1 draws the order of the jitter otherwise"
)
@pytest.mark.parametrize("name", RECIPES)
def test_draws_are_those_of_albumentations(faces, name):
    """The drawn numbers, in OpenCV's functions, give the pixels of albumentations to the bit."""
    (kernel, share), image = RECIPES[name], faces[0]
    reference = SeededCompose(in_albumentations(kernel, share))
    for seed in range(0, 40 * 7919, 7919):
        drawn = Authors(kernel, share).draw(seed)
        made = on_cpu.affine(image[:, ::-1].copy() if drawn.mirrored else image, *drawn[1:5])
        made = on_cpu.blur(made, drawn.sigma, kernel) if drawn.sigma else made
        light, contrast = (on_cpu.brightness, drawn.brightness), (on_cpu.contrast, drawn.contrast)
        for function, factor in (contrast, light) if drawn.contrast_first else (light, contrast):
            made = function(made, factor)
        assert (on_cpu.jpeg(made, drawn.quality) == reference(image, seed)).all()


@pytest.mark.parametrize("name", RECIPES)
def test_pixels_are_those_of_the_cpu_but_for_rounding(faces, name):
    """Three in four values are equal, and 94 % within 2 grey levels. OpenCV 4 rounds positions to 1/32 of a pixel."""
    near, equal, mean = (0.94, 0.75, 0.5) if int(cv2.__version__[0]) > 4 else (0.93, 0.72, 0.6)
    authors = Authors(*RECIPES[name])
    draws = torch.tensor([authors.draw(seed) for seed in range(8)], dtype=torch.float32)
    found = augment(batch(faces[:8], torch.uint8), draws, authors.kernel)
    assert found.dtype == torch.uint8 and found.shape == (8, 3, 128, 128)
    apart = difference(found, [authors(image, seed) for seed, image in enumerate(faces[:8])])
    assert apart.mean() < mean and (apart <= 2).mean() > near and (apart == 0).mean() > equal
    assert apart.mean((1, 2, 3)).max() < 1  # of each image


@pytest.mark.parametrize("sigma", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("kernel", [(3, 7), (7, 7)])
def test_blur_is_opencvs(faces, sigma, kernel):
    sigmas = torch.tensor([sigma, 0.0] + [sigma] * 7)
    found = blur(batch(faces), sigmas, kernel)
    theirs = [on_cpu.blur(image, sigma, kernel) for image in faces]
    theirs[1] = faces[1]  # not blurred
    assert difference(found, theirs).max() <= 1


def test_brightness_and_contrast_are_those_of_the_cpu_in_either_order(faces):
    drawn = Authors((3, 7), 1.0).draw(0)
    orders = [drawn._replace(contrast_first=first, brightness=0.9, contrast=1.1) for first in (False, True)]
    found = adjust(batch(faces[[0, 0]]), type(drawn)(*torch.tensor(orders).T))
    assert not torch.equal(*found)
    theirs = [
        on_cpu.contrast(on_cpu.brightness(faces[0], 0.9), 1.1), on_cpu.brightness(on_cpu.contrast(faces[0], 1.1), 0.9)
    ]  # fmt: skip
    apart = difference(found, theirs)
    assert apart.max() <= 1 and (apart > 0).mean() < 0.02


@pytest.mark.parametrize("quality", [40, 49, 50, 75, 90, 100])
def test_jpeg_is_libjpegs_but_for_rounding(faces, quality):
    """Also where the size is no multiple of a block, and not more blurred or darker on the average."""
    images = faces[:, :100, :110]
    found = jpeg(batch(images), torch.full((9,), float(quality)))
    theirs = [on_cpu.jpeg(np.ascontiguousarray(image), quality) for image in images]
    apart = difference(found, theirs)
    assert apart[:8].mean() < 0.6 and (apart[:8] <= 2).mean() > 0.93
    assert np.abs(found.permute(0, 2, 3, 1).numpy().mean((0, 1, 2)) - np.stack(theirs).mean((0, 1, 2))).max() < 0.1
    lost = difference(batch(images), theirs).mean((1, 2, 3))  # by the compression itself
    assert (apart.mean((1, 2, 3)) < 0.25 * lost + 0.4).all()


def test_nothing_is_waited_for_and_neither_autocast_nor_tf32_changes_a_pixel(faces):
    authors = Authors((3, 7), 1.0)
    images, draws = batch(faces, torch.uint8), torch.tensor([authors.draw(seed) for seed in range(9)])
    expected = augment(images, draws, authors.kernel)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with WaitCounter() as counter, torch.autocast("cpu", torch.bfloat16):
            found = augment(images, draws, authors.kernel)
        assert torch.equal(found, expected)
        assert counter.seen == [] and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_items_carry_untouched_crops_and_draws_that_follow_from_seed_epoch_and_index(tmp_path):
    make_toy(tmp_path)
    device = frames(tmp_path, "lnclip.augmentation=paper", "lnclip.augment_on=device")
    plain, cpu = frames(tmp_path), frames(tmp_path, "lnclip.augmentation=paper")
    assert "draws" not in cpu[0, 0] and "draws" not in plain[0, 0]
    items = [device[1, index] for index in (5, 2, 9)]
    again = frames(tmp_path, "lnclip.augmentation=paper", "lnclip.augment_on=device")
    for item in items:
        assert torch.equal(item["image"], plain[item["index"]]["image"])
        assert item["draws"] == again[1, item["index"]]["draws"] != again[2, item["index"]]["draws"]
    stacked = collate(items)
    found = augment(stacked["image"], stacked["draws"], (3, 7))
    theirs = [cpu[1, index]["image"].permute(1, 2, 0).numpy() for index in (5, 2, 9)]
    assert difference(found, theirs).mean() < 1


@pytest.mark.parametrize("name", ["deepfakebench", "none"])
def test_other_augmentations_are_refused(name):
    with pytest.raises(LNCLIPError, match=r"augment_on: device is for augmentation: paper or gend, not"):
        configured(".", f"lnclip.augmentation={name}", "lnclip.augment_on=device")


def test_crops_that_would_be_resized_before_are_refused(tmp_path):
    make_toy(tmp_path)
    device = frames(tmp_path, "lnclip.augmentation=paper", "lnclip.augment_on=device", "resolution=48")
    with pytest.raises(LNCLIPError, match=r"crops of resolution 48, .* these, of 32 × 32 pixels"):
        device[0, 0]
