"""Training and testing on a tiny dataset: what they write, and that an interruption changes nothing."""

import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from backbones import small_config
from safetensors.torch import load_file
from tiny import configured, make_toy, train_toy, write_dataset
from waits import WaitCounter

from lnclip_df.config.loading import load_config
from lnclip_df.core import devices
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.datasets.pack import write_pack
from lnclip_df.evaluation import test as testing
from lnclip_df.evaluation.loading import make_loader
from lnclip_df.evaluation.predictions import read_predictions
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.models.schedule import cyclic_lr
from lnclip_df.training.frozen import with_features
from lnclip_df.training.module import LNCLIPModule, best_epoch
from lnclip_df.weights import build_detector, load_weights


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors are fastest on one thread, and sums to the last bit need the same number in every process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy"))


def weights_of(out):
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["trained"]


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory):
    """A training of three epochs: its folder and what ``train`` returned."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return out, train_toy(toy, out)


def test_training_learns(trained):
    _, result = trained
    first, *_, last = result["history"]
    assert last["train"]["ce"] < first["train"]["ce"]
    assert result["best"]["val"]["auroc"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pe:small", "dino:dinov3-tiny"])
def test_other_backbones_train_their_layer_norms_and_the_delta_tests(toy, tmp_path, name):
    small = small_config(name).to_dict()
    backbone = [f"lnclip.backbone={json.dumps(small['lnclip']['backbone'])}"]
    own = [*backbone, *(f"{key}={json.dumps(small[key])}" for key in ("mean", "std")), "resolution=48", "nEpochs=1"]
    result = train_toy(toy, tmp_path / "run", *own)
    assert result["history"][-1]["train"]["ce"] < result["history"][0]["train"]["ce"]
    begun = build_detector(configured(toy, *own))
    delta = load_file(tmp_path / "run" / "best.safetensors")
    changed = {n for n, p in begun.named_parameters() if n in delta and not torch.equal(p, delta[n])}
    norms = {id(p) for norm in begun.backbone.layer_norms() for p in norm.parameters()}
    assert {id(p) for n, p in begun.backbone.named_parameters() if f"backbone.{n}" in changed} == norms
    weights = tmp_path / "run" / "best.safetensors"
    metrics = testing.test(configured(toy, *own), weights, tmp_path / "out", device="cpu", progress=False)
    assert metrics["toy"]["video"]["auroc"] > 0.9


def test_epochs_are_counted_as_deepfakebench_does(toy, tmp_path, trained):
    assert [row["epoch"] for row in trained[1]["history"]] == [0, 1, 2]
    later = train_toy(toy, tmp_path, "start_epoch=2")
    assert [row["epoch"] for row in later["history"]] == [2]


def test_the_rate_follows_the_schedule_step_by_step(trained):
    out, result = trained
    schedule = {"warmup_epochs": 1, "decay_epochs": 9, "lr_min": 1e-2, "lr_max": 5e-2}
    expected = [cyclic_lr(step / 6, **schedule) for step in range(18)]
    assert scalars(out)["lr"] == pytest.approx(expected)
    assert [row["lr"] for row in result["history"]] == pytest.approx(expected[5::6])


def board(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"histograms": 0})
    events.Reload()
    return events


def scalars(out):
    events = board(out)
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_holds_every_loss_term_and_validation(trained):
    assert {"train/overall", "train/ce", "train/alignment", "train/uniformity", "epoch/ce", "val/auroc"} <= set(
        scalars(trained[0])
    )


def test_tensorboard_holds_the_settings_and_the_scores_of_the_validation(trained):
    from tensorboard.plugins.hparams import plugin_data_pb2

    out, result = trained
    events = board(out)
    assert len(scalars(out)["val/map"]) == len(result["history"])  # once an epoch, that with the settings among them
    stored = yaml.safe_load((out / "tensorboard" / "hparams.yaml").read_text())
    assert stored["lnclip.slerp.enabled"] is True and stored["nEpochs"] == 2 and "workers" not in stored
    plugin = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    shown = plugin_data_pb2.HParamsPluginData.FromString(plugin).session_start_info.hparams
    assert shown["lnclip.schedule.lr_max"].number_value == 0.05
    curves = events.Tensors("val/precision_recall")
    assert len(curves) == len(events.Histograms("val/score_real")) == len(result["history"])
    videos = [sum(events.Histograms(f"val/score_{name}")[-1].histogram_value.bucket) for name in ("real", "fake")]
    assert videos == [6, 6]


def test_only_trainable_parameters_are_optimised_and_checkpointed(toy, trained):
    state = torch.load(trained[0] / "checkpoints" / "last.ckpt", weights_only=True)
    detector = LNCLIPDetector(configured(toy))
    trainable = {name for name, p in detector.named_parameters() if p.requires_grad}
    assert set(state["trained"]) == trainable
    assert len(state["optimizer"]["state"]) == len(trainable)


def test_the_best_epoch_is_the_one_in_best_safetensors(toy, trained):
    out, result = trained
    detector = LNCLIPDetector(configured(toy))
    facts = load_weights(detector, out / "best.safetensors").facts
    best = max(result["history"], key=lambda row: row["val"]["map"])
    assert facts.selection == "highest mean average precision of videos on toy (val)"
    assert (facts.epoch, facts.metric, facts.seed) == (best["epoch"], best["val"], 1024)
    assert facts.config["train_dataset"] == ["toy"]
    retested = testing.test(configured(toy), out / "best.safetensors", out, device="cpu", progress=False)
    assert retested["toy"]["video"]["auroc"] > 0.9


AUGMENTED = ("nEpochs=3", "lnclip.augmentation=paper")


@pytest.fixture(scope="module")
def undisturbed(toy, tmp_path_factory):
    """A training of four epochs with augmentation: its folder and history."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    return out, train_toy(toy, out, *AUGMENTED)["history"]


@pytest.mark.parametrize("how", ["killed", "failed"])
def test_resumed_training_equals_undisturbed(toy, undisturbed, tmp_path, monkeypatch, how):
    out, history = undisturbed
    {"killed": kill, "failed": fail}[how](toy, tmp_path, monkeypatch)
    assert read_json(tmp_path / "history.json")["epochs"] == history[:2]
    assert train_toy(toy, tmp_path, *AUGMENTED, resume=True)["history"] == history
    for name, tensor in weights_of(out).items():
        assert torch.equal(tensor, weights_of(tmp_path)[name]), name
    assert (tmp_path / "best.safetensors").read_bytes() == (out / "best.safetensors").read_bytes()


@pytest.mark.slow
def test_augmentation_on_the_device_trains_as_on_the_cpu_and_resumes(toy, tmp_path):
    """Its pixels differ by rounding alone, and its draws do not depend on where a training was interrupted."""

    def losses(out, *settings, **options):
        history = train_toy(toy, tmp_path / out, "lnclip.augmentation=paper", *settings, **options)["history"]
        return [row["train"]["ce"] for row in history]

    on_device = losses("device", "nEpochs=1", "lnclip.augment_on=device")
    assert on_device == pytest.approx(losses("cpu", "nEpochs=1"), abs=2e-3)
    losses("resumed", "nEpochs=0", "lnclip.augment_on=device")
    assert losses("resumed", "nEpochs=1", "lnclip.augment_on=device", resume=True) == on_device


KILLED = """
import os, signal, sys
import torch
from lnclip_df.training.module import LNCLIPModule
from tiny import train_toy
step = LNCLIPModule.training_step
def training_step(self, batch, batch_idx):
    if (self.current_epoch, batch_idx) == (2, 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)
LNCLIPModule.training_step = training_step
torch.set_num_threads(1)
train_toy(sys.argv[1], sys.argv[2], *sys.argv[3:])
"""


def kill(toy, out, monkeypatch):
    """Train in another process, which dies in its third epoch's second step."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(toy), str(out), *AUGMENTED]
    status = subprocess.run(command, cwd=os.path.dirname(__file__), env=environment, check=False).returncode
    assert status == -signal.SIGKILL


def fail(toy, out, monkeypatch):
    """Train until the loss turns out not to be finite in the third epoch's second step."""
    step = LNCLIPModule.training_step

    def training_step(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (2, 1):
            batch["image"] = torch.full(batch["image"].shape, float("nan"))
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(LNCLIPModule, "training_step", training_step)
        with pytest.raises(LNCLIPError, match="loss is not finite"):
            train_toy(toy, out, *AUGMENTED)


def test_a_finished_training_resumes_to_itself_and_can_be_prolonged(toy, tmp_path, trained):
    out = shutil.copytree(trained[0], tmp_path / "run")
    assert train_toy(toy, out, resume=True)["history"] == trained[1]["history"]
    assert len(train_toy(toy, out, "nEpochs=3", resume=True)["history"]) == 4


@pytest.mark.parametrize("rec_iter", [1, 3, 100])
def test_a_step_reads_from_the_device_only_where_it_records(toy, tmp_path, monkeypatch, rec_iter):
    step, reads = LNCLIPModule.training_step, []

    def training_step(self, batch, batch_idx):
        with WaitCounter() as counter:
            loss = step(self, batch, batch_idx)
            loss.backward(retain_graph=True)
        reads.append(len(counter.seen))
        return loss

    monkeypatch.setattr(LNCLIPModule, "training_step", training_step)
    train_toy(toy, tmp_path / "run", f"rec_iter={rec_iter}", "nEpochs=1")
    assert len(reads) == 12
    assert all((count > 0) == (number % rec_iter == 0) for number, count in enumerate(reads))
    assert len(scalars(tmp_path / "run")["train/overall"]) == len(range(0, 12, rec_iter))


def test_training_says_its_device_and_takes_fp32_on_a_cpu_without_bf16_units(toy, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(devices, "cpu_has_bf16_units", lambda: False)
    with caplog.at_level(logging.INFO, "lnclip_df"):
        train_toy(toy, tmp_path / "run", "lnclip.precision=bf16", "nEpochs=0")
    assert "training on cpu in fp32" in caplog.text
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["lnclip"]["precision"] == "fp32"
    monkeypatch.setattr(devices, "cpu_has_bf16_units", lambda: True)
    with pytest.raises(LNCLIPError, match=r"cannot resume: lnclip\.precision is 'bf16' and was 'fp32'"):
        train_toy(toy, tmp_path / "run", "lnclip.precision=bf16", "nEpochs=1", resume=True)


def test_a_training_in_bf16_is_resumed_on_a_cpu_without_bf16_units(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "cpu_has_bf16_units", lambda: True)
    train_toy(toy, tmp_path, "lnclip.precision=bf16", "nEpochs=0")
    monkeypatch.setattr(devices, "cpu_has_bf16_units", lambda: False)
    assert len(train_toy(toy, tmp_path, "lnclip.precision=bf16", "nEpochs=1", resume=True)["history"]) == 2


def test_resuming_where_nothing_is_starts(toy, tmp_path):
    assert len(train_toy(toy, tmp_path / "new", "nEpochs=0", resume=True)["history"]) == 1


def test_a_seed_that_was_drawn_is_kept_on_resuming(toy, tmp_path):
    train_toy(toy, tmp_path, "manualSeed=null", "nEpochs=0")
    seed = read_json(tmp_path / "history.json")["seed"]
    train_toy(toy, tmp_path, "manualSeed=null", "nEpochs=1", resume=True)
    assert read_json(tmp_path / "history.json")["seed"] == seed
    assert load_config(tmp_path / "config.yaml").manualSeed == seed


@pytest.mark.slow
def test_two_processes_share_an_epoch_and_its_validation(toy, tmp_path):
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(configured(toy, "train_batchSize=4", "nEpochs=0").to_dict()))
    switches = ["--accelerator", "cpu", "--devices", "2", "--strategy", "ddp", "--quiet"]
    command = [sys.executable, "-m", "lnclip_df", "train", "--config", config, "--out", tmp_path / "run", *switches]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) == 4, result.stderr  # few validation videos, device, the epoch, the best
    assert "training on cpu, 2 processes in fp32" in result.stderr
    assert len(scalars(tmp_path / "run")["lr"]) == 6


def test_resuming_with_another_configuration_names_the_key(toy, trained):
    with pytest.raises(LNCLIPError, match="cannot resume: train_batchSize is 4 and was 8"):
        train_toy(toy, trained[0], "train_batchSize=4", resume=True)
    with pytest.raises(LNCLIPError, match=r"cannot resume: lnclip.loss.uniformity is 0.1 and was 0.5"):
        train_toy(toy, trained[0], "lnclip.loss.uniformity=0.1", resume=True)


def test_resuming_with_other_data_is_refused(toy, tmp_path, trained):
    out = shutil.copytree(trained[0], tmp_path / "run")
    videos = read_json(toy / "preprocessing" / "dataset_json" / "toy.json")["toy"]
    for label in videos.values():
        label["train"] = dict(list(label["train"].items())[:4])
    shutil.copytree(toy / "frames", tmp_path / "frames")
    write_dataset(tmp_path, "toy", videos)
    with pytest.raises(LNCLIPError, match="an epoch had 6 steps and now has 2"):
        train_toy(tmp_path, out, "nEpochs=3", resume=True)


def test_a_truncated_checkpoint_is_one_line(toy, tmp_path, trained):
    out = shutil.copytree(trained[0], tmp_path / "run")
    last = out / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    with pytest.raises(LNCLIPError, match=r"last.ckpt is damaged") as error:
        train_toy(toy, out, resume=True)
    assert "\n" not in str(error.value)


def test_a_used_folder_is_refused(toy, trained):
    with pytest.raises(LNCLIPError, match="is not empty; resume the training there, or give another folder"):
        train_toy(toy, trained[0])


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_keeps_the_finished_epochs(toy, tmp_path, monkeypatch):
    step = LNCLIPModule.training_step

    def training_step(self, batch, batch_idx):
        if self.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LNCLIPModule, "training_step", training_step)
    with pytest.raises(KeyboardInterrupt):
        train_toy(toy, tmp_path)
    assert len(read_json(tmp_path / "history.json")["epochs"]) == 1


def one_class(toy, root, split, label):
    """A copy of the data set whose ``split`` holds ``label`` only."""
    videos = read_json(toy / "preprocessing" / "dataset_json" / "toy.json")["toy"]
    for name in videos:
        if name != label:
            videos[name][split] = {}
    write_dataset(root, "toy", videos)
    return root


def test_a_training_set_of_one_class_is_refused_before_the_first_step(toy, tmp_path):
    root = one_class(toy, tmp_path, "train", "demo_fake")
    with pytest.raises(LNCLIPError, match=r"the train split of toy contains only fake videos \(demo_fake\); add real"):
        train_toy(root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_validation_set_of_one_class_is_refused_before_the_first_step(toy, tmp_path):
    root = one_class(toy, tmp_path, "val", "demo_real")
    with pytest.raises(LNCLIPError, match=r"lnclip.val_dataset: the val split of toy contains only real videos"):
        train_toy(root, tmp_path / "run")


def test_an_empty_validation_set_is_refused(toy, tmp_path):
    with pytest.raises(LNCLIPError, match=r"lnclip.val_dataset is empty"):
        train_toy(toy, tmp_path / "run", "lnclip.val_dataset=[]")


def test_switches_that_do_not_fit_the_machine_are_one_line(toy, tmp_path):
    with pytest.raises(LNCLIPError, match="strategy=nonsense"):
        train_toy(toy, tmp_path / "run", strategy="nonsense")


@pytest.fixture
def gap(toy, tmp_path):
    """The data set without one training frame and one test frame."""
    shutil.copytree(toy, tmp_path / "gap")
    for frame in ("demo_real/0/000.png", "demo_fake/20/001.png"):
        (tmp_path / "gap" / "frames" / frame).unlink()
    return tmp_path / "gap"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_frame_stops_training_and_is_named(gap, tmp_path, workers):
    with pytest.raises(LNCLIPError, match=r"cannot read frame .*demo_real/0/000.png") as error:
        train_toy(gap, tmp_path / "run", f"workers={workers}")
    assert "\n" not in str(error.value)


def test_missing_frames_are_skipped_and_counted_on_request(gap, tmp_path):
    overrides = ("lnclip.missing_frames=skip", "nEpochs=0")
    result = train_toy(gap, tmp_path / "run", *overrides)
    assert result["history"][0]["skipped"] == 1
    weights = tmp_path / "run" / "best.safetensors"
    tested = testing.test(configured(gap, *overrides), weights, tmp_path / "run", device="cpu", progress=False)["toy"]
    assert tested["skipped_frames"] == ["./frames/demo_fake/20/001.png"]
    assert (tested["videos"], tested["frames"]) == (12, 23)


def test_predictions_and_metrics_are_written_for_each_data_set(toy, tmp_path, trained):
    weights = trained[0] / "best.safetensors"
    result = testing.test(configured(toy), weights, tmp_path, datasets=["toy"], device="cpu", progress=False)
    table, metadata = read_predictions(tmp_path / "predictions" / "toy.parquet")
    assert len(table["prob"]) == 24
    assert table["video"][0] == "toy/demo_fake/18"
    assert metadata["train_dataset"] == ["toy"]
    assert read_json(tmp_path / "metrics" / "toy.json") == result["toy"]
    assert result["toy"]["video_deepfakebench"] != result["toy"]["video"]


def test_a_finished_data_set_is_not_tested_again(toy, tmp_path, trained, monkeypatch):
    weights = shutil.copy(trained[0] / "best.safetensors", tmp_path)
    first = testing.test(configured(toy), weights, tmp_path, device="cpu", progress=False)
    scored = []
    genuine = testing.predict_share
    monkeypatch.setattr(testing, "predict_share", lambda *a, **k: scored.append("toy") or genuine(*a, **k))
    assert testing.test(configured(toy, "workers=1"), weights, tmp_path, device="cpu", progress=False) == first
    assert scored == []
    testing.test(configured(toy, "lnclip.resize=deepfakebench"), weights, tmp_path, device="cpu", progress=False)
    assert scored == ["toy"]


def without_stored_features(monkeypatch):
    monkeypatch.setattr("lnclip_df.training.module.with_features", lambda detector, loader, **how: loader)
    monkeypatch.setattr("lnclip_df.training.module.FeatureLoader", object)


def seen_by_the_backbone(monkeypatch):
    """How many images each call of a backbone gets, from now on."""
    seen, genuine = [], LNCLIPDetector.backbone_input
    monkeypatch.setattr(
        LNCLIPDetector, "backbone_input", lambda self, image: seen.append(len(image)) or genuine(self, image)
    )
    return seen


@pytest.mark.slow
def test_a_frozen_backbone_computes_each_feature_once_with_the_same_result(toy, tmp_path, monkeypatch, caplog):
    seen = seen_by_the_backbone(monkeypatch)
    once = train_toy(toy, tmp_path / "once", "lnclip.tune=none", "nEpochs=1")
    assert sum(seen) == 48 + 24  # the training and the validation frames
    train_toy(toy, tmp_path / "resumed", "lnclip.tune=none", "nEpochs=0")
    train_toy(toy, tmp_path / "resumed", "lnclip.tune=none", "nEpochs=1", resume=True)
    one, resumed = weights_of(tmp_path / "once"), weights_of(tmp_path / "resumed")
    assert set(one) == {"head.weight", "head.bias"} and all(torch.equal(one[name], resumed[name]) for name in one)
    assert "computed each time" not in caplog.text
    without_stored_features(monkeypatch)
    seen.clear()
    each_time = train_toy(toy, tmp_path / "each", "lnclip.tune=none", "nEpochs=1")
    assert sum(seen) == 2 * (48 + 24)
    for name, weight in weights_of(tmp_path / "each").items():
        torch.testing.assert_close(one[name], weight, rtol=1e-4, atol=1e-6)
    for first, second in zip(once["history"], each_time["history"], strict=True):
        assert first["train"] == pytest.approx(second["train"], rel=1e-4)
        assert first["val"] == pytest.approx(second["val"], rel=1e-4)


def test_stored_features_keep_no_batch_in_shared_memory(toy):
    config, parts = configured(toy), []
    frames = FrameDataset(config, read_videos(config, ["toy"], "train"), frames_per_video=1)
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    loader = make_loader(frames, order, batch_size=8, workers=1, device="cpu")
    with_features(
        LNCLIPDetector(config), loader, device="cpu", gather=lambda own: parts.extend(own) or [own], rank=0,
        world_size=1, title="", progress=False,
    )  # fmt: skip
    assert len(parts) > 1 and not any(index.is_shared() for index, _ in parts)


@pytest.mark.slow
def test_features_of_images_that_vary_are_computed_in_every_epoch(toy, tmp_path, monkeypatch, caplog):
    seen = seen_by_the_backbone(monkeypatch)
    with caplog.at_level(logging.INFO):
        train_toy(toy, tmp_path / "run", "lnclip.tune=none", "lnclip.augmentation=paper", "nEpochs=1")
    assert sum(seen) == 2 * 48 + 24
    assert "lnclip.augmentation changes the images in every epoch" in caplog.text


def test_frames_that_cannot_be_read_are_skipped_in_every_epoch_of_a_frozen_backbone(tmp_path):
    root = make_toy(tmp_path / "toy")
    (root / "frames/demo_real/3/001.png").unlink()
    result = train_toy(root, tmp_path / "run", "lnclip.tune=none", "lnclip.missing_frames=skip", "nEpochs=1")
    assert [row["skipped"] for row in result["history"]] == [1, 1]


@pytest.mark.slow
def test_a_pack_gives_the_training_and_the_predictions_of_its_files(tmp_path, trained, monkeypatch):
    root, weights = make_toy(tmp_path / "toy"), trained[0] / "best.safetensors"
    from_files = testing.test(configured(root), weights, tmp_path / "run", device="cpu", progress=False)
    expected = read_predictions(tmp_path / "run" / "predictions" / "toy.parquet")[0]
    train_toy(root, tmp_path / "files", "nEpochs=0")
    write_pack(
        root / "preprocessing" / "dataset_json" / "toy.json", root / "datasets" / "pack", data_root=root, progress=False
    )
    shutil.rmtree(root / "frames")
    train_toy(root, tmp_path / "pack", "nEpochs=0")
    one, two = weights_of(tmp_path / "files"), weights_of(tmp_path / "pack")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    testing.test(configured(root), weights, tmp_path / "again", device="cpu", progress=False)
    found = read_predictions(tmp_path / "again" / "predictions" / "toy.parquet")[0]
    assert {name: list(column) for name, column in found.items()} == {name: list(expected[name]) for name in expected}
    monkeypatch.setattr(testing, "predict_share", None)  # what was tested from files is finished
    assert testing.test(configured(root), weights, tmp_path / "run", device="cpu", progress=False) == from_files


def test_a_probability_that_is_no_number_names_the_frame(toy, tmp_path, trained, monkeypatch):
    nan = {"prob": torch.full((8,), float("nan"))}
    monkeypatch.setattr(LNCLIPDetector, "forward", lambda self, batch, inference=False: nan)
    with pytest.raises(LNCLIPError, match=r"demo_fake/18/000.png: the detector's probability is nan"):
        testing.test(configured(toy), trained[0] / "best.safetensors", tmp_path, device="cpu", progress=False)
    assert not (tmp_path / "metrics").exists()


@pytest.mark.parametrize("name", ["../toy", "a/b", ".hidden", ""])
def test_a_data_sets_name_must_be_a_file_name(toy, tmp_path, trained, name):
    with pytest.raises(LNCLIPError, match="name becomes a file's"):
        testing.test(configured(toy), trained[0] / "best.safetensors", tmp_path, datasets=[name])


def test_a_batch_of_broken_frames_alone_is_skipped_too(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "toy")
    index = read_json(tmp_path / "toy" / "preprocessing" / "dataset_json" / "toy.json")["toy"]
    train_frames = [f for label in index.values() for video in label["train"].values() for f in video["frames"]]
    for frame in train_frames[1::2]:
        (tmp_path / "toy" / frame).unlink()
    options = ["train_batchSize=1", "lnclip.slerp.batch_size=8", "lnclip.missing_frames=skip", "nEpochs=0"]
    options += ["lnclip.schedule={warmup_epochs: 1, decay_epochs: 9, lr_min: 1.0e-9, lr_max: 1.0e-9}"]
    (row,) = train_toy(tmp_path / "toy", tmp_path / "run", *options)["history"]
    assert row["skipped"] == len(train_frames[1::2])
    assert row["train"]["ce"] == pytest.approx(math.log(2), abs=0.2)  # the mean over the steps that had a frame


# ---- damaged folders


def test_a_kill_between_the_last_and_the_best_file_is_repaired_on_resuming(toy, tmp_path, trained):
    whole, broken = trained[0], shutil.copytree(trained[0], tmp_path / "run")
    last = torch.load(broken / "checkpoints" / "last.ckpt", weights_only=True)
    worst = min(row["val"]["map"] for row in last["history"])
    for row in last["history"][:-1]:  # as if the last epoch were the best
        row["val"]["map"] = worst / 2
    torch.save(last, broken / "checkpoints" / "last.ckpt")
    (broken / "best.safetensors").unlink()
    train_toy(toy, broken, resume=True)
    report = load_weights(LNCLIPDetector(configured(toy)), broken / "best.safetensors")
    assert report.facts.epoch == last["epoch"] and whole.is_dir()


@pytest.mark.parametrize(
    "change",
    [{"history": [1]}, {"epoch": "x"}, {"epoch": 50}, {"history": []}, {"optimizer": 3}, {"trained": {}}],
    ids=lambda change: str(change),
)
def test_a_last_checkpoint_that_contradicts_itself_is_refused(toy, tmp_path, trained, change):
    shutil.copytree(trained[0], tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | change, path)
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    with pytest.raises(LNCLIPError, match="checkpoint"):
        train_toy(toy, tmp_path / "run", "nEpochs=4", resume=True)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before


def test_resuming_without_the_best_weights_says_so(toy, tmp_path, trained):
    shutil.copytree(trained[0], tmp_path / "run")
    (tmp_path / "run" / "best.safetensors").unlink()
    with pytest.raises(LNCLIPError, match=r"best\.safetensors is missing"):
        train_toy(toy, tmp_path / "run", resume=True)


def test_a_file_is_no_folder_to_train_in(toy, tmp_path):
    (tmp_path / "run").write_text("mine")
    for resume in (False, True):
        with pytest.raises(LNCLIPError, match="is a file"):
            train_toy(toy, tmp_path / "run", resume=resume)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_full_disk_is_one_line(toy, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr("lnclip_df.training.outputs.torch.save", full)
    with pytest.raises(LNCLIPError, match=r"cannot write .*last\.ckpt"):
        train_toy(toy, tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".last*"))


def test_a_device_that_is_not_there_is_named(toy, tmp_path, trained):
    weights = trained[0] / "best.safetensors"
    for device in ("foo", "cuda:99"):
        with pytest.raises(LNCLIPError, match=device):
            testing.test(configured(toy), weights, tmp_path, device=device, progress=False)


@pytest.mark.parametrize("damage", ["{", "[]", '{"weights": 3}'])
def test_a_damaged_metrics_file_is_made_again(toy, tmp_path, trained, damage):
    options = {"device": "cpu", "progress": False}
    first = testing.test(configured(toy), trained[0] / "best.safetensors", tmp_path, **options)
    for path in (tmp_path / "metrics").iterdir():
        path.write_text(damage)
    again = testing.test(configured(toy), trained[0] / "best.safetensors", tmp_path, **options)
    assert {n: r["video"] for n, r in again.items()} == {n: r["video"] for n, r in first.items()}


def test_the_epoch_is_chosen_by_the_metric_that_is_named():
    history = [{"epoch": epoch, "val": {"map": m, "auroc": a}} for epoch, (m, a) in enumerate([(0.5, 0.9), (0.6, 0.8)])]
    assert best_epoch(history, "map")["epoch"] == 1 and best_epoch(history, "auroc")["epoch"] == 0
    assert best_epoch(history * 2, "map") is history[1]


def test_a_history_without_the_metric_is_refused(toy, tmp_path, trained):
    broken = shutil.copytree(trained[0], tmp_path / "run")
    last = torch.load(broken / "checkpoints" / "last.ckpt", weights_only=True)
    for row in last["history"]:
        del row["val"]["map"]
    torch.save(last, broken / "checkpoints" / "last.ckpt")
    with pytest.raises(LNCLIPError, match=r"does not record the validation map.*set lnclip\.select: auroc"):
        train_toy(toy, broken, resume=True)
