"""``lnclip-df export``: each format gives back the same detector, with its facts, and proves it by test vectors."""

import errno
import json
import os

import pytest
import torch
from commands import call
from released import images, logits_of, tiny_config, tiny_detector
from safetensors import safe_open

from lnclip_df import LNCLIPDetector, LNCLIPError
from lnclip_df.config.schema import Backbone
from lnclip_df.weights import load_weights, save_weights
from lnclip_df.weights.export import export
from lnclip_df.weights.read import read_metadata, read_weights
from lnclip_df.weights.test_vectors import Logits
from lnclip_df.weights.transformers import authors_name

FACTS = {"epoch": 4, "metric": {"auroc": 0.9}, "seed": 7}


@pytest.fixture
def trained(tmp_path):
    """A detector, its configuration, and the file with its weights and metrics."""
    detector = tiny_detector()
    save_weights(detector, tmp_path / "trained.safetensors", FACTS | {"config": tiny_config().to_dict()})
    return detector, tiny_config(), tmp_path / "trained.safetensors"


def facts_in(path):
    return json.loads(read_metadata(path)["lnclip_df"])


@pytest.mark.parametrize("format", ["delta", "full"])
def test_our_own_formats_give_back_every_bit_and_the_facts(trained, tmp_path, format):
    detector, config, weights = trained
    out = export(weights, tmp_path / "out" / "w.safetensors", format, config)
    again = LNCLIPDetector(config).eval()
    report = load_weights(again, out)
    assert torch.equal(logits_of(again), logits_of(detector))
    facts = report.facts
    assert {key: getattr(facts, key) for key in FACTS} == FACTS and facts.config == config.to_dict()
    assert facts.format == format and facts.origin == "lnclip-df, full"
    assert report.verified < 1e-5


def test_a_delta_becomes_full_and_full_a_delta_again(trained, tmp_path):
    _, config, weights = trained
    delta = export(weights, tmp_path / "a.safetensors", "delta", config)
    full = export(delta, tmp_path / "b.safetensors", "full", config)
    again = export(full, tmp_path / "c.safetensors", "delta", config)
    for name, tensor in read_weights(delta).tensors.items():
        assert torch.equal(tensor, read_weights(again).tensors[name])


def test_a_delta_of_weights_that_are_all_trained_is_refused(tmp_path):
    detector = tiny_detector(tune="all")
    with torch.no_grad():
        detector.backbone.conv1.weight.add_(0.1)
    save_weights(detector, tmp_path / "w.safetensors")
    with pytest.raises(LNCLIPError, match=r"a delta would be incomplete; set lnclip\.backbone"):
        export(tmp_path / "w.safetensors", tmp_path / "d.safetensors", "delta", tiny_config(tune="all"))
    assert not (tmp_path / "d.safetensors").exists()


# ---- transformers' layout


def test_transformers_vision_model_gives_the_same_features(trained, tmp_path):
    transformers = pytest.importorskip("transformers")
    detector, config, weights = trained
    out = export(weights, tmp_path / "folder", "transformers", config)
    vision = json.loads((out / "config.json").read_text())["vision_config"]
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision)).eval()
    prefix = "feature_extractor.vision_model."
    tower = {n.removeprefix(prefix): t for n, t in read_weights(out / "model.safetensors").tensors.items()}
    older = any(name.startswith("vision_model.") for name in model.state_dict())  # transformers 4
    names = {("vision_model." if older else "") + n: t for n, t in tower.items() if not n.startswith("model.")}
    model.load_state_dict(names)
    with torch.no_grad():
        feature = model(pixel_values=images()).pooler_output
        torch.testing.assert_close(feature, detector.backbone(images()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
def test_transformers_layout_loads_back(tmp_path, normalize):
    detector, config = tiny_detector(normalize=normalize), tiny_config(normalize=normalize)
    save_weights(detector, tmp_path / "w.safetensors")
    out = export(tmp_path / "w.safetensors", tmp_path / "folder", "transformers", config)
    again = LNCLIPDetector(config).eval()
    report = load_weights(again, out)
    assert torch.equal(logits_of(again), logits_of(detector))
    assert report.format == "GenD, transformers layout" and report.verified < 1e-5
    said = json.loads((out / "config.json").read_text())
    assert said["model_type"] == "GenD" and said["head"] == ("LinearNorm" if normalize else "linear")
    with safe_open(out / "model.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == "pt"


def test_transformers_layout_fits_the_modules_of_the_released_code(trained, tmp_path):
    from released import Released

    detector, config, weights = trained
    out = export(weights, tmp_path / "folder", "transformers", config)
    model = Released()
    loaded = model.load_state_dict(read_weights(out / "model.safetensors").tensors, strict=False)
    assert loaded.unexpected_keys == [] and loaded.missing_keys == ["feature_extractor.visual_projection.weight"]
    torch.testing.assert_close(model(images()), logits_of(detector), atol=1e-4, rtol=1e-4)


def test_openais_large_model_is_named_by_its_hub_id():
    assert authors_name(Backbone()) == "openai/clip-vit-large-patch14"
    assert authors_name(Backbone(name="ViT-L-14")) == "clip/ViT-L-14"  # GELU: not OpenAI's


def test_a_folder_in_use_is_not_touched(trained, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(LNCLIPError, match="exists and is not an empty folder"):
        export(trained[2], tmp_path / "mine", "transformers", trained[1])
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["file"]


# ---- ONNX


def need_onnx():
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    return pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_onnx_agrees_for_every_batch_and_carries_the_facts(trained, tmp_path):
    onnxruntime = need_onnx()
    detector, config, weights = trained
    out = export(weights, tmp_path / "w.onnx", "onnx", config)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 32, 32]
    assert session.get_outputs()[0].shape == ["batch", 2]
    for batch in (1, 3, 8):
        (logits,) = session.run(None, {"image": images(batch).numpy()})
        with torch.no_grad():
            expected = detector({"image": images(batch)})["cls"]
        torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-3, rtol=1e-3)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["lnclip_df"])
    assert {key: facts[key] for key in FACTS} == FACTS and facts["config"] == config.to_dict()
    assert facts["vectors"]["logits"] and facts["format"] == "onnx"


@pytest.mark.slow
def test_onnx_that_differs_is_not_kept(trained, tmp_path, monkeypatch):
    need_onnx()
    other = Logits(tiny_detector(seed=1)).eval()
    convert = torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda model, *args, **options: convert(other, *args, **options))
    with pytest.raises(LNCLIPError, match="not kept, onnxruntime's logits differ from PyTorch's"):
        export(trained[2], tmp_path / "w.onnx", "onnx", trained[1])
    assert not list(tmp_path.glob("*w*.onnx"))


def test_onnx_names_the_packages_that_it_lacks(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("lnclip_df.weights.onnx.find_spec", lambda name: None)
    with pytest.raises(LNCLIPError, match=r"ONNX needs onnx, onnxruntime, onnxscript: pip install 'lnclip-df\[onnx\]'"):
        export(trained[2], tmp_path / "w.onnx", "onnx", trained[1])


# ---- test vectors


def test_weights_that_fail_their_own_test_vectors_are_refused(trained, tmp_path):
    from safetensors.torch import save_file

    _, config, weights = trained
    export(weights, tmp_path / "w.safetensors", "full", config)
    found = read_weights(tmp_path / "w.safetensors")
    found.tensors["backbone.conv1.weight"] *= -1
    save_file(found.tensors, tmp_path / "bent.safetensors", metadata=read_metadata(tmp_path / "w.safetensors"))
    detector = tiny_detector()
    before = logits_of(detector)
    with pytest.raises(LNCLIPError, match="fails its own test vectors") as error:
        load_weights(detector, tmp_path / "bent.safetensors")
    assert "\n" not in str(error.value)
    assert torch.equal(logits_of(detector), before)
    load_weights(detector, tmp_path / "bent.safetensors", verify=False)


def test_the_other_activation_is_caught_by_the_test_vectors_alone(trained, tmp_path):
    from safetensors.torch import save_file

    _, config, weights = trained
    out = export(weights, tmp_path / "folder", "transformers", config)
    (out / "config.json").unlink()
    found = read_weights(out / "model.safetensors")
    facts = {key: value for key, value in facts_in(out / "model.safetensors").items() if key != "backbone"}
    save_file(found.tensors, tmp_path / "m.safetensors", metadata={"lnclip_df": json.dumps(facts)})
    with pytest.raises(LNCLIPError, match="fails its own test vectors"):
        load_weights(tiny_detector(quick_gelu=False), tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "change", [{"logits": [1]}, {"logits": "x"}, {"logits": [None, 1]}, {"input": "cos"}, {"shape": [1]}], ids=str
)
def test_damaged_test_vectors_are_refused(trained, tmp_path, change):
    from safetensors.torch import save_file

    _, config, weights = trained
    found = read_weights(export(weights, tmp_path / "w.safetensors", "full", config))
    facts = facts_in(tmp_path / "w.safetensors")
    facts["vectors"] |= change
    save_file(found.tensors, tmp_path / "v.safetensors", metadata={"lnclip_df": json.dumps(facts)})
    with pytest.raises(LNCLIPError, match=r"the test vectors are damaged"):
        load_weights(tiny_detector(), tmp_path / "v.safetensors")


# ---- the command


def test_the_command_needs_no_yaml_where_the_weights_hold_theirs(trained, tmp_path):
    result = call("export", trained[2], "--format", "delta", "--out", tmp_path / "d.safetensors")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "d.safetensors")
    assert facts_in(tmp_path / "d.safetensors")["frozen"]["seed"] == 0


def test_an_unknown_format_names_the_known_ones(trained, tmp_path):
    with pytest.raises(LNCLIPError, match="no export format 'gguf'; accepted: delta, full, transformers, onnx"):
        export(trained[2], tmp_path / "w.gguf", "gguf", trained[1])


@pytest.mark.parametrize(
    ("format", "out", "message"),
    [
        ("full", "w.pth", r"ends in \.safetensors"),
        ("onnx", "w.safetensors", r"ends in \.onnx"),
        ("delta", "folder.safetensors", "is a folder"),
    ],
)
def test_an_invalid_target_is_one_line(trained, tmp_path, format, out, message):
    (tmp_path / "folder.safetensors").mkdir()
    result = call("export", trained[2], "--format", format, "--out", tmp_path / out)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    with pytest.raises(LNCLIPError, match=message):
        raise LNCLIPError(line)


@pytest.mark.parametrize("format", ["delta", "full", "transformers", "onnx"])
@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing(trained, tmp_path, monkeypatch, format):
    if format == "onnx":
        need_onnx()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = {"delta": "w.safetensors", "full": "w.safetensors", "transformers": "folder", "onnx": "w.onnx"}[format]
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LNCLIPError, match=r"cannot write .*: No space left on device"):
        export(trained[2], tmp_path / "out" / target, format, trained[1])
    assert not list((tmp_path / "out").iterdir())
