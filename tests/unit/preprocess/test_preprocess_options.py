"""Settings and options: out of range they are named, at their bounds they are accepted."""

import numpy as np
import pytest
from clips import run

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.preprocess import CropSettings

retinaface = pytest.importorskip("retinaface")


@pytest.mark.parametrize(
    "name, values, accepted",
    [
        ("frames", (0, -1, 100_001, 2.5, "3", None), "an integer, 1 to 100000"),
        ("size", (0, 15, 4097, 64.0, None), "an integer, 16 to 4096, or native"),
        ("scale", (0.5, 10.1, float("nan"), float("inf"), 1j, None), "a number, 1 to 10"),
        ("workers", (0, -2, 1.5), "an integer, 1 or more"),
    ],
)
def test_settings_out_of_range_are_named(clip, tmp_path, name, values, accepted):
    for value in values:
        with pytest.raises(LNCLIPError) as caught:
            run(clip, tmp_path / "out", **{name: value})
        assert str(caught.value) == f"{name}: {value!r} received; accepted is {accepted}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("setting", [{"size": 16}, {"scale": 10}, {"frames": 100_000}, {"size": np.int64(16)}])
def test_settings_at_their_bounds_are_taken(clip, tmp_path, setting):
    assert run(clip, tmp_path, **setting).counts == {"done": 1}


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1/0", "1", "a/b", "-1/3", ""])
def test_a_shard_that_is_none_is_named(clip, tmp_path, shard):
    with pytest.raises(LNCLIPError, match=f"shard: {shard!r} received; accepted is i/n"):
        run(clip, tmp_path / "out", shard=shard)


def test_deepfakebenchs_protocol_takes_frames_as_its_opencv_does():
    assert CropSettings().as_shown and CropSettings(detector="dlib").as_shown
    assert not CropSettings(detector="dlib", second_detection=True).as_shown
