"""Train and test in a clone of the DeepfakeBench checkout that ``LNCLIP_DEEPFAKEBENCH`` names, scripts untouched."""

import re
import shutil
import subprocess
import sys

import pytest
import torch
from real_checkouts import REAL, SCHEDULE, STEPS, change_yaml, clone

from lnclip_df.bench.doctor import doctor
from lnclip_df.bench.evaluate import BenchTest, bench_test
from lnclip_df.bench.install import uninstall
from lnclip_df.bench.run_script import bench_run
from lnclip_df.config.loading import load_config
from lnclip_df.core.files import read_json
from lnclip_df.evaluation.test import test as lnclip_test
from lnclip_df.models.schedule import cyclic_lr

STILL = {"warmup_epochs": 1, "decay_epochs": 9, "lr_min": 1.0e-12, "lr_max": 1.0e-12}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not REAL, reason="LNCLIP_DEEPFAKEBENCH names no checkout")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return clone(tmp_path_factory.mktemp("real") / "DeepfakeBench")


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


def test_a_training_begins_with_the_checkpoint_of_another(checkout, training):
    weights, *_ = sorted(checkout.glob("logs/training/lnclip*/test/LNCLIP-val/ckpt_best.pth"))
    done, before = set(checkout.glob("logs/training/*")), (checkout / "lnclip.yaml").read_text()
    change_yaml(checkout, nEpochs=0, lnclip={"start_from": str(weights.relative_to(checkout)), "schedule": STILL})
    try:
        assert bench_run(checkout, ["training/train.py", "--detector_path", "lnclip.yaml"]) == 0
    finally:
        (checkout / "lnclip.yaml").write_text(before)
    (folder,) = set(checkout.glob("logs/training/*")) - done
    assert "training begins with the weights logs/training" in (folder / "training.log").read_text()
    (continued,) = folder.glob("test/LNCLIP-val/ckpt_best.pth")
    first, second = (torch.load(path, weights_only=True) for path in (weights, continued))
    shutil.rmtree(folder)
    assert all(torch.allclose(value, second[name], atol=1e-5) for name, value in first.items())


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


def test_bench_test_gives_a_foreign_detectors_figures_as_its_own_script_does(checkout, capfd, tmp_path):
    code = (
        "import sys, torch, yaml; from lnclip_df.bench.launch import prepare; prepare(); "
        "sys.path.insert(0, 'training'); "
        "from detectors import DETECTOR; torch.manual_seed(1); "
        "config = yaml.safe_load(open('training/config/detector/meso4.yaml')); "
        f"torch.save(DETECTOR['meso4'](config).state_dict(), r'{tmp_path}/meso4.pth')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True)
    yaml_path, weights = "training/config/detector/meso4.yaml", str(tmp_path / "meso4.pth")
    argv = ["training/test.py", "--detector_path", yaml_path, "--test_dataset", "LNCLIP-val", "--weights_path", weights]
    assert bench_run(checkout, argv) == 0
    theirs = dict(re.findall(r"^(acc|auc|ap|eer): ([\d.e-]+)", "".join(capfd.readouterr()), re.MULTILINE))
    options = BenchTest(yaml_path, str(tmp_path / "run"), weights, ["LNCLIP-val"], progress=False)
    assert bench_test(checkout, options) == 0
    ours = read_json(tmp_path / "run" / "metrics" / "LNCLIP-val.json")
    assert ours["videos"] == 4 and ours["frames"] == 16
    for name, key in (("auroc", "auc"), ("ap", "ap"), ("eer", "eer"), ("accuracy", "acc")):
        assert ours["frame"][name] == pytest.approx(float(theirs[key]), abs=1e-6)


def test_nothing_of_ours_is_left(checkout, training):
    uninstall(checkout, force=True)
    command = ["git", "status", "--porcelain", "training", "lnclip.yaml"]
    status = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout
    edited = [" M training/config/test_config.yaml", " M training/config/train_config.yaml"]  # lmdb: False
    assert sorted(status.splitlines()) == edited
