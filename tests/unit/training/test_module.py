"""What the processes of one training agree on before its first step."""

import torch
from tiny import configured, make_toy

from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.training.module import LNCLIPModule, sharing


class OtherProcess:
    """A trainer of two processes, the main one of which has drawn the seed 5."""

    world_size, global_rank, current_epoch = 2, 1, 0

    class strategy:
        broadcast = staticmethod(lambda seed: 5)
        root_device = torch.device("cpu")


def test_every_process_trains_on_the_frames_of_the_main_ones_seed(tmp_path):
    """With manualSeed: null each has drawn a seed of its own, on which replayed videos and random frames depend."""
    config, made = configured(make_toy(tmp_path)), []
    videos = read_videos(config, ["toy"], "train")

    def make(seed):
        made.append(seed)
        return FrameDataset(config, videos, frames_per_video=1, random_frames=True, seed=seed)

    val = FrameDataset(config, videos, frames_per_video=1)
    module, trainer = LNCLIPModule(None, config, make, val, seed=3, progress=False), OtherProcess()
    module.trainer = trainer
    module.setup("fit")
    assert made == [5] and module.seed == 5 and module.train_frames.items == make(5).items != make(3).items


def test_processes_share_the_cores_that_they_have_in_common():
    every = [("a", {0, 1, 2}), ("a", {2, 3}), ("a", {4}), ("b", {0})]
    assert [sharing(mine, every) for mine in every] == [2, 2, 1, 1]
