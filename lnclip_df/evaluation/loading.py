"""Batches of frames: a loader's worker processes, their errors, and the copies to a device."""

import logging
import multiprocessing
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.processes import hidden_main
from lnclip_df.datasets.frame_dataset import collate
from lnclip_df.models.input import is_float

SHARED_MEMORY = Path("/dev/shm")  # through which a loader's workers give their batches
BATCHES_PER_WORKER = 3  # one in use, two prefetched

logger = logging.getLogger(__name__)


def make_loader(
    dataset, sampler, *, batch_size: int, workers: int, device, ranks: int = 1, drop_last: bool = False
) -> DataLoader:
    """A loader of ``collate``'s batches of a ``FrameDataset``; it leaves torch's random numbers alone.

    At most one of the ``workers``, processes that read frames, is started per usable core, of which each of ``ranks``
    processes has its share; 0 reads in this process. So does a machine whose shared memory has no room for the batches
    that workers prefetch. Memory is pinned if ``device``, which the batches are for, is a GPU. With ``drop_last`` a
    last batch of fewer frames is left out.
    """
    workers = min(workers, max(1, usable_cores() // ranks))
    pixel = 3 * (4 if is_float(dataset.config) else 1)  # bytes
    needed = pixel * dataset.config.resolution**2 * batch_size * BATCHES_PER_WORKER * workers
    if workers and (obstacle := _no_shared_memory(needed)):
        logger.warning(
            "frames are read without worker processes: %s; %d workers need %d MB for batches of %d frames",
            obstacle, workers, -(-needed >> 20), batch_size,
        )  # fmt: skip
        workers = 0
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        drop_last=drop_last,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.device(device).type == "cuda",
        generator=torch.Generator().manual_seed(0),
    )


def _no_shared_memory(needed) -> str | None:
    """Why worker processes cannot give so many bytes to this one; None if they can."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        return f"no semaphore can be created, for which {SHARED_MEMORY} has to be writable ({error.strerror})"
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else needed
    return f"{SHARED_MEMORY} has {free >> 20} MB free (Docker: --shm-size)" if free < needed else None


class OnDevice:
    """The batches of a loader with the tensors ``keys`` on a device. One batch is prefetched.

    On a GPU it is copied on a stream of its own, from pinned memory, while the batch before it is computed.

    Args:
        loader: batches as dicts.
        device: where to copy to.
        keys: of a batch; what is absent or no tensor stays as it is.
    """

    def __init__(self, loader: Iterable[dict], device, keys: tuple[str, ...] = ("image", "feature")):
        self.loader, self.device, self.keys = loader, torch.device(device), keys
        self.sampler = getattr(loader, "sampler", None)  # Lightning tells it the epoch

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[dict]:
        stream: Any = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        copied = None
        pinned = torch.cuda.device(self.device) if stream else nullcontext()  # the loader pins for the current GPU
        with pinned, hidden_main():
            batches = iter(self.loader)
        for batch in batches:
            prefetched = self._copied(batch, stream)
            if copied is not None:
                yield self._ready(*copied)
            copied = prefetched
        if copied is not None:
            yield self._ready(*copied)

    def _copied(self, batch, stream):
        """The batch with its tensors, whose copies may still run, and the event that ends them."""
        with torch.cuda.stream(stream):  # does nothing where stream is None
            tensors = {key: batch[key] for key in self.keys if isinstance(batch.get(key), torch.Tensor)}
            moved = {key: tensor.to(self.device, non_blocking=True) for key, tensor in tensors.items()}
            return batch | moved, moved, stream and stream.record_event()

    def _ready(self, batch, moved, event):
        """The batch, for the device's current stream."""
        if event is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(event)
            for tensor in moved.values():
                tensor.record_stream(current)  # its memory is not given to the next copy before this stream is done
        return batch


@contextmanager
def one_line_errors():
    """Reduce the errors of a loader's worker processes to one line: torch wraps them in a traceback."""
    try:
        yield
    except LNCLIPError as error:
        lines = str(error.args[0]).strip().splitlines()
        if len(lines) > 1:
            raise LNCLIPError(lines[-1].partition("LNCLIPError: ")[2] or lines[-1]) from None
        raise
    except (RuntimeError, OSError, MemoryError) as error:
        text = str(error)
        if "shared memory" in text or "shm" in text:
            raise LNCLIPError(f"{SHARED_MEMORY} is full: set workers to 0, or give it more room") from error
        if "DataLoader worker" in text and "worker process" not in text:
            raise LNCLIPError(
                f"a worker that reads frames was lost: {one_line(error)[:120]}; set workers to 0 to see where"
            ) from error
        raise
