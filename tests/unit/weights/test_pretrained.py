"""CLIP's weights load in every published layout; those of another model are refused in one line, and whole."""

import open_clip
import pytest
import torch
from released import clip_model as transformers_clip
from released import tiny_detector
from safetensors.torch import save_file

from lnclip_df import LNCLIPError, build_detector, load_config
from lnclip_df.models.backbones.clip import build_tower, open_clip_spec
from lnclip_df.weights import load_pretrained

transformers = pytest.importorskip("transformers")


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
    clip = transformers_clip()
    return clip if whole else transformers.CLIPVisionModel(clip.config.vision_config).eval()


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def open_clip_feature(model):
    """What the authors take: the CLS token after ln_post, before the projection."""
    model.visual.proj = None
    return model.visual(image())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("nested", [False, True])
def test_open_clips_whole_model_loads(tmp_path, suffix, nested):
    model, tower = clip_model(), fresh(tiny_detector().backbone)
    path, state = tmp_path / f"clip{suffix}", model.state_dict()
    if suffix == ".pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}} if nested else state, path)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    load_pretrained(tower, "tiny", str(path))
    torch.testing.assert_close(tower(image()), open_clip_feature(model), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.torch.jit.trace")
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

    model, tower = clip_model(), fresh(tiny_detector().backbone)
    torch.jit.trace(Archive(model), image(), check_trace=False).save(tmp_path / "ViT.pt")
    load_pretrained(tower, "tiny", str(tmp_path / "ViT.pt"))
    torch.testing.assert_close(tower(image()), open_clip_feature(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("whole", [False, True])
def test_transformers_folder_loads(tmp_path, whole):
    model, tower = transformers_model(whole), fresh(tiny_detector().backbone)
    model.save_pretrained(tmp_path)
    load_pretrained(tower, "tiny", str(tmp_path / "model.safetensors"))
    vision = model.vision_model if whole else model
    expected = vision(pixel_values=image()).pooler_output
    torch.testing.assert_close(tower(image()), expected, atol=1e-4, rtol=1e-4)


def test_the_older_transformers_names_load(tmp_path):
    model, tower = transformers_model(), fresh(tiny_detector().backbone)
    old = {f"vision_model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    old["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    old["visual_projection.weight"] = torch.zeros(24, 64)
    save_file(old, tmp_path / "model.safetensors")
    load_pretrained(tower, "tiny", str(tmp_path / "model.safetensors"))
    expected = model(pixel_values=image()).pooler_output
    torch.testing.assert_close(tower(image()), expected, atol=1e-4, rtol=1e-4)


def test_half_precision_weights_become_float32(tmp_path):
    tower = fresh(tiny_detector().backbone)
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
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    with pytest.raises(LNCLIPError) as caught:
        build_detector(load_config("lnclip.yaml"))
    for part in ("openai", "open_clip_model.safetensors", "vit_large_patch14_clip_224", "lnclip.backbone.pretrained"):
        assert part in str(caught.value)


def test_an_unknown_tag_names_the_known_ones():
    with pytest.raises(LNCLIPError, match="metaclip_400m"):
        build_detector(load_config("lnclip.yaml", ["lnclip.backbone.pretrained=no-such-tag"]))


@pytest.mark.parametrize("layout", ["transformers", "OpenAI", "open_clip"])
def test_weights_of_the_other_activation_are_refused(tmp_path, layout):
    tower = fresh(tiny_detector(quick_gelu=False).backbone)
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
        load_pretrained(fresh(tiny_detector().backbone), "tiny", str(tmp_path / "clip.pt"))


def test_weights_with_a_tensor_too_many_or_too_few_are_refused_whole(tmp_path):
    tower, state = fresh(tiny_detector().backbone), clip_model().state_dict()
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


@pytest.mark.parametrize("odd", [torch.tensor(1.0), torch.ones(3)], ids=["scalar", "vector"])
def test_tensors_of_odd_shapes_are_refused(tmp_path, odd):
    torch.save({"visual.conv1.weight": odd, "visual.positional_embedding": odd}, tmp_path / "w.pth")
    with pytest.raises(LNCLIPError, match="contains no CLIP vision transformer"):
        load_pretrained(tiny_detector().backbone, "tiny", str(tmp_path / "w.pth"))
