"""Alignment and uniformity, closed form against all pairs: time and peak memory of forward and backward.

Errors are differences from float64: of the value, and of the gradient relative to its largest entry.

python benchmarks/losses.py [--device cuda] [--out benchmarks/results/losses.md]
"""

import argparse
import time

import torch
from common import machine, write_table
from torch.profiler import profile

from lnclip_df.models.sphere import alignment, normalize, uniformity


def closed_form(z, y):
    """What the detector uses."""
    return alignment(z, y) + uniformity(z)


def all_pairs(z, y):
    """The definition, gathering every pair i < j."""
    i, j = torch.triu_indices(len(z), len(z), 1, device=z.device)
    squared = (z[i] - z[j]).square().sum(dim=1)
    return squared[y[i] == y[j]].mean() + torch.exp(-2 * squared).mean().clamp(min=1e-6).log()


def step(loss, z, y):
    """Forward and backward; the value and the gradient."""
    value = loss(z, y)
    (gradient,) = torch.autograd.grad(value, z)
    if z.is_cuda:
        torch.cuda.synchronize()
    return value.detach(), gradient


def seconds(loss, z, y, repeats):
    """The fastest of ``repeats`` steps."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step(loss, z, y)
        times.append(time.perf_counter() - start)
    return min(times)


def peak_bytes(loss, z, y):
    """Peak number of bytes allocated during a step, without the arguments."""
    if z.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, z, y)
        return torch.cuda.max_memory_allocated() - before
    with profile(profile_memory=True) as profiler:
        step(loss, z, y)
    allocated = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            allocated += event.nbytes()
            peak = max(peak, allocated)
    return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default="benchmarks/results/losses.md")
    arguments = parser.parse_args()
    rows = []
    for n in (128, 1024):
        torch.manual_seed(0)
        z = normalize(torch.randn(n, 1024, device=arguments.device)).requires_grad_()
        y = torch.arange(n, device=arguments.device) % 2
        exact, exact_gradient = step(closed_form, z.detach().double().requires_grad_(), y)
        errors = {}
        for name, loss in {"closed form": closed_form, "all pairs": all_pairs}.items():
            value, gradient = step(loss, z, y)
            worst = (gradient - exact_gradient).abs().max() / exact_gradient.abs().max()
            errors[f"{name}, error"] = f"{abs((value - exact).item()):.0e}, {worst.item():.0e}"
        fast, slow = seconds(closed_form, z, y, 20), seconds(all_pairs, z, y, 3)
        peak, naive_peak = peak_bytes(closed_form, z, y), peak_bytes(all_pairs, z, y)
        rows.append({
            "N": n,
            "closed form, ms": f"{1e3 * fast:.2f}",
            "all pairs, ms": f"{1e3 * slow:.1f}",
            "faster by": f"{slow / fast:.0f}×",
            "closed form, MB": f"{peak / 1e6:.1f}",
            "in N×N matrices": f"{peak / (4 * n * n):.2f}",
            "all pairs, MB": f"{naive_peak / 1e6:.1f}",
            **errors,
        })  # fmt: skip
    write_table(arguments.out, "Alignment + uniformity, forward and backward, D = 1024, fp32", machine(z.device), rows)


if __name__ == "__main__":
    main()
