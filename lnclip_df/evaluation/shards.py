"""A test's batches shared among processes and machines: each predicts its share, and writes it in parts."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.iteration import part_of
from lnclip_df.core.processes import worker_pool
from lnclip_df.datasets.dataset_json import Video, read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.evaluation.loading import make_loader
from lnclip_df.evaluation.parts import Parts
from lnclip_df.evaluation.predict import LoadedDetector, score_batches, videos_digest

SECONDS = 30.0  # between two parts: what is lost at most where a process is killed, beside the batch in progress


@dataclass(frozen=True)
class Share:
    """The batches of one process: of those that ``shard`` (``i/n``) has, every ``processes``-th from ``process`` on."""

    shard: str | None = None
    process: int = 0
    processes: int = 1

    def of(self, batches: int) -> list[int]:
        """The numbers of this share among so many batches; frames stay together that are one batch undivided."""
        return list(range(batches)[part_of(self.shard)][self.process :: self.processes])

    def __str__(self):
        shard = f", shard {self.shard}" if self.shard else ""
        return shard + (f", process 1 of {self.processes}" if self.processes > 1 else "")


def frames_of(loaded: LoadedDetector, videos: list[Video]) -> FrameDataset:
    """The frames that a test predicts of videos."""
    count = loaded.config.frame_num.test
    return FrameDataset(loaded.config, videos, frames_per_video=count, transform=loaded.transform)


def predict_share(
    loaded: LoadedDetector, frames: FrameDataset, parts: Parts, share: Share, *, progress: bool = True,
    check: Callable[[], None] = lambda: None,
):  # fmt: skip
    """Predict the batches of a share that no part has, and write them as parts, one in ``SECONDS``.

    ``check`` is called after every batch; what it raises ends the prediction.
    """
    size, missing = parts.batch_size, parts.missing(frames)
    batches = [number for number in share.of(-(-len(frames) // size)) if number in missing]
    if not batches:
        return
    order = [index for number in batches for index in range(number * size, min((number + 1) * size, len(frames)))]
    loader = make_loader(
        frames, order, batch_size=size, workers=loaded.config.workers, device=loaded.device, ranks=share.processes
    )
    title = f"{parts.provenance.dataset}{share}"
    tables = score_batches(
        loaded.detector, loader, device=loaded.device, title=title, progress=progress, features=parts.features
    )
    started, waiting = time.monotonic(), []
    for number, table in zip(batches, tables, strict=True):
        check()
        waiting.append((number, table))
        seconds = time.monotonic() - started
        if seconds >= SECONDS or number == batches[-1]:
            parts.write([number for number, _ in waiting], [table for _, table in waiting], seconds)
            started, waiting = time.monotonic(), []


@contextmanager
def helped(
    loaded: LoadedDetector, devices: list, tests: list[Parts], shard: str | None
) -> Iterator[Callable[[], None]]:
    """Start a process for each further device, which predicts its share of tests, and wait for all of them at the end.

    On the CPU, all of them, and this one, share the cores.

    Yields:
        A function that raises the error of a process that has failed, if one has.

    Raises:
        LNCLIPError: a process failed or died; the others are ended.
    """
    import torch

    if not devices:
        yield lambda: None
        return
    if loaded.again is None:
        raise LNCLIPError("devices: this detector cannot be loaded again (again is None); use one device")
    count, threads = 1 + len(devices), torch.get_num_threads()
    with worker_pool(len(devices), at_once=True) as pool:
        started = [
            pool.submit(_help, loaded.again, device, tests, Share(shard, 1 + number, count))
            for number, device in enumerate(devices)
        ]

        def check():
            for future in started:
                if future.done():
                    future.result()

        if loaded.device.type == "cpu":
            torch.set_num_threads(_threads(count))
        try:
            yield check
            wait(started, return_when=FIRST_EXCEPTION)
            check()
        finally:
            torch.set_num_threads(threads)


def _help(load, device, tests, share):
    """What a further process does."""
    import torch

    logging.getLogger("lnclip_df").setLevel(logging.ERROR)  # the first process has said it
    loaded = load(device)
    if loaded.device.type == "cpu":
        torch.set_num_threads(_threads(share.processes))
    else:
        torch.cuda.set_device(loaded.device.index or 0)
    for parts in tests:
        claimed = parts.provenance
        videos = read_videos(loaded.config, [claimed.dataset], "test")
        found = replace(claimed, weights=loaded.record, videos_sha256=videos_digest(videos))
        if changed := found.different_predictions(claimed):
            raise LNCLIPError(f"{claimed.dataset}: {' and '.join(changed)} changed as the test began; run it again")
        predict_share(loaded, frames_of(loaded, videos), parts, share, progress=False)


def _threads(processes):
    """PyTorch's threads of one of several processes: as many as it would take, or its share of the cores."""
    import torch

    return max(1, min(torch.get_num_threads(), usable_cores() // processes))
