"""One checkpoint has one score: in test.py and lnclip-df test, from PNG and LMDB, and in the exported plugin."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from backbones import small_config
from real_checkouts import REAL, SCHEDULE, TRAIN_LENGTHS, change_host, change_yaml, clone, json_of, make_dataset
from upstream import make_backbone, plugin_yaml

from lnclip_df.bench.export_plugin import export_plugin
from lnclip_df.bench.run_script import bench_run
from lnclip_df.config.loading import load_config
from lnclip_df.datasets.lmdb import write_lmdb
from lnclip_df.evaluation.predictions import read_predictions
from lnclip_df.evaluation.test import test as lnclip_test

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not REAL, reason="LNCLIP_DEEPFAKEBENCH names no checkout")]

DATASET = "Celeb-DF-v2"
TESTED = {"CelebDFv2_real": [5, 6, 4], "CelebDFv2_fake": [6, 6, 5]}
VISION = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}
# One epoch of 4 steps, on crops of 256 pixels that the detector resizes.
KEYS = {
    "resolution": 256, "train_batchSize": 8, "test_batchSize": 8, "workers": 2, "nEpochs": 0, "test_dataset": [DATASET],
    "frame_num": {"train": 6, "test": 6},
}  # fmt: skip
# Runs a script where lnclip-df cannot be imported, and a GPU and dlib's predictor need not be there.
WITHOUT_OURS = """
import os, runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lnclip_df":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import dlib, torch

dlib.shape_predictor = lambda *args: None
if not torch.cuda.is_available():
    torch.cuda.set_device = lambda *args, **kwargs: None
    torch.cuda.get_device_name = lambda *args, **kwargs: "cpu"
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def make_data(root):
    make_dataset(root, "FaceForensics++", "train", TRAIN_LENGTHS, "c23", size=256)
    make_dataset(root, DATASET, "test", TESTED, size=256)


def scored(output):
    """What ``test.py`` prints: metrics by name, and the probabilities in ascending order."""
    metrics = {name: float(x) for name, x in re.findall(r"^(acc|auc|eer|ap|video_auc): ([\d.e-]+)", output, re.M)}
    return metrics, sorted(map(float, re.search(r"^pred: \[([^]]+)\]", output, re.M)[1].split()))


def best_of(log_folder):
    (checkpoint,) = log_folder.glob(f"test/{DATASET}/ckpt_best.pth")
    return checkpoint


def runs_of(root):
    return set(root.glob("logs/training/*"))


def scored_by_lnclip_df(root, checkpoint, out, *overrides):
    """Metrics under DeepfakeBench's names, and the probabilities in ascending order."""
    config = load_config(root / "lnclip.yaml", [f"lnclip.data_root={root}", *overrides])
    metrics = lnclip_test(config, checkpoint, out, datasets=[DATASET], device="cpu", progress=False)[DATASET]
    names = {"acc": "accuracy", "auc": "auroc", "eer": "eer", "ap": "ap"}
    found = {theirs: metrics["frame"][ours] for theirs, ours in names.items()}
    table, _ = read_predictions(out / "predictions" / f"{DATASET}.parquet")
    return found | {"video_auc": metrics["video"]["auroc"]}, sorted(table["prob"])


def assert_alike(found, expected, tolerance):
    (metrics, probs), (expected_metrics, expected_probs) = found, expected
    assert len(probs) == sum(map(sum, TESTED.values())) and np.ptp(probs) > 10 * tolerance
    np.testing.assert_allclose(probs, expected_probs, atol=tolerance, rtol=0)
    assert metrics == pytest.approx(expected_metrics, abs=tolerance)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    pytest.importorskip("transformers")
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory, backbone):
    """A checkout with our plugin."""
    root = clone(tmp_path_factory.mktemp("ours") / "DeepfakeBench")
    pretrained = str(backbone / "model.safetensors")
    change_yaml(root, **KEYS, lnclip={"backbone": {"name": "tiny", "pretrained": pretrained, "vision": VISION}})
    make_data(root)
    write_lmdb(json_of(root, DATASET), root / "datasets" / "lmdb", data_root=root, progress=False)
    return root


@pytest.fixture(scope="module")
def trained(ours):
    """The folder of a training in it."""
    assert bench_run(ours, ["training/train.py", "--detector_path", "lnclip.yaml"]) == 0
    (folder,) = runs_of(ours)
    return folder


def test_py(root, checkpoint, capfd, lmdb=False):
    change_host(root, scripts=["test"], lmdb=lmdb)
    capfd.readouterr()
    argv = ["training/test.py", "--detector_path", "lnclip.yaml", "--weights_path", str(checkpoint)]
    assert bench_run(root, argv) == 0
    return scored("".join(capfd.readouterr()))


test_py.__test__ = False


@pytest.mark.parametrize("lmdb", [False, True])
def test_both_runners_score_alike(ours, trained, capfd, tmp_path, lmdb):
    expected = test_py(ours, best_of(trained), capfd, lmdb)
    found = scored_by_lnclip_df(ours, best_of(trained), tmp_path, f"lmdb={str(lmdb).lower()}")
    assert_alike(found, expected, 1e-6)


def test_opencvs_resize_scores_otherwise(ours, trained, tmp_path):
    _, clip = scored_by_lnclip_df(ours, best_of(trained), tmp_path / "clip")
    _, opencv = scored_by_lnclip_df(
        ours, best_of(trained), tmp_path / "opencv", "lnclip.resize=deepfakebench", "resolution=32"
    )
    assert np.abs(np.subtract(clip, opencv)).max() > 1e-3


def test_the_deltas_of_two_processes_score_alike(ours, trained, capfd, tmp_path):
    done = runs_of(ours)
    change_yaml(ours, lnclip={"save_delta": True})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "lnclip_df.bench.launch", "training/train.py", "--ddp", "--detector_path", "lnclip.yaml"]
    subprocess.run(command, cwd=ours, check=True)
    change_yaml(ours, lnclip={"save_delta": False})
    (checkpoint,) = [path for run in runs_of(ours) - done for path in run.glob(f"test/{DATASET}/ckpt_best.pth")]
    assert checkpoint.stat().st_size < best_of(trained).stat().st_size / 5
    expected = test_py(ours, checkpoint, capfd)
    assert_alike(scored_by_lnclip_df(ours, checkpoint, tmp_path), expected, 1e-6)


# ---- other backbones than CLIP


@pytest.mark.parametrize("name", ["pe:small", "dino:dinov3-tiny"])
def test_other_backbones_train_and_score_alike(name, capfd, tmp_path):
    """Of images of 32 pixels, with positions for 48: train.py, a delta of it in test.py, and lnclip-df test."""
    small = small_config(name).to_dict()
    backbone, normalisation = small["lnclip"]["backbone"], {key: small[key] for key in ("mean", "std")}
    root = clone(tmp_path / "DeepfakeBench")
    change_yaml(root, **KEYS, **normalisation, lnclip={"backbone": backbone, "save_delta": True})
    make_data(root)
    assert bench_run(root, ["training/train.py", "--detector_path", "lnclip.yaml"]) == 0
    (folder,) = runs_of(root)
    expected = test_py(root, best_of(folder), capfd)
    assert_alike(scored_by_lnclip_df(root, best_of(folder), tmp_path / "out"), expected, 1e-6)


# ---- the exported plugin, in a checkout and an interpreter without lnclip-df


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, backbone):
    """A pristine checkout with the exported plugin, as its note says."""
    root = tmp_path_factory.mktemp("pristine") / "DeepfakeBench"
    subprocess.run(["git", "clone", "-q", REAL, root], check=True)
    detector, config, _ = export_plugin(root.parent / "exported")
    detectors = root / "training" / "detectors"
    (detectors / detector.name).write_bytes(detector.read_bytes())
    with open(detectors / "__init__.py", "a") as file:
        file.write("\nfrom .lnclip_detector import LNCLIPDetector\n")
    settings = plugin_yaml(config, backbone, **KEYS)
    settings["lnclip"]["schedule"] = SCHEDULE
    (root / "training" / "config" / "detector" / config.name).write_text(yaml.safe_dump(settings))
    (root.parent / "without_ours.py").write_text(WITHOUT_OURS)
    change_host(root, lmdb=False)
    make_data(root)
    return root


def run_without_ours(root, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, root.parent / "without_ours.py", *arguments]
    command += ["--detector_path", "training/config/detector/lnclip.yaml"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_exported_plugin_trains_and_tests_with_our_figures(ours, trained, pristine, capfd, tmp_path):
    run_without_ours(pristine, "training/train.py")
    (folder,) = runs_of(pristine)
    found = scored(run_without_ours(pristine, "training/test.py", "--weights_path", str(best_of(folder))))
    assert_alike(found, test_py(ours, best_of(trained), capfd), 1e-5)  # trained apart, of one seed
    assert_alike(scored_by_lnclip_df(ours, best_of(folder), tmp_path), found, 1e-6)  # the same checkpoint
    logs = [(run / "training.log").read_text() for run in (folder, trained)]
    losses = [np.array(re.findall(r"testing-loss, \w+: ([\d.e-]+)", log), float) for log in logs]
    assert len(losses[0]) == 4
    np.testing.assert_allclose(*losses, atol=1e-5)


def test_the_exported_plugin_trains_in_two_processes(pristine):
    """The second process does not wait for a buffer while the first one tests. The launcher alone is ours."""
    done = runs_of(pristine)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "lnclip_df.bench.launch", "training/train.py", "--ddp"]
    command += ["--detector_path", "training/config/detector/lnclip.yaml"]
    subprocess.run(command, cwd=pristine, check=True, timeout=300)
    (checkpoint,) = [path for run in runs_of(pristine) - done for path in run.glob(f"test/{DATASET}/ckpt_best.pth")]
    _, probs = scored(run_without_ours(pristine, "training/test.py", "--weights_path", str(checkpoint)))
    assert len(probs) == sum(map(sum, TESTED.values()))
