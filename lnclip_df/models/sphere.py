"""The geometry of the unit sphere: normalise, slerp augmentation, alignment and uniformity, as pure functions.

Every function computes in float32 at least (float64 stays float64), whatever autocast does around it.
"""

import functools

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from lnclip_df.models.uncompiled import uncompiled


def _full_precision(function):
    """Run ``function`` outside autocast, with its floating-point tensors in float32 at least."""

    def widen(x):
        return x.float() if isinstance(x, torch.Tensor) and x.dtype in (torch.float16, torch.bfloat16) else x

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        device = next(x.device.type for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor))
        with torch.autocast(device, enabled=False):
            return function(*map(widen, args), **{name: widen(x) for name, x in kwargs.items()})

    return wrapper


@_full_precision
def normalize(f: torch.Tensor) -> torch.Tensor:
    """Project features ..., D onto the unit sphere: z = f / ‖f‖₂, float32 or float64. The zero vector stays zero.

    >>> normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    return F.normalize(f, dim=-1)


@_full_precision
def slerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Interpolate between unit vectors along the great circle (arXiv 2508.06248, slerp).

    z(t) = sin((1−t)θ)/sin θ · a + sin(tθ)/sin θ · b with θ = arccos⟨a, b⟩. Where sin θ → 0 the normalised lerp takes
    over; it differs from slerp there by O(θ³). Between opposite vectors no great circle is preferred: the lerp moves
    along the chord, with ``a`` itself at its centre. Value and gradient are always finite.

    Args:
        a, b: unit vectors ..., D.
        t: positions in [0, 1], of shape ... (one per pair) or a scalar tensor.

    >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor(0.5))
    tensor([0.7071, 0.7071])
    """
    t = t.unsqueeze(-1)
    cos = (a * b).sum(-1, keepdim=True)
    near = 1 - cos.square() < torch.finfo(cos.dtype).eps ** (2 / 3)  # sin θ below eps^⅓

    theta = torch.arccos(cos.masked_fill(near, 0.0))  # masked before the arccos: its gradient is infinite at ±1
    arc = (torch.sin((1 - t) * theta) * a + torch.sin(t * theta) * b) / torch.sin(theta)

    chord = (1 - t) * a + t * b
    centre = chord.detach().square().sum(-1, keepdim=True) < 1e-6
    lerp = F.normalize(torch.where(centre, a, chord), dim=-1)
    return torch.where(near, lerp, arc)


def same_class_partners(y: torch.Tensor, i: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Draw for every index in ``i`` another index of the same class, uniformly.

    Returns:
        Indices j, as many as ``i``, with ``y[j] == y[i]``; ``j != i`` unless the class has one sample.
    """
    order = torch.argsort(y, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(y), device=y.device)
    first, size = (each[i] for each in _classes(y))
    u = torch.rand(len(i), generator=generator, device=y.device)
    step = torch.where(size > 1, 1 + (u * (size - 1)).long().clamp(max=size - 2), 0)
    return order[first + (rank[i] - first + step) % size]


def _classes(y):
    """For each sample the first index of its class in the sorted labels, and the size of its class, both int64 N.

    ``unique`` would make a GPU wait: its result's shape follows from the data.
    """
    y = y.contiguous()
    ordered = y.sort().values
    first = torch.searchsorted(ordered, y)
    return first, torch.searchsorted(ordered, y, right=True) - first


@uncompiled
@_full_precision
def slerp_augment(
    z: torch.Tensor,
    y: torch.Tensor,
    size: int,
    generator: torch.Generator | None = None,
    t_range: tuple[float, float] = (0.0, 1.0),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Grow a batch on the sphere: the originals, then slerps between samples of one class (arXiv 2508.06248).

    Each new sample takes a random original i, a random other original j of its class and t ~ U(t_range). Gradients
    flow to both. A class with one sample is repeated, never paired with the other class.

    Args:
        z: unit vectors N×D.
        y: class labels N, integer.
        size: samples after growing, at least N.
        generator: on the device of ``z``; None for the default one.
        t_range: the range of t, within [0, 1].

    Returns:
        ``(z, y)`` of ``size`` samples; the first N are the originals, unchanged.

    Raises:
        ValueError: ``size`` is below N, or the batch is empty.
    """
    n = len(z)
    if n == 0 or size < n:
        raise ValueError(f"size: received {size} for a batch of {n}; needs a batch of at least 1 and size >= batch")
    if size == n:
        return z, y
    i = torch.randint(n, (size - n,), generator=generator, device=z.device)
    j = same_class_partners(y, i, generator)
    low, high = t_range
    t = low + (high - low) * torch.rand(size - n, generator=generator, device=z.device, dtype=z.dtype)
    return torch.cat([z, slerp(z[i], z[j], t)]), torch.cat([y, y[i]])


class _Alignment(torch.autograd.Function):
    """Σ_{i<j, same class} ‖z_i − z_j‖² = Σ_c n_c Σ_i ‖z_i − z̄_c‖², whose gradient at z_i is 2 n_c (z_i − z̄_c)."""

    @staticmethod
    def forward(ctx, z, y):
        cls, n = _classes(y)  # a class's number is the first index of it, so most rows of the means stay empty
        n = n.to(z.dtype)
        mean = torch.zeros_like(z).index_add(0, cls, z)
        mean = mean / n.new_ones(len(n)).index_copy(0, cls, n)[:, None]
        pairs = (n - 1).sum().div(2).clamp(min=1)
        ctx.save_for_backward(z, mean, cls, n / pairs)
        spread = torch.linalg.vector_norm(_deviation(z, mean, cls), dim=1).square()
        return (n * spread).sum() / pairs

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        z, mean, cls, weight = ctx.saved_tensors
        return _deviation(z, mean, cls).mul_((2 * gradient * weight)[:, None]), None


def _deviation(z, mean, cls):
    return mean[cls].neg_().add_(z)


class _LogMeanPotential(torch.autograd.Function):
    """log mean_{i≠j} K_ij with K_ij = exp(−k ‖z_i − z_j‖²); its gradient at z_i is −4k Σ_j K_ij (z_i − z_j) / Σ K."""

    @staticmethod
    def forward(ctx, z, k):
        n = len(z)
        norm2 = torch.linalg.vector_norm(z, dim=1).square()
        potential = torch.addmm(norm2[None, :], z, z.T, beta=-k, alpha=2 * k).sub_(k * norm2[:, None]).exp_()
        potential.fill_diagonal_(0)
        mean = potential.sum() / (n * (n - 1))
        ctx.k = k
        ctx.save_for_backward(z, potential, mean)
        return mean.clamp(min=1e-6).log()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        z, potential, mean = ctx.saved_tensors
        n = len(z)
        scale = gradient * (mean > 1e-6) * (4 * ctx.k) / (n * (n - 1) * mean.clamp(min=1e-6))
        pull = potential @ z
        return pull.addcmul_(potential.sum(dim=1, keepdim=True), z, value=-1).mul_(scale), None


@_full_precision
def alignment(z: torch.Tensor, y: torch.Tensor, half_squared: bool = False) -> torch.Tensor:
    """Mean squared distance between samples of one class: E_{same class, i<j} ‖z_i − z_j‖₂² (Wang & Isola 2020).

    In closed form, O(N·D), from the classes' means.

    Args:
        z: features N×D.
        y: class labels N, integer.
        half_squared: halve the squared distance, as the notes print equation 3.

    Returns:
        Scalar; exactly 0, with a gradient, where no class has two samples.

    >>> alignment(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1]))
    tensor(2.0000)
    """
    value = _Alignment.apply(z, y)
    return value / 2 if half_squared else value


@_full_precision
def uniformity(z: torch.Tensor, temperature: float = 2.0, half_squared: bool = False) -> torch.Tensor:
    """Log of the mean Gaussian potential: log E_{i<j} exp(−temperature · ‖z_i − z_j‖₂²) (Wang & Isola 2020).

    Takes one N×N matrix, from ‖z_i − z_j‖² = ‖z_i‖² + ‖z_j‖² − 2⟨z_i, z_j⟩. The mean is clamped at 1e-6 before the log,
    as in the authors' released code; below the clamp there is no gradient.

    Args:
        z: features N×D.
        temperature: the factor of the squared distance, above 0.
        half_squared: halve the squared distance, as the notes print equation 4.

    Returns:
        Scalar in [−4 · temperature, 0] on the unit sphere; exactly 0, with a gradient, for fewer than two samples.

    >>> uniformity(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor(-4.)
    """
    if len(z) < 2:
        return z.sum() * 0
    return _LogMeanPotential.apply(z, temperature / 2 if half_squared else temperature)
