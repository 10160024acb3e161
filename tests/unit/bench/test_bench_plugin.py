"""The detector inside DeepfakeBench's loop: the rate of every step, and a construction without a training set."""

import gc
import json
import logging
import weakref

import pytest
import torch

from lnclip_df.bench.plugin import BenchDetector
from lnclip_df.config.loading import load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.schedule import cyclic_lr

TINY = "lnclip.backbone={name: tiny, pretrained: none, vision: {image_size: 32, patch_size: 16, width: 64, layers: 1}}"


@pytest.fixture
def config(tmp_path):
    videos = {"v": {"label": "FF-real", "frames": [f"./v/{k:03d}.png" for k in range(9)]}}
    (tmp_path / "A.json").write_text(json.dumps({"A": {"FF-real": {"train": videos}}}))
    overrides = ["resolution=32", TINY, "train_dataset=[A]", "train_batchSize=2", "lnclip.precision=fp32"]
    return {**load_config("lnclip.yaml", overrides), "dataset_json_folder": str(tmp_path)}


def step(detector, optimizer):
    """One step as DeepfakeBench's trainer takes it."""
    data = {"image": torch.randn(4, 3, 32, 32), "label": torch.tensor([0, 1, 0, 1])}
    losses = detector.get_losses(data, detector(data))
    optimizer.zero_grad()
    losses["overall"].backward()
    optimizer.step()
    return optimizer.param_groups[0]["lr"]


def test_every_step_has_the_cyclic_rate(config):
    detector = BenchDetector(config).train()
    optimizer = torch.optim.Adam(detector.parameters(), lr=1.0)
    assert [step(detector, optimizer) for _ in range(7)] == [cyclic_lr(k / 5) for k in range(7)]


def test_a_resumed_training_begins_at_its_epoch(config):
    detector = BenchDetector({**config, "start_epoch": 3}).train()
    optimizer = torch.optim.Adam(detector.parameters(), lr=1.0)
    assert step(detector, optimizer) == cyclic_lr(3)


def test_another_optimizer_is_left_alone(config):
    detector = BenchDetector(config)
    other = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(other.parameters(), lr=1.0)
    other(torch.ones(1)).backward()
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 1.0
    assert detector is not None


def test_the_training_set_is_asked_for_at_the_first_step_only(config, tmp_path):
    (tmp_path / "A.json").unlink()
    detector = BenchDetector(config)
    detector.eval()({"image": torch.randn(2, 3, 32, 32)}, inference=True)
    with pytest.raises(LNCLIPError, match=r"cannot read .*A\.json"):
        step(detector.train(), torch.optim.Adam(detector.parameters()))


def test_each_step_is_logged(config, caplog):
    caplog.set_level(logging.INFO)
    detector = BenchDetector(config).train()
    step(detector, torch.optim.Adam(detector.parameters()))
    assert "lnclip step 0 epoch 0.0000 lr 1.00e-05" in caplog.messages


def test_the_hook_keeps_no_detector_alive(config):
    detector = BenchDetector(config)
    reference = weakref.ref(detector)
    del detector
    gc.collect()
    assert reference() is None


def test_a_checkpoint_of_the_ddp_wrapper_is_loaded(config):
    source, target = BenchDetector(config), BenchDetector(config)
    wrapped = {f"module.{key}": value + 1 for key, value in source.state_dict().items()}
    target.load_state_dict(wrapped, strict=True)
    for key, value in target.state_dict().items():
        assert torch.equal(value, wrapped[f"module.{key}"])


def test_it_stands_beside_an_abstract_detector(config):
    """The shim's bases: ours first, then one that DeepfakeBench's classes derive from, with its own constructor."""

    class Abstract(torch.nn.Module):
        def __init__(self, config=None, load_param=False):
            super().__init__()

    class Detector(BenchDetector, Abstract):
        pass

    assert isinstance(Detector(config), Abstract)
