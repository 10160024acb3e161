"""A detector's weights in every format load, and their logits are those of the model that they came from."""

import json
import logging

import pytest
import torch
from released import Released, images, logits_of, tiny_detector
from safetensors.torch import save_file

from lnclip_df import LNCLIPError
from lnclip_df.weights import load_weights
from lnclip_df.weights.formats import FORMATS, Converter, Recognised
from lnclip_df.weights.hub import find_weights

pytestmark = pytest.mark.filterwarnings("ignore:Unsupported layer type")
SAID = {"model_type": "GenD", "architectures": ["GenD"], "backbone": "clip/tiny", "head": "LinearNorm"}


def save_released(folder, model, config=SAID, **extra):
    """``model.safetensors`` and ``config.json``, as on the Hub."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state() | extra, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def agree(detector, model):
    torch.testing.assert_close(logits_of(detector), model(images()), atol=1e-4, rtol=1e-4)


# ---- the authors' released models


@pytest.mark.parametrize("normalize", [True, False])
def test_the_authors_model_loads_from_a_folder(tmp_path, normalize):
    model, detector = Released(normalize), tiny_detector(normalize=normalize)
    save_released(tmp_path, model, SAID | {"head": "LinearNorm" if normalize else "linear"})
    report = load_weights(detector, tmp_path)
    agree(detector, model)
    assert report.format == "GenD, transformers layout"
    assert report.unused == ["visual_projection.weight"] and report.missing == []
    assert report.loaded == len(detector.state_dict())


def test_position_ids_of_older_transformers_are_left_out(tmp_path):
    ids = {"feature_extractor.vision_model.embeddings.position_ids": torch.arange(5)[None]}
    model, detector = Released(), tiny_detector()
    report = load_weights(detector, save_released(tmp_path, model, **ids))
    agree(detector, model)
    assert "vision_model.embeddings.position_ids" in report.unused


@pytest.mark.parametrize("peft", [False, True], ids=["plain", "peft"])
@pytest.mark.slow
def test_the_authors_lightning_checkpoint_loads(tmp_path, peft):
    model, detector = Released(peft=peft), tiny_detector()
    said = {"backbone": "clip/tiny", "head": "LinearNorm", "run_name": "x", "betas": [0.9, 0.999]}
    loops = {"fit_loop": {"state_dict": {}}}
    content = {"epoch": 3, "state_dict": model.state(), "hyper_parameters": said, "loops": loops}
    torch.save(content, tmp_path / "model.ckpt")
    report = load_weights(detector, tmp_path / "model.ckpt")
    agree(detector, model)
    assert report.format == "GenD, Lightning checkpoint" + (" with PEFT's LayerNorms" if peft else "")
    assert len(report.unused) == 1 + (2 * 6 if peft else 0)


def test_pefts_tuned_layer_norms_count_and_the_frozen_ones_do_not(tmp_path):
    model, detector = Released(peft=True), tiny_detector()
    state = model.state()
    assert any(".ln_tuning_layers.default." in name for name in state)
    save_file(state, tmp_path / "older.safetensors")
    report = load_weights(detector, tmp_path / "older.safetensors")
    agree(detector, model)
    assert all("base_layer" in name or "projection" in name for name in report.unused)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("peft", [False, True], ids=["plain", "peft"])
def test_the_authors_torchscript_archive_loads(tmp_path, peft):
    model, detector = Released(peft=peft), tiny_detector()
    torch.jit.trace(model, images(), check_trace=False).save(tmp_path / "model.torchscript")
    load_weights(detector, tmp_path / "model.torchscript")
    agree(detector, model)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_the_authors_model_loads_from_inside_ddp_and_compile(tmp_path, prefix):
    model, detector = Released(), tiny_detector()
    torch.save({"state_dict": {prefix + name: t for name, t in model.state().items()}}, tmp_path / "model.ckpt")
    load_weights(detector, tmp_path / "model.ckpt")
    agree(detector, model)


def test_a_compiled_backbone_inside_a_detector_loads(tmp_path):
    one, two = tiny_detector(), tiny_detector(seed=1)
    state = {name.replace("backbone.", "backbone._orig_mod."): t for name, t in one.state_dict().items()}
    torch.save(state, tmp_path / "ckpt_best.pth")
    report = load_weights(two, tmp_path / "ckpt_best.pth")
    assert torch.equal(logits_of(one), logits_of(two))
    assert report.format == "DeepfakeBench's state dict"


def test_what_was_recognised_and_loaded_is_logged(tmp_path, caplog):
    save_released(tmp_path, Released())
    with caplog.at_level("INFO", "lnclip_df"):
        load_weights(tiny_detector(), tmp_path)
    assert "GenD, transformers layout; 33 tensors loaded, 1 not used (first: visual_projection.weight)" in caplog.text


def test_a_format_is_one_entry(tmp_path, monkeypatch):
    """Another program's names: ``tower.…`` and ``classifier.…``."""

    def convert(weights, facts):
        names = {name: name.replace("tower.", "backbone.").replace("classifier.", "head.") for name in weights.tensors}
        return Recognised("another", {names[name]: tensor for name, tensor in weights.tensors.items()})

    monkeypatch.setitem(FORMATS, "another", Converter(lambda names: "classifier.bias" in names, convert))
    one, two = tiny_detector(), tiny_detector(seed=1)
    state = one.state_dict().items()
    theirs = {n.replace("backbone.", "tower.").replace("head.", "classifier."): t.clone() for n, t in state}
    save_file(theirs, tmp_path / "model.safetensors")
    assert load_weights(two, tmp_path).format == "another"
    assert torch.equal(logits_of(one), logits_of(two))


# ---- what is refused


@pytest.mark.parametrize("name", ["decoder.weight", "feature_extractor.text_model.x", "model.other.weight"])
def test_a_tensor_too_many_is_an_error(tmp_path, name):
    detector = tiny_detector()
    before = logits_of(detector)
    save_released(tmp_path, Released(), **{name: torch.ones(2)})
    with pytest.raises(LNCLIPError, match=r"1 unknown tensors"):
        load_weights(detector, tmp_path)
    assert torch.equal(logits_of(detector), before)


def test_a_tensor_too_few_is_an_error(tmp_path):
    state = Released(peft=True).state()
    del state["feature_extractor.base_model.model.vision_model.pre_layrnorm.ln_tuning_layers.default.bias"]
    del state["model.linear.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(LNCLIPError, match=r"2 tensors missing \(first: backbone\.ln_pre\.bias\); 1 unknown"):
        load_weights(tiny_detector(), tmp_path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"head": "linear"}, "lnclip.normalize: .*config.json says normalize False"),
        ({"head": "mlp"}, "head is 'mlp'; accepted are linear and LinearNorm"),
        ({"head": ["linear"]}, "head is"),
        ({"model_type": "clip"}, "model_type is 'clip'"),
        ({"backbone": "openai/clip-vit-base-patch16"}, "says image_size 224, but this detector has 32"),
        ({"vision_config": {"num_attention_heads": 4}}, "says heads 4, but this detector has 2"),
        ({"vision_config": {"num_attention_heads": True}}, "says heads True"),
        ({"vision_config": {"hidden_size": "64"}}, "says width '64'"),
        ({"vision_config": {"hidden_act": "gelu"}}, "was trained with GELU, tiny has QuickGELU"),
        ({"vision_config": [1]}, "vision_config is not a mapping"),
    ],
    ids=str,
)
def test_a_config_that_lies_is_refused_in_one_line(tmp_path, said, message):
    detector = tiny_detector()
    before = logits_of(detector)
    save_released(tmp_path, Released(), SAID | said)
    with pytest.raises(LNCLIPError, match=message) as error:
        load_weights(detector, tmp_path)
    assert "\n" not in str(error.value)
    assert torch.equal(logits_of(detector), before)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100000, '"x"'])
def test_a_broken_config_is_refused_in_one_line(tmp_path, text):
    save_released(tmp_path, Released())
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(LNCLIPError, match=r"config\.json") as error:
        load_weights(tiny_detector(), tmp_path)
    assert "\n" not in str(error.value)


def test_hyper_parameters_that_contradict_the_detector_are_refused(tmp_path):
    content = {"state_dict": Released(False).state(), "hyper_parameters": {"head": "linear"}}
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(LNCLIPError, match=r"lnclip.normalize: the hyper_parameters of .* says normalize False"):
        load_weights(tiny_detector(), tmp_path / "model.ckpt")


def test_gelu_and_quick_gelu_are_told_apart(tmp_path):
    model = Released(hidden_act="gelu")
    save_released(tmp_path, model, SAID | {"vision_config": {"hidden_act": "gelu"}})
    with pytest.raises(LNCLIPError, match=r"trained with GELU, tiny has QuickGELU; set vision.quick_gelu: false"):
        load_weights(tiny_detector(), tmp_path)
    detector = tiny_detector(quick_gelu=False)
    load_weights(detector, tmp_path)
    agree(detector, model)


def test_an_activation_that_is_not_recorded_is_said(tmp_path, caplog):
    save_file(Released().state(), tmp_path / "model.safetensors")
    load_weights(tiny_detector(), tmp_path)
    assert "does not record its activation" in caplog.text
    assert "does not record whether features are normalised" in caplog.text


def test_openais_names_mean_quick_gelu(tmp_path):
    from lnclip_df.models.backbones.clip import open_clip_spec
    from lnclip_df.weights.hub_names import CLIP

    assert all(open_clip_spec(name).quick_gelu for name in CLIP.values())


def test_clips_own_weights_are_refused(tmp_path):
    save_file({"visual.conv1.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LNCLIPError, match=r"no detector weights \(found tensor visual\.conv1\.weight\).*\.pretrained"):
        load_weights(tiny_detector(), tmp_path)


def test_a_training_checkpoint_is_refused(tmp_path):
    torch.save({"epoch": 1, "trained": {"head.bias": torch.ones(2)}, "optimizer": {}}, tmp_path / "last.ckpt")
    with pytest.raises(LNCLIPError, match=r"is a training checkpoint; use best\.safetensors, or train --resume"):
        load_weights(tiny_detector(), tmp_path / "last.ckpt")


# ---- the Hub


def in_the_cache(monkeypatch, cache, repository, fill):
    """A Hub cache with one repository in it, as huggingface_hub lays it out."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    fill(folder / "snapshots" / "abc123")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))


def test_a_hub_repository_is_taken_from_the_cache(tmp_path, monkeypatch):
    model, detector = Released(), tiny_detector()
    in_the_cache(monkeypatch, tmp_path, "yermandy/GenD_CLIP_L_14", lambda folder: save_released(folder, model))
    report = load_weights(detector, "yermandy/GenD_CLIP_L_14")
    agree(detector, model)
    assert report.path.endswith("snapshots/abc123/model.safetensors")


def test_a_hub_repository_is_fetched_with_its_config(tmp_path, monkeypatch):
    from huggingface_hub.errors import RemoteEntryNotFoundError

    model, detector, asked = Released(), tiny_detector(), []
    save_released(tmp_path / "hub", model)

    def download(repository, name, revision):
        assert revision is None
        asked.append(name)
        if not (tmp_path / "hub" / name).is_file():
            raise RemoteEntryNotFoundError("404", response=type("R", (), {"headers": {}, "request": None})())
        return str(tmp_path / "hub" / name)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("lnclip_df.weights.hub.require_hub", lambda: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    load_weights(detector, "yermandy/GenD_CLIP_L_14")
    agree(detector, model)
    assert asked == ["config.json", "best.safetensors", "model.safetensors"]


def test_a_hub_that_cannot_be_reached_says_which_files_to_put_where(tmp_path, monkeypatch):
    def unreachable(*args):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("lnclip_df.weights.hub.require_hub", unreachable)
    with pytest.raises(LNCLIPError, match=r"no file yermandy/GenD.*model\.safetensors and config\.json") as error:
        load_weights(tiny_detector(), "yermandy/GenD_CLIP_L_14")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["nowhere", "a/b/c", "../x/y", "../x", "owner/..", "tests/nowhere.pth", "/no/where.pth"]
)
def test_what_is_neither_a_file_nor_a_repository_is_named(name, monkeypatch, tmp_path):
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LNCLIPError, match="no weights file"):
        find_weights(name)


def test_a_folder_without_weights_names_the_files_it_could_contain(tmp_path):
    with pytest.raises(LNCLIPError, match=r"contains no weights.*best\.safetensors, model\.safetensors"):
        find_weights(tmp_path)


def test_a_mistyped_path_is_a_missing_file_and_nothing_is_sent(tmp_path, monkeypatch, caplog):
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("lnclip_df.weights.hub.require_hub", lambda: asked.append(caplog.text) or 1 / 0)
    (tmp_path / "runs").mkdir()
    for name, hint in {
        "run/first": "; did you mean runs/first",
        "other/best.safetensors": "",
        "runs/frist": "",
    }.items():
        with pytest.raises(LNCLIPError, match=f"^no weights file {name}{hint}") as caught:
            find_weights(name)
        assert "Hub" not in str(caught.value)
    assert not asked
    with caplog.at_level(logging.INFO, "lnclip_df"), pytest.raises(LNCLIPError, match="cannot be fetched"):
        find_weights("someone/detector")
    assert asked and "fetching the weights of that name from the Hugging Face Hub" in asked[0]
