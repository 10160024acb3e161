"""The heat map equals a naive float64 rollout over transformers' CLIP, peaks where it must, and leaves no trace."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from backbones import small_detector
from PIL import Image
from released import images, tiny_config, tiny_detector
from torch import nn
from torch.nn import functional as F
from towers import SHAPES, random_tower
from towers import images as images_of

from lnclip_df.bench.plugin import BenchDetector
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.scoring.heatmaps import OPACITY, overlay, rollout
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.score_files import score_files
from lnclip_df.weights.tensor_names import to_transformers

transformers = pytest.importorskip("transformers")


def detector_with(tower, *overrides, **options):
    """A tiny detector whose tower is another; its head is random."""
    detector = tiny_detector(*overrides, **options)
    detector.backbone = tower
    torch.manual_seed(5)
    detector.head = nn.Linear(tower.spec.width, 2)
    return detector.requires_grad_(False)


@torch.no_grad()
def transformers_twin(tower):
    """transformers' vision tower in float64 with eager attention; layer scale is folded into the matrices before it."""
    spec, state = tower.spec, {name: tensor.double() for name, tensor in tower.state_dict().items()}
    for name in [name for name in state if name.endswith(".gamma")]:
        gamma = state.pop(name)
        matrix = name.replace("ls_1.gamma", "attn.out_proj").replace("ls_2.gamma", "mlp.c_proj")
        state[f"{matrix}.weight"] *= gamma[:, None]
        state[f"{matrix}.bias"] *= gamma
    config = transformers.CLIPVisionConfig(
        hidden_size=spec.width, intermediate_size=spec.mlp, num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads, image_size=spec.image_size, patch_size=spec.patch_size,
        hidden_act="quick_gelu" if spec.quick_gelu else "gelu", attn_implementation="eager",
    )  # fmt: skip
    twin = transformers.CLIPVisionModel(config).double().eval()
    model = getattr(twin, "vision_model", twin)
    if not spec.ln_pre:
        model.pre_layrnorm = nn.Identity()
    absent, unknown = model.load_state_dict(to_transformers(state), strict=False)
    assert not unknown and all(name.endswith("position_ids") for name in absent)
    return twin


def naive(detector, image):
    """Heat (a list) and logit of one image: Chefer et al.'s rules entry by entry, in float64."""
    seen = transformers_twin(detector.backbone)(pixel_values=image[None].double(), output_attentions=True)
    z = seen.pooler_output[0]
    if detector.settings.normalize:
        z = z / z.square().sum().sqrt()
    real, fake = detector.head.weight.double() @ z + detector.head.bias.double()
    gradients = torch.autograd.grad(fake - real, seen.attentions)
    n, heads = seen.attentions[0].shape[-1], seen.attentions[0].shape[1]
    R = [[float(i == j) for j in range(n)] for i in range(n)]
    for A, dA in zip(seen.attentions, gradients, strict=True):
        A, dA = A[0].tolist(), dA[0].tolist()
        mean = [
            [sum(max(0.0, A[h][i][j] * dA[h][i][j]) for h in range(heads)) / heads for j in range(n)] for i in range(n)
        ]
        R = [[R[i][j] + sum(mean[i][k] * R[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
    return R[0][1:], (fake - real).item()


@pytest.mark.parametrize("normalize", [True, False], ids=["on the sphere", "not normalised"])
@pytest.mark.parametrize("spec", SHAPES.values(), ids=SHAPES.keys())
def test_heat_and_logit_equal_a_naive_rollout_over_transformers_clip(spec, normalize):
    detector = detector_with(random_tower(spec), normalize=normalize)
    batch = images_of(spec, 2)
    heat, prob = rollout(detector, batch)
    side = spec.image_size // spec.patch_size
    assert heat.shape == (2, side, side) and heat.dtype == np.float32 and (heat >= 0).all()
    assert prob.shape == (2,) and prob.dtype == np.float64
    for image, map_, p in zip(batch, heat, prob, strict=True):
        expected, logit = naive(detector, image)
        assert max(expected) > 0
        np.testing.assert_allclose(map_.ravel(), expected, rtol=1e-4, atol=1e-5 * max(expected))
        assert math.log(p / (1 - p)) == pytest.approx(logit, abs=1e-5)


def test_logits_equal_the_detectors_own():
    detector = tiny_detector(patch_size=8)
    with torch.no_grad():
        logits = detector({"image": images(3)})["cls"].double().numpy()
    prob = rollout(detector, images(3))[1]
    np.testing.assert_allclose(np.log(prob / (1 - prob)), logits[:, 1] - logits[:, 0], atol=1e-5)


def test_a_float64_detector_is_explained_in_float64():
    detector = detector_with(random_tower(SHAPES["patch 8"])).double()
    image = images_of(detector.backbone.spec, 1)
    expected, logit = naive(detector, image[0])
    heat, prob = rollout(detector, image)
    np.testing.assert_allclose(heat.ravel(), expected, rtol=1e-6)
    assert math.log(prob[0] / (1 - prob[0])) == pytest.approx(logit, abs=1e-7)  # their softmax is in float32


def test_half_precision_and_a_compiled_tower_change_nothing():
    heat, prob = rollout(tiny_detector(), images())
    detector = tiny_detector("lnclip.precision=bf16")
    detector.backbone.compile(backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        other_heat, other_prob = rollout(detector, images())
    assert (other_heat == heat).all() and (other_prob == prob).all()


def test_crops_are_resized_as_for_the_prediction():
    detector = tiny_detector("resolution=48")
    crops = torch.rand(2, 3, 48, 48)
    heat, prob = rollout(detector, crops)
    resized_heat, resized_prob = rollout(detector, detector.backbone_input(crops))
    assert (heat == resized_heat).all() and (prob == resized_prob).all()
    np.testing.assert_allclose(prob, detector({"image": crops})["prob"].detach(), atol=1e-6)


def test_images_of_inference_mode_are_taken():
    detector = tiny_detector()
    with torch.inference_mode():
        inferred = rollout(detector, images() + 0)[0]
    assert (inferred == rollout(detector, images())[0]).all()


@pytest.mark.parametrize("tune", ["none", "layernorm", "all"])
def test_what_is_trained_does_not_matter_and_gets_no_gradient(tune):
    detector, frozen = tiny_detector(tune=tune), tiny_detector(tune="none")
    trained = [parameter.requires_grad for parameter in detector.parameters()]
    batch = images()
    np.testing.assert_allclose(rollout(detector, batch)[0], rollout(frozen, batch)[0], rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in detector.parameters()) and batch.grad is None
    assert [parameter.requires_grad for parameter in detector.parameters()] == trained


def test_a_detector_in_training_stays_so_and_keeps_what_it_collected():
    detector = BenchDetector(tiny_config("lnclip.activation_checkpointing=true").to_dict()).train()
    batch = {"image": images(4), "label": torch.tensor([0, 1, 0, 1])}
    prob = detector(batch, inference=True)["prob"]
    explained = rollout(detector, images(4))
    assert all(module.training for module in detector.modules())
    assert detector.get_test_metrics()["pred"] == prob.tolist()
    np.testing.assert_allclose(explained[1], prob.detach().numpy(), atol=1e-6)
    assert (explained[0] == rollout(detector.eval(), images(4))[0]).all()


def test_an_image_is_explained_alike_in_every_batch():
    detector, batch = tiny_detector(patch_size=8), images(4)
    heat, prob = rollout(detector, batch)
    flipped_heat, flipped_prob = rollout(detector, batch.flip(0))
    assert (flipped_heat[::-1] == heat).all() and (flipped_prob[::-1] == prob).all()
    assert (rollout(detector, batch[2:3])[0] == heat[2:3]).all()
    assert rollout(detector, batch[:0])[0].shape == (0, 4, 4)


@torch.no_grad()
def attending_to(patch):
    """A detector of 4×4 patches in which every token attends to ``patch`` alone, which channel 0 marks."""
    detector = tiny_detector(patch_size=8, tune="none")
    tower = detector.backbone
    tower.conv1.weight[0] = tower.positional_embedding[:] = tower.class_embedding[0] = 0
    tower.positional_embedding[1 + patch, 0] = 8
    width = tower.spec.width
    for norm in tower.layer_norms():
        norm.weight.fill_(1)
        norm.bias.zero_()
    for block in tower.transformer.resblocks:
        weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        weight[: 2 * width] = 0
        for first in range(0, width, width // tower.spec.heads):
            bias[first] = weight[width + first, 0] = 8
        block.attn.out_proj.weight[0] = block.mlp.c_proj.weight[0] = 0
    return detector


@pytest.mark.parametrize("patch", [0, 6, 15])
def test_the_heat_peaks_where_the_one_patch_is_that_matters(patch):
    detector, row, column = attending_to(patch), *divmod(patch, 4)
    noise = images(2)
    elsewhere, here = noise.clone(), noise.clone()
    rows, columns = slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)
    here[:, :, rows, columns] = noise.flip(0)[:, :, rows, columns]
    elsewhere[:] = noise.flip(0)
    elsewhere[:, :, rows, columns] = noise[:, :, rows, columns]
    for_fake, prob = rollout(detector, noise)
    np.testing.assert_allclose(rollout(detector, elsewhere)[1], prob, atol=1e-6)
    assert (np.abs(rollout(detector, here)[1] - prob) > 1e-4).all()
    with torch.no_grad():
        detector.head.weight.neg_()
    for_real, _ = rollout(detector, noise)
    for heat in for_fake + for_real:  # in one image the patch speaks for fake, in another for real
        assert heat[row, column] > 0.99 * heat.sum() > 0


def test_what_both_logits_share_is_no_heat_and_what_speaks_for_real_neither():
    tower = random_tower(SHAPES["one layer"])
    detector, batch = detector_with(tower), images_of(tower.spec, 3)
    heat = rollout(detector, batch)[0]
    with torch.no_grad():
        detector.head.weight += torch.randn(tower.spec.width)
    np.testing.assert_allclose(rollout(detector, batch)[0], heat, atol=1e-5 * heat.max())
    with torch.no_grad():
        detector.head.weight.neg_()
    for_real = rollout(detector, batch)[0]
    assert (heat * for_real == 0).all() and heat.any() and for_real.any()


def test_damaged_weights_and_invalid_images_are_errors():
    detector = tiny_detector()
    with pytest.raises(ValueError, match="needs B×3×32×32"):
        rollout(detector, torch.zeros(2, 3, 16, 16))
    with torch.no_grad():
        detector.backbone.ln_post.weight[0] = math.nan
    with pytest.raises(LNCLIPError, match="the weights are damaged"):
        rollout(detector, images())


def crop(size=64):
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["pe:small", "dino:dinov3-tiny"])
def test_a_backbone_without_attention_is_refused_by_name(name):
    with pytest.raises(LNCLIPError, match=f"heat maps need the attention of a CLIP backbone; {name} does not give it"):
        rollout(small_detector(name), images())


def test_such_a_backbone_is_refused_before_a_file_is_scored(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    scorer = SimpleNamespace(detector=small_detector("pe:small"))  # which scores nothing
    with pytest.raises(LNCLIPError, match="pe:small does not give it"):
        score_files(lambda: scorer, [tmp_path / "a.png"], ScoreOptions(), explain_to=tmp_path / "e")


def test_overlay_is_a_bilinear_map_in_matplotlibs_viridis():
    colormap = pytest.importorskip("matplotlib").colormaps["viridis"]
    heat = np.random.default_rng(1).random((5, 5)).astype(np.float32)
    strength = F.interpolate(torch.from_numpy(heat)[None, None], (64, 64), mode="bilinear", antialias=False)[0, 0]
    strength = (strength / strength.max()).numpy()
    opacity = OPACITY * strength[..., None]
    expected = (1 - opacity) * crop() + opacity * 255 * colormap((255 * strength).round().astype(int))[..., :3]
    made = overlay(crop(), heat)
    assert made.dtype == np.uint8
    np.testing.assert_allclose(made, expected, atol=1.5)


def test_overlay_shows_nothing_where_there_is_no_heat():
    assert (overlay(crop(), np.zeros((4, 4), np.float32)) == crop()).all()
    heat = np.zeros((4, 4), np.float32)
    heat[1, 2] = 1e-6
    changed = (overlay(crop(), heat) != crop()).any(axis=-1)
    assert changed[16:32, 32:48].mean() > 0.95  # its patch, and half a patch around where it fades
    changed[8:40, 24:56] = False
    assert not changed.any()


def test_overlay_depends_on_proportions_alone():
    heat = np.random.default_rng(2).random((4, 4)).astype(np.float32)
    assert (overlay(crop(), 1024 * heat) == overlay(crop(), heat)).all()


@pytest.mark.parametrize("invalid", [crop()[:32], crop().astype(np.float32), crop()[..., 0]])
def test_overlay_refuses_what_is_no_crop(invalid):
    with pytest.raises(ValueError, match="needs S×S×3 uint8"):
        overlay(invalid, np.ones((4, 4)))
