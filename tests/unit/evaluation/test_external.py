"""Another project's detector is tested as our own: same frames, files and video scores, one line for its faults."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import call, error_of
from PIL import Image
from tiny import configured, make_toy
from torchvision import models

from lnclip_df import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.evaluation.external import load_external
from lnclip_df.evaluation.predictions import read_predictions
from lnclip_df.evaluation.test import test as lnclip_test

DOCS = Path(__file__).parents[3] / "docs" / "evaluate.md"
BRIGHT = "import numpy as np\n\ndef predict(images):\n    return [image.mean() / 255 for image in images]\n"


@pytest.fixture
def toy(tmp_path):
    return configured(make_toy(tmp_path))


def write(folder, code, name="rival.py"):
    path = folder / name
    path.write_text(code)
    return path


def mean_of(root, frame):
    with Image.open(root / frame) as image:
        return np.asarray(image.convert("RGB")).mean() / 255


def test_predictions_are_the_functions_and_a_videos_score_is_their_mean(toy, tmp_path):
    loaded = load_external(write(tmp_path, BRIGHT), toy, device="cpu")
    result = lnclip_test(toy, loaded, tmp_path / "run", datasets=["toy"], progress=False)["toy"]
    table = read_predictions(tmp_path / "run" / "predictions" / "toy.parquet")[0]
    assert len(table["prob"]) == 24 and result["videos"] == 12
    np.testing.assert_allclose(table["prob"], [mean_of(tmp_path, frame) for frame in table["frame"]], atol=1e-12)
    videos = {}
    for video, label, prob in zip(table["video"], table["label"], table["prob"], strict=True):
        videos.setdefault((video, label), []).append(prob)
    real, fake = ([np.mean(prob) for (_, found), prob in videos.items() if found == label] for label in (0, 1))
    naive = np.mean([(f > r) + (f == r) / 2 for f in fake for r in real])
    assert result["video"]["auroc"] == pytest.approx(naive, abs=1e-12)
    assert result["train_dataset"] == []


def test_crops_arrive_as_they_are_on_disk_whatever_their_size(toy, tmp_path):
    frame = next((tmp_path / "frames").rglob("18/000.png"))
    Image.fromarray(np.full((40, 50, 3), 7, np.uint8)).save(frame)
    code = "def predict(images):\n    return [image.shape[0] / 100 for image in images]\n"
    lnclip_test(toy, load_external(write(tmp_path, code), toy), tmp_path / "run", progress=False)
    table = read_predictions(tmp_path / "run" / "predictions" / "toy.parquet")[0]
    assert sorted(set(table["prob"])) == [0.32, 0.40]


def test_a_finished_dataset_is_tested_again_only_if_the_file_changed(toy, tmp_path):
    path = write(tmp_path, BRIGHT)
    metrics = tmp_path / "run" / "metrics" / "toy.json"
    lnclip_test(toy, load_external(path, toy), tmp_path / "run", progress=False)
    before = metrics.stat().st_mtime_ns
    lnclip_test(toy, load_external(path, toy), tmp_path / "run", progress=False)
    assert metrics.stat().st_mtime_ns == before
    write(tmp_path, BRIGHT + "\ntrain_dataset = ['toy']\n")
    lnclip_test(toy, load_external(path, toy), tmp_path / "run", progress=False)
    assert metrics.stat().st_mtime_ns > before and read_json(metrics)["train_dataset"] == ["toy"]


@pytest.mark.slow
def test_the_documented_class_is_tested_by_the_command_and_stands_on_the_leaderboard(tmp_path, monkeypatch):
    make_toy(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = DOCS.read_text(encoding="utf-8")
    write(tmp_path, re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    torch.manual_seed(0)
    model = models.resnet18(num_classes=2).eval()
    torch.save(model.state_dict(), "resnet.pth")
    arguments = ["--datasets", "toy", "--set", "frame_num={train: 2, test: 2}", "--set", "workers=0", "--quiet"]
    result = call("test", "--detector", "rival.py:ResNet", "--weights", "resnet.pth", *arguments, "--out", "run")
    assert result.exit_code == 0, result.output
    table = read_predictions(Path("run/predictions/toy.parquet"))[0]
    frame = np.asarray(Image.open(table["frame"][0]).resize((224, 224), Image.Resampling.BILINEAR))
    image = torch.from_numpy(frame.copy()).permute(2, 0, 1) / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    with torch.inference_mode():
        expected = model(image[None] / torch.tensor([0.229, 0.224, 0.225])[:, None, None]).softmax(1)[0, 1]
    assert table["prob"][0] == pytest.approx(expected.item(), abs=1e-2)
    board = call("leaderboard", "run", "--out", "board")
    assert board.exit_code == 0, board.output
    assert "toy" in (tmp_path / "board" / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def predict(images):\n    return images[0].nothing\n", r"rival\.py:2: AttributeError: "),
        ("def predict(images):\n    return [0.5]\n", r"predict returned shape \(1,\); expected .* \(8,\)"),
        ("def predict(images):\n    return [[0.5, 0.5] for _ in images]\n", r"returned shape \(8, 2\)"),
        ("def predict(images):\n    return [1.5 for _ in images]\n", r"is 1\.5, which is not within 0\.\.1"),
        ("def predict(images):\n    return [float('nan') for _ in images]\n", "probability is nan"),
        ("def predict(images):\n    return ['fake' for _ in images]\n", "ValueError: could not convert"),
    ],
)
def test_a_fault_of_predict_is_one_line(toy, tmp_path, code, said):
    loaded = load_external(write(tmp_path, code), toy)
    with pytest.raises(LNCLIPError, match=said):
        lnclip_test(toy, loaded, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "metrics" / "toy.json").exists()


@pytest.mark.parametrize(
    ("code", "source", "said"),
    [
        (None, "absent.py", "no detector file .*absent"),
        (None, "absent", "names no detector; expected FILE.py"),
        ("def guess(images): pass", "rival.py", r"no function predict\(images\)"),
        ("class Net: pass", "rival.py:Net", r"no class Net with load\(weights, device\)"),
        ("import no_such_package", "rival.py", r"rival\.py:1: ModuleNotFoundError: "),
        ("def predict(:", "rival.py", "SyntaxError"),
        ("class Net:\n    @classmethod\n    def load(cls, w, d):\n        raise OSError('no room')", "rival.py:Net",
         r"rival\.py:4: OSError: no room"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_detector_is_refused_in_one_line(toy, tmp_path, code, source, said):
    if code:
        write(tmp_path, code)
    with pytest.raises(LNCLIPError, match=said) as caught:
        load_external(tmp_path / source, toy)
    assert "\n" not in str(caught.value)


def test_weights_are_for_a_class(toy, tmp_path):
    weights = write(tmp_path, "", "weights.pth")
    with pytest.raises(LNCLIPError, match="predict is a function, which takes no weights"):
        load_external(write(tmp_path, BRIGHT), toy, weights)
    with pytest.raises(LNCLIPError, match=r"no weights file .*absent\.pth"):
        load_external(write(tmp_path, BRIGHT), toy, tmp_path / "absent.pth")


def test_the_command_needs_one_detector():
    assert "name the detector: --weights, or --detector" in error_of(call("test"))
