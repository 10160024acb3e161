"""The detector's own resize is Pillow's, to the last bit."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lnclip_df.config.loading import load_config
from lnclip_df.models.backbones import processor_of
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.models.input import model_input
from lnclip_df.models.pillow_resize import pillow_bicubic
from lnclip_df.models.pixels import as_tensor, normalize, stack

CONFIG = load_config("lnclip.yaml")
TINY = "lnclip.backbone={name: tiny, pretrained: none, vision: {image_size: 48, patch_size: 16, width: 64, layers: 2}}"


def pillow(image, size):
    """Resized by Pillow, then normalised: 3×size×size."""
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return normalize(as_tensor(np.array(resized)), *stats())


def stats():
    return CONFIG.mean, CONFIG.std


def ours(images, size):
    return pillow_bicubic(normalize(stack([as_tensor(image) for image in images]), *stats()), size, *stats())


def noise(height, width=None, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width or height, 3), dtype=np.uint8)


def smooth(size):
    """Blurred noise over the full range of grey levels, with a hard edge: as a photograph has both."""
    image = cv2.normalize(cv2.GaussianBlur(noise(size), (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    image[:, size // 2 :] = 255 - image[:, size // 2 :]
    return image


@pytest.mark.parametrize("make", [noise, smooth])
@pytest.mark.parametrize(
    ("old", "new"), [(256, 224), (256, 336), (256, 64), (300, 224), (512, 224), (64, 224), (1000, 16)]
)
def test_every_bit_is_pillows(make, old, new):
    image = make(old)
    assert torch.equal(ours([image], new)[0], pillow(image, new))


@settings(max_examples=60, deadline=None)
@given(
    old=st.integers(1, 80), size=st.integers(1, 80), seed=st.integers(0, 2**16),
    levels=st.sampled_from([[0, 255], [0, 1, 254, 255], range(256)]),
)  # fmt: skip
def test_it_is_pillows_for_any_size(old, size, seed, levels):
    image = np.random.default_rng(seed).choice(np.array(levels, np.uint8), (old, old, 3))
    assert torch.equal(ours([image], size)[0], pillow(image, size))


def test_grey_levels_give_the_same_as_normalised_images():
    image = stack([as_tensor(noise(96)), as_tensor(smooth(96))])
    assert torch.equal(pillow_bicubic(image, 80, *stats()), ours([noise(96), smooth(96)], 80))


def test_each_image_of_a_batch_is_resized_by_itself():
    images = [noise(256, seed=k) for k in range(3)]
    assert torch.equal(ours(images, 224), torch.stack([pillow(image, 224) for image in images]))


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_neither_autocast_nor_fast_matrix_products_change_a_bit(precision):
    image, before = smooth(256), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(ours([image], 224)[0], pillow(image, 224))
    finally:
        torch.set_float32_matmul_precision(before)


def test_it_follows_inference_mode_into_training():
    with torch.inference_mode():
        first = ours([smooth(96)], 80)
    again = ours([smooth(96)], 80)
    assert torch.equal(first, again) and not again.is_inference() and not again.requires_grad


# ---- in the detector


def detector(*overrides):
    torch.manual_seed(0)
    return LNCLIPDetector(load_config("lnclip.yaml", [TINY, "lnclip.precision=fp32", *overrides])).eval()


def test_crops_of_256_pixels_get_the_probability_of_pillows_resize():
    model = detector()
    image = model_input(smooth(256), model.config)
    assert image.shape == (3, 256, 256)
    with torch.no_grad():
        at_256 = model({"image": image[None]})["prob"]
        assert torch.equal(at_256, model({"image": normalize(image[None], *stats())})["prob"])
        at_48 = model({"image": pillow(smooth(256), 48)[None]})["prob"]
        opencv = detector("lnclip.resize=deepfakebench", "resolution=48")
        plain = opencv({"image": model_input(smooth(256), opencv.config)[None]})["prob"]
    assert torch.equal(at_256, at_48)
    assert (plain - at_48).abs() > 1e-5


def test_resolution_may_be_the_backbones_own():
    """As in configurations of older versions: the frame is then resized when it is read."""
    config = load_config("lnclip.yaml", [TINY, "resolution=48"])
    assert torch.equal(normalize(model_input(smooth(256), config), *stats()), pillow(smooth(256), 48))


def test_a_frame_of_another_size_comes_to_resolution_as_in_deepfakebench():
    frame = smooth(100)
    expected = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_CUBIC)
    assert torch.equal(model_input(frame, load_config("lnclip.yaml", [TINY])), as_tensor(expected))


def test_deepfakebenchs_resize_leaves_the_image_alone():
    model = detector("lnclip.resize=deepfakebench", "resolution=48")
    image = torch.randn(1, 3, 48, 48)
    assert model.backbone_input(image) is image
    with pytest.raises(ValueError, match="3×48×48"):
        model({"image": torch.randn(1, 3, 64, 64)})


def test_pixels_at_the_backbones_size_are_normalised():
    model, image = detector("lnclip.resize=deepfakebench", "resolution=48"), as_tensor(smooth(48))[None]
    assert torch.equal(model.backbone_input(image), normalize(image, *stats()))


def test_an_image_of_neither_size_is_refused():
    with pytest.raises(ValueError, match="3×48×48"):
        detector()({"image": torch.randn(1, 3, 224, 224)})


def test_the_resize_adds_no_buffer_and_no_weight():
    model = detector()
    names = list(model.state_dict())
    model({"image": torch.randn(1, 3, 256, 256)})
    assert list(model.state_dict()) == names and list(model.buffers()) == []


def test_the_size_of_a_backbone_is_known_without_building_it():
    assert processor_of(CONFIG.lnclip.backbone).size == 224
    assert processor_of(load_config("lnclip.yaml", [TINY]).lnclip.backbone).size == 48
