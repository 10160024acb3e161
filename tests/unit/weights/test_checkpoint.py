"""A checkpoint is resolved once, and every command that takes weights finds its configuration by one rule."""

import hashlib

import pytest
import torch
import yaml
from commands import call
from released import logits_of, tiny_config, tiny_detector
from tiny import configured, make_toy

from lnclip_df import LNCLIPDetector, LNCLIPError, build_detector
from lnclip_df.weights import Checkpoint, checkpoint, save_weights


def test_the_configuration_is_given_beside_or_within(tmp_path):
    detector, weights = tiny_detector(), tmp_path / "trained.safetensors"
    save_weights(detector, weights, {"config": tiny_config().to_dict()})
    opened = Checkpoint.open(weights)
    assert opened.config_for() == tiny_config()
    assert opened.config_for(overrides=["lnclip.backbone.seed=9"]).lnclip.backbone.seed == 9
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny_config(seed=5).to_dict()))
    assert opened.config_for().lnclip.backbone.seed == 5
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tiny_config(seed=6).to_dict()))
    assert opened.config_for(tmp_path / "mine.yaml").lnclip.backbone.seed == 6
    (tmp_path / "config.yaml").unlink()
    save_weights(detector, weights, {"config": {"lnclip": {"tune": "nonsense"}}})
    with pytest.raises(LNCLIPError, match=r"the configuration saved in .*trained\.safetensors: lnclip\.tune"):
        Checkpoint.open(weights).config_for()


def test_a_checkpoint_says_what_the_file_says(tmp_path):
    detector, weights = tiny_detector(), tmp_path / "best.safetensors"
    save_weights(detector, weights, {"epoch": 3}, delta=True)
    opened = Checkpoint.open(tmp_path)
    assert opened.path == weights and str(opened) == str(tmp_path)
    assert opened.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert opened.facts.epoch == 3 and opened.facts.is_delta and not opened.facts.config
    assert opened.format == "lnclip-df, delta"
    assert Checkpoint.open(opened) is opened
    restored = build_detector(tiny_config(), opened)
    assert torch.equal(logits_of(restored), logits_of(detector)) and not restored.training


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Weights of a detector of the toy data, in a folder that has no config.yaml."""
    root = make_toy(tmp_path_factory.mktemp("toy"))
    weights = root / "alone" / "best.safetensors"
    save_weights(LNCLIPDetector(configured(root)), weights, {"config": configured(root).to_dict()})
    return weights


@pytest.mark.slow
def test_commands_take_the_configuration_that_the_weights_hold(alone):
    """lnclip.yaml would ask for another backbone and for data sets that are not there."""
    for command in (
        ["test", "--weights", alone],
        ["calibrate", alone.parent, "--set", "test_batchSize=4"],
        ["robustness", "--weights", alone, "--datasets", "toy", "--corruptions", "blur", "--attacks", "none"],
    ):
        result = call(*command, "--device", "cpu", "--quiet")
        assert result.exit_code == 0, result.output
    assert (alone.parent / "predictions" / "toy.parquet").is_file()
    assert (alone.parent / "calibration.json").is_file()
    assert (alone.parent / "studies" / "robustness" / "robustness.md").is_file()


def test_a_test_reads_the_file_of_weights_once(alone, tmp_path, monkeypatch):
    """One search, one hash, one header and one reading of the tensors."""
    calls = []

    def count(name, function):
        monkeypatch.setattr(checkpoint, name, lambda *arguments: calls.append(name) or function(*arguments))

    for name in ("find_weights", "sha256", "read_metadata", "read_weights"):
        count(name, getattr(checkpoint, name))
    result = call("test", "--weights", alone, "--out", tmp_path, "--device", "cpu", "--quiet")
    assert result.exit_code == 0, result.output
    assert sorted(calls) == ["find_weights", "read_metadata", "read_weights", "sha256"]


def test_a_folder_of_weights_gets_the_results_itself(alone):
    result = call("test", "--weights", alone.parent, "--device", "cpu", "--quiet")
    assert result.exit_code == 0, result.output
    assert not (alone.parents[1] / "predictions").exists()


@pytest.mark.slow
def test_stored_predictions_of_the_validation_set_need_no_weights(tmp_path):
    rows = [f"toy,{kind}{v},{label},{0.1 * v:.1f}" for label, kind in enumerate(("real", "fake")) for v in range(5)]
    (tmp_path / "run.csv").write_text("\n".join(["dataset,video,label,prob", *rows]))
    options = ["--validation", tmp_path / "run.csv", "--out", tmp_path / "out", "--set", "lnclip.val_dataset=[toy]"]
    result = call("calibrate", tmp_path / "run.csv", *options)
    assert result.exit_code == 0, result.output
