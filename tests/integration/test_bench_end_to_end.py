"""Train and test in a clone of the DeepfakeBench checkout that ``LNCLIP_DEEPFAKEBENCH`` names, scripts untouched."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from lnclip_df.bench.doctor import doctor
from lnclip_df.bench.install import install, uninstall
from lnclip_df.bench.run_script import bench_run
from lnclip_df.config.loading import load_config
from lnclip_df.evaluation.test import test as lnclip_test
from lnclip_df.models.schedule import cyclic_lr

REAL = os.environ.get("LNCLIP_DEEPFAKEBENCH")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not REAL, reason="LNCLIP_DEEPFAKEBENCH names no checkout")]

SCHEDULE = {"warmup_epochs": 0.5, "decay_epochs": 1.0, "lr_min": 1.0e-5, "lr_max": 3.0e-4}
TINY = {
    "backbone": {
        "name": "tiny",
        "pretrained": "none",
        "vision": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32},
    },
    "slerp": {"enabled": True, "batch_size": 32},
    "schedule": SCHEDULE,
    "precision": "fp32",
}
TRAIN_LENGTHS = {"FF-real": [5, 9, 3], "FF-DF": [4, 7], "FF-NT": [6]}  # frame_num 6: 5+6+3 + 4+6 + 6 = 30 frames
STEPS = 4  # of 8 frames


def make_dataset(root, dataset, split, lengths, compression=None):
    """PNG faces, the fakes brighter than the real ones, and their JSON."""
    rng = np.random.default_rng(0)
    index = {}
    for label, counts in lengths.items():
        videos = {}
        for number, count in enumerate(counts):
            folder = root / "datasets" / "rgb" / dataset / label / "frames" / f"{label}_{number}"
            folder.mkdir(parents=True)
            low = 0 if label.endswith("real") else 90
            for k in range(count):
                pixels = rng.integers(low, low + 160, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{k:03d}.png")
            frames = [f"./{path.relative_to(root).as_posix()}" for path in sorted(folder.iterdir())]
            videos[folder.name] = {"label": label, "frames": frames}
        index[label] = {split: {compression: videos} if compression else videos}
    path = root / "preprocessing" / "dataset_json" / f"{dataset}.json"
    path.write_text(json.dumps({dataset: index}))


def write_yaml(root):
    path = root / "lnclip.yaml"
    config = yaml.safe_load(path.read_text())
    config.update(resolution=64, train_batchSize=8, test_batchSize=8, workers=2, nEpochs=1)
    config.update(frame_num={"train": 6, "test": 6})
    config["lnclip"].update(TINY)
    path.write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("real") / "DeepfakeBench"
    subprocess.run(["git", "clone", "-q", REAL, root], check=True)
    install(root)
    for name in ("train", "test"):
        path = root / "training" / "config" / f"{name}_config.yaml"
        path.write_bytes(path.read_bytes().replace(b"lmdb: True", b"lmdb: False"))
    write_yaml(root)
    make_dataset(root, "FaceForensics++", "train", TRAIN_LENGTHS, "c23")
    make_dataset(root, "LNCLIP-val", "test", {"demo_real": [4, 4], "demo_fake": [4, 4]})
    return root


@pytest.fixture(scope="module")
def training(checkout):
    """The log of two epochs."""
    assert bench_run(checkout, ["training/train.py", "--detector_path", "lnclip.yaml"]) == 0
    (log,) = checkout.glob("logs/training/lnclip*/training.log")
    return log.read_text()


def test_every_step_has_the_cyclic_rate(training):
    lines = re.findall(r"lnclip step (\d+) epoch ([\d.]+) lr (\S+)", training)
    assert [int(step) for step, _, _ in lines] == list(range(2 * STEPS))
    for step, epoch, lr in lines:
        assert float(epoch) == pytest.approx(int(step) / STEPS, abs=1e-4)
        assert float(lr) == pytest.approx(cyclic_lr(int(step) / STEPS, **SCHEDULE), rel=0.01)


def test_what_has_no_effect_is_said_once(training):
    assert len(re.findall(r"without effect inside DeepfakeBench: .*lnclip\.augmentation", training)) == 1


def test_the_tests_read_the_checkpoint_of_training(checkout, training, capfd):
    (checkpoint,) = checkout.glob("logs/training/lnclip*/test/LNCLIP-val/ckpt_best.pth")
    (checkout / "preprocessing" / "dataset_json" / "FaceForensics++.json").rename(checkout / "aside.json")
    try:
        argv = ["training/test.py", "--detector_path", "lnclip.yaml", "--weights_path", str(checkpoint)]
        assert bench_run(checkout, argv) == 0
    finally:
        (checkout / "aside.json").rename(checkout / "preprocessing" / "dataset_json" / "FaceForensics++.json")
    output = "".join(capfd.readouterr())
    assert "Load checkpoint done" in output and "Test Done" in output
    best = max(float(value) for value in re.findall(r"testing-metric, auc: ([\d.]+)", training))
    assert float(re.search(r"^auc: ([\d.]+)", output, re.MULTILINE)[1]) == pytest.approx(best, abs=1e-6)


def test_our_test_gives_the_metrics_of_deepfakebenchs(checkout, training, capfd, tmp_path):
    (checkpoint,) = checkout.glob("logs/training/lnclip*/test/LNCLIP-val/ckpt_best.pth")
    argv = ["training/test.py", "--detector_path", "lnclip.yaml", "--weights_path", str(checkpoint)]
    assert bench_run(checkout, argv) == 0
    theirs = dict(re.findall(r"^(acc|auc|eer|ap|video_auc): ([\d.e-]+)", "".join(capfd.readouterr()), re.MULTILINE))
    config = load_config(checkout / "lnclip.yaml", [f"lnclip.data_root={checkout}"])
    ours = lnclip_test(config, checkpoint, tmp_path, datasets=["LNCLIP-val"], device="cpu", progress=False)[
        "LNCLIP-val"
    ]
    for name, value in {
        "acc": ours["frame"]["accuracy"], "auc": ours["frame"]["auroc"], "eer": ours["frame"]["eer"],
        "ap": ours["frame"]["ap"], "video_auc": ours["video"]["auroc"],
    }.items():  # fmt: skip
        assert float(theirs[name]) == pytest.approx(value, abs=1e-6), name


def test_two_processes_halve_the_steps_and_share_a_checkpoint(checkout, training, capfd):
    done = set(checkout.glob("logs/training/*"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "lnclip_df.bench.launch", "training/train.py", "--ddp", "--detector_path", "lnclip.yaml"]
    subprocess.run(command, cwd=checkout, check=True)
    folders = set(checkout.glob("logs/training/*")) - done  # two where the processes start in different seconds
    log = "".join((folder / "training.log").read_text() for folder in folders)
    assert [float(epoch) for epoch in re.findall(r"lnclip step \d+ epoch ([\d.]+) lr", log)] == [0, 0.5, 1, 1.5]
    (weights,) = [path for folder in folders for path in folder.glob("test/LNCLIP-val/ckpt_best.pth")]
    argv = ["training/test.py", "--detector_path", "lnclip.yaml", "--weights_path", str(weights)]
    assert bench_run(checkout, argv) == 0
    assert "Load checkpoint done" in capfd.readouterr().out


def test_a_missing_training_set_is_named(checkout, capfd):
    argv = ["training/train.py", "--detector_path", "lnclip.yaml", "--train_dataset", "Absent"]
    assert bench_run(checkout, argv) != 0
    assert "Absent" in capfd.readouterr().err


def test_doctor_finds_no_problem(checkout):
    problems = [str(finding) for finding in doctor(checkout) if finding.status == "problem"]
    assert problems == []


def test_nothing_of_ours_is_left(checkout, training):
    uninstall(checkout, force=True)
    command = ["git", "status", "--porcelain", "training", "lnclip.yaml"]
    status = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout
    edited = [" M training/config/test_config.yaml", " M training/config/train_config.yaml"]  # lmdb: False
    assert sorted(status.splitlines()) == edited
