"""Every command that computes says where, and none takes the CPU for a GPU that PyTorch cannot use."""

import logging

import pytest
from commands import call, error_of
from tiny import toy_with_weights, toy_yaml

from lnclip_df.bench.launch import prepare
from lnclip_df.core import devices
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.external import load_external
from lnclip_df.evaluation.predict import load_detector


@pytest.fixture
def toy(tmp_path):
    """The YAML and the weights of a detector."""
    config, weights = toy_with_weights(tmp_path)
    return config, toy_yaml(tmp_path), weights


COMMANDS = {
    "train": ["--config", "YAML", "--out", "OUT"],
    "test": ["--config", "YAML", "--weights", "WEIGHTS", "--out", "OUT"],
    "robustness": [
        "--config",
        "YAML",
        "--weights",
        "WEIGHTS",
        "--datasets",
        "toy",
        "--corruptions",
        "jpeg",
        "--out",
        "OUT",
    ],
    "bank": ["--config", "YAML", "--weights", "WEIGHTS", "--datasets", "toy", "--out", "OUT"],
    "predict": ["FRAME", "--weights", "WEIGHTS", "--aligned"],
    "app": ["--weights", "WEIGHTS", "--port", "0"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gpu_that_cannot_be_used_stops_a_command(toy, tmp_path, unusable, command):
    if command == "app":
        pytest.importorskip("gradio")
    _, config, weights = toy
    frame = next((tmp_path / "frames").rglob("*.png"))
    paths = {"YAML": config, "WEIGHTS": weights, "OUT": tmp_path / "out", "FRAME": frame}
    result = call(command, *(paths.get(word, word) for word in COMMANDS[command]))
    assert "cannot use the NVIDIA GPU (driver 470.57.02): install a PyTorch for this driver" in error_of(result)


def test_it_stops_deepfakebenchs_scripts(unusable):
    with pytest.raises(LNCLIPError, match=r"cannot use the NVIDIA GPU .* hide the GPU \(CUDA_VISIBLE_DEVICES=\)"):
        prepare()


def test_tests_say_where_and_in_which_precision_they_compute(toy, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(devices, "cpu_has_bf16_units", lambda: False)
    config, _, weights = toy
    with caplog.at_level(logging.INFO, "lnclip_df"):
        load_detector(config.replace({"lnclip.precision": "bf16"}), weights, "cpu")
    assert "this CPU has no units for bf16: computing in fp32" in caplog.messages[0]
    assert "computing on cpu in fp32" in caplog.messages
    (tmp_path / "mine.py").write_text("def predict(images):\n    return [0.5] * len(images)\n")
    with caplog.at_level(logging.INFO, "lnclip_df"):
        load_external(tmp_path / "mine.py", config, device="cpu")
    assert caplog.messages[-1] == "computing on cpu"
