"""Test a detector: a table of predictions and a file of metrics for each data set."""

import hashlib
import json
import logging
import platform
import re
import time
from pathlib import Path

import torch

import lnclip_df
from lnclip_df.config.schema import Config, entries, role_of
from lnclip_df.core.devices import choose_device
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, write_json
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.datasets.frames import crop_recipes
from lnclip_df.evaluation.features import features_file, has_features, write_features
from lnclip_df.evaluation.metrics import VIDEO_SCORE, deepfakebench_video_metrics, frame_metrics, video_metrics
from lnclip_df.evaluation.predict import make_loader, score
from lnclip_df.evaluation.predictions import write_predictions
from lnclip_df.weights import Checkpoint, build_detector

logger = logging.getLogger(__name__)


def test(
    config: Config, weights, out, *, datasets=None, device=None, progress: bool = True, save_features: bool = False
) -> dict:
    """Predict every frame of some data sets' test split, and measure frames and videos.

    A data set that ``out`` already has, from the same weights, configuration and frames, is not predicted again.

    Args:
        config: see ``lnclip_df.config.loading.load_config``.
        weights: the detector's weights, as ``Checkpoint.open`` takes them.
        out: folder for ``predictions/<dataset>.parquet`` and ``metrics/<dataset>.json``.
        datasets: names; else the configuration's ``lnclip.benchmarks``, else its ``test_dataset``.
        device: torch's name of a device; else the GPU, or the CPU where there is none.
        progress: show progress bars.
        save_features: also write ``features/<dataset>.safetensors``, a float16 row a row of the predictions.

    Returns:
        ``{dataset: what its metrics file holds}``: ``frame`` and ``video`` metrics (``auroc``, ``ap``, ``eer``,
        ``accuracy``), counts, the frames that could not be read, the recipes of the crops (``crops``, and
        ``train_crops`` of training's), and what they were computed with (``trained``, ``predicted``, ``versions``, …),
        which travels with the predictions too; also
        ``video_deepfakebench`` where DeepfakeBench's grouping of frames gives other numbers.

    Raises:
        LNCLIPError: names, weights or frames are unfit, or a probability is not a number. Data sets finished before
            stay finished.
    """
    checkpoint = Checkpoint.open(weights)
    names = _dataset_names(config, datasets)
    videos = {name: read_videos(config, [name], "test") for name in names}
    detector, facts = build_detector(config, checkpoint), checkpoint.facts
    _warn_of_other_preprocessing(config, facts)
    device = choose_device(device)
    provenance = {
        "weights": {"path": str(checkpoint), "sha256": checkpoint.sha256, "epoch": facts.epoch},
        "train_dataset": (facts.config or config.to_dict()).get("train_dataset", []),
        "train_crops": facts.crops or {},
        "config_sha256": _digest(_what_predicts(config)),
        **_record(config, facts, device),
    }
    results = {}
    for name in names:
        crops = crop_recipes(config, videos[name])
        _warn_of_other_crops(name, crops, provenance["train_crops"])
        identity = provenance | {
            "dataset": name,
            "split": "test",
            "videos_sha256": _digest(_identity(videos[name])),
            "crops": crops,
            "faces_missing": sum(max(0, config.frame_num.test - len(video.frames)) for video in videos[name]),
        }
        results[name] = _finished(out, name, identity)
        if results[name] is None or (save_features and not has_features(features_file(out, name), identity)):
            results[name] = _test_one(config, detector, videos[name], out, identity, device, progress, save_features)
        else:
            logger.info("%s: finished before with these weights and this configuration", name)
    return results


def _test_one(config, detector, videos, out, identity, device, progress, save_features):
    started = time.monotonic()
    name = identity["dataset"]
    frames = FrameDataset(config, videos, frames_per_video=config.frame_num.test)
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    loader = make_loader(frames, order, batch_size=config.test_batchSize, workers=config.workers)
    table = score(detector, loader, device=device, title=name, progress=progress, features=save_features)
    if not table["frame"]:
        raise LNCLIPError(f"{name}: none of its {len(frames)} frames can be read, {table['skipped'][0]} the first")
    result = identity | {
        **_metrics(table),
        "videos": len(set(table["video"])),
        "frames": len(table["frame"]),
        "skipped_frames": table["skipped"],
        "seconds": round(time.monotonic() - started, 3),
    }
    predictions, metrics = _files(out, name)
    metrics.unlink(missing_ok=True)
    features_file(out, name).unlink(missing_ok=True)
    if save_features:
        write_features(features_file(out, name), table["features"], identity)
    write_predictions(predictions, _predictions(table, videos), identity)
    write_json(metrics, result)
    return result


def _metrics(table):
    label, prob = table["label"], table["prob"]
    metrics = {"frame": frame_metrics(label, prob), "video": video_metrics(table["video"], label, prob)}
    theirs = deepfakebench_video_metrics(table["frame"], label, prob)
    return metrics | ({"video_deepfakebench": theirs} if theirs != metrics["video"] else {})


def _predictions(table, videos):
    of_row = [videos[place] for place in table["video"]]
    return {
        "dataset": [video.dataset for video in of_row],
        "split": [video.split for video in of_row],
        "label_name": [video.label_name for video in of_row],
        "method": [video.method for video in of_row],
        "video": [video.key for video in of_row],
        "frame": table["frame"],
        "label": table["label"],
        "prob": table["prob"],
    }


def _finished(out, name, identity):
    """What an earlier test of the same identity left, or None."""
    predictions, metrics = _files(out, name)
    if not (predictions.is_file() and metrics.is_file()):
        return None
    try:
        result = read_json(metrics)
    except LNCLIPError:  # a damaged file is made again
        return None
    same = isinstance(result, dict) and _comparable(result) == _comparable(identity)
    return result if same else None


def _comparable(facts):
    keys = ("dataset", "split", "config_sha256", "videos_sha256", "crops")
    weights = facts.get("weights")
    return [facts.get(key) for key in keys] + [weights.get("sha256") if isinstance(weights, dict) else None]


def _files(out, name):
    return Path(out) / "predictions" / f"{name}.parquet", Path(out) / "metrics" / f"{name}.json"


def _warn_of_other_preprocessing(config, facts):
    """Say which keys make the frames look otherwise than in training."""
    if not facts.config:
        return
    before = dict(entries(facts.config))
    for key, now in config.predicting().items():
        if role_of(key).stage == "input" and before.get(key) != now:
            logger.warning("%s is %s here and was %s in training", key, now, before.get(key))


def _warn_of_other_crops(name, crops, trained):
    """Say where faces were cut out in several ways, or otherwise than those of training."""
    if len(crops) > 1:
        logger.warning("%s: its crops are of several recipes: %s", name, ", ".join(crops))
    if trained and not crops.keys() <= trained.keys():
        logger.warning(
            "%s: its crops are of recipe %s, and the weights were trained on %s: its figures are not comparable with "
            "those of one recipe", name, ", ".join(crops), ", ".join(trained),
        )  # fmt: skip


def _dataset_names(config, datasets):
    names = list(dict.fromkeys(datasets or config.lnclip.benchmarks or config.test_dataset))
    if not names:
        raise LNCLIPError("no data set to test on: name one with --datasets, lnclip.benchmarks or test_dataset")
    for name in names:
        if not re.fullmatch(r"\w[\w.+ -]{0,99}", name):
            raise LNCLIPError(f"data set {name!r}: the name becomes a file's; use letters, digits and . _ + -")
    return names


def _what_predicts(config):
    """DeepfakeBench's keys and ours, apart: the form whose digest predictions carry."""
    top, ours = {}, {}
    for key, value in config.predicting().items():
        section = ours if key.startswith("lnclip.") else top
        section[key.removeprefix("lnclip.")] = value
    return [top, ours]


def _record(config, facts, device):
    """What a figure owes to training and to the test's settings, kept beside it so that two figures can be compared."""
    settings, ours = _what_predicts(config)
    settings["frame_num"] = config.frame_num.test
    trained = {key: value for key, value in facts.config.items() if key != "label_dict"}
    return {
        "trained": {"config": trained, "seed": facts.seed, "selection": facts.selection},
        "predicted": settings | {f"lnclip.{key}": value for key, value in ours.items() if key != "data_root"},
        "metric": VIDEO_SCORE,
        "versions": _versions(),
        "device": str(device),
    }


def _identity(videos):
    return [(video.key, video.label, video.frames) for video in videos]


def _digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _versions():
    return {"lnclip_df": lnclip_df.__version__, "torch": torch.__version__, "python": platform.python_version()}
