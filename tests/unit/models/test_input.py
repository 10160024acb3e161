"""Resize and normalisation, against the references of others."""

import cv2
import numpy as np
import pytest
import torch

from lnclip_df.config.loading import load_config
from lnclip_df.models.backbones import processor_of
from lnclip_df.models.input import model_input, resize, resize_as
from lnclip_df.models.pixels import as_tensor, normalize, stack


@pytest.fixture(scope="module")
def face():
    """A smooth image with detail: noise, blurred, asymmetric."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.slow
def test_clip_resize_is_clips_own_processor(face):
    """Equal to the Pillow one; the torchvision one rounds differently, by 2/255 in one value of 100,000."""
    transformers = pytest.importorskip("transformers")
    ours = resize_as(face, processor_of(load_config("lnclip.yaml").lnclip.backbone)).transpose(2, 0, 1) / 255
    for name, most in {"CLIPImageProcessorPil": 0, "CLIPImageProcessor": 2}.items():
        if not hasattr(transformers, name):
            continue
        processor = getattr(transformers, name)(do_normalize=False)
        apart = np.abs(processor(face, return_tensors="np")["pixel_values"][0] - ours)
        assert apart.max() <= most / 255 + 1e-6
        assert (apart <= 1 / 255 + 1e-6).mean() > 0.9999


def test_deepfakebench_resize_is_opencvs_bicubic(face):
    assert (resize(face, 224) == cv2.resize(face, (224, 224), interpolation=cv2.INTER_CUBIC)).all()


def test_normalize_is_torchvisions(face):
    transforms = pytest.importorskip("torchvision.transforms")
    config = load_config("lnclip.yaml")
    mean, std = config.mean, config.std
    theirs = transforms.Normalize(mean, std)(transforms.ToTensor()(face))
    ours = normalize(as_tensor(face), mean, std)
    assert ours.dtype == torch.float32 and ours.is_contiguous()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("how", ["deepfakebench", "backbone"])
def test_the_models_input_is_resized_as_configured(face, how):
    config = load_config("lnclip.yaml", ["resolution=224", f"lnclip.resize={how}"])
    resized = resize(face, 224) if how == "deepfakebench" else resize_as(face, processor_of(config.lnclip.backbone))
    given = model_input(face, config)
    assert given.dtype == torch.uint8 and (given.permute(1, 2, 0).numpy() == resized).all()


def test_images_are_stacked_in_the_order_of_their_memory(face):
    images = [face, face[::-1], face[:, ::-1]]
    batch = stack([as_tensor(image) for image in images])
    assert batch.shape == (3, 3, 256, 256) and batch.permute(0, 2, 3, 1).is_contiguous()
    assert (batch.permute(0, 2, 3, 1).numpy() == np.stack(images)).all()
