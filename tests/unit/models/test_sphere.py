"""The geometry equals naive loops and NumPy in float64, stays on the sphere, and survives degenerate batches."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lnclip_df.models.sphere import alignment, normalize, same_class_partners, slerp, slerp_augment, uniformity


def sphere(n, d, seed=0, dtype=torch.float32):
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def naive_alignment(z, y, half_squared=False):
    pairs = [(i, j) for i, j in itertools.combinations(range(len(z)), 2) if y[i] == y[j]]
    factor = 0.5 if half_squared else 1.0
    return sum(factor * ((z[i] - z[j]) ** 2).sum() for i, j in pairs) / len(pairs)


def naive_uniformity(z, t=2.0, half_squared=False):
    factor = 0.5 if half_squared else 1.0
    pairs = list(itertools.combinations(range(len(z)), 2))
    mean = sum(torch.exp(-t * factor * ((z[i] - z[j]) ** 2).sum()) for i, j in pairs) / len(pairs)
    return torch.log(mean.clamp(min=1e-6))


def numpy_slerp(a, b, t):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    theta = 2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b))
    return (math.sin((1 - t) * theta) * a + math.sin(t * theta) * b) / math.sin(theta)


# ---- normalise


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_normalize_gives_unit_vectors_in_float32_at_least(dtype):
    z = normalize(torch.randn(5, 33).to(dtype))
    assert z.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(5, dtype=z.dtype))


# ---- slerp


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 64), st.floats(0, 1))
def test_slerp_equals_numpy_and_stays_on_the_sphere(seed, d, t):
    a, b = sphere(2, d, seed, torch.float64)
    z = slerp(a, b, torch.tensor(t, dtype=torch.float64))
    assert abs(z.norm().item() - 1) < 1e-9
    if abs((a @ b).item()) < 1 - 1e-9:
        np.testing.assert_allclose(z.numpy(), numpy_slerp(a, b, t), atol=1e-8)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.floats(1e-9, math.pi - 1e-2), st.sampled_from([torch.float32, torch.float64]))
def test_slerp_moves_at_constant_angular_speed_at_every_angle(t, theta, dtype):
    a = torch.tensor([1.0, 0.0, 0.0], dtype=dtype)
    b = torch.tensor([math.cos(theta), math.sin(theta), 0.0], dtype=dtype)
    z = slerp(a, b, torch.tensor(t, dtype=dtype)).double()
    expected = torch.tensor([math.cos(t * theta), math.sin(t * theta), 0.0], dtype=torch.float64)
    rounding = torch.finfo(dtype).eps / (math.sin(theta) ** 2 if theta > math.pi / 2 else 1)  # arccos is ill-posed at π
    torch.testing.assert_close(z, expected, atol=20 * rounding + 1e-15, rtol=0)


def test_arguments_are_taken_by_name():
    a, b = sphere(2, 16)
    torch.testing.assert_close(slerp(a=a, b=b, t=torch.tensor(0.3)), slerp(a, b, torch.tensor(0.3)))
    torch.testing.assert_close(normalize(f=2 * a), a)
    assert uniformity(z=torch.stack([a, b]), temperature=1.0) < 0


def test_slerp_reaches_both_ends():
    a, b = sphere(2, 16)
    torch.testing.assert_close(slerp(a, b, torch.tensor(0.0)), a)
    torch.testing.assert_close(slerp(a, b, torch.tensor(1.0)), b)


@pytest.mark.parametrize("case", ["equal", "nearly equal", "opposite", "nearly opposite"])
@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slerp_of_parallel_vectors_has_finite_value_and_gradient(case, t, dtype):
    a = sphere(1, 8, dtype=dtype)[0]
    b = {"equal": a, "nearly equal": normalize(a + 1e-7), "opposite": -a, "nearly opposite": normalize(1e-7 - a)}[case]
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    z = slerp(a, b, torch.tensor(t, dtype=dtype))
    z.square().mul(torch.arange(8)).sum().backward()
    assert abs(z.norm().item() - 1) < 1e-5
    for gradient in (a.grad, b.grad):
        assert torch.isfinite(gradient).all() and gradient.abs().max() < 1e4


def test_slerp_gradient_equals_finite_differences():
    a, b = sphere(8, 5, dtype=torch.float64).view(2, 4, 5).clone().requires_grad_()
    t = torch.rand(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: slerp(a, b, t), (a, b))


# ---- the augmentation


def test_augmentation_keeps_the_originals_and_mixes_within_a_class():
    z, y = sphere(20, 3), torch.arange(20) % 2
    poles = torch.tensor([[0, 0, 1.0], [0, 0, -1.0]])[y]
    z = normalize(z * 0.3 + poles)  # two caps: within each, a slerp stays in the cap
    grown, label = slerp_augment(z, y, 300)
    assert grown.shape == (300, 3) and label.shape == (300,)
    torch.testing.assert_close(grown[:20], z)
    torch.testing.assert_close(grown.norm(dim=1), torch.ones(300))
    assert torch.equal(grown[:, 2] < 0, label == 1)
    assert (torch.cdist(grown[20:], z).min(dim=1).values > 1e-4).float().mean() > 0.9


def test_augmentation_is_reproducible_under_a_seeded_generator():
    z, y = sphere(9, 4), torch.arange(9) % 2
    first, again, other = (slerp_augment(z, y, 40, torch.Generator().manual_seed(s))[0] for s in (3, 3, 4))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert not torch.equal(first, other)


def test_a_class_with_one_sample_is_repeated_never_mixed():
    z, y = sphere(6, 8), torch.tensor([0, 0, 0, 0, 0, 1])
    grown, label = slerp_augment(z, y, 200)
    copies = grown[label == 1]
    assert len(copies) > 10
    torch.testing.assert_close(copies, z[5].expand_as(copies))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 10**6))
def test_partners_are_others_of_the_same_class(labels, seed):
    y = torch.tensor(labels)
    i = torch.arange(len(y)).repeat(5)
    j = same_class_partners(y, i, torch.Generator().manual_seed(seed))
    assert torch.equal(y[i], y[j])
    alone = (y[:, None] == y).sum(1)[i] == 1
    assert torch.equal(i == j, alone)


def test_partners_are_drawn_uniformly():
    y = torch.tensor([0, 1, 0, 0, 1, 0])
    i = torch.zeros(30000, dtype=torch.long)
    count = torch.bincount(same_class_partners(y, i, torch.Generator().manual_seed(0)), minlength=6)
    assert count[[0, 1, 4]].sum() == 0
    np.testing.assert_allclose(count[[2, 3, 5]] / 30000, 1 / 3, atol=0.02)


def test_gradients_flow_through_the_augmentation_to_both_ends():
    z = sphere(2, 4).requires_grad_()
    grown, _ = slerp_augment(z, torch.zeros(2, dtype=torch.long), 10)
    grown[2:].sum().backward()
    assert (z.grad.abs().sum(1) > 0).all()


def test_augmentation_takes_t_from_its_range_and_refuses_to_shrink():
    z, y = torch.eye(2), torch.zeros(2, dtype=torch.long)
    grown, _ = slerp_augment(z, y, 100, t_range=(0.5, 0.5))
    torch.testing.assert_close(grown[2:], torch.full((98, 2), 0.5**0.5))
    with pytest.raises(ValueError, match="size"):
        slerp_augment(z, y, 1)
    with pytest.raises(ValueError, match="size"):
        slerp_augment(z[:0], y[:0], 4)


# ---- the two losses


@pytest.mark.parametrize("half_squared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 3, 17, 40])
def test_losses_equal_the_naive_loops_in_value_and_gradient(n, dtype, half_squared):
    z = sphere(n, 12, n, dtype).requires_grad_()
    y = torch.arange(n) % 2 if n > 2 else torch.zeros(n, dtype=torch.long)
    tolerance = {"atol": 1e-6, "rtol": 1e-6} if dtype == torch.float32 else {"atol": 1e-12, "rtol": 1e-12}
    for ours, naive in (
        (alignment(z, y, half_squared), naive_alignment(z, y, half_squared)),
        (uniformity(z, 2.0, half_squared), naive_uniformity(z, 2.0, half_squared)),
        (uniformity(z, 0.7, half_squared), naive_uniformity(z, 0.7, half_squared)),
    ):
        torch.testing.assert_close(ours, naive, **tolerance)
        gradients = torch.autograd.grad(ours, z, retain_graph=True) + torch.autograd.grad(naive, z, retain_graph=True)
        torch.testing.assert_close(*gradients, **tolerance)


def test_the_notes_literal_form_halves_both_distances():
    z, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    assert alignment(z, y).item() == pytest.approx(2.0)
    assert alignment(z, y, half_squared=True).item() == pytest.approx(1.0)
    assert uniformity(z).item() == pytest.approx(-4.0)
    assert uniformity(z, half_squared=True).item() == pytest.approx(-2.0)


def test_a_batch_without_a_positive_pair_has_alignment_zero_with_gradient():
    for y in ([0, 1], [0], [3, 1, 2]):
        z = sphere(len(y), 4).requires_grad_()
        loss = alignment(z, torch.tensor(y))
        loss.backward()
        assert loss.item() == 0 and torch.equal(z.grad, torch.zeros_like(z))


def test_a_batch_without_a_pair_has_uniformity_zero_with_gradient():
    z = sphere(1, 4).requires_grad_()
    loss = uniformity(z)
    loss.backward()
    assert loss.item() == 0 and torch.equal(z.grad, torch.zeros_like(z))


def test_duplicates_align_perfectly_and_are_least_uniform():
    z = sphere(1, 64).repeat(50, 1).requires_grad_()
    y = torch.zeros(50, dtype=torch.long)
    assert alignment(z, y).item() == pytest.approx(0, abs=1e-6)
    assert uniformity(z).item() == pytest.approx(0, abs=1e-5)
    (alignment(z, y) + uniformity(z)).backward()
    assert torch.isfinite(z.grad).all()


def test_uniformity_is_clamped_as_released():
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    z.requires_grad_()
    clamped = uniformity(z, 100.0)
    clamped.backward()
    assert clamped.item() == pytest.approx(math.log(1e-6))
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_everything_is_float32_under_autocast():
    z, y = sphere(64, 32), torch.arange(64) % 2
    expected = alignment(z, y), uniformity(z), slerp(z[:32], z[32:], torch.full((32,), 0.3))
    with torch.autocast("cpu", torch.bfloat16):
        inside = alignment(z, y), uniformity(z), slerp(z[:32], z[32:], torch.full((32,), 0.3))
    for a, b in zip(expected, inside, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_nan_is_not_hidden():
    z = sphere(4, 8).clone()
    z[1, 2] = float("nan")
    y = torch.zeros(4, dtype=torch.long)
    assert alignment(z, y).isnan() and uniformity(z).isnan() and slerp_augment(z, y, 40)[0].isnan().any()
