"""The loader of frames: its workers, and what it does on a machine with little shared memory."""

import errno
import logging
import multiprocessing
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import configured, make_toy

from lnclip_df.config.loading import load_config
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.evaluation.loading import OnDevice, make_loader


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory is a folder on Linux")
@pytest.mark.parametrize(("megabytes", "workers"), [(64, 0), (1000, 1)])
def test_without_room_in_shared_memory_no_worker_is_started(tmp_path, monkeypatch, caplog, megabytes, workers):
    config = configured(make_toy(tmp_path))
    frames = FrameDataset(config, read_videos(config, ["toy"], "test"), frames_per_video=2)
    usage = shutil.disk_usage(tmp_path)._replace(free=megabytes << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    with caplog.at_level(logging.WARNING, "lnclip_df"):
        loader = make_loader(frames, order, batch_size=10_000, workers=1, device="cpu")
    assert loader.num_workers == workers
    assert ("frames are read without worker processes: /dev/shm has 64 MB free" in caplog.text) == (not workers)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory is a folder on Linux")
@pytest.mark.parametrize(("yaml", "workers"), [("gend/clip.yaml", 1), ("gend/dinov3.yaml", 0)])
def test_frames_that_are_resized_as_floats_take_four_times_the_shared_memory(monkeypatch, yaml, workers):
    frames = SimpleNamespace(config=load_config(yaml))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=300 << 20))
    assert make_loader(frames, [], batch_size=300, workers=1, device="cpu").num_workers == workers


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True), (torch.device("cuda", 1), True)])
def test_memory_is_pinned_for_the_gpu_that_is_used_not_for_one_that_is_there(monkeypatch, device, pinned):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    frames = SimpleNamespace(config=load_config("lnclip.yaml"))
    assert make_loader(frames, [], batch_size=1, workers=0, device=device).pin_memory == pinned


def batches(read):
    """Three batches, whose numbers are appended to ``read`` as they are read."""
    for number in range(3):
        read.append(number)
        yield {"image": torch.full((2,), number), "frame": [str(number)]}


def test_one_batch_is_prefetched_and_all_come_in_order():
    read, seen = [], []
    for batch in OnDevice(batches(read), "cpu"):
        seen.append((int(batch["image"][0]), batch["frame"], len(read)))
    assert seen == [(0, ["0"], 2), (1, ["1"], 3), (2, ["2"], 3)]
    assert list(OnDevice([], "cpu")) == []


def test_named_tensors_are_moved_and_nothing_else():
    given = {"image": torch.zeros(2), "label": torch.zeros(2), "frame": ["a", "b"]}
    (batch,) = OnDevice([given], "meta", ("image", "frame"))
    assert (batch["image"].device.type, batch["label"].device.type, batch["frame"]) == ("meta", "cpu", ["a", "b"])
    assert given["image"].device.type == "cpu"


@pytest.mark.parametrize(("cores", "ranks", "workers"), [(8, 2, 4), (8, 1, 6), (2, 8, 1)])
def test_the_ranks_of_a_machine_share_its_cores(tmp_path, monkeypatch, cores, ranks, workers):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", str(cores))
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    config = configured(make_toy(tmp_path))
    frames = FrameDataset(config, read_videos(config, ["toy"], "test"), frames_per_video=2)
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    assert make_loader(frames, order, batch_size=2, workers=6, device="cpu", ranks=ranks).num_workers == workers


def test_where_no_semaphore_can_be_created_no_worker_is_started(tmp_path, monkeypatch, caplog):
    def refuse():
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(multiprocessing, "Lock", refuse)
    config = configured(make_toy(tmp_path))
    frames = FrameDataset(config, read_videos(config, ["toy"], "test"), frames_per_video=2)
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    with caplog.at_level(logging.WARNING, "lnclip_df"):
        assert make_loader(frames, order, batch_size=2, workers=1, device="cpu").num_workers == 0
    assert "no semaphore can be created" in caplog.text and "Read-only file system" in caplog.text


def test_workers_of_a_loader_do_not_run_the_callers_script():
    class Loader:
        def __iter__(self):
            started.append(sys.modules["__main__"])
            return iter([{}])

    main, started = sys.modules["__main__"], []
    assert list(OnDevice(Loader(), "cpu")) == [{}]
    assert started != [main] and not hasattr(started[0], "__file__") and sys.modules["__main__"] is main
