"""The later release's recipes in a clone of the checkout that ``LNCLIP_DEEPFAKEBENCH`` names, scripts untouched."""

import re

import pytest
from real_checkouts import REAL, STEPS, TINY, change_yaml, clone
from references import later_release_rates

from lnclip_df.bench.run_script import bench_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not REAL, reason="LNCLIP_DEEPFAKEBENCH names no checkout")]


@pytest.mark.parametrize(("recipe", "name"), [("clip", "tiny"), ("pe", "pe:tiny"), ("dinov3", "dino:dinov3-tiny")])
def test_it_trains_with_the_authors_rates_and_names_what_the_host_decides(tmp_path, recipe, name):
    checkout, path = clone(tmp_path / "DeepfakeBench"), f"training/config/detector/lnclip_gend_{recipe}.yaml"
    small = {"resolution": 64, "train_batchSize": 8, "test_batchSize": 8, "workers": 2, "nEpochs": 1}
    ours = {"backbone": TINY["backbone"] | {"name": name}, "precision": "fp32"}
    change_yaml(checkout, path, **small, frame_num={"train": 6, "test": 6}, test_dataset=["LNCLIP-val"], lnclip=ours)
    assert bench_run(checkout, ["training/train.py", "--detector_path", path]) == 0
    (log,) = checkout.glob("logs/training/lnclip*/training.log")
    rates = [float(rate) for rate in re.findall(r"lnclip step \d+ epoch [\d.]+ lr (\S+)", log.read_text())]
    assert rates == pytest.approx(later_release_rates(STEPS, epochs=2), rel=0.01)
    (ignored,) = re.findall(r"without effect inside DeepfakeBench: (.*)", log.read_text())
    assert {"lnclip.augmentation", "lnclip.drop_last", "lnclip.train_frames"} <= set(ignored.split(", "))
