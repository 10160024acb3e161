"""The cyclic learning rate, and a hook that sets the rate of another program's optimizer."""

import math
import weakref
from collections.abc import Callable

import torch


def cyclic_lr(
    epoch: float,
    *,
    warmup_epochs: float = 1.0,
    decay_epochs: float = 9.0,
    repeat_warmup: bool = True,
    lr_min: float = 1.0e-5,
    lr_max: float = 3.0e-4,
) -> float:
    """Return the cyclic learning rate: linear warm-up, then cosine decay, repeated.

    Without ``repeat_warmup`` the cosine alone is repeated: the rate jumps back to ``lr_max``, as with PyTorch's
    ``LinearLR`` followed by ``CosineAnnealingWarmRestarts``.

    Args:
        epoch: epochs done so far, fractional within an epoch (step / steps per epoch); at least 0.
        warmup_epochs: epochs of the rise from ``lr_min`` to ``lr_max``.
        decay_epochs: epochs of the fall from ``lr_max`` to ``lr_min``.
        repeat_warmup: whether every cycle has both parts, or only the first.

    Raises:
        ValueError: ``epoch`` is negative, or a cycle has no length.

    >>> [f"{cyclic_lr(e):.2e}" for e in (0, 0.5, 1, 5.5, 10)]
    ['1.00e-05', '1.55e-04', '3.00e-04', '1.55e-04', '1.00e-05']
    """
    cycle = warmup_epochs + decay_epochs
    if epoch < 0 or cycle <= 0:
        raise ValueError(f"epoch {epoch} must be >= 0 and warmup_epochs + decay_epochs {cycle} above 0")
    if repeat_warmup or epoch < warmup_epochs:
        position = math.fmod(epoch, cycle)
    else:
        position = warmup_epochs + math.fmod(epoch - warmup_epochs, decay_epochs)
    if position < warmup_epochs:
        return lr_min + (lr_max - lr_min) * position / warmup_epochs
    progress = (position - warmup_epochs) / decay_epochs
    return lr_min + (lr_max - lr_min) * (1 + math.cos(math.pi * progress)) / 2


def drive_optimizer(
    module: torch.nn.Module, rate: Callable[[int], float], on_step: Callable[[int, float], None] | None = None
):
    """Set the learning rate of whichever optimizer owns ``module``'s parameters, before each of its steps.

    For a training loop of another program: PyTorch calls a global hook before every step of an optimizer, which is
    recognised by its trainable parameters. The hook refers to the module weakly and does nothing once it is gone.

    Args:
        module: the module whose optimizer is set.
        rate: the learning rate of a step, by its 0-based number.
        on_step: called with the step's number and rate once the rate is set.

    Returns:
        A handle; ``handle.remove()`` removes the hook.
    """
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    reference = weakref.ref(module)
    step = 0

    def hook(optimizer, args, kwargs):
        nonlocal step
        module = reference()
        if module is None:  # not handle.remove(): PyTorch is iterating over its hooks
            return
        ours = {id(p) for p in module.parameters() if p.requires_grad}
        groups = [group for group in optimizer.param_groups if any(id(p) in ours for p in group["params"])]
        if not groups:
            return
        lr = rate(step)
        for group in groups:
            group["lr"] = lr
        if on_step is not None:
            on_step(step, lr)
        step += 1

    return register_optimizer_step_pre_hook(hook)
