"""The detector inside DeepfakeBench's loop: the rate of every step, and a construction without a training set."""

import gc
import json
import logging
import weakref

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from towers import batch

from lnclip_df.bench import plugin
from lnclip_df.bench.plugin import BenchDetector
from lnclip_df.config.loading import load_config
from lnclip_df.config.schema import Config
from lnclip_df.core import devices
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.pillow_resize import pillow_bicubic
from lnclip_df.models.schedule import cyclic_lr
from lnclip_df.weights import build_detector
from lnclip_df.weights.delta import delta_names

TINY = "lnclip.backbone={name: tiny, pretrained: none, vision: {image_size: 32, patch_size: 16, width: 64, layers: 1}}"


@pytest.fixture
def config(tmp_path):
    videos = {"v": {"label": "FF-real", "frames": [f"./v/{k:03d}.png" for k in range(9)]}}
    (tmp_path / "A.json").write_text(json.dumps({"A": {"FF-real": {"train": videos}}}))
    overrides = ["resolution=48", TINY, "train_dataset=[A]", "train_batchSize=2", "lnclip.precision=fp32"]
    return {**load_config("lnclip.yaml", overrides).to_dict(), "dataset_json_folder": str(tmp_path)}


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


@pytest.mark.parametrize("ddp", [False, True])
def test_a_training_begins_with_the_weights_it_is_given(config, tmp_path, caplog, ddp):
    """``ckpt_best.pth`` as DeepfakeBench saves it, from its DDP wrapper too."""
    source = BenchDetector(config)
    torch.nn.init.normal_(source.head.weight)
    prefix = "module." if ddp else ""
    torch.save({prefix + key: value for key, value in source.state_dict().items()}, tmp_path / "ckpt_best.pth")
    config["lnclip"]["start_from"] = str(tmp_path / "ckpt_best.pth")
    detector = BenchDetector({**config, "start_epoch": 3})
    assert torch.equal(detector.head.weight, source.head.weight) and detector.training
    assert not [record for record in caplog.records if "start_epoch" in record.message]


def test_a_test_does_not_load_what_training_began_with(config, tmp_path):
    config["lnclip"]["start_from"] = str(tmp_path / "absent.pth")
    BenchDetector({**config, "mode": "test"})
    with pytest.raises(LNCLIPError, match=r"absent\.pth"):
        BenchDetector(config)


@pytest.mark.parametrize(("epoch", "warned"), [(0, False), (3, True)])
def test_a_later_epoch_without_weights_is_warned_about(config, caplog, epoch, warned):
    BenchDetector({**config, "start_epoch": epoch})
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert ["lnclip.start_from" in message for message in warnings] == [True] * warned


def test_what_has_no_effect_is_said(config, caplog):
    caplog.set_level(logging.INFO)
    config["lnclip"] = {"backbone": config["lnclip"]["backbone"], "compile": False, "tune": "all"}
    config["frame_num"] = {"train": 4, "test": 4}
    BenchDetector(config)
    assert not [message for message in caplog.messages if "without effect" in message]
    config["lnclip"] |= {
        "replay": {"datasets": ["B"]},
        "val_dataset": ["A"],
        "missing_frames": "skip",
        "data_root": "x",
    }
    config["lnclip"] |= {"augmentation": "none", "benchmarks": None}
    config["frame_num"]["val"] = 8
    BenchDetector(config)
    (message,) = [message for message in caplog.messages if "without effect" in message]
    assert message.split(": ")[2].split(", ") == [
        "frame_num.val", "lnclip.augmentation", "lnclip.benchmarks", "lnclip.data_root", "lnclip.missing_frames",
        "lnclip.replay", "lnclip.val_dataset",
    ]  # fmt: skip


def test_augmentation_on_the_device_is_refused_in_training_and_ignored_in_tests(config):
    config["lnclip"]["augment_on"] = "device"
    BenchDetector(config | {"mode": "test"})
    with pytest.raises(LNCLIPError, match="augment_on: device is not possible inside DeepfakeBench"):
        BenchDetector(config)


def test_crops_are_resized_by_the_detector_with_deepfakebenchs_normalisation(config):
    model, image = BenchDetector(config).eval(), batch()["image"].repeat(1, 1, 2, 2)[:, :, :48, :48]
    expected = pillow_bicubic(image, 32, config["mean"], config["std"])
    assert torch.equal(model({"image": image})["feat"], model({"image": expected})["feat"])


@pytest.mark.parametrize(("resize", "warned"), [("backbone", True), ("deepfakebench", False)])
def test_a_resize_that_deepfakebench_has_already_done_is_warned_about(config, caplog, resize, warned):
    config["resolution"], config["lnclip"]["resize"] = 32, resize
    BenchDetector(config)
    assert ["resolution: 256" in record.message for record in caplog.records] == [True] * warned


@pytest.mark.parametrize("mode", ["train", "test"])
def test_compile_has_an_effect(config, monkeypatch, mode):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    config["lnclip"]["compile"] = True
    detector = BenchDetector({**config, "mode": mode})
    detector(batch(), inference=True)
    assert compiled == [*detector.backbone.transformer.resblocks]


def test_a_loss_that_is_not_finite_stops_the_loop(config):
    detector, data = BenchDetector(config), batch()
    data["image"][0] = float("nan")
    with pytest.raises(LNCLIPError, match="the loss is not finite"):
        detector.get_losses(data, detector(data))


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


@pytest.mark.slow
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


# ---- checkpoints


def saved(detector, folder, name="ckpt_best.pth"):
    """A checkpoint as DeepfakeBench saves it, of its DDP wrapper if any, and as test.py reads it."""
    torch.save(detector.state_dict(), folder / name)
    return torch.load(folder / name, map_location="cpu")


def trained(config):
    """A detector whose LayerNorms and head are not those of a new one."""
    detector = BenchDetector(config)
    with torch.no_grad():
        for parameter in detector.parameters():
            if parameter.requires_grad:
                parameter.add_(0.5 * torch.randn_like(parameter))
    return detector.eval()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_delta_has_the_trained_tensors_and_gives_the_same_scores(config, tmp_path, wrapped):
    config["lnclip"]["save_delta"] = True
    source = trained(config)
    wrapper = torch.nn.Module()  # names its module as DDP does
    wrapper.module = source
    state = saved(wrapper if wrapped else source, tmp_path)
    assert {key.removeprefix("module.") for key in state} - {"frozen_sha256"} == {
        name for name, parameter in source.named_parameters() if parameter.requires_grad
    }
    assert all(key.startswith("module.") for key in state) == wrapped
    config["lnclip"]["save_delta"] = False  # who tests need not know
    target = BenchDetector(config).eval()
    target.load_state_dict(state, strict=True)
    assert torch.equal(target(batch())["prob"], source(batch())["prob"])


def test_a_delta_is_read_by_lnclip_df_too(config, tmp_path):
    config["lnclip"]["save_delta"] = True
    source = trained(config)
    saved(source, tmp_path)
    read = Config.from_dict({key: config[key] for key in ("resolution", "train_batchSize", "lnclip")})
    detector = build_detector(read, tmp_path / "ckpt_best.pth")
    assert torch.equal(detector(batch())["prob"], source(batch())["prob"])
    start = config | {"lnclip": config["lnclip"] | {"start_from": str(tmp_path / "ckpt_best.pth")}}
    assert torch.equal(BenchDetector(start).eval()(batch())["prob"], source(batch())["prob"])
    other = read.replace({"lnclip.backbone.seed": 1})
    with pytest.raises(LNCLIPError, match=r"delta for another backbone .*set lnclip\.backbone to the one"):
        build_detector(other, tmp_path / "ckpt_best.pth")


def test_a_delta_of_another_backbone_is_refused_by_test_py(config, tmp_path):
    config["lnclip"]["save_delta"] = True
    state = saved(trained(config), tmp_path)
    config["lnclip"]["backbone"]["seed"] = 1
    with pytest.raises(LNCLIPError, match="a delta for frozen weights of SHA-256"):
        BenchDetector(config).load_state_dict(state)
    with pytest.raises(LNCLIPError, match="frozen_sha256 of the checkpoint is damaged"):
        BenchDetector(config).load_state_dict(state | {"frozen_sha256": torch.zeros(3)})


def test_an_exported_delta_is_taken_with_a_warning(config, tmp_path, caplog):
    source = trained(config)
    state = {name: source.state_dict()[name] for name in delta_names(source)}
    target = BenchDetector(config).eval()
    target.load_state_dict(state, strict=True)
    assert torch.equal(target(batch())["prob"], source(batch())["prob"])
    assert any("does not record its backbone" in message for message in caplog.messages)


def test_an_incomplete_checkpoint_is_no_delta(config):
    state = BenchDetector(config).state_dict()
    state.pop("head.bias")
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.bias"):
        BenchDetector(config).load_state_dict(state)


def test_a_delta_of_everything_is_refused(config):
    config["lnclip"] |= {"save_delta": True, "tune": "all"}
    with pytest.raises(LNCLIPError, match="save_delta: false"):
        BenchDetector(config)


# ---- metrics


def test_train_metrics_equal_sklearn_and_are_none_for_one_class(config):
    model = BenchDetector(config)
    data = batch()
    out = model(data)
    metrics = model.get_train_metrics(data, out)
    assert metrics["auc"] == pytest.approx(roc_auc_score(data["label"], out["prob"].detach()))
    single = data | {"label": torch.zeros(16, dtype=torch.long)}
    assert model.get_train_metrics(single, out)["auc"] is None


def test_test_metrics_are_of_everything_since_the_last_call(config):
    model = BenchDetector(config).eval()
    parts = [batch(6, seed) for seed in (1, 2)]
    probs = [model(part, inference=True)["prob"].tolist() for part in parts]
    metrics = model.get_test_metrics()
    labels = [0, 1, 0, 1, 0, 1] * 2
    assert metrics["auc"] == pytest.approx(roc_auc_score(labels, probs[0] + probs[1]))
    assert metrics["label"] == labels and "video_auc" not in metrics
    with pytest.raises(LNCLIPError, match="nothing was predicted"):
        model.get_test_metrics()


def test_video_metrics_appear_where_names_are_known(config):
    model = BenchDetector(config).eval()
    names = ["a", "b", "a", "b", "c", "d"]
    prob = model(batch(6, name=names), inference=True)["prob"].detach().numpy()
    score = [np.mean(prob[[0, 2]]), np.mean(prob[[1, 3]]), prob[4], prob[5]]
    assert model.get_test_metrics()["video_auc"] == pytest.approx(roc_auc_score([0, 1, 0, 1], score))


def test_accumulators_are_bounded_and_reset_by_training(config, monkeypatch):
    monkeypatch.setattr("lnclip_df.bench.plugin.MAX_TEST_FRAMES", 8)
    model = BenchDetector(config).eval()
    for seed in range(3):
        model(batch(6, seed), inference=True)
    metrics = model.get_test_metrics()
    assert len(metrics["pred"]) == 8 and metrics["dropped"] == 10
    model(batch(6), inference=True)
    model.train()
    with pytest.raises(LNCLIPError, match="nothing was predicted"):
        model.get_test_metrics()


def test_deepfakebenchs_merged_config_is_accepted(config):
    config = config | {"ddp": False, "local_rank": 0, "anything": 1}
    assert BenchDetector(config).settings.tune == "layernorm"
    config["lnclip"]["tune"] = "everything"
    with pytest.raises(LNCLIPError, match=r"lnclip\.tune"):
        BenchDetector(config)


def test_a_cpu_that_is_slower_in_bf16_takes_fp32_and_says_so(config, monkeypatch, caplog):
    monkeypatch.setattr(devices, "cpu_has_bf16_units", lambda: False)
    config["lnclip"]["precision"] = "bf16"
    with caplog.at_level(logging.INFO, "lnclip_df"):
        assert BenchDetector(config).settings.precision == "fp32"
    assert "computing in fp32" in caplog.text


def test_training_in_fp16_is_refused_because_its_loop_has_no_scaler(config, monkeypatch):
    monkeypatch.setattr(plugin, "settled_precision", lambda wanted, device: wanted)
    config["lnclip"]["precision"] = "fp16"
    with pytest.raises(LNCLIPError, match="gradient scaler"):
        BenchDetector(config)
    assert BenchDetector({**config, "mode": "test"}).settings.precision == "fp16"
