"""Released models by name: what is known of them, where their file is from, and that it is the right one."""

import csv
import hashlib
import io
import json
import logging

import pytest
import torch
import trees
import yaml
from commands import call, error_of
from released import IMAGE, images, logits_of, tiny_config, tiny_detector
from tiny import make_toy
from zoo import HUB, NAME, REVISION, make_zoo

from lnclip_df import LNCLIPDetector, LNCLIPError, build_detector
from lnclip_df.config.loading import detector_yamls, load_config
from lnclip_df.evaluation.reference import reference
from lnclip_df.faces.align import ALIGNMENTS
from lnclip_df.faces.recipes import crop_settings, named_recipes
from lnclip_df.media.recipe import Recipe, add_recipe
from lnclip_df.models.backbones import processor_of
from lnclip_df.weights import Checkpoint, load_weights, save_weights
from lnclip_df.weights.hub import NAMES
from lnclip_df.weights.load import load_start
from lnclip_df.weights.zoo import facts_of, find_model, read_models, released_models

pytestmark = pytest.mark.filterwarnings("ignore:Unsupported layer type")


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """The zoo of one model, made with other facts where some are given."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield lambda **facts: make_zoo(folder, monkeypatch, **facts)
    released_models.cache_clear()


# ---- the packaged models


def test_the_released_models_are_the_authors():
    models = released_models()
    assert {name: model.hub for name, model in models.items()} == {
        "gend-clip": "yermandy/GenD_CLIP_L_14",
        "gend-pe": "yermandy/GenD_PE_L",
        "gend-dinov3": "yermandy/GenD_DINOv3_L",
        "unlocking-clip": "yermandy/deepfake-detection",
    }
    clip = models["gend-clip"]
    assert clip.revision == "891ce014a0308386c4d7d25b3dcf436a22db5504"
    assert clip.sha256 == "d76f0bdfd74a29fe1b1c1b84a80ac92486993e426878e8c7a3944281fbb96833"
    assert all(model.sha256 is model.revision is None for name, model in models.items() if name != "gend-clip")


@pytest.mark.parametrize("name", ["gend-clip", "gend-pe", "gend-dinov3", "unlocking-clip"])
def test_each_models_settings_are_those_of_its_backbone(name):
    model = released_models()[name]
    config = model.config()
    own = processor_of(config.lnclip.backbone)
    assert (config.mean, config.std, own.size) == (own.mean, own.std, 224)
    assert config.lnclip.resize == "backbone" and config.train_dataset == ["FaceForensics++"]
    assert model.recipe in named_recipes() and model.file in NAMES and model.yaml in detector_yamls()


# ---- by name


def test_a_name_is_the_file_at_its_revision_without_a_network(zoo):
    model, file = zoo()
    opened = Checkpoint.open(NAME)
    assert (opened.path, str(opened)) == (file, NAME) and opened.model == find_model(NAME)
    config = opened.config_for()
    assert (config.lnclip.backbone.name, config.resolution) == ("tiny", IMAGE)
    torch.testing.assert_close(logits_of(build_detector(config, opened)), model(images()), atol=1e-4, rtol=1e-4)
    detector = tiny_detector()
    assert load_weights(detector, NAME).path == str(file)


def test_what_a_model_needs_is_said_and_the_user_may_set_other_things(zoo, caplog):
    zoo()
    opened = Checkpoint.open(NAME)
    with caplog.at_level(logging.INFO, "lnclip_df"):
        changed = opened.config_for(overrides=["lnclip.missing_frames=skip", "test_batchSize=3"])
    assert (
        "tiny-gend: the configuration is tiny.yaml (tiny, lnclip.resize backbone), and its crops are of recipe gend"
        in caplog.text
    )
    assert (changed.resolution, changed.lnclip.missing_frames, changed.test_batchSize) == (IMAGE, "skip", 3)
    assert opened.config_for("lnclip.yaml") == load_config("lnclip.yaml")


def test_a_training_starts_from_a_model(zoo):
    model, _ = zoo()
    detector = LNCLIPDetector(tiny_config("lnclip.tune=all", f"lnclip.start_from={NAME}"))
    assert str(load_start(detector)) == NAME and detector.training
    torch.testing.assert_close(logits_of(detector.eval()), model(images()), atol=1e-4, rtol=1e-4)


def test_a_repository_of_a_model_has_its_settings_but_is_the_newest(zoo, tmp_path):
    zoo(sha256="0" * 64)
    refs = tmp_path / "zoo" / "hub" / f"models--{HUB.replace('/', '--')}" / "refs"
    refs.mkdir()
    (refs / "main").write_text(REVISION)
    opened = Checkpoint.open(HUB)
    assert opened.config_for().resolution == IMAGE and opened.model == find_model(NAME)


def test_a_file_or_folder_of_the_name_comes_first(zoo, tmp_path):
    zoo()
    save_weights(tiny_detector(), tmp_path / "work" / NAME / "best.safetensors", {"config": tiny_config().to_dict()})
    opened = Checkpoint.open(NAME)
    assert opened.path.resolve() == tmp_path / "work" / NAME / "best.safetensors" and opened.model is None


# ---- the right file


def test_a_file_of_another_hash_is_refused_with_both(zoo):
    _, file = zoo(sha256="0" * 64)
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    expected = f"{NAME}: {file} has SHA-256 {found}, and the released file has {'0' * 64}; remove it"
    for use in (Checkpoint.open, lambda name: load_weights(tiny_detector(), name)):
        with pytest.raises(LNCLIPError) as caught:
            use(NAME)
        assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)
    assert error_of(call("export", NAME, "--format", "full", "--out", "out.safetensors")).startswith(f"error: {NAME}: ")


def test_without_a_known_hash_the_file_is_not_checked(zoo):
    _, file = zoo(sha256=None)
    file.with_name("more").write_text("")
    assert Checkpoint.open(NAME).path == file


def test_without_cache_and_network_the_message_says_what_to_fetch(zoo):
    zoo(cached=False)
    with pytest.raises(LNCLIPError, match=f"^no file {HUB}, .*download its model.safetensors and config.json"):
        Checkpoint.open(NAME)


def test_the_file_is_fetched_once_at_its_revision(zoo, monkeypatch, tmp_path):
    zoo(cached=False, revision="cd" * 20)
    asked = []

    def download(repository, name, revision):
        asked.append((repository, name, revision))
        path = tmp_path / "zoo" / "hub" / f"models--{HUB.replace('/', '--')}" / "snapshots" / revision / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        return str(path)

    monkeypatch.setattr("lnclip_df.weights.hub.require_hub", lambda: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    first, again = Checkpoint.open(NAME), Checkpoint.open(NAME)
    assert first.path == again.path and first.path.is_file()
    assert asked == [(HUB, "config.json", "cd" * 20), (HUB, "model.safetensors", "cd" * 20)]


@pytest.mark.parametrize(
    "name, hint",
    [("tiny-gnd", "; did you mean tiny-gend?"), ("nowhere", "; released models are tiny-gend"), ("a/b/nowhere", "$"),
     ("nowhere.pth", "$")],
)  # fmt: skip
def test_an_unknown_name_lists_the_near_ones(zoo, name, hint):
    zoo()
    with pytest.raises(LNCLIPError, match=rf"^no weights file {name}{hint}"):
        Checkpoint.open(name)
    with pytest.raises(LNCLIPError, match="no released model 'tiny-gnd'"):
        facts_of("tiny-gnd")


# ---- the command


def test_models_shows_what_is_known_and_what_is_not(zoo):
    zoo(figures=[{"column": "CDFv2", "value": 96.5, "source": "the paper, table 1"}])
    header, row = call("models").stdout.splitlines()
    assert header.split()[:3] == ["name", "backbone", "recipe"] and row.startswith("tiny-gend  tiny")
    assert row.split("  ")[-2:] == ["not known", "1"]
    detail = call("models", NAME).stdout
    assert f"revision    {REVISION}\n" in detail and "bytes       not known\n" in detail
    assert "CDFv2       96.5, the paper, table 1\n" in detail
    (cells,) = csv.DictReader(io.StringIO(call("models", "--format", "csv").stdout))
    assert (cells["name"], cells["licence"], cells["trained on"]) == (NAME, "", "FaceForensics++")
    assert call("models", "--format", "md").stdout.splitlines()[2].startswith("| tiny-gend | tiny | gend |")
    (facts,) = json.loads(call("models", "--format", "json").stdout)
    assert facts == json.loads(call("models", NAME, "--format", "json").stdout) == facts_of(NAME)
    assert facts["licence"] is None and facts["figures"][0]["value"] == 96.5
    assert "no released model 'tiny'" in error_of(call("models", "tiny"))


@pytest.mark.parametrize(
    "facts, message",
    [
        ({"sha256": "abc"}, "tiny.sha256: string should match pattern"),
        ({"hub": "../x"}, "tiny.hub: string should match pattern"),
        ({"file": "a/b"}, "tiny.file: string should match pattern"),
        ({"fil": "x"}, r"tiny.fil: unknown key \(did you mean file\?\)"),
    ],
)
def test_a_zoo_that_is_no_zoo_is_named(zoo, tmp_path, facts, message):
    zoo()
    entry = yaml.safe_load((tmp_path / "zoo" / "configs" / "models.yaml").read_text())[NAME]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tiny": entry | facts}))
    with pytest.raises(LNCLIPError, match=rf"mine\.yaml: {message}"):
        read_models(tmp_path / "mine.yaml")


@pytest.mark.slow
def test_a_test_warns_of_crops_that_are_cut_otherwise(zoo, tmp_path):
    zoo()
    frames = [*make_toy(tmp_path / "toy").rglob("*.png")]
    settings = crop_settings("gend", detector="det_10g.onnx")
    facts = {"alignment": ALIGNMENTS["gend"].words, "size": "native", "scale": settings.scale}
    test = ["test", "--weights", NAME, "--datasets", "toy", "--device", "cpu", "--quiet", "--set", "workers=0"]
    test += ["--set", f"lnclip.data_root={tmp_path / 'toy'}"]
    warned = "tiny-gend was trained on crops of recipe gend, and figures on other crops are not comparable with its own"
    assert f"{warned}: toy (foreign)" in call(*test).stderr
    plain = {path: path.read_bytes() for path in frames}
    for detector, warns in (("scrfd", False), ("retinaface", True)):
        recipe = Recipe(facts | {"detector": {"name": detector, "weights": "0" * 12}})
        for path, data in plain.items():
            path.write_bytes(add_recipe(data, recipe))
        tested = call(*test)
        assert tested.exit_code == 0 and (f"{warned}: toy ({recipe.fingerprint})" in tested.stderr) == warns


@pytest.mark.slow
def test_every_command_takes_the_name(zoo, tmp_path):
    zoo()
    make_toy(tmp_path / "toy")
    data = ["--set", f"lnclip.data_root={tmp_path / 'toy'}", "--set", "workers=0"]
    toy = ["--datasets", "toy", *data, "--device", "cpu", "--quiet"]
    for command in (
        ["test", "--weights", NAME, *toy],
        ["robustness", "--weights", NAME, *toy, "--corruptions", "blur", "--attacks", "none", "--frames", "1"],
        ["calibrate", f"runs/{NAME}", "--weights", NAME, *data, "--set", "lnclip.val_dataset=[toy]", "--quiet"],
        ["bank", "--weights", NAME, *toy, "--out", "bank.safetensors"],
        ["export", NAME, "--format", "full", "--out", "full.safetensors"],
    ):
        result = call(*command)
        assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "work" / "runs" / NAME / "metrics" / "toy.json").read_text())
    assert metrics["weights"]["path"] == NAME and metrics["weights"]["sha256"] == find_model(NAME).sha256
    assert metrics["train_dataset"] == ["FaceForensics++"]
    assert (tmp_path / "work" / "runs" / NAME / "studies" / "calibration" / "calibration.json").is_file()
    assert Checkpoint.open("full.safetensors").config_for().resolution == IMAGE
    planned = ["reproduce", "--root", tmp_path / "toy", "--out", "table", "--weights", NAME, "--dry-run"]
    assert "error: recipe gend: detector is missing; give the path of InsightFace's" in call(*planned).stderr
    trees.build_faces(tmp_path / "toy", trees.TREES["Celeb-DF-v2"], frames=(0, 1))
    compared = call(*planned, "--crops", "paper", "--datasets", "CDFv2", "--recipe", "ablation/1-linear-probe.yaml")
    published = reference().row("LNCLIP-DF").figure("CDFv2").value  # the model's; the ablation has another
    assert f"| {published} " in compared.stdout, compared.output
