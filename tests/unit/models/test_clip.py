"""The tower's output and gradients equal open_clip's own forward and transformers' CLIP; other shapes are refused."""

import copy
import warnings
from collections import Counter
from functools import partial

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from towers import SHAPES, images, random_tower

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.backbones import clip
from lnclip_df.models.backbones.clip import VisionSpec, build_tower, open_clip_names, open_clip_spec

transformers = pytest.importorskip("transformers")


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def spec(request):
    return request.param


def open_clip_twin(tower):
    spec = tower.spec
    twin = VisionTransformer(
        spec.image_size, spec.patch_size, spec.width, spec.layers, spec.heads, spec.mlp / spec.width,
        ls_init_value=1e-4 if spec.layer_scale else None, no_ln_pre=not spec.ln_pre,
        act_layer=QuickGELU if spec.quick_gelu else nn.GELU, output_dim=spec.width,
    )  # fmt: skip
    twin.load_state_dict(tower.state_dict() | {"proj": torch.eye(spec.width)})
    return twin


def transformers_twin(tower):
    spec = tower.spec
    config = transformers.CLIPVisionConfig(
        hidden_size=spec.width, intermediate_size=spec.mlp, num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads, image_size=spec.image_size, patch_size=spec.patch_size,
        hidden_act="quick_gelu" if spec.quick_gelu else "gelu",
    )  # fmt: skip
    twin = transformers.CLIPVisionModel(config)
    model = getattr(twin, "vision_model", twin)
    own = dict(tower.named_parameters())

    def copy(target, source):
        target.data.copy_(own[source].data if isinstance(source, str) else source.data)

    copy(model.embeddings.class_embedding, "class_embedding")
    copy(model.embeddings.patch_embedding.weight, "conv1.weight")
    copy(model.embeddings.position_embedding.weight, "positional_embedding")
    norms = {"ln_pre": model.pre_layrnorm, "ln_post": model.post_layernorm}
    for i, layer in enumerate(model.encoder.layers):
        block = f"transformer.resblocks.{i}."
        norms |= {block + "ln_1": layer.layer_norm1, block + "ln_2": layer.layer_norm2}
        for part, weight, bias in zip(
            "qkv", own[block + "attn.in_proj_weight"].chunk(3), own[block + "attn.in_proj_bias"].chunk(3), strict=True
        ):
            copy(getattr(layer.self_attn, part + "_proj").weight, weight)
            copy(getattr(layer.self_attn, part + "_proj").bias, bias)
        for theirs, ours in (
            (layer.self_attn.out_proj, "attn.out_proj"), (layer.mlp.fc1, "mlp.c_fc"), (layer.mlp.fc2, "mlp.c_proj")
        ):  # fmt: skip
            copy(theirs.weight, f"{block}{ours}.weight")
            copy(theirs.bias, f"{block}{ours}.bias")
    for ours, theirs in norms.items():
        copy(theirs.weight, ours + ".weight")
        copy(theirs.bias, ours + ".bias")
    return twin, norms


def test_output_and_gradients_equal_open_clips_own_forward(spec):
    tower = random_tower(spec)
    twin = open_clip_twin(tower)
    x = images(spec)
    ours, theirs = tower(x), twin(x)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)

    direction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    (ours * direction).sum().backward()
    (theirs * direction).sum().backward()
    reference = dict(twin.named_parameters())
    for name, parameter in tower.named_parameters():
        torch.testing.assert_close(
            parameter.grad, reference[name].grad, atol=1e-4, rtol=1e-3, msg=lambda m, n=name: n + m
        )


@pytest.mark.parametrize("name", ["patch 8", "patch 16, gelu", "one layer"])
def test_output_and_layernorm_gradients_equal_transformers(name):
    tower = random_tower(SHAPES[name])
    twin, norms = transformers_twin(tower)
    x = images(tower.spec)
    ours, theirs = tower(x), twin(pixel_values=x).pooler_output
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)

    ours.square().sum().backward()
    theirs.square().sum().backward()
    modules = dict(tower.named_modules())
    for ours, theirs in norms.items():
        torch.testing.assert_close(modules[ours].weight.grad, theirs.weight.grad, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(modules[ours].bias.grad, theirs.bias.grad, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_input_is_taken(dtype):
    tower = random_tower(SHAPES["patch 8"])
    x = images(tower.spec, dtype=dtype)
    torch.testing.assert_close(tower(x), tower(x.float()))


def test_autocast_stays_close_to_float32():
    tower = random_tower(SHAPES["patch 8"])
    x = images(tower.spec)
    with torch.autocast("cpu", torch.bfloat16):
        half = tower(x)
    similarity = torch.cosine_similarity(half.float(), tower(x), dim=1)
    assert similarity.min() > 0.99


def test_activation_checkpointing_changes_no_gradient():
    plain = random_tower(SHAPES["patch 8"]).train()
    saving = build_tower(plain.spec, activation_checkpointing=True).train()
    saving.load_state_dict(plain.state_dict())
    x = images(plain.spec)
    for tower in (plain, saving):
        tower(x).square().sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.slow
def test_torch_compile_gives_the_same_features():
    tower = random_tower(SHAPES["one layer"]).eval()
    x = images(tower.spec)
    compiled = torch.compile(tower, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), tower(x), atol=1e-5, rtol=1e-5)


def test_the_papers_backbone_has_its_shape():
    spec = open_clip_spec("ViT-L-14-quickgelu")
    assert spec == VisionSpec(224, 14, 1024, 24, 16, 4096, quick_gelu=True)
    assert not open_clip_spec("ViT-L-14").quick_gelu


@pytest.mark.slow
def test_every_supported_open_clip_name_has_the_shape_that_open_clip_builds():
    names = open_clip_names()
    assert {"ViT-L-14-quickgelu", "ViT-B-32", "ViT-H-14", "ViT-bigG-14"} <= set(names)
    for name in ("ViT-B-32", "ViT-S-16", "ViT-M-16-alt"):
        spec = names[name]
        visual = open_clip.create_model(name, pretrained=None).visual
        expected = {k: tuple(v.shape) for k, v in visual.state_dict().items() if k != "proj"}
        with torch.device("meta"):
            own = {k: tuple(v.shape) for k, v in build_tower(spec).state_dict().items()}
        assert own == expected, name


@pytest.mark.parametrize("name", ["RN50", "ViT-L-14-CLIPA", "coca_ViT-B-32", "ViT-B-16-SigLIP", "no-such-model"])
def test_models_without_a_cls_token_are_refused_by_name(name):
    with pytest.raises(LNCLIPError, match=name):
        open_clip_spec(name)


def test_wrong_images_are_refused():
    tower = random_tower(SHAPES["patch 8"])
    for bad in (torch.zeros(1, 3, 64, 64), torch.zeros(3, 32, 32), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="image"):
            tower(bad)


def test_random_weights_keep_the_variance_and_follow_the_seed():
    spec = VisionSpec(64, 8, 128, 12, 4, 512, quick_gelu=True)
    towers = [build_tower(spec) for _ in range(3)]
    for tower, seed in zip(towers, (0, 0, 1), strict=True):
        tower.init_weights(seed)
    stream = {}
    towers[0].transformer.resblocks[-1].register_forward_hook(lambda m, a, out: stream.update(out=out))
    out = [tower(images(spec)).detach().numpy() for tower in towers]
    np.testing.assert_array_equal(out[0], out[1])
    assert np.abs(out[0] - out[2]).max() > 0.1
    assert 0.3 < stream["out"].var() < 4


# ---- frozen weights inside autocast


def norm_gradients(features, norms):
    return torch.cat([each.flatten() for each in torch.autograd.grad(features.square().sum(), norms)])


class CopyCounter(TorchDispatchMode):
    """Counts the casts and the packings of matrices as large as the tower's, in ``count``."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "_to_copy" in str(function) and args[0].ndim == 2 and args[0].numel() >= 32 * 32:
            self.count += isinstance(args[0], torch.nn.Parameter)
        self.count += "_reorder_linear_weight" in str(function)
        return function(*args, **(kwargs or {}))


class OpCounter(TorchDispatchMode):
    """Counts every operation, in ``seen``."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen[function._schema.name] += 1
        return function(*args, **(kwargs or {}))


def half(tower, x):
    with torch.autocast("cpu", torch.bfloat16), CopyCounter() as counter:
        return tower(x).float(), counter.count


packs = pytest.mark.skipif(not clip.can_pack(), reason="this CPU has no AVX-512")


@pytest.mark.parametrize("packs", [False, pytest.param(True, marks=packs)])
def test_frozen_weights_are_copied_once_and_nobody_sees_the_copies(packs, monkeypatch):
    monkeypatch.setattr(clip, "can_pack", lambda: packs)
    tower, x = random_tower(SHAPES["patch 8"]).requires_grad_(False), images(SHAPES["patch 8"])
    names, before = list(tower.state_dict()), tower(x)
    first, copies = half(tower, x)
    again, none = half(tower, x)
    assert copies and not none
    assert torch.equal(first, again) and torch.equal(tower(x), before)
    assert list(tower.state_dict()) == names and not list(tower.buffers())
    assert torch.equal(half(copy.deepcopy(tower), x)[0], first)


def test_weights_that_change_are_copied_anew():
    tower, other, x = (
        random_tower(SHAPES["patch 8"]).requires_grad_(False),
        random_tower(SHAPES["patch 8"], 1).requires_grad_(False),
        images(SHAPES["patch 8"]),
    )
    half(tower, x)
    tower.load_state_dict(other.state_dict())
    assert torch.equal(half(tower, x)[0], half(other, x)[0])


def test_copies_of_inference_serve_training():
    tower, x = random_tower(SHAPES["patch 8"]), images(SHAPES["patch 8"])
    norms = [parameter for norm in tower.requires_grad_(False).layer_norms() for parameter in norm.parameters()]
    with torch.inference_mode():
        half(tower, x)
    for parameter in norms:
        parameter.requires_grad_(True)
    found = norm_gradients(half(tower, x)[0], norms)
    exact = norm_gradients(tower(x), norms)
    autocasts = norm_gradients(half(tower.requires_grad_(True), x)[0], norms)
    assert (found - exact).norm() < 1.3 * (autocasts - exact).norm() < 0.05 * exact.norm()


def test_a_tower_made_in_inference_mode_computes_too():
    tower, x = random_tower(SHAPES["patch 8"]).requires_grad_(False), images(SHAPES["patch 8"])
    exact = tower(x)
    with torch.inference_mode():
        made_here, before = half(copy.deepcopy(tower), x)[0], half(tower, x)[0]
    assert (made_here - exact).norm() < 2 * (before - exact).norm() < 0.05 * exact.norm()


@pytest.fixture
def plain_products(monkeypatch):
    """A function that gives the features of a tower without packed matrices."""

    def features(tower, x):
        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(clip, "can_pack", lambda: False)
            return tower(x)

    return features


@packs
@torch.no_grad()
def test_inference_with_packed_matrices_gives_the_plain_features(spec, plain_products):
    tower, x = random_tower(spec).requires_grad_(False), images(spec)
    with OpCounter() as counter:
        found = tower(x)
    assert counter.seen["mkldnn::_linear_pointwise"] == 4 * spec.layers + 1  # the last block's queries are of one token
    plain = plain_products(tower, x)
    torch.testing.assert_close(found, plain, atol=2e-5, rtol=1e-4)
    packed, rounded = half(tower, x)[0], plain_products(partial(half, tower), x)[0]
    assert (packed - plain).norm() < 1.4 * (rounded - plain).norm() < 0.05 * plain.norm()


@packs
@torch.no_grad()
def test_packed_matrices_follow_the_weights_and_nobody_sees_them(plain_products):
    spec = SHAPES["patch 8"]
    tower, other, x = random_tower(spec).requires_grad_(False), random_tower(spec, 1), images(spec)
    names = list(tower.state_dict())
    tower(x)
    tower.load_state_dict(other.state_dict())
    torch.testing.assert_close(tower(x), plain_products(other, x), atol=2e-5, rtol=1e-4)
    assert list(tower.state_dict()) == names
    torch.testing.assert_close(copy.deepcopy(tower)(x), tower(x), atol=0, rtol=0)


@packs
def test_only_products_with_a_gradient_take_matrices_for_it():
    tower, x = random_tower(SHAPES["patch 8"]).requires_grad_(False), images(SHAPES["patch 8"])
    with OpCounter() as counter:
        half(tower, x)
    assert counter.seen["mkldnn::_reorder_linear_weight"] == 4 * tower.spec.layers + 1


@packs
@torch.no_grad()
def test_a_tower_whose_matrices_are_packed_can_be_traced(plain_products):
    tower, x = random_tower(SHAPES["patch 8"]).requires_grad_(False), images(SHAPES["patch 8"])
    tower(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the checks of shapes, and that tracing is old
        traced = torch.jit.trace(tower, x, check_trace=False)
    torch.testing.assert_close(traced(x), plain_products(tower, x), atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_changes_that_pytorch_does_not_count_are_followed_when_the_mode_changes():
    tower, x = random_tower(SHAPES["patch 8"]).requires_grad_(False).train(), images(SHAPES["patch 8"])
    half(tower, x)
    for parameter in tower.parameters():
        parameter.data.mul_(0.5)
    tower.eval()
    assert torch.equal(half(tower, x)[0], half(copy.deepcopy(tower), x)[0])


def test_a_tower_without_values_gives_shapes():
    tower = random_tower(SHAPES["patch 8"]).to("meta")
    assert tower(images(SHAPES["patch 8"]).to("meta")).shape == (3, 64)


def plain_block(block, x, cls_only=False, attend=F.scaled_dot_product_attention):
    """The same block as plain formulas, whose gradients are autograd's own."""
    attn, mlp, y = block.attn, block.mlp, block.ln_1(x)
    q, k, v = (
        part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for part in F.linear(y, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
    )
    q = q[:, :, :1] if cls_only else q
    x = (x[:, :1] if cls_only else x) + attn.out_proj(attend(q, k, v).transpose(1, 2).flatten(2))
    hidden = mlp.c_fc(block.ln_2(x))
    return x + mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))


def test_frozen_blocks_have_the_gradients_of_the_plain_formulas_without_stacking_them():
    spec = SHAPES["patch 8"]
    tower, x = random_tower(spec).requires_grad_(False).double(), images(spec, dtype=torch.float64)
    norms = [parameter.requires_grad_(True) for norm in tower.layer_norms() for parameter in norm.parameters()]
    with OpCounter() as counter:
        found = torch.autograd.grad(tower(x).square().sum(), norms)
    for block in tower.transformer.resblocks:
        block.forward = partial(plain_block, block)
    expected = torch.autograd.grad(tower(x).square().sum(), norms)
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-9)
    assert counter.seen["aten::cat"] == 1 and not counter.seen["aten::stack"]  # of the CLS token and the patches


@packs
def test_packed_matrices_give_the_gradients_that_plain_ones_give(spec, monkeypatch):
    tower, x = random_tower(spec).requires_grad_(False), images(spec)
    norms = [parameter.requires_grad_(True) for norm in tower.layer_norms() for parameter in norm.parameters()]
    with OpCounter() as counter:
        whole = norm_gradients(tower(x), norms)
    assert counter.seen["mkldnn::_linear_pointwise"] == 4 * spec.layers + 1
    assert counter.seen["mkldnn::_reorder_linear_weight"] == 4 * spec.layers + 1  # none for the backward pass
    with OpCounter() as counter:
        packed = norm_gradients(half(tower, x)[0], norms)
    assert counter.seen["mkldnn::_linear_pointwise"] > 2 * 4 * spec.layers
    monkeypatch.setattr(clip, "can_pack", lambda: False)
    exact, plain = norm_gradients(tower(x), norms), norm_gradients(half(tower, x)[0], norms)
    torch.testing.assert_close(whole, exact, atol=1e-4, rtol=1e-3)
    assert (packed - exact).norm() < 1.4 * (plain - exact).norm() < 0.05 * exact.norm()


@pytest.mark.slow
def test_compiled_frozen_blocks_have_the_same_gradients():
    tower, x = random_tower(SHAPES["one layer"]).requires_grad_(False), images(SHAPES["one layer"])
    norms = [parameter.requires_grad_(True) for norm in tower.layer_norms() for parameter in norm.parameters()]
    expected = norm_gradients(tower(x), norms)
    for block in tower.transformer.resblocks:
        block.compile(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(norm_gradients(tower(x), norms), expected, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = tower(x).float()
    assert (norm_gradients(half, norms) - expected).norm() < 0.05 * expected.norm()


def test_a_bf16_residual_stream_is_bf16_inside_autocast_alone():
    spec = SHAPES["patch 8"]
    plain, tower = random_tower(spec), build_tower(spec, bf16_residual=True)
    tower.load_state_dict(plain.state_dict())
    seen, x = [], images(spec)
    for block in tower.transformer.resblocks:
        block.register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    assert torch.equal(tower(x), plain(x)) and {*seen} == {torch.float32}
    seen.clear()
    similarity = torch.cosine_similarity(half(tower, x)[0], plain(x), dim=1)
    assert {*seen} == {torch.bfloat16} and similarity.min() > 0.999
