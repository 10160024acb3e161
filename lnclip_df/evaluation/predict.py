"""One probability of fake per frame: shared by validation, tests and studies."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnclip_df.config.schema import Config
from lnclip_df.core.devices import choose_device, device_name, settled_precision
from lnclip_df.core.errors import LNCLIPError, enough_memory
from lnclip_df.core.provenance import Provenance, WeightsRecord, digest
from lnclip_df.datasets.dataset_json import Video
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.evaluation.loading import OnDevice, make_loader, one_line_errors
from lnclip_df.evaluation.predictions import read_coded, write_predictions
from lnclip_df.weights import Checkpoint, build_detector

COLUMNS = ("index", "video", "frame", "label", "prob")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedDetector:
    """A detector on its device, its configuration, its weights, and the ``transform`` of its ``FrameDataset``.

    ``again`` loads it on another device; it can be sent to another process.
    """

    detector: torch.nn.Module
    config: Config
    device: torch.device
    weights: Checkpoint
    transform: Callable | None = None
    again: Callable[[str | None], "LoadedDetector"] | None = None

    @property
    def record(self) -> WeightsRecord:
        """Which weights it has."""
        return WeightsRecord(str(self.weights), self.weights.sha256, self.weights.facts.epoch)


def load_detector(config: Config, weights, device: str | None = None) -> LoadedDetector:
    """Build a detector with its weights on a device, by default the GPU where there is one.

    The configuration gets the precision that the device computes in.

    Raises:
        LNCLIPError: the weights do not fit, or there is no such device.
    """
    checkpoint = Checkpoint.open(weights)
    chosen = choose_device(device)
    precision = settled_precision(config.lnclip.precision, chosen)
    config = config.replace({"lnclip.precision": precision})
    detector = build_detector(config, checkpoint)
    logger.info("computing on %s in %s", device_name(chosen), precision)
    unread = Checkpoint(checkpoint.path, checkpoint.source, checkpoint.model)  # with no hash yet
    again = partial(load_detector, config, unread)
    return LoadedDetector(detector.to(chosen), config, chosen, checkpoint, again=again)


def config_digest(config: Config) -> str:
    """Digest of the settings that predictions depend on (``Config.predicting``)."""
    settings = config.predicting()
    ours = {key.removeprefix("lnclip."): value for key, value in settings.items() if key.startswith("lnclip.")}
    return digest([{key: value for key, value in settings.items() if not key.startswith("lnclip.")}, ours])


def videos_digest(videos: list[Video]) -> str:
    """Digest of a video list with its labels and frames."""
    return digest([(video.key, video.label, video.frames) for video in videos])


def provenance_of_frames(loaded: LoadedDetector, frames: FrameDataset, dataset: str, split: str) -> Provenance:
    """What predictions of chosen frames of a dataset depend on."""
    items = [(frames.videos[video].key, frames.videos[video].label, frame) for video, frame in frames.items]
    return Provenance(
        weights=loaded.record, train_dataset=loaded.config.train_dataset, config_sha256=config_digest(loaded.config),
        dataset=dataset, split=split, frames_sha256=digest(items),
    )  # fmt: skip


def are_finished(path, provenance: Provenance) -> bool:
    """Whether ``path`` contains the predictions that ``provenance`` describes; a damaged file does not count."""
    try:
        return Path(path).is_file() and Provenance.from_json(read_coded(path)[1]).same_predictions(provenance)
    except LNCLIPError:
        return False


def predict_frames(
    loaded: LoadedDetector, frames: FrameDataset, *, title: str, progress: bool = True, scoring: Callable | None = None
) -> dict[str, Any]:
    """Predict frames, whose videos may be of several datasets, with :func:`score` or a function like it (``scoring``).

    Returns:
        As :func:`score`.

    Raises:
        LNCLIPError: no frame can be read, or one cannot (unless the configuration skips those).
    """
    config = loaded.config
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    loader = make_loader(frames, order, batch_size=config.test_batchSize, workers=config.workers, device=loaded.device)
    table = (scoring or score)(loaded.detector, loader, device=loaded.device, title=title, progress=progress)
    require_frames(table, title)
    return table


def require_frames(table: dict[str, Any], title: str):
    """Raise LNCLIPError if no frame of a table could be read."""
    if not table["frame"]:
        skipped = table["skipped"]
        raise LNCLIPError(f"{title}: none of its {len(skipped)} frames can be read; the first is {skipped[0]}")


def write_table(path, table: dict[str, Any], videos: list[Video], provenance: Provenance):
    """Write what :func:`predict_frames` returned for frames of ``videos`` as a table of predictions."""
    rows = [videos[index] for index in table["video"]]
    columns = {name: [getattr(row, name) for row in rows] for name in ("dataset", "split", "label_name", "method")}
    columns |= {"video": [row.key for row in rows], **{name: table[name] for name in ("frame", "label", "prob")}}
    write_predictions(path, columns, provenance.to_json())


def score(
    detector, loader, *, device, title: str = "", progress: bool = True, features: bool = False
) -> dict[str, Any]:
    """Probability of *fake* for every frame of a loader.

    Args:
        detector: an ``LNCLIPDetector``, moved to ``device``; its mode (training or not) is as before afterwards.
        loader: as ``make_loader`` returns it.
        device: where to compute.
        title: shown before the progress bar.
        progress: show a progress bar.
        features: also return each frame's feature.

    Returns:
        Columns, one row per frame in the dataset's order: ``index``, ``video`` (index in the dataset's ``videos``),
        ``frame`` (path), ``label`` (0 or 1), ``prob`` (in [0, 1]); and ``skipped``, the paths of unreadable frames. On
        request ``features``, one float16 row per frame.

    Raises:
        LNCLIPError: a frame cannot be read (unless the configuration skips those), or a probability is not a number.
    """
    tables = list(score_batches(detector, loader, device=device, title=title, progress=progress, features=features))
    table = join(tables)
    if features:
        order = np.argsort([index for part in tables for index in part["index"]])
        found = [part["features"] for part in tables if "features" in part]
        table["features"] = np.concatenate(found)[order] if found else np.empty((0, 0), np.float16)
    return table


def score_batches(
    detector, loader, *, device, title: str = "", progress: bool = True, features: bool = False
) -> Iterator[dict[str, Any]]:
    """Predict a loader's batches one by one: for each the columns of :func:`score`, in the loader's order.

    ``features`` is left out where no frame of a batch can be read. Arguments and errors as for :func:`score`.
    """
    from tqdm import tqdm

    training, batches = detector.training, OnDevice(loader, device)
    smaller = f"test_batchSize (now {loader.batch_size}) or workers (now {loader.num_workers})"
    try:
        with (
            enough_memory(f"lower {smaller}"), one_line_errors(),
            tqdm(batches, desc=title, unit="batch", disable=not progress, leave=False) as bar,
        ):  # fmt: skip
            detector.to(device).eval()
            for batch in bar:
                with torch.inference_mode():
                    table = _score_batch(detector, batch, features)
                yield table
    finally:
        detector.train(training)


def _score_batch(detector, batch, features):
    columns = {name: batch[name].tolist() for name in ("index", "video", "label")}
    prob = torch.empty(0)
    if len(batch["frame"]):
        predicted = detector(batch)
        prob = predicted["prob"].cpu().double()
        if features:
            columns["features"] = predicted["feat"].half().cpu().numpy()
    for frame, value in zip(batch["frame"], prob.tolist(), strict=True):
        if not 0 <= value <= 1:
            raise LNCLIPError(f"{frame}: the detector's probability is {value}, which is not within 0..1")
    return columns | {"frame": batch["frame"], "prob": prob.tolist(), "skipped": batch["skipped"]}


def join(tables: list[dict]) -> dict[str, Any]:
    """Join the tables of batches, and of processes, in the dataset's order."""
    rows = sorted(row for table in tables for row in zip(*(table[name] for name in COLUMNS), strict=True))
    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)) if rows else {n: [] for n in COLUMNS}
    return columns | {"skipped": sorted(frame for table in tables for frame in table["skipped"])}
