"""The cyclic rate equals the spec at its corners and drives exactly the optimizer that it should."""

import gc
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import later_release_rates

from lnclip_df.config.loading import load_config
from lnclip_df.models.schedule import cyclic_lr, drive_optimizer


def test_the_papers_cycle_at_its_corners():
    for epoch, lr in {0: 1e-5, 0.5: 1.55e-4, 1: 3e-4, 5.5: 1.55e-4, 10: 1e-5, 11: 3e-4, 20: 1e-5}.items():
        assert cyclic_lr(epoch) == pytest.approx(lr)


@given(st.floats(0, 1000))
def test_the_rate_stays_in_range_and_repeats(epoch):
    lr = cyclic_lr(epoch)
    assert 1e-5 <= lr <= 3e-4 + 1e-12
    assert cyclic_lr(epoch + 10) == pytest.approx(lr, rel=1e-6, abs=1e-9)


@given(st.floats(1, 10))
def test_the_decay_is_the_cosine_of_the_definition(epoch):
    expected = 1e-5 + 0.5 * (3e-4 - 1e-5) * (1 + math.cos(math.pi * (epoch - 1) / 9))
    assert cyclic_lr(epoch) == pytest.approx(expected) or epoch == 10


def test_no_warmup_or_no_decay():
    assert cyclic_lr(0, warmup_epochs=0, decay_epochs=4, lr_min=0, lr_max=1) == 1
    assert cyclic_lr(3.5, warmup_epochs=1, decay_epochs=0, lr_min=0, lr_max=1) == 0.5
    with pytest.raises(ValueError, match="epoch"):
        cyclic_lr(-1)
    with pytest.raises(ValueError, match="decay_epochs"):
        cyclic_lr(1, warmup_epochs=0, decay_epochs=0)


@pytest.mark.parametrize("steps", [1, 7])
def test_without_a_repeated_warmup_the_rate_is_that_of_pytorchs_schedulers(steps):
    schedule = load_config("gend/clip.yaml").lnclip.schedule.model_dump()
    ours = [cyclic_lr(step / steps, **schedule) for step in range(30 * steps)]
    assert ours == pytest.approx(later_release_rates(steps, epochs=30), rel=1e-9)
    assert ours[11 * steps] == pytest.approx(3e-4) and ours[20 * steps] < 2e-5


def step(module, optimizer):
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()


def test_the_hook_sets_the_rate_of_its_own_optimizer_before_every_step():
    ours, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    mine, theirs = torch.optim.SGD(ours.parameters(), lr=9.0), torch.optim.SGD(other.parameters(), lr=9.0)
    seen = []
    handle = drive_optimizer(ours, lambda s: 0.1 * (s + 1), lambda s, lr: seen.append((s, lr)))
    before = ours.weight.detach().clone()
    step(ours, mine)
    step(other, theirs)
    step(ours, mine)
    handle.remove()
    step(ours, mine)
    assert [s for s, _ in seen] == [0, 1]
    assert mine.param_groups[0]["lr"] == pytest.approx(0.2)
    assert theirs.param_groups[0]["lr"] == 9.0
    # gradients accumulate 1, 2, 3: steps 0.1·1 + 0.2·2 + 0.2·3
    torch.testing.assert_close(before - ours.weight.detach(), torch.full((1, 2), 0.1 + 0.4 + 0.6))


def test_the_hook_leaves_groups_of_others_alone():
    ours, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    groups = [{"params": [ours.weight], "lr": 1.0}, {"params": [ours.bias], "lr": 0.1}, {"params": other.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=7.0)
    handle = drive_optimizer(ours, lambda s: 0.5)
    step(ours, optimizer)
    handle.remove()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5, 7.0]


@pytest.mark.slow
def test_the_hook_finds_a_wrapped_module_and_dies_with_it():
    module = torch.nn.Linear(2, 1)
    wrapped = torch.nn.Sequential(module)
    optimizer = torch.optim.Adam(wrapped.parameters(), lr=9.0)
    seen = []
    drive_optimizer(module, lambda s: 0.5, lambda s, lr: seen.append(s))
    step(wrapped, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.5 and seen == [0]

    other = torch.nn.Linear(2, 1)
    stranger = torch.optim.SGD(other.parameters(), lr=9.0)
    del module, wrapped, optimizer
    gc.collect()
    step(other, stranger)
    assert stranger.param_groups[0]["lr"] == 9.0 and seen == [0]
