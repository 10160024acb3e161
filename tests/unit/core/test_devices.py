"""Which device and precision are taken, and what is said where a GPU cannot be used."""

import logging
from types import SimpleNamespace

import pytest
import torch

from lnclip_df.core import devices
from lnclip_df.core.errors import LNCLIPError


@pytest.mark.parametrize("name", [None, "cuda", "cuda:1"])
def test_a_gpu_that_pytorch_cannot_use_is_no_silent_run_on_the_cpu(unusable, name):
    with pytest.raises(LNCLIPError, match=rf"PyTorch {torch.__version__[:3]}.*driver 470\.57\.02.*install.*cpu"):
        devices.choose_device(name)


def test_the_cpu_is_taken_where_it_is_named_or_the_gpu_is_hidden(unusable, monkeypatch):
    assert devices.choose_device("cpu").type == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.choose_device().type == "cpu"


def test_without_a_driver_the_cpu_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "NVIDIA", tmp_path / "absent")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device().type == "cpu"


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize(
    ("wanted", "settled"), [("fp32", "fp32"), ("bf16", "fp32 or bf16"), ("fp16", "fp32"), ("tf32", "fp32")]
)
def test_a_cpu_takes_bf16_only_with_units_for_it_and_says_so(monkeypatch, caplog, wanted, settled, units):
    monkeypatch.setattr(devices, "cpu_has_bf16_units", lambda: units)
    with caplog.at_level(logging.INFO, "lnclip_df"):
        found = devices.settled_precision(wanted, torch.device("cpu"))
    assert found == ("bf16" if units and wanted == "bf16" else "fp32") and found in settled
    assert (f"this CPU has no units for {wanted}: computing in fp32" in caplog.text) == (found != wanted)


@pytest.mark.parametrize(("flags", "found"), [("fpu avx512_bf16", True), ("asimd bf16 i8mm", True), ("avx2", False)])
def test_units_are_those_that_linux_lists(tmp_path, monkeypatch, flags, found):
    monkeypatch.setattr(devices, "CPU", tmp_path / "cpuinfo")
    assert not devices.cpu_has_bf16_units()
    devices.CPU.write_text(f"processor : 0\nflags : {flags}\n")
    assert devices.cpu_has_bf16_units() == found


def test_a_gpu_without_bf16_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=7 + device.index))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(LNCLIPError, match=r"cuda:0 \(Tesla V100\) does not compute in bf16; set .*fp16 or fp32"):
        devices.settled_precision("bf16", torch.device("cuda:0"))
    assert devices.settled_precision("fp16", torch.device("cuda:0")) == "fp16"
    assert devices.settled_precision("bf16", torch.device("cuda:1")) == "bf16"


def test_tf32_is_switched_on_for_a_gpu():
    before = torch.get_float32_matmul_precision()
    try:
        assert devices.settled_precision("tf32", torch.device("cuda:0")) == "tf32"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("version", "texts", "cores"),
    [
        (0, ["150000 100000\n"], 2),
        (0, ["max 100000\n"], 8),
        (0, ["900000 100000\n"], 8),
        (0, ["10000 100000\n"], 1),
        (1, ["400000\n", "100000\n"], 4),
        (1, ["-1\n", "100000\n"], 8),
        (1, [], 8),
    ],
)
def test_usable_cores_are_no_more_than_the_quota_of_the_cgroup(tmp_path, monkeypatch, version, texts, cores):
    files = [tmp_path / str(number) for number, _ in enumerate(devices.QUOTAS[version])]
    for file, text in zip(files, texts, strict=False):
        file.write_text(text)
    monkeypatch.setattr(devices, "QUOTAS", (files,))
    monkeypatch.setattr(devices, "core_ids", lambda: set(range(8)))
    assert devices.usable_cores() == cores


def test_usable_cores_are_no_more_than_the_environment_allows(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert devices.usable_cores() == 1


def test_usable_cores_are_no_more_than_the_affinity_allows():
    assert 1 <= devices.usable_cores() <= len(devices.core_ids())
