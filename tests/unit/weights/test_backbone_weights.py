"""Weights of Perception Encoder and DINO: published files, the authors' detectors, and every export."""

import json
import re

import pytest
import torch
import torch.nn.functional as F
import yaml
from backbones import IMAGE, NAMES, Library, small_config, small_detector
from released import tiny_detector
from safetensors.torch import load_file, save_file
from torch import nn

from lnclip_df import LNCLIPDetector, LNCLIPError, build_detector, load_config
from lnclip_df.models.backbones import BACKBONES, Family
from lnclip_df.models.backbones.base import Backbone, Processor
from lnclip_df.models.backbones.dino import HUB
from lnclip_df.weights import load_weights, save_weights
from lnclip_df.weights.export import export

AUTHORS = {"pe:small": "vit_pe_core_large_patch14_336", "dino:dinov3-tiny": "facebook/dinov3-vitl16-pretrain-lvd1689m"}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def images(batch=3):
    return torch.randn(batch, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(batch))


def logits_of(detector):
    with torch.no_grad():
        return detector({"image": images()}, inference=True)["cls"]


class Released(nn.Module):
    """The modules of the authors' detector on timm's or transformers' model, and its forward pass."""

    def __init__(self, name, normalize=True):
        super().__init__()
        torch.manual_seed(5)
        self.feature_extractor, self.normalize = Library(name), normalize
        self.model = nn.ModuleDict({"linear": nn.Linear(64, 2)})
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        self.eval()

    @torch.no_grad()
    def forward(self, image):
        feature = self.feature_extractor(image)
        return self.model["linear"](F.normalize(feature, dim=1) if self.normalize else feature)

    def state(self):
        """As transformers 4 and timm name them."""
        return {as_published(n): t.clone() for n, t in self.state_dict().items()}


def as_published(name):
    for ours, theirs in {
        r"\.model\.layer\.": ".layer.", "q_proj": "query", "k_proj": "key", "v_proj": "value",
        r"attention\.(query|key|value)": r"attention.attention.\1", r"attention\.o_proj": "attention.output.dense",
    }.items() if "encoder.layer" in name else {r"\.model\.layer\.": ".layer."}.items():  # fmt: skip
        name = re.sub(ours, theirs, name)
    return name


# ---- the published weights of a backbone


def published(name, folder, **extra):
    """``model.safetensors`` of timm or transformers 4, and the features of the model that it is of."""
    folder.mkdir(exist_ok=True)
    model = Released(name).feature_extractor
    state = {as_published(f".{n}").removeprefix(".backbone."): t.clone() for n, t in model.state_dict().items()}
    save_file(state | extra, folder / "model.safetensors")
    with torch.no_grad():
        return model(images())


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_published_file_loads(name, tmp_path, what):
    projection = {"head.weight": torch.ones(8, 64), "head.bias": torch.ones(8)} if name.startswith("pe:") else {}
    expected = published(name, tmp_path / "weights", **projection)
    path = tmp_path / "weights" / ("model.safetensors" if what == "file" else "")
    detector = build_detector(small_config(name, f"lnclip.backbone.pretrained={path}")).eval()
    with torch.no_grad():
        torch.testing.assert_close(detector.backbone(images()), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["dino:dinov3-tiny", "dino:dinov2-tiny"])
def test_what_transformers_saves_loads(name, tmp_path):
    model = Released(name).feature_extractor
    model.backbone.save_pretrained(tmp_path)
    detector = build_detector(small_config(name, f"lnclip.backbone.pretrained={tmp_path}")).eval()
    with torch.no_grad():
        torch.testing.assert_close(detector.backbone(images()), model(images()), atol=1e-5, rtol=1e-5)


def test_a_file_of_another_backbone_is_refused_in_one_line(name, tmp_path):
    other = next(each for each in NAMES if each.partition(":")[0] != name.partition(":")[0])
    published(other, tmp_path)
    with pytest.raises(LNCLIPError, match=r"do not fit this configuration: .* tensors missing") as caught:
        build_detector(small_config(name, f"lnclip.backbone.pretrained={tmp_path}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("backbone", "file"),
    [
        ({"name": "pe:vit_pe_core_tiny_patch16_384", "pretrained": "fb"}, "timm/vit_pe_core_tiny_patch16_384.fb"),
        (
            {"name": "dino:dinov3-vits16", "pretrained": HUB["dinov3-vits16"]},
            "facebook/dinov3-vits16-pretrain-lvd1689m",
        ),
    ],
)
def test_weights_of_the_hub_come_from_its_cache_or_say_which_file_to_put_where(backbone, file, tmp_path, monkeypatch):
    asked = []

    def unreachable():
        raise OSError("no network")

    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda repository, name, **_: asked.append(repository)
    )
    monkeypatch.setattr("lnclip_df.weights.pretrained.require_hub", unreachable)
    with pytest.raises(LNCLIPError, match=rf"cannot fetch .*no network.*download model.safetensors of {file} on the"):
        build_detector(small_config(backbone["name"], f"lnclip.backbone={json.dumps(backbone)}"))
    assert asked == [file]


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("pe:vit_pe_core_tiny_patch16_384", "openai", r"openai is neither .* timm's tag of pe:vit_pe_core_tiny"),
        ("dino:dinov3-vits16", "lvd1689m", r"lvd1689m is neither .* a repository of the Hub \(facebook/dinov3-vits16-"),
        ("dino:dinov3-vits16", "no/such.safetensors", r"no/such.safetensors is neither a file nor a folder"),
    ],
)  # fmt: skip
def test_what_is_no_weights_is_one_line(name, pretrained, message):
    backbone = json.dumps({"name": name, "pretrained": pretrained})
    with pytest.raises(LNCLIPError, match=message) as caught:
        build_detector(small_config(name, f"lnclip.backbone={backbone}"))
    assert "\n" not in str(caught.value)


# ---- the authors' detectors


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", ["folder", "lightning"])
def test_the_authors_detector_loads(name, tmp_path, kind, normalize):
    model = Released(name, normalize)
    said = {"backbone": "unknown", "head": "LinearNorm" if normalize else "linear"}
    if kind == "folder":
        save_file(model.state(), tmp_path / "model.safetensors", metadata={"format": "pt"})
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "GenD", **said}))
    else:
        options = {"img_size": 224, "merge_cls_token_with_patches": None}
        content = {"state_dict": model.state(), "hyper_parameters": {**said, "backbone_args": options}}
        torch.save(content, tmp_path / "model.ckpt")
    off = [] if normalize else ["lnclip.normalize=false", "lnclip.loss.alignment=0", "lnclip.loss.uniformity=0"]
    detector = small_detector(name, *off)
    report = load_weights(detector, tmp_path)
    torch.testing.assert_close(logits_of(detector), model(images()), atol=1e-4, rtol=1e-4)
    assert report.loaded == len(detector.state_dict()) and not report.missing and not report.unused
    assert report.format == "GenD, " + ("transformers layout" if kind == "folder" else "Lightning checkpoint")


@pytest.mark.parametrize("name", AUTHORS)
def test_a_released_name_says_the_shape(name, tmp_path):
    save_file(Released(name).state(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"backbone": AUTHORS[name], "head": "LinearNorm"}))
    with pytest.raises(LNCLIPError, match=r"lnclip.backbone: .*config.json says image_size 224, but this .* has 32"):
        load_weights(small_detector(name), tmp_path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"backbone": "vit_pe_core_large_patch0_336"}, "is no Perception Encoder"),
        ({"backbone": "vit_pe_core_large_patch14_" + "9" * 9999}, "is no Perception Encoder"),
        ({"backbone": "vit_pe_core_mine_patch14_336"}, "has no vit_pe_core_mine_patch14_336"),
        ({"backbone": AUTHORS["pe:small"], "backbone_args": {"img_size": 225}}, "225 is not a multiple"),
        ({"backbone": AUTHORS["pe:small"], "backbone_args": [1]}, "backbone_args is not a mapping"),
        ({"backbone": "x", "backbone_args": {"img_size": -1}}, None),
        ({"backbone": AUTHORS["pe:small"], "backbone_args": {"img_size": "x"}}, None),
        ({"backbone": ["x"]}, None),
    ],
)
def test_odd_claims_are_one_line_or_none(tmp_path, said, message):
    save_file(Released("pe:small").state(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(said))
    if message is None:
        assert load_weights(small_detector("pe:small"), tmp_path).loaded
        return
    with pytest.raises(LNCLIPError, match=message) as caught:
        load_weights(small_detector("pe:small"), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", AUTHORS)
def test_a_detector_on_another_family_is_refused_with_the_name_to_set(name, tmp_path):
    save_file(Released(name).state(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"backbone": AUTHORS[name]}))
    right = {"pe:small": "pe:vit_pe_core_large_patch14_336", "dino:dinov3-tiny": "dino:dinov3-vitl16"}[name]
    with pytest.raises(LNCLIPError, match=rf"lnclip.backbone.name: .* is on {right}, the detector on tiny; set it"):
        load_weights(tiny_detector(), tmp_path)


def test_a_detector_on_the_patches_too_is_refused(tmp_path):
    options = {"img_size": 224, "merge_cls_token_with_patches": "cat"}
    state = Released("dino:dinov3-tiny").state()
    torch.save({"state_dict": state, "hyper_parameters": {"backbone_args": options}}, tmp_path / "model.ckpt")
    with pytest.raises(
        LNCLIPError, match="merge_cls_token_with_patches is 'cat'; a detector takes the CLS token alone"
    ):
        load_weights(small_detector("dino:dinov3-tiny"), tmp_path)


# ---- in and out


@pytest.fixture
def trained(name, tmp_path):
    detector = LNCLIPDetector(small_config(name)).eval()
    with torch.no_grad():
        for norm in detector.backbone.layer_norms():
            norm.weight.add_(0.2 * torch.randn_like(norm.weight))
    save_weights(detector, tmp_path / "w.safetensors", {"config": small_config(name).to_dict(), "epoch": 1})
    return detector


@pytest.mark.parametrize("format", ["delta", "full", "transformers"])
def test_an_export_gives_the_detector_back(name, trained, tmp_path, format):
    out = tmp_path / ("folder" if format == "transformers" else f"{format}.safetensors")
    export(tmp_path / "w.safetensors", out, format, small_config(name))
    again = build_detector(small_config(name), out)
    assert torch.equal(logits_of(again), logits_of(trained))
    other = "pe:small" if name.startswith("dino") else "dino:dinov3-tiny"
    with pytest.raises(LNCLIPError, match=r"of another backbone: family \w+ instead of \w+"):
        load_weights(small_detector(other), out)
    with pytest.raises(LNCLIPError, match=r"of another backbone: family \w+ instead of clip"):
        load_weights(tiny_detector(), out)


def test_deepfakebenchs_state_dict_loads(name, trained, tmp_path):
    torch.save({f"module.{n}": t for n, t in trained.state_dict().items()}, tmp_path / "ckpt_best.pth")
    detector = small_detector(name)
    assert load_weights(detector, tmp_path / "ckpt_best.pth").format == "DeepfakeBench's state dict"
    assert torch.equal(logits_of(detector), logits_of(trained))


def test_the_transformers_folder_fits_the_authors_modules(name, trained, tmp_path):
    export(tmp_path / "w.safetensors", tmp_path / "folder", "transformers", small_config(name))
    model, tensors = Released(name), load_file(tmp_path / "folder" / "model.safetensors")
    assert set(tensors) == set(model.state())
    model.load_state_dict({n: tensors[as_published(n)] for n in model.state_dict()})
    torch.testing.assert_close(model(images()), logits_of(trained), atol=1e-5, rtol=1e-5)
    said = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert said["model_type"] == "GenD" and said["head"] == "LinearNorm" and "vision_config" not in said


def test_a_family_that_the_authors_code_does_not_have_is_named(tmp_path, monkeypatch):
    class Mean(Backbone):
        width, processor = 3, Processor(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

        def forward(self, image):
            return image.mean(dim=(2, 3))

        def identity(self):
            return {"family": "mean"}

    monkeypatch.setitem(BACKBONES, "mean", Family(lambda settings: Mean(), lambda backbone: Mean.processor))
    backbone = {"name": "mean:8", "pretrained": "none"}
    config = load_config("lnclip.yaml", {"lnclip.backbone": backbone, "mean": [0.5] * 3, "std": [0.5] * 3})
    save_weights(LNCLIPDetector(config), tmp_path / "mean.safetensors")
    with pytest.raises(LNCLIPError, match=r"no backbone family in the authors' code 'mean'.*accepted: clip, pe, dino"):
        export(tmp_path / "mean.safetensors", tmp_path / "folder", "transformers", config)


@pytest.mark.slow
def test_onnx_agrees(name, trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = export(tmp_path / "w.safetensors", tmp_path / "w.onnx", "onnx", small_config(name))
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images().numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), logits_of(trained), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "said"), [("pe:small", "a Perception Encoder"), ("dino:dinov3-tiny", "a DINO vision")]
)
def test_the_model_card_names_the_family(name, said, trained, tmp_path):
    export(
        tmp_path / "w.safetensors", tmp_path / "full.safetensors", "full", small_config(name), card=tmp_path / "c.md"
    )
    card = (tmp_path / "c.md").read_text()
    (row,) = [line for line in card.splitlines() if line.startswith("| backbone |")]
    assert said in card and "GELU" not in row
    assert name.partition(":")[0] in yaml.safe_load(card.split("---")[1])["tags"]
