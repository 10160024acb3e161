"""Weights in every published layout load as they are; broken, foreign and hostile files are refused in one line."""

import contextlib
import json
import os
import pickle

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from lnclip_df import LNCLIPDetector, LNCLIPError, build_detector, load_config
from lnclip_df.models.backbones.clip import build_tower, open_clip_spec
from lnclip_df.weights import load_pretrained, load_weights, read_state_dict, save_weights

transformers = pytest.importorskip("transformers")
VISION = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}


def detector(**vision):
    backbone = {"name": "tiny", "pretrained": "none", "vision": VISION | vision}
    return LNCLIPDetector(load_config("lnclip.yaml", ["resolution=32", f"lnclip.backbone={json.dumps(backbone)}"]))


def fresh(tower):
    """Another tower of the same shape with other weights."""
    other = build_tower(tower.spec)
    other.init_weights(99)
    return other


def clip_model(quick_gelu=True):
    """open_clip's whole CLIP, both towers, with random weights."""
    vision = open_clip.CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=16, image_size=32)
    text = open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=32, heads=2, layers=1)
    torch.manual_seed(0)
    return open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text, quick_gelu=quick_gelu).eval()


def transformers_model(whole=False):
    vision = transformers.CLIPVisionConfig(
        hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16,
        hidden_act="quick_gelu", projection_dim=24,
    )  # fmt: skip
    torch.manual_seed(0)
    if not whole:
        return transformers.CLIPVisionModel(vision).eval()
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 50,
    }
    return transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision.to_dict(), text_config=text)).eval()


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def open_clip_feature(model):
    """What the authors take: the CLS token after ln_post, before the projection."""
    model.visual.proj = None
    return model.visual(image())


# ---- CLIP's own weights


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("nested", [False, True])
def test_open_clips_whole_model_loads(tmp_path, suffix, nested):
    model, tower = clip_model(), fresh(detector().backbone)
    path, state = tmp_path / f"clip{suffix}", model.state_dict()
    if suffix == ".pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}} if nested else state, path)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    load_pretrained(tower, "tiny", str(path))
    torch.testing.assert_close(tower(image()), open_clip_feature(model), atol=1e-4, rtol=1e-4)


def test_openais_torchscript_archive_loads(tmp_path):
    class Archive(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.visual = model.visual
            self.register_buffer("input_resolution", torch.tensor(32))
            self.register_buffer("context_length", torch.tensor(8))
            self.register_buffer("vocab_size", torch.tensor(50))

        def forward(self, x):
            return self.visual(x)

    model, tower = clip_model(), fresh(detector().backbone)
    torch.jit.trace(Archive(model), image(), check_trace=False).save(tmp_path / "ViT.pt")
    load_pretrained(tower, "tiny", str(tmp_path / "ViT.pt"))
    torch.testing.assert_close(tower(image()), open_clip_feature(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("whole", [False, True])
def test_transformers_folder_loads(tmp_path, whole):
    model, tower = transformers_model(whole), fresh(detector().backbone)
    model.save_pretrained(tmp_path)
    load_pretrained(tower, "tiny", str(tmp_path / "model.safetensors"))
    vision = model.vision_model if whole else model
    expected = vision(pixel_values=image()).pooler_output
    torch.testing.assert_close(tower(image()), expected, atol=1e-4, rtol=1e-4)


def test_the_older_transformers_names_load(tmp_path):
    model, tower = transformers_model(), fresh(detector().backbone)
    old = {f"vision_model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    old["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    old["visual_projection.weight"] = torch.zeros(24, 64)
    save_file(old, tmp_path / "model.safetensors")
    load_pretrained(tower, "tiny", str(tmp_path / "model.safetensors"))
    expected = model(pixel_values=image()).pooler_output
    torch.testing.assert_close(tower(image()), expected, atol=1e-4, rtol=1e-4)


def test_half_precision_weights_become_float32(tmp_path):
    tower = fresh(detector().backbone)
    torch.save({k: v.half() for k, v in clip_model().state_dict().items()}, tmp_path / "clip.pt")
    load_pretrained(tower, "tiny", str(tmp_path / "clip.pt"))
    assert all(p.dtype == torch.float32 for p in tower.parameters())


# ---- the wrong weights


def test_the_openai_tag_is_refused_for_the_gelu_model():
    with pytest.raises(LNCLIPError, match=r"QuickGELU.*Use ViT-L-14-quickgelu"):
        build_detector(load_config("lnclip.yaml", ["lnclip.backbone.name=ViT-L-14"]))


def test_weights_that_cannot_be_fetched_say_which_file_to_put_where(monkeypatch, tmp_path):
    def unreachable(card):
        raise OSError("network is unreachable")

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a: None)
    with pytest.raises(LNCLIPError) as caught:
        build_detector(load_config("lnclip.yaml"))
    for part in ("openai", "open_clip_model.safetensors", "vit_large_patch14_clip_224", "lnclip.backbone.pretrained"):
        assert part in str(caught.value)


def test_an_unknown_tag_names_the_known_ones():
    with pytest.raises(LNCLIPError, match="metaclip_400m"):
        build_detector(load_config("lnclip.yaml", ["lnclip.backbone.pretrained=no-such-tag"]))


@pytest.mark.parametrize("layout", ["transformers", "OpenAI", "open_clip"])
def test_weights_of_the_other_activation_are_refused(tmp_path, layout):
    tower = fresh(detector(quick_gelu=False).backbone)
    path = tmp_path / "model.pt"
    if layout == "transformers":
        transformers_model().save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
    else:
        state = clip_model().state_dict()
        torch.save(state | ({"vocab_size": torch.tensor(50)} if layout == "OpenAI" else {}), path)
        (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": true}}')
    before = tower.conv1.weight.clone()
    with pytest.raises(LNCLIPError, match="QuickGELU"):
        load_pretrained(tower, "tiny", str(path))
    assert torch.equal(tower.conv1.weight, before)


def test_weights_of_another_architecture_are_refused_by_name(tmp_path):
    with torch.device("meta"):
        shapes = build_tower(open_clip_spec("ViT-S-32-alt")).state_dict()
    torch.save({f"visual.{k}": torch.zeros(v.shape) for k, v in shapes.items()}, tmp_path / "clip.pt")
    with pytest.raises(LNCLIPError, match=r"width 384 instead of 64.*ViT-S-32"):
        load_pretrained(fresh(detector().backbone), "tiny", str(tmp_path / "clip.pt"))


def test_weights_with_a_tensor_too_many_or_too_few_are_refused_whole(tmp_path):
    tower, state = fresh(detector().backbone), clip_model().state_dict()
    before = {k: v.clone() for k, v in tower.state_dict().items()}
    more = state | {"visual.extra": torch.zeros(1)}
    less = {k: v for k, v in state.items() if k != "visual.ln_post.bias"}
    strange = state | {"decoder.weight": torch.zeros(1)}
    for bad, word in ((more, "extra"), (less, "ln_post.bias"), (strange, "decoder.weight")):
        torch.save(bad, tmp_path / "clip.pt")
        with pytest.raises(LNCLIPError, match=word):
            load_pretrained(tower, "tiny", str(tmp_path / "clip.pt"))
    for name, tensor in tower.state_dict().items():
        assert torch.equal(tensor, before[name])


# ---- a detector's own weights


def test_save_and_load_round_trips_bit_for_bit(tmp_path):
    one, two = detector(), detector()
    with torch.no_grad():
        for p in one.parameters():
            p.add_(torch.randn_like(p))
    save_weights(one, tmp_path / "w.safetensors", {"epoch": 3})
    facts = load_weights(two, tmp_path / "w.safetensors")
    assert facts["epoch"] == 3 and facts["backbone"]["width"] == 64
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name])


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_deepfakebenchs_state_dict_loads(tmp_path, prefix):
    one, two = detector(), detector()
    torch.save({prefix + k: v for k, v in one.state_dict().items()}, tmp_path / "ckpt_best.pth")
    load_weights(two, tmp_path / "ckpt_best.pth")
    assert torch.equal(one.head.weight, two.head.weight)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_a_truncated_checkpoint_is_one_clear_line(tmp_path, suffix, keep):
    path = tmp_path / f"w{suffix}"
    save_weights(detector(), path) if suffix == ".safetensors" else torch.save(detector().state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(LNCLIPError, match=path.name) as caught:
        load_weights(detector(), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_of_another_width_is_refused_and_nothing_loaded(tmp_path, suffix):
    path, target = tmp_path / f"w{suffix}", detector()
    wide = detector(width=128)
    save_weights(wide, path) if suffix == ".safetensors" else torch.save(wide.state_dict(), path)
    before = target.head.weight.clone()
    with pytest.raises(LNCLIPError, match="128"):
        load_weights(target, path)
    assert torch.equal(target.head.weight, before)


def test_a_checkpoint_of_the_other_activation_is_refused(tmp_path):
    save_weights(detector(quick_gelu=False), tmp_path / "w.safetensors")
    with pytest.raises(LNCLIPError, match="quick_gelu"):
        load_weights(detector(), tmp_path / "w.safetensors")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Script(torch.nn.Module):
    """A TorchScript archive whose own code writes a file when ``torch.jit.load`` reads it."""

    def __init__(self, sign: str):
        super().__init__()
        self.sign = sign
        self.weight = torch.nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self):
        return (self.sign, self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        torch.save(torch.ones(1), state[0])
        self.sign, self.weight, self.training = state[0], state[1], state[2]

    def forward(self, x):
        return x * self.weight


def test_a_torchscript_archive_runs_none_of_its_code(tmp_path):
    path, sign = tmp_path / "model.pt", tmp_path / "ran"
    torch.jit.script(Script(str(sign))).save(str(path))
    with contextlib.suppress(LNCLIPError):
        read_state_dict(path)
    assert not sign.exists()


def test_damaged_metadata_and_strange_tensors_are_one_line(tmp_path):
    state = {k: v.clone() for k, v in detector().state_dict().items()}
    for bad in ("{", "[1]", '{"backbone": "x"}', '{"config": 3}'):
        save_file(state, tmp_path / "w.safetensors", metadata={"lnclip_df": bad})
        with pytest.raises(LNCLIPError, match="metadata"):
            load_weights(detector(), tmp_path / "w.safetensors")
    for bad in ({0: torch.ones(1)}, {"a": torch.eye(3).to_sparse()}, {"a": torch.ones(2, device="meta")}, {"a": 1}, {}):
        torch.save(bad, tmp_path / "w.pth")
        with pytest.raises(LNCLIPError, match="state dict"):
            load_weights(detector(), tmp_path / "w.pth")
    for odd in (torch.tensor(1.0), torch.ones(3)):
        torch.save({"visual.conv1.weight": odd, "visual.positional_embedding": odd}, tmp_path / "w.pth")
        with pytest.raises(LNCLIPError):
            load_pretrained(detector().backbone, "tiny", str(tmp_path / "w.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".ckpt"])
@pytest.mark.parametrize("write", [lambda o, p: p.write_bytes(pickle.dumps(o)), torch.save], ids=["pickle", "torch"])
def test_a_pickle_with_a_payload_runs_nothing(tmp_path, suffix, write):
    path, sign = tmp_path / f"w{suffix}", tmp_path / "ran"
    write({"state_dict": Payload(sign)}, path)
    with pytest.raises(LNCLIPError, match=path.name):
        read_state_dict(path)
    assert not sign.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LNCLIPError, match="nowhere"):
        load_weights(detector(), tmp_path / "nowhere.pth")
