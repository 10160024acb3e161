"""The exported plugin computes what ours computes, from the same weights and random numbers."""

import ast
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from released import IMAGE
from upstream import import_plugin, make_backbone, plugin_yaml

from lnclip_df.bench.dataset_json import steps_per_epoch
from lnclip_df.bench.export_plugin import export_plugin
from lnclip_df.bench.plugin import BenchDetector
from lnclip_df.config.files import bench_configs
from lnclip_df.config.loading import load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.pixels import as_tensor, normalize, stack
from lnclip_df.models.schedule import cyclic_lr
from lnclip_df.models.sphere import alignment, slerp, uniformity
from lnclip_df.weights import build_detector

pytest.importorskip("transformers")
VISION = {"image_size": IMAGE, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}
VIDEOS = {"v": {"label": "FF-real", "frames": [f"./v/{k:03d}.png" for k in range(9)]}}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def module(tmp_path, monkeypatch):
    return import_plugin(tmp_path, monkeypatch)


@pytest.fixture
def config(module, tmp_path, backbone):
    (tmp_path / "A.json").write_text(json.dumps({"A": {"FF-real": {"train": VIDEOS}}}))
    keys = {"resolution": 48, "train_dataset": ["A"], "train_batchSize": 2, "dataset_json_folder": str(tmp_path)}
    return plugin_yaml(tmp_path / "exported" / "lnclip.yaml", backbone, **keys)


@pytest.fixture
def ours(config, backbone):
    lnclip = config["lnclip"] | {
        "backbone": {"name": "tiny", "pretrained": str(backbone / "model.safetensors"), "vision": VISION}
    }
    return BenchDetector(config | {"lnclip": lnclip})


@pytest.fixture
def theirs(module, config, ours):
    detector = module.LNCLIPDetector(config)
    detector.head.load_state_dict(ours.head.state_dict())
    return detector


def batch(n=8, size=48):
    """Normalised images of whole grey levels, of both classes."""
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    stats = load_config("lnclip.yaml")
    image = normalize(stack([as_tensor(each) for each in images]), stats.mean, stats.std)
    return {"image": image, "label": torch.arange(n) % 2}


def norms_of(detector):
    """The gradients of LayerNorms and head."""
    kinds = (torch.nn.LayerNorm, torch.nn.Linear)
    modules = [m for m in detector.modules() if isinstance(m, kinds) and m.weight.requires_grad]
    return [parameter.grad for module in modules for parameter in (module.weight, module.bias)]


def test_training_gives_the_same_logits_losses_and_gradients(theirs, ours):
    data, out, losses = batch(), {}, {}
    for name, detector in {"theirs": theirs, "ours": ours}.items():
        torch.manual_seed(5)
        out[name] = detector.train()(data)
        losses[name] = detector.get_losses(data, out[name])
        losses[name]["overall"].backward()
        assert [key for key, loss in losses[name].items() if loss.requires_grad] == ["overall"]
    assert out["theirs"].keys() == out["ours"].keys() and losses["theirs"].keys() == losses["ours"].keys()
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(out["theirs"], out["ours"], **close)
    torch.testing.assert_close(losses["theirs"], losses["ours"], **close)
    expected = norms_of(ours)
    assert len(expected) == 2 * (2 + 2 * 2) + 2 and all(gradient.abs().max() > 1e-4 for gradient in expected)
    torch.testing.assert_close(norms_of(theirs), expected, **close)


def test_testing_gives_the_same_predictions(theirs, ours):
    with torch.no_grad():
        expected, found = (each.eval()(batch(), inference=True) for each in (ours, theirs))
    assert found.keys() == expected.keys() == {"cls", "prob", "feat"}
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_trained_are_the_layer_norms_and_the_head_and_ddp_has_no_buffer_to_broadcast(theirs):
    trained = [name for name, parameter in theirs.named_parameters() if parameter.requires_grad]
    assert all("norm" in name or "layrnorm" in name or name.startswith("head.") for name in trained)
    assert theirs._ddp_params_and_buffers_to_ignore == {name for name, _ in theirs.named_buffers()}


@pytest.mark.parametrize(("old", "new"), [(256, 224), (100, 224), (300, 64), (31, 7)])
def test_the_resize_is_pillows(module, old, new):
    stats = load_config("lnclip.yaml")
    image = np.random.default_rng(old).integers(0, 256, (old, old, 3), dtype=np.uint8)
    expected = normalize(
        as_tensor(np.array(Image.fromarray(image).resize((new, new), Image.Resampling.BICUBIC))), stats.mean, stats.std
    )
    found = module.resize_as_pillow(
        normalize(as_tensor(image), stats.mean, stats.std)[None], new, stats.mean, stats.std
    )[0]
    assert torch.equal(found, expected)


def test_the_spheres_functions_agree_on_degenerate_features_too(module):
    generator = torch.Generator().manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(12, 6, generator=generator), dim=1)
    for features, labels in [(z, torch.arange(12) % 2), (z[:1], torch.zeros(1)), (z[[0, 0, 0]], torch.ones(3))]:
        torch.testing.assert_close(module.alignment(features, labels), alignment(features, labels.long()))
        torch.testing.assert_close(module.uniformity(features, 2.0), uniformity(features))
    t = torch.rand(12, generator=generator)
    for other in (z.flip(0), z, -z):
        torch.testing.assert_close(module.slerp(z, other, t[:, None]), slerp(z, other, t))


def test_the_rate_of_every_step_is_ours(theirs, config, caplog):
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1.0)
    rates = []
    for _ in range(7):
        data = batch(2)
        losses = theirs.get_losses(data, theirs.train()(data))
        optimizer.zero_grad()
        losses["overall"].backward()
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [cyclic_lr(k / 5) for k in range(7)]


@pytest.mark.parametrize("dataset", ["A", "FF-DF", "FF-DF_c40"])
@pytest.mark.parametrize("kind", [None, "pair"])
def test_the_steps_of_an_epoch_are_ours(module, config, tmp_path, dataset, kind):
    fakes = {f"{k}": {"label": "FF-DF", "frames": ["./f.png"] * (k + 30)} for k in range(5)}
    plain = {"FF-real": {"train": VIDEOS}, "FF-DF": {"train": fakes}}
    levels = {
        label: {"train": {"c23": splits["train"], "c40": {"v": VIDEOS["v"] | {"label": label}}}}
        for label, splits in plain.items()
    }
    name = dataset.removesuffix("_c40")
    (tmp_path / f"{dataset}.json").write_text(json.dumps({name: plain if name == "A" else levels}))
    config |= {"train_dataset": [dataset], "dataset_type": kind, "label_dict": {"FF-real": 0, "FF-DF": 1}}
    assert module.steps_per_epoch(config) == steps_per_epoch(config) > 0


def test_a_checkpoint_of_the_plugin_is_read_by_lnclip_df(theirs, ours, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "ckpt_best.pth")
    detector = build_detector(ours.config, tmp_path / "ckpt_best.pth")
    with torch.no_grad():
        torch.testing.assert_close(detector(batch())["prob"], theirs.eval()(batch())["prob"], atol=1e-6, rtol=1e-6)


def test_the_wrappers_checkpoint_is_loaded(theirs):
    theirs.load_state_dict({f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}, strict=True)


def test_the_file_stands_alone(tmp_path):
    (source, _, note) = export_plugin(tmp_path)
    text = source.read_text()
    assert len(text.splitlines()) < 300
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(node.module.partition(".")[0])
    assert imported - {"functools", "json", "logging", "math", "os", "weakref"} == {"torch", "transformers", "metrics"}
    assert "| LNCLIP-DF | [lnclip_detector.py](./training/detectors/lnclip_detector.py) |" in note.read_text()


def test_its_yaml_has_our_settings(tmp_path):
    theirs = yaml.safe_load(export_plugin(tmp_path)[1].read_text())
    ours = yaml.safe_load((bench_configs() / "lnclip.yaml").read_text())
    # DeepfakeBench has no labels of other datasets, and its train.py of today does not need task_target.
    names = {"all_dataset", "test_dataset", "task_target", "lnclip"}
    assert {key: theirs[key] for key in theirs.keys() - names} == {key: ours[key] for key in ours.keys() - names}
    assert theirs["lnclip"].pop("backbone") == "openai/clip-vit-large-patch14"
    for key, value in theirs["lnclip"].items():
        expected = ours["lnclip"][key]
        assert value == ({name: expected[name] for name in value} if isinstance(value, dict) else expected)


def test_other_files_are_not_overwritten(tmp_path):
    assert export_plugin(tmp_path) == export_plugin(tmp_path)
    (tmp_path / "lnclip.yaml").write_text("mine: true\n")
    with pytest.raises(LNCLIPError, match=r"lnclip\.yaml exists with another content"):
        export_plugin(tmp_path)
