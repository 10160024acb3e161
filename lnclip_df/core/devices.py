"""Choose the device and the precision, and count the cores. Torch is imported only where it is needed."""

import logging
import math
import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lnclip_df.core.errors import LNCLIPError, one_line

if TYPE_CHECKING:
    import torch


NVIDIA = Path("/proc/driver/nvidia/version")  # there where an NVIDIA driver is loaded
CPU = Path("/proc/cpuinfo")
QUOTAS = (("/sys/fs/cgroup/cpu.max",), ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's

logger = logging.getLogger(__name__)


def core_ids() -> set[int]:
    """The cores that this process may run on, by its affinity."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """Number of cores that this process may use: by its affinity, the quota of its cgroup, and ``LOKY_MAX_CPU_COUNT``.

    joblib says the same, but importing it takes a tenth of the CPU time of a video.
    """
    cores = len(core_ids())
    with suppress(ValueError):
        cores = min(cores, int(os.environ.get("LOKY_MAX_CPU_COUNT", cores)))
    for files in QUOTAS:
        with suppress(OSError, ValueError):  # no such cgroup; "max", no limit
            quota, period = (int(word) for file in files for word in Path(file).read_text().split())
            cores = min(cores, math.ceil(quota / period)) if quota > 0 else cores
    return max(1, cores)


def named_device(name: str | None = None) -> "torch.device":
    """The device with this torch name as :func:`choose_device` gives it, but not tried: no GPU's memory is used."""
    import torch

    if not name or name.startswith("cuda"):
        require_usable_gpu()
    with _one_line_errors(name):
        return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def choose_device(name: str | None = None) -> "torch.device":
    """The device with this torch name; by default the GPU, or the CPU if there is none.

    :class:`LNCLIPError` if the name is wrong, or the machine has no such device, or a GPU that PyTorch cannot use.
    """
    import torch

    device = named_device(name)
    with _one_line_errors(name):
        torch.zeros(1, device=device).item()
    return device


@contextmanager
def _one_line_errors(name):
    try:
        yield
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise LNCLIPError(f"device {name!r} cannot be used: {one_line(error)[:160]}") from error


def device_names(device: str | None, devices: int | str | list[int]) -> list[str | None]:
    """The devices of a machine that several processes use, one each. They are counted, not tried.

    Args:
        device: a kind (``cuda``, ``cpu``), or where there is one process, any name that :func:`choose_device` takes.
        devices: how many; which GPUs (``0,3``, or a list); or ``auto``: every GPU, or the CPU once.

    Raises:
        LNCLIPError: there are fewer, or they cannot be counted.
    """
    import torch

    kind = named_device(device).type
    there = torch.cuda.device_count() if kind == "cuda" else 1
    text = "".join(f"{number}," for number in devices) if isinstance(devices, list) else str(devices)
    text = str(max(1, there)) if text in ("auto", "-1") else text
    if not re.fullmatch(r"[1-9][0-9]{0,3}|([0-9]{1,4},)+([0-9]{1,4})?", text):
        raise LNCLIPError(f"devices: {devices!r} received; accepted are a number (2), GPUs (0,3), and auto")
    if text == "1":
        return [device]
    numbers = [int(number) for number in text.split(",") if number] if "," in text else list(range(int(text)))
    if device not in (None, "cuda", "cpu"):
        raise LNCLIPError(f"devices: {devices} received with device {device}; name cuda or cpu, or one device")
    if kind == "cpu":
        return ["cpu"] * len(numbers)
    if len(set(numbers)) < len(numbers) or max(numbers) >= there:
        raise LNCLIPError(f"devices: {devices} received; this machine has {there} GPUs, which count from 0")
    return [f"cuda:{number}" if number else "cuda" for number in numbers]


def process_environment(device: str | None, processes: int) -> dict[str, str]:
    """The variables by which one of so many processes has its device alone, and its share of the cores.

    They count where they are set before torch is imported. A process with a GPU (one of :func:`device_names`) sees it
    as its only one.
    """
    share = str(max(1, usable_cores() // processes))
    variables = {"OMP_NUM_THREADS": share, "LOKY_MAX_CPU_COUNT": share}
    if device is not None and device.startswith("cuda"):
        number = int(device.partition(":")[2] or 0)
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        variables["CUDA_VISIBLE_DEVICES"] = seen.split(",")[number].strip() if seen else str(number)
    return variables


def cpu_has_bf16_units() -> bool:
    """Whether this CPU multiplies in bf16, by the flags that Linux lists; elsewhere False."""
    flags = CPU.read_text(encoding="utf-8", errors="replace").split() if CPU.is_file() else []
    return not BF16_FLAGS.isdisjoint(flags)


def require_usable_gpu():
    """Raise LNCLIPError where there is an NVIDIA GPU that this PyTorch cannot use: the CPU would take its place.

    A GPU hidden by ``CUDA_VISIBLE_DEVICES`` is not asked for.
    """
    import torch

    if torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not NVIDIA.is_file():
        return
    driver = re.search(r"\b\d+\.\d+(\.\d+)?\b", NVIDIA.read_text(encoding="utf-8", errors="replace"))
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    raise LNCLIPError(
        f"PyTorch {torch.__version__}, {built}, cannot use the NVIDIA GPU (driver {driver[0] if driver else '?'}): "
        "install a PyTorch for this driver, or a newer driver (docs/install.md has a table); to compute on the CPU, "
        "name it (device or accelerator: cpu), or hide the GPU (CUDA_VISIBLE_DEVICES=)"
    )


def device_name(device: "torch.device") -> str:
    """The device for people: its torch name, and a GPU's own name."""
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def _has_bf16(device):
    import torch

    return bool(torch.version.hip) or torch.cuda.get_device_properties(device).major >= 8


def settled_precision(wanted: str, device: "torch.device") -> str:
    """The precision to compute in on a device, where a configuration wants ``wanted`` (``lnclip.precision``).

    A CPU takes bf16 only where it has units for it, and never fp16 or TF32: it takes fp32 instead, and a line of the
    log says so. ``tf32`` switches TF32 on for all float32 products of the process.

    Raises:
        LNCLIPError: the GPU has no bf16.
    """
    import torch

    if device.type == "cpu" and wanted != "fp32" and not (wanted == "bf16" and cpu_has_bf16_units()):
        logger.info("lnclip.precision: this CPU has no units for %s: computing in fp32", wanted)
        return "fp32"
    if device.type == "cuda" and wanted == "bf16" and not _has_bf16(device):
        raise LNCLIPError(
            f"lnclip.precision: {device_name(device)} does not compute in bf16; set lnclip.precision: fp16 or fp32"
        )
    if wanted == "tf32":
        torch.set_float32_matmul_precision("high")
    return wanted
