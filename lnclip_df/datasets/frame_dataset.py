"""Frames of videos as a PyTorch dataset, its batches, and the order of an epoch."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import Video
from lnclip_df.datasets.frames import check_frames, read_frame
from lnclip_df.media.sampling import evenly_spaced_round, randomly_drawn
from lnclip_df.models.input import model_input
from lnclip_df.models.pixels import stack


class FrameDataset(Dataset):
    """Frames of some videos, evenly spaced or drawn at random, one item per frame.

    An item is ``{"image": uint8 3×R×R, "label": int, "video": int, "frame": str, "index": int}``, ``video`` being
    the index in ``videos``; with ``draw`` it also has ``draws``. For a broken frame, with
    ``lnclip.missing_frames: skip``, it is ``{"skipped": path, "size": R}``.

    Args:
        videos: see ``lnclip_df.datasets.dataset_json.read_videos``.
        frames_per_video: number of frames of each video; all frames of a video with fewer.
        transform: (uint8 H×W×3 frame, int seed) → uint8 3×R×R; ``lnclip_df.models.input.model_input`` by default.
            Images that are no tensors are not stacked into a batch, and may differ in size.
        draw: int seed → the numbers by which the image is augmented later, on the device.
        random_frames: draw the frames of each video at random, by ``seed``, instead of evenly spaced ones.
        seed: an item's seed follows from this one, the epoch and the index; worker and process do not matter.
        keep: each process keeps decoded frames in memory, for the next epoch, if all of them take at most this many
            bytes (estimated by each frame); a part would help little.

    Raises:
        LNCLIPError: the frames are read from a pack that is out of date.
    """

    def __init__(
        self,
        config: Config,
        videos: list[Video],
        *,
        frames_per_video: int,
        transform: Callable[[np.ndarray, int], torch.Tensor] | None = None,
        draw: Callable[[int], tuple] | None = None,
        random_frames: bool = False,
        seed: int = 0,
        keep: int = 0,
    ):
        self.config = config
        self.videos = videos
        self.transform, self.draw = transform, draw
        self.seed = seed
        self.keep = keep
        self.kept: dict[int, np.ndarray] = {}

        def chosen(video):
            if random_frames:
                return randomly_drawn(video.frames, frames_per_video, seed, video.key)
            return evenly_spaced_round(video.frames, frames_per_video)

        self.items = [(index, frame) for index, video in enumerate(videos) for frame in chosen(video)]
        check_frames(config, ((videos[index].dataset, frame) for index, frame in self.items))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        """One frame, by its index or by (epoch, index); the epoch (default 0) varies the augmentation.

        Raises:
            LNCLIPError: the frame is absent or broken, unless ``lnclip.missing_frames`` is ``skip``.
        """
        epoch, index = item if isinstance(item, tuple) else (0, item)
        video_index, frame = self.items[index]
        video = self.videos[video_index]
        try:
            image = self._kept_or_read(index, video, frame)
        except LNCLIPError:
            if self.config.lnclip.missing_frames == "error":
                raise
            return {"skipped": frame, "size": self.config.resolution}
        facts: dict[str, Any] = {"label": video.label, "video": video_index, "frame": frame, "index": index}
        if self.transform is None:
            return {"image": model_input(image, self.config), **facts}
        seed = int(np.random.SeedSequence((self.seed, epoch, index)).generate_state(1, np.uint64)[0])
        if self.draw is not None:
            facts["draws"] = self.draw(seed)
        return {"image": self.transform(image, seed), **facts}

    def _kept_or_read(self, index, video, frame):
        image = self.kept.get(index)
        if image is None:
            image = self.read(video, frame)
            if image.nbytes * len(self) <= self.keep:
                image.flags.writeable = False
                self.kept[index] = image
        return image

    def read(self, video: Video, frame: str) -> np.ndarray:
        """Read a frame of a video; see ``lnclip_df.datasets.frames.read_frame``."""
        return read_frame(self.config, video.dataset, frame)


def share_of(videos: list[Video], share: float, seed: int) -> list[Video]:
    """Draw a fixed share of the videos of every dataset's every class and method, and at least one of each.

    Args:
        videos: of any datasets and classes, each video once.
        share: above 0, up to 1; of n videos of a class and method ``round(share * n)`` are drawn.
        seed: of the draw; a group's draw depends on its own videos alone.

    Returns:
        The drawn videos, in the order of ``videos``.
    """
    groups: dict[tuple, list[Video]] = {}
    for video in videos:
        groups.setdefault((video.dataset, video.label_name, video.method), []).append(video)
    kept = set()
    for members in groups.values():
        order = np.random.default_rng(seed).permutation(len(members))
        kept |= {members[at].key for at in order[: max(1, round(share * len(members)))]}
    return [video for video in videos if video.key in kept]


def collate(batch: list[dict]) -> dict:
    """Stack items of ``FrameDataset`` into a batch, broken frames aside.

    Returns:
        ``image`` uint8 B×3×R×R (a list of B images where they are no tensors), ``label``, ``video`` and ``index``
        int64 B, ``draws`` (if the items have it) float32 B×N, ``frame`` a list of B paths, ``skipped`` a list of the
        broken frames' paths. B may be 0. A loader's worker puts tensors into shared memory here, where an error reaches
        the loader: torch would do it in a thread whose errors leave the loader waiting forever.
    """
    items = [item for item in batch if "skipped" not in item]
    images: Any = [item["image"] for item in items]
    if not images:
        size = batch[0]["size"]
        images = torch.empty(0, 3, size, size, dtype=torch.uint8)
    elif isinstance(images[0], torch.Tensor):
        images = stack(images)
    columns = {
        "image": images,
        **{key: torch.tensor([item[key] for item in items], dtype=torch.int64) for key in ("label", "video", "index")},
    }
    if items and "draws" in items[0]:
        columns["draws"] = torch.tensor([item["draws"] for item in items], dtype=torch.float32)
    if get_worker_info() is not None:
        for column in columns.values():
            if isinstance(column, torch.Tensor):
                column.share_memory_()
    return {
        **columns,
        "frame": [item["frame"] for item in items],
        "skipped": [item["skipped"] for item in batch if "skipped" in item],
    }


class EpochSampler(Sampler):
    """Pairs (epoch, index) of one process's share of an epoch.

    Shuffled, every rank has equally many: the permutation of (seed, epoch) is continued from its start where it does
    not divide. In order, every index comes once, and ranks may differ by one.

    Args:
        length: the dataset's.
        shuffle: permute (training), or keep the order (testing).
        rank, world_size: which share of how many; ranks take turns.
    """

    def __init__(self, length: int, *, seed: int, shuffle: bool, rank: int = 0, world_size: int = 1):
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, not within 0..{world_size - 1}")
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int):
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.shuffle:
            return math.ceil(self.length / self.world_size)
        return len(range(self.rank, self.length, self.world_size))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
            order = np.resize(order, len(self) * self.world_size)
        epoch = self.epoch
        return ((epoch, int(index)) for index in order[self.rank :: self.world_size])
