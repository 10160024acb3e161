"""Features of a frozen backbone, computed once and kept in memory: ``lnclip.tune: none`` trains the head on them."""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.evaluation.loading import OnDevice, make_loader, one_line_errors


class FeatureLoader:
    """The batches of a loader of frames with ``feature``, float32 B×D, instead of ``image``.

    Args:
        loader: of a ``FrameDataset``, whose items stay the same in every epoch.
        features: N×D, one row per item.
        readable: bool N; the other items are ``skipped``.
    """

    def __init__(self, loader: DataLoader, features: torch.Tensor, readable: torch.Tensor):
        self.loader, self.features, self.readable = loader, features, readable
        self.sampler, self.batch_size, self.num_workers = loader.sampler, loader.batch_size, 0
        frames: FrameDataset = loader.dataset  # type: ignore[assignment]
        self.paths = [frame for _, frame in frames.items]
        self.video = torch.tensor([video for video, _ in frames.items])
        self.label = torch.tensor([frames.videos[video].label for video, _ in frames.items])

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict]:
        for items in self.loader.batch_sampler:  # type: ignore[union-attr]
            drawn = torch.tensor([index for _, index in items])
            index = drawn[self.readable[drawn]]
            columns = {"feature": self.features, "label": self.label, "video": self.video}
            yield {name: column[index] for name, column in columns.items()} | {
                "index": index,
                "frame": [self.paths[each] for each in index.tolist()],
                "skipped": [self.paths[each] for each in drawn[~self.readable[drawn]].tolist()],
            }


def with_features(
    detector, loader: DataLoader, *, device, gather: Callable[[list], list], rank: int, world_size: int, title: str,
    progress: bool,
) -> FeatureLoader:  # fmt: skip
    """The batches of a loader with the detector's features, which this computes.

    Args:
        detector: an ``LNCLIPDetector`` on ``device``, whose backbone is frozen.
        loader: see :class:`FeatureLoader`.
        gather: returns the value of every process; each of ``world_size`` computes the share of its ``rank``.
        title, progress: of the progress bar.
    """
    frames: FrameDataset = loader.dataset  # type: ignore[assignment]
    order = EpochSampler(len(frames), seed=0, shuffle=False, rank=rank, world_size=world_size)
    batches = make_loader(frames, order, batch_size=loader.batch_size or 1, workers=loader.num_workers, device=device)
    training, parts = detector.training, []
    detector.eval()
    with torch.no_grad(), one_line_errors():
        for batch in tqdm(OnDevice(batches, device), desc=title, unit="batch", disable=not progress, leave=False):
            if batch["frame"]:
                index = batch["index"].clone()  # out of shared memory, where each batch keeps a file open
                parts.append((index, detector.features(batch).cpu()))
    detector.train(training)
    features = torch.zeros(len(frames), detector.head.in_features)
    readable = torch.zeros(len(frames), dtype=torch.bool)
    for index, found in (part for every in gather(parts) for part in every):
        features[index], readable[index] = found, True
    return FeatureLoader(loader, features, readable)
