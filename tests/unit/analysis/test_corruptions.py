"""Each corruption does what it says, grows with its level, and repeats itself."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lnclip_df.analysis.corruptions import CORRUPTIONS, corrupt


def crops(n=4, side=256):
    """Smooth coloured crops that shift from frame to frame."""
    rng = np.random.default_rng(0)
    base = gaussian_filter(rng.normal(size=(side + 8 * n, side, 3)), (6, 6, 0))
    base = (127 + 50 * base / base.std()).clip(0, 255).astype(np.uint8)
    return [np.ascontiguousarray(base[8 * i : 8 * i + side]) for i in range(n)]


def error(a, b):
    return float(np.mean([np.mean((x.astype(float) - y) ** 2) for x, y in zip(a, b, strict=True)]))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_level_and_repeats_itself(name):
    if name == "h264":
        pytest.importorskip("av")
    frames = crops()
    levels = CORRUPTIONS[name].levels
    assert len(levels) == 5
    made = [corrupt(name, level, frames, "a/b", 1) for level in levels]
    for images in made:
        assert [image.shape for image in images] == [frame.shape for frame in frames]
        assert all(image.dtype == np.uint8 for image in images)
    errors = [error(images, frames) for images in made]
    assert errors == sorted(errors) and errors[0] < errors[-1]
    np.testing.assert_array_equal(made[2], corrupt(name, levels[2], frames, "a/b", 1))
    np.testing.assert_array_equal(frames, crops())  # the crops that went in are as before


@pytest.mark.parametrize("name", ["noise", "occlusion"])
def test_draws_are_of_the_video_and_the_seed(name):
    frames, level = crops(1), CORRUPTIONS[name].levels[1]
    same = corrupt(name, level, frames, "a", 0)[0]
    assert not np.array_equal(same, corrupt(name, level, frames, "b", 0)[0])
    assert not np.array_equal(same, corrupt(name, level, frames, "a", 1)[0])


@pytest.mark.parametrize("sigma", [1, 2, 4])
def test_blur_is_scipys(sigma):
    frame = crops(1)[0]
    ours = corrupt("blur", sigma, [frame], "a", 0)[0][20:-20, 20:-20]
    theirs = gaussian_filter(frame.astype(float), (sigma, sigma, 0))[20:-20, 20:-20]
    assert np.abs(ours - theirs).max() < 1.5


def test_noise_has_its_deviation_and_the_same_draws_at_every_level():
    frame = np.full((256, 256, 3), 127, np.uint8)
    some, more = (corrupt("noise", level, [frame], "a", 0)[0].astype(float) - 127 for level in (8, 16))
    assert some.std() == pytest.approx(8, rel=0.02)
    np.testing.assert_allclose(more, 2 * some, atol=1.5)


def test_occlusion_covers_its_share_with_grey():
    frame = np.zeros((256, 256, 3), np.uint8)
    for share in CORRUPTIONS["occlusion"].levels:
        image = corrupt("occlusion", share, [frame], "a", 0)[0]
        assert (image == 128).mean() == pytest.approx(share, rel=0.02)


def test_light_is_its_formula_with_either_sign():
    frame, level = crops(1)[0], 0.3
    image = corrupt("light", level, [frame], "a", 0)[0]
    candidates = [
        np.rint(((frame.astype(float) - 127.5) * (1 + c * level) + 127.5) * (1 + b * level)).clip(0, 255)
        for c in (-1, 1)
        for b in (-1, 1)
    ]
    assert min(np.abs(image - candidate).max() for candidate in candidates) <= 1


def test_scaling_goes_through_its_size_also_on_other_crops():
    frame = crops(1, side=128)[0]
    small = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA)  # 64 of 256
    expected = cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(corrupt("scale", 64, [frame], "a", 0)[0], expected)


@pytest.mark.parametrize("side", [33, 64])
def test_h264_keeps_order_and_odd_sides(side):
    pytest.importorskip("av")
    frames = crops(6, side)
    decoded = corrupt("h264", 17, frames, "a", 0)
    for at, image in enumerate(decoded):
        distances = [error([image], [frame]) for frame in frames]
        assert int(np.argmin(distances)) == at
    mixed = [frames[0], frames[1][:-8], frames[2]]
    assert [x.shape for x in corrupt("h264", 30, mixed, "a", 0)] == [x.shape for x in mixed]
