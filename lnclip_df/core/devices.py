"""Choose the device and the precision, and count the cores. Torch is imported only where it is needed."""

import os
import timeit
from functools import lru_cache
from typing import TYPE_CHECKING

from lnclip_df.core.errors import LNCLIPError, one_line

if TYPE_CHECKING:
    import torch


def core_ids() -> set[int]:
    """The cores that this process may run on, by its affinity."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """Number of cores that this process may use, by its affinity and the quota of its cgroup."""
    import joblib

    return joblib.cpu_count()


def choose_device(name: str | None = None) -> "torch.device":
    """The device with this torch name; by default the GPU, or the CPU if there is none.

    :class:`LNCLIPError` if the name is wrong or the machine has no such device.
    """
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).item()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise LNCLIPError(f"device {name!r} cannot be used: {one_line(error)[:160]}") from error
    return device


@lru_cache(maxsize=1)
def cpu_is_faster_in_bf16() -> bool:
    """Whether this CPU is faster in bf16 than in fp32, by a trial with ViT-L/14's largest matrices (under 2 s)."""
    import torch

    def seconds(dtype: torch.dtype) -> float:
        x, weight = torch.ones(257, 1024, dtype=dtype), torch.ones(4096, 1024, dtype=dtype)
        return min(timeit.repeat(lambda: torch.nn.functional.linear(x, weight), repeat=3, number=1))

    return seconds(torch.bfloat16) < seconds(torch.float32)
