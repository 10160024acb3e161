"""Perception Encoder and DINO compute what timm and transformers compute, and tune what the authors tune."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from backbones import IMAGE, LAYERS, NAMES, STATS, Library, our_name, small_config, small_detector
from PIL import Image
from torch import nn

from lnclip_df import LNCLIPDetector, LNCLIPError, load_config
from lnclip_df.models.backbones import build_backbone
from lnclip_df.models.backbones.base import require
from lnclip_df.models.input import model_input
from lnclip_df.models.pixels import normalize

UNFROZEN = {"pe": ["norm_pre", "norm1", "norm2", "norm"], "dino": ["norm1", "norm2", "norm"]}  # the authors'


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def family(name):
    return name.partition(":")[0]


def images(batch=6, size=IMAGE):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(batch))


def library_of(detector, name):
    """The library's model with the weights of a small detector's backbone."""
    library, ours = Library(name), dict(detector.backbone.named_parameters())
    theirs = dict(library.named_parameters())
    assert {our_name(name, their_name) for their_name in theirs} == set(ours)
    with torch.no_grad():
        for their_name, parameter in theirs.items():
            parameter.copy_(ours[our_name(name, their_name)])
    return library


# ---- the libraries' own models


def test_features_are_the_librarys(name):
    detector = small_detector(name)
    library = library_of(detector, name)
    with torch.no_grad():
        torch.testing.assert_close(detector.backbone(images()), library(images()), atol=1e-5, rtol=1e-5)


def naive_losses(logits, z, label):
    """The authors' three terms, pair by pair."""
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
    distance = {(i, j): (z[i] - z[j]).square().sum() for i, j in pairs}
    same = torch.stack([distance[pair] for pair in pairs if label[pair[0]] == label[pair[1]]])
    everyone = torch.stack([(-2 * distance[pair]).exp() for pair in pairs])
    return F.cross_entropy(logits, label), same.mean(), everyone.mean().log()


def test_logits_losses_and_layernorm_gradients_are_those_of_the_library_with_a_linear_head(name):
    detector = small_detector(name).train()
    library, head = library_of(detector, name), copy.deepcopy(detector.head)
    image, label = images(), torch.tensor([0, 1, 0, 1, 1, 0])

    predicted = detector({"image": image, "label": label})
    losses = detector.get_losses({"label": label}, predicted)
    losses["overall"].backward()
    z = F.normalize(library(image), dim=1)
    logits = head(z)
    ce, alignment, uniformity = naive_losses(logits, z, label)
    (ce + 0.1 * alignment + 0.5 * uniformity).backward()

    torch.testing.assert_close(predicted["cls"], logits, atol=1e-4, rtol=1e-4)
    for term, expected in {"ce": ce, "alignment": alignment, "uniformity": uniformity}.items():
        torch.testing.assert_close(losses[term], expected.detach(), atol=1e-4, rtol=1e-4)
    gradients = {our_name(name, theirs): p.grad for theirs, p in library.named_parameters()}
    tuned = {ours: p.grad for ours, p in detector.backbone.named_parameters() if p.requires_grad}
    assert len(tuned) >= 10
    for ours, gradient in tuned.items():
        torch.testing.assert_close(gradient, gradients[ours], atol=1e-4, rtol=1e-4, msg=lambda m, n=ours: f"{n} {m}")


def test_what_is_tuned_is_what_the_authors_names_select(name):
    library = Library(name)
    selected = {
        our_name(name, theirs)
        for theirs, _ in library.named_parameters()
        if any(layer in theirs for layer in UNFROZEN[family(name)])
    }
    detector = small_detector(name)
    assert {ours for ours, p in detector.backbone.named_parameters() if p.requires_grad} == selected
    norms = {id(p) for module in library.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    assert len(selected) == len(norms)  # nothing but LayerNorms has such a name


COUNTS = {  # LayerNorms, their parameters, all of the backbone's
    "ViT-L-14-quickgelu": (50, 102_400, 303_179_776),
    "pe:vit_pe_core_large_patch14_336": (51, 104_448, 316_102_656),
    "dino:dinov3-vitl16": (49, 100_352, 303_129_600),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "counts"), COUNTS.items())
def test_the_released_models_have_as_many_parameters_as_the_docs_say(name, counts):
    mean, std = STATS[family(name) if ":" in name else "clip"]
    size = {} if family(name) == name else {"image_size": 224}
    backbone = {"name": name, "pretrained": "none", **size}
    tower = build_backbone(load_config("lnclip.yaml", {"lnclip.backbone": backbone, "mean": mean, "std": std}))
    norms = tower.layer_norms()
    parameters = sum(p.numel() for norm in norms for p in norm.parameters())
    assert (len(norms), parameters, sum(p.numel() for p in tower.parameters())) == counts
    assert (tower.width, tower.image_size) == (1024, 224)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "millions"),
    [("dinov2-small", 22.06), ("dinov2-base", 86.58), ("dinov2-large", 304.37), ("dinov3-vits16", 21.6),
     ("dinov3-vitb16", 85.66), ("dinov2-with-registers-base", 86.58)],
)  # fmt: skip
def test_the_published_dinos_have_the_size_that_the_hub_states(name, millions):
    mean, std = STATS["dino"]
    settings = {"lnclip.backbone": {"name": f"dino:{name}", "pretrained": "none"}, "mean": mean, "std": std}
    backbone = build_backbone(load_config("lnclip.yaml", settings))
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


# ---- its own preprocessing


def crop():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC))


def their_input(name, image):
    """A crop as the library's own processor makes the model's input of it, at 224 pixels."""
    if name.startswith("pe:"):
        import timm

        data = timm.data.resolve_model_data_config(timm.create_model("vit_pe_core_tiny_patch16_384"))
        return timm.data.create_transform(**data | {"input_size": (3, 224, 224)}, is_training=False)(
            Image.fromarray(image)
        )
    import transformers

    if name.startswith("dino:dinov3"):
        processor = transformers.DINOv3ViTImageProcessor()
    else:  # as published with the weights of DINOv2
        processor = transformers.BitImageProcessor(
            size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=3,
            image_mean=STATS["dino"][0], image_std=STATS["dino"][1],
        )  # fmt: skip
    return processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"][0]


def vision_at_224(name, *overrides):
    patch = "lnclip.backbone.vision.patch_size=16"
    return small_config(name, patch, *overrides, image_size=224)


@pytest.mark.slow
def test_a_crop_is_resized_as_by_the_librarys_processor(name):
    config = vision_at_224(name)
    detector = LNCLIPDetector(config)
    ours = detector.backbone_input(model_input(crop(), config)[None])[0]
    torch.testing.assert_close(ours, their_input(name, crop()), atol=2e-6, rtol=0)


def test_a_crop_is_resized_so_too_where_resolution_is_the_backbones_own(name):
    config = vision_at_224(name, "resolution=224")
    given = normalize(model_input(crop(), config), config.mean, config.std)
    torch.testing.assert_close(given, their_input(name, crop()), atol=2e-6, rtol=0)


def test_another_normalisation_is_refused(name):
    with pytest.raises(LNCLIPError, match=r"mean: \[0.1, 0.5, 0.5\] is not the normalisation of .*; set mean: \["):
        LNCLIPDetector(small_config(name, "mean=[0.1, 0.5, 0.5]"))


def test_deepfakebenchs_resize_needs_the_backbones_resolution(name):
    with pytest.raises(LNCLIPError, match=r"resolution 256 differs from lnclip.backbone.image_size 32"):
        small_config(name, "lnclip.resize=deepfakebench")
    detector = LNCLIPDetector(small_config(name, "lnclip.resize=deepfakebench", f"resolution={IMAGE}"))
    assert torch.equal(detector.backbone_input(images()), images())


def test_resize_clip_is_another_name_for_the_backbones():
    assert load_config("lnclip.yaml", ["lnclip.resize=clip"]) == load_config("lnclip.yaml")


# ---- as a module


def test_there_are_no_buffers_and_constants_follow_the_module(name):
    detector = small_detector(name)
    assert list(detector.named_buffers()) == []
    assert list(detector.state_dict()) == [n for n, _ in detector.named_parameters()]
    with torch.no_grad():
        expected = detector({"image": images()}, inference=True)["cls"]
        twin = copy.deepcopy(detector)
        twin.double()
        precise = twin({"image": images().double()}, inference=True)["cls"]
        after = detector({"image": images()}, inference=True)["cls"]
    assert precise.dtype == torch.float64
    torch.testing.assert_close(precise.float(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(after, expected)  # the copy shares nothing
    assert list(twin.named_buffers()) == []
    assert {t.device.type for t in copy.deepcopy(detector).to("meta").state_dict().values()} == {"meta"}


def test_random_weights_follow_the_seed_alone(name):
    def features(seed):
        torch.manual_seed(torch.seed())
        detector = LNCLIPDetector(small_config(name, f"lnclip.backbone.seed={seed}")).eval()
        with torch.no_grad():
            return detector.backbone(images())

    first = features(0)
    assert torch.equal(first, features(0))
    assert (first - features(1)).abs().max() > 0.1
    assert 0.1 < first.var() < 10


def test_training_mode_computes_the_same_as_evaluation(name):
    """DINOv3's augmentation of its positions is off, as in the authors' training."""
    detector = small_detector(name)
    with torch.no_grad():
        expected = detector.backbone(images())
        assert torch.equal(detector.train().backbone(images()), expected)


def test_activation_checkpointing_changes_no_gradient(name):
    plain, saving = small_detector(name).train(), small_detector(name, "lnclip.activation_checkpointing=true").train()
    for detector in (plain, saving):
        detector.backbone(images()).square().sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_everything_that_takes_part_is_trained_with_tune_all(name):
    detector = small_detector(name, "lnclip.tune=all").train()
    detector.backbone(images()).square().sum().backward()
    for own, parameter in detector.backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, own
        assert parameter.requires_grad == ("mask_token" not in own), own


def test_bf16_stays_close_to_float32(name):
    precise, half = small_detector(name), small_detector(name, "lnclip.precision=bf16")
    with torch.no_grad():
        a, b = (detector({"image": images()}, inference=True)["feat"] for detector in (precise, half))
    assert torch.cosine_similarity(a, b).min() > 0.99


def test_a_bf16_residual_stream_is_refused(name):
    with pytest.raises(LNCLIPError, match=rf"lnclip\.residual: bf16 is for CLIP's transformers; with {name}"):
        small_detector(name, "lnclip.residual=bf16")


def test_blocks_are_compiled_one_by_one(name, monkeypatch):
    compiled, detector = [], small_detector(name)
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    detector.backbone.compile_blocks()
    assert len(compiled) == LAYERS and all(hasattr(block, "norm1") for block in compiled)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pe:small", "dino:dinov3-tiny"])
def test_torch_compile_gives_the_same_features(name):
    backbone = small_detector(name, "lnclip.backbone.vision.layers=1").backbone
    compiled = torch.compile(backbone, backend="aot_eager")
    torch.testing.assert_close(compiled(images()), backbone(images()), atol=1e-5, rtol=1e-5)


# ---- bad input


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"name": "pe:vit_large"}, r"pe:vit_large is no Perception Encoder; .* pe:vit_pe_core_base_patch16_224"),
        ({"name": "pe:vit_pe_core_mega_patch16_224"}, r"has no vit_pe_core_mega_patch16_224; it has vit_pe_core"),
        ({"name": "pe:vit_pe_core_tiny_patch16_384", "image_size": 225}, r"image_size: 225 is not a multiple of .* 16"),
        ({"name": "dino:dinov4-huge"}, r"there is no DINO dino:dinov4-huge; accepted: .*dino:dinov3-vitl16"),
        ({"name": "dino:dinov3-vitx"}, r"there is no DINO dino:dinov3-vitx; accepted: .*dino:dinov3-vitl16"),
        ({"name": "dino:dinov3-vits16", "image_size": 225}, r"image_size: 225 is not a multiple of .* 16 pixels"),
        ({"name": "ViT-B-32", "image_size": 288}, r"image_size: CLIP's ViT-B-32 takes images of 224 pixels alone"),
        ({"name": "dinov3:vits16"}, r"no backbone family 'dinov3' \(did you mean dino\?\)"),
    ],
)
def test_a_backbone_that_there_is_not_is_refused_in_one_line(backbone, message):
    mean, std = STATS.get(family(backbone["name"]), STATS["clip"])
    overrides = {"lnclip.backbone": backbone | {"pretrained": "none"}, "mean": mean, "std": std}
    with pytest.raises(LNCLIPError, match=message) as caught:
        build_backbone(load_config("lnclip.yaml", overrides))
    assert "\n" not in str(caught.value)


def test_a_missing_or_old_library_is_one_line_with_the_command():
    with pytest.raises(LNCLIPError, match=r"^X needs torch 99.1 or newer, and .* is installed: pip install -U 'torch"):
        require("torch", "99.1", "X")
    with pytest.raises(LNCLIPError, match=r"needs no-such-package 1 or newer, and it is not installed: pip install"):
        require("no-such-package", "1", "X")
    require("torch", "2.2", "X")
