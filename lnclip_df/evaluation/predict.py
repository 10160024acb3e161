"""One probability per frame: how validation and test alike turn a data set into a table of predictions."""

import os
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import DataLoader

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.frame_dataset import collate

COLUMNS = ("index", "video", "frame", "label", "prob")


def make_loader(dataset, sampler, *, batch_size: int, workers: int) -> DataLoader:
    """A loader of ``collate``'s batches; it leaves torch's random numbers alone.

    Args:
        dataset: a ``FrameDataset``.
        sampler: an ``EpochSampler``, the order of the frames.
        batch_size: frames in a batch (the last one may be smaller).
        workers: processes that read frames, at most one per CPU core of this machine; 0 reads in this process.
    """
    workers = min(workers, os.cpu_count() or 1)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(0),
    )


def score(
    detector, loader, *, device, title: str = "", progress: bool = True, features: bool = False
) -> dict[str, list]:
    """Probability of *fake* for every frame that ``loader`` brings.

    Args:
        detector: an ``LNCLIPDetector``, moved to ``device``; its mode (training or not) is as before afterwards.
        loader: batches as ``make_loader`` gives them.
        device: where to compute.
        title: shown before the progress bar.
        progress: show a progress bar.
        features: also give each frame's feature.

    Returns:
        Columns, one row a frame in the data set's order: ``index``, ``video`` (place in the data set's ``videos``),
        ``frame`` (path), ``label`` (0 or 1), ``prob`` (in [0, 1]); and ``skipped``, the paths of unreadable frames. On
        request ``features``, float16 of one row a frame.

    Raises:
        LNCLIPError: a frame cannot be read (unless the configuration skips those), or a probability is not a number.
    """
    from tqdm import tqdm

    training = detector.training
    detector.to(device).eval()
    kept = []
    with torch.inference_mode(), one_line_errors():
        bar = tqdm(loader, desc=title, unit="batch", disable=not progress, leave=False)
        tables = [_score_batch(detector, batch, device, kept if features else None) for batch in bar]
    detector.train(training)
    return join(tables) | ({"features": _in_order(tables, kept)} if features else {})


def _score_batch(detector, batch, device, kept=None):
    prob = batch["image"].new_empty(0)
    if len(batch["frame"]):
        batch = batch | {"image": batch["image"].to(device, non_blocking=True)}
        predicted = detector(batch)
        prob = predicted["prob"].cpu().double()
        if kept is not None:
            kept.append(predicted["feat"].half().cpu().numpy())
    for frame, value in zip(batch["frame"], prob.tolist(), strict=True):
        if not 0 <= value <= 1:
            raise LNCLIPError(f"{frame}: the detector's probability is {value}; the weights are damaged")
    columns = {name: batch[name].tolist() for name in ("index", "video", "label")}
    return columns | {"frame": batch["frame"], "prob": prob.tolist(), "skipped": batch["skipped"]}


def _in_order(tables, kept):
    """The batches' features in the data set's order, as ``join`` has their rows."""
    if not kept:
        return np.empty((0, 0), np.float16)
    return np.concatenate(kept)[np.argsort([index for table in tables for index in table["index"]])]


def join(tables: list[dict]) -> dict[str, list]:
    """Join the tables of batches, and of processes, in the data set's order."""
    rows = sorted(row for table in tables for row in zip(*(table[name] for name in COLUMNS), strict=True))
    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)) if rows else {n: [] for n in COLUMNS}
    return columns | {"skipped": sorted(frame for table in tables for frame in table["skipped"])}


@contextmanager
def one_line_errors():
    """Give the errors of a loader's worker processes their one line back: torch wraps them in a traceback."""
    try:
        yield
    except LNCLIPError as error:
        lines = str(error.args[0]).strip().splitlines()
        if len(lines) > 1:
            raise LNCLIPError(lines[-1].partition("LNCLIPError: ")[2] or lines[-1]) from None
        raise
