"""Predictions that a study needs and a test does not write: of the validation set, and of altered frames."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from lnclip_df.config.schema import Config
from lnclip_df.core.devices import choose_device
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.evaluation.predict import make_loader, score
from lnclip_df.evaluation.predictions import read_coded, write_predictions
from lnclip_df.weights import Checkpoint, build_detector


@dataclass(frozen=True)
class Loaded:
    """A detector, its configuration, the device it computes on, and its weights."""

    detector: torch.nn.Module
    config: Config
    device: torch.device
    weights: Checkpoint


def load(config: Config, weights, device: str | None = None) -> Loaded:
    """Build a detector with its weights on a device, the GPU by default where there is one.

    Raises:
        LNCLIPError: the weights do not fit, or there is no such device.
    """
    checkpoint = Checkpoint.open(weights)
    detector = build_detector(config, checkpoint)
    device = choose_device(device)
    return Loaded(detector.to(device), config, device, checkpoint)


def identity(loaded: Loaded, frames: FrameDataset) -> dict:
    """What predictions depend on: the weights, the settings that prepare a frame, the videos and their frames."""
    config, weights = loaded.config, loaded.weights
    items = [(frames.videos[video].key, frames.videos[video].label, frame) for video, frame in frames.items]
    return {
        "weights": {"path": str(weights.path), "sha256": weights.sha256, "epoch": weights.facts.epoch},
        "train_dataset": config.train_dataset,
        "config_sha256": _digest(config.predicting()),
        "frames_sha256": _digest(items),
    }


def finished(path, facts: dict) -> bool:
    """Whether ``path`` holds the predictions that ``facts`` describe."""
    if not Path(path).is_file():
        return False
    try:
        found = read_coded(path)[1]
    except LNCLIPError:  # a damaged file is made again
        return False
    return _comparable(found) == _comparable(facts)


def predict(loaded: Loaded, frames: FrameDataset, path, facts: dict, *, title: str, progress: bool, scoring=score):
    """Predict frames and write the table, unless ``path`` holds it already.

    Args:
        loaded: see ``load``.
        frames: the frames; their videos may be of several datasets.
        path: the Parquet file.
        facts: metadata, with ``identity``'s among them; a file with the same is left as it is.
        title: shown before the progress bar.
        progress: show one.
        scoring: as ``lnclip_df.evaluation.predict.score``, which it is by default.

    Raises:
        LNCLIPError: no frame, or not every one, can be read.
    """
    if finished(path, facts):
        return
    config = loaded.config
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    loader = make_loader(frames, order, batch_size=config.test_batchSize, workers=config.workers)
    table = scoring(loaded.detector, loader, device=loaded.device, title=title, progress=progress)
    if not table["frame"]:
        raise LNCLIPError(f"{title}: none of its {len(frames)} frames can be read, {table['skipped'][0]} the first")
    rows = [frames.videos[place] for place in table["video"]]
    columns = {name: [getattr(row, name) for row in rows] for name in ("dataset", "split", "label_name")}
    columns |= {"video": [row.key for row in rows], **{name: table[name] for name in ("frame", "label", "prob")}}
    write_predictions(path, columns, facts)


def _comparable(facts):
    """Without where the weights lie."""
    weights = facts.get("weights")
    return facts | {"weights": weights.get("sha256") if isinstance(weights, dict) else None}


def _digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
