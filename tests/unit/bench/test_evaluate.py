"""Any detector of a DeepfakeBench checkout under our evaluator: its frames, our keys, nothing replaced in silence."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from checkouts import make_checkout
from PIL import Image
from tiny import make_toy

import lnclip_df
from lnclip_df.bench.evaluate import BenchTest, bench_test
from lnclip_df.core.files import read_json
from lnclip_df.evaluation.predictions import read_predictions

pytestmark = pytest.mark.slow
DETECTORS = """
import torch

class Registry:
    def __init__(self):
        self.data = {}
    def __getitem__(self, key):
        return self.data[key]

class Bright(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
    def forward(self, data_dict, inference=False):
        assert inference and not self.training
        image = data_dict["image"]
        return {"prob": self.scale * image.flatten(1).mean(1)}

class Wrong(Bright):
    def forward(self, data_dict, inference=False):
        return {"prob": torch.zeros(1)}

class Unbuilt(Bright):
    def __init__(self, config):
        open(config["pretrained"])

DETECTOR = Registry()
DETECTOR.data = {"bright": Bright, "wrong": Wrong, "unbuilt": Unbuilt}
"""
DATASET = """
import json, os, random
import numpy as np, torch
from PIL import Image

class DeepfakeAbstractBaseDataset(torch.utils.data.Dataset):
    def __init__(self, config, mode):
        self.config = config
        name = config["test_dataset"]
        with open(os.path.join(config["dataset_json_folder"], name + ".json")) as file:
            classes = json.load(file)[name]
        items = []
        for label, splits in classes.items():
            for video in splits[mode].values():
                frames = video["frames"][: config["frame_num"][mode]]
                items += [frames] if config.get("video_mode") else frames
                self.label_of = config["label_dict"][label]
        random.Random(3).shuffle(items)
        self.data_dict = {"image": items, "label": [int("fake" in str(item)) for item in items]}
    def __len__(self):
        return len(self.data_dict["image"])
    def load_rgb(self, path):
        return Image.open(path).convert("RGB")
    def __getitem__(self, index):
        paths = self.data_dict["image"][index]
        paths = paths if isinstance(paths, list) else [paths]
        try:
            images = [np.asarray(self.load_rgb(path)) / 255 for path in paths]
        except Exception:
            return self[0]
        return torch.tensor(np.stack(images)), self.data_dict["label"][index], None, None
    @staticmethod
    def collate_fn(batch):
        images, labels, _, _ = zip(*batch)
        return {"image": torch.stack(images), "label": torch.tensor(labels), "landmark": None, "mask": None}
"""


@pytest.fixture
def checkout(tmp_path):
    """A miniature checkout with three detectors, a data set class, and the data set ``toy``."""
    root = make_toy(make_checkout(tmp_path / "bench"))
    (root / "training" / "detectors" / "__init__.py").write_text(DETECTORS)
    (root / "training" / "dataset").mkdir()
    (root / "training" / "dataset" / "abstract_dataset.py").write_text(DATASET)
    for name in ("bright", "wrong", "unbuilt"):
        (root / f"{name}.yaml").write_text(
            f"model_name: {name}\npretrained: ./absent.pth\ntest_dataset: [toy]\ntrain_dataset: [FaceForensics++]\n"
            "compression: c23\nresolution: 32\ntest_batchSize: 5\nworkers: 0\nframe_num: {train: 2, test: 2}\n"
            "rgb_dir: ./datasets/rgb\nlmdb_dir: ./datasets/lmdb\ndataset_json_folder: ./preprocessing/dataset_json\n"
        )
    return root


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The child process finds this package wherever it lies."""
    paths = [str(Path(lnclip_df.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def options(tmp_path, name="bright", **further):
    return BenchTest(f"{name}.yaml", str(tmp_path / "run"), progress=False, **further)


def brightness(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).mean() / 255


def test_labels_of_the_users_datasets_need_no_dictionary(checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNCLIP_DATASETS", raising=False)
    file = checkout / "preprocessing" / "dataset_json" / "toy.json"
    labels = list(read_json(file)["toy"])
    for label in labels:
        file.write_text(file.read_text().replace(f'"{label}"', f'"mine_{label}"'))
    rules = [{"path": label, "label": f"mine_{label}", "fake": "fake" in label} for label in labels]
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mine.yaml").write_text(json.dumps({"name": "mine", "folders": "mine", "videos": rules}))
    assert bench_test(checkout, options(tmp_path)) == 0
    assert read_json(tmp_path / "run" / "metrics" / "toy.json")["videos"] == 12


def test_each_frame_has_its_own_probability_and_our_key(checkout, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save({"module.scale": torch.tensor([0.5])}, weights)
    assert bench_test(checkout, options(tmp_path, weights_path=str(weights), overrides=["workers=1"])) == 0
    table, facts = read_predictions(tmp_path / "run" / "predictions" / "toy.parquet")
    assert len(table["prob"]) == 24 and len(set(table["video"])) == 12
    expected = [0.5 * brightness(checkout / frame) for frame in table["frame"]]
    np.testing.assert_allclose(table["prob"], expected, atol=1e-6)
    for frame, video, label in zip(table["frame"], table["video"], table["label"], strict=True):
        assert video == f"toy/{'/'.join(Path(frame).parts[-3:-1])}" and label == ("fake" in video)
    result = read_json(tmp_path / "run" / "metrics" / "toy.json")
    assert result["train_dataset"] == ["FaceForensics++"] and result["videos"] == 12
    assert facts["weights"]["sha256"] == result["weights"]["sha256"]


def test_a_clip_is_one_row_under_its_first_frame(checkout, tmp_path):
    assert bench_test(checkout, options(tmp_path, overrides=["video_mode=true"])) == 0
    table, _ = read_predictions(tmp_path / "run" / "predictions" / "toy.parquet")
    assert len(table["prob"]) == len(set(table["video"])) == 12
    for frame, prob in zip(table["frame"], table["prob"], strict=True):
        both = [brightness(path) for path in sorted((checkout / frame).parent.iterdir())]
        assert frame.endswith("000.png") and prob == pytest.approx(np.mean(both), abs=1e-6)


def test_what_is_finished_is_tested_again_only_with_other_settings(checkout, tmp_path):
    metrics = tmp_path / "run" / "metrics" / "toy.json"
    assert bench_test(checkout, options(tmp_path)) == 0
    before = metrics.stat().st_mtime_ns
    assert bench_test(checkout, options(tmp_path)) == 0 and metrics.stat().st_mtime_ns == before
    assert bench_test(checkout, options(tmp_path, overrides=["frame_num.test=1"])) == 0
    assert metrics.stat().st_mtime_ns > before and read_json(metrics)["frames"] == 12


@pytest.mark.parametrize(
    ("name", "further", "said"),
    [
        ("bright", {"datasets": ["other"]}, "no dataset file"),
        ("bright", {"weights_path": "preprocessing/dataset_json/toy.json"}, "toy.json are no weights of bright: "),
        ("wrong", {}, "wrong gave 1 probabilities for 5 items"),
        ("unbuilt", {}, "unbuilt cannot be built: FileNotFoundError: "),
    ],
)
def test_a_fault_is_one_line_and_leaves_no_result(checkout, tmp_path, capfd, name, further, said):
    assert bench_test(checkout, options(tmp_path, name, **further)) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and said in line
    assert not (tmp_path / "run" / "metrics").exists()


def test_a_frame_that_cannot_be_read_ends_the_test_where_deepfakebench_replaces_it(checkout, tmp_path, capfd):
    frame = checkout / "frames" / "demo_fake" / "20" / "001.png"
    frame.write_bytes(frame.read_bytes()[:60])
    assert bench_test(checkout, options(tmp_path)) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: a frame cannot be read: ./frames/demo_fake/20/001.png")


def test_a_package_that_is_not_installed_is_one_line(checkout, tmp_path, capfd):
    (checkout / "training" / "detectors" / "__init__.py").write_text("import no_such_package")
    assert bench_test(checkout, options(tmp_path)) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: no_such_package is not installed") and "docs/deepfakebench.md" in line
