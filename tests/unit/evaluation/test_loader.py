"""The loader of frames: its workers, and what it does on a machine with little shared memory."""

import logging
import shutil
from pathlib import Path

import pytest
from tiny import configured, make_toy

from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.evaluation.predict import make_loader


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory is a folder on Linux")
@pytest.mark.parametrize(("megabytes", "workers"), [(64, 0), (1000, 1)])
def test_without_room_in_shared_memory_no_worker_is_started(tmp_path, monkeypatch, caplog, megabytes, workers):
    config = configured(make_toy(tmp_path))
    frames = FrameDataset(config, read_videos(config, ["toy"], "test"), frames_per_video=2)
    usage = shutil.disk_usage(tmp_path)._replace(free=megabytes << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    with caplog.at_level(logging.WARNING, "lnclip_df"):
        loader = make_loader(frames, order, batch_size=10_000, workers=1)
    assert loader.num_workers == workers
    assert ("frames are read without worker processes: /dev/shm has 64 MB free" in caplog.text) == (not workers)
