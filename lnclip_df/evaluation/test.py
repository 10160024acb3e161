"""Test a detector: a table of predictions and a metrics file for each dataset."""

import logging
import re
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from lnclip_df.config.schema import Config, entries, role_of
from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable, read_json, write_json
from lnclip_df.core.provenance import Provenance, TrainingRecord, versions
from lnclip_df.core.tables import aligned_lines, percent
from lnclip_df.datasets.dataset_json import Video, read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.datasets.frames import crop_recipes
from lnclip_df.evaluation.features import features_file, has_features, write_features
from lnclip_df.evaluation.metrics import VIDEO_SCORE, deepfakebench_video_metrics, frame_metrics, video_metrics
from lnclip_df.evaluation.predict import (
    LoadedDetector,
    config_digest,
    load_detector,
    predict_frames,
    score,
    videos_digest,
    write_table,
)
from lnclip_df.faces.recipes import named_recipes
from lnclip_df.media.recipe import departure

logger = logging.getLogger(__name__)


def test(
    config: Config, weights, out, *, datasets=None, device=None, progress: bool = True, save_features: bool = False
) -> dict:
    """Predict every frame of the test splits of datasets, and compute metrics of frames and videos.

    A dataset that ``out`` already has, from the same weights, configuration and frames, is not predicted again.

    Args:
        config: see ``lnclip_df.config.loading.load_config``.
        weights: the detector's weights, as ``lnclip_df.weights.load_weights`` takes them; or a ``LoadedDetector``, as
            ``lnclip_df.evaluation.external.load_external`` returns it, with its configuration.
        out: folder for ``predictions/<dataset>.parquet`` and ``metrics/<dataset>.json``.
        datasets: names; else the configuration's ``lnclip.benchmarks``, else its ``test_dataset``.
        device: torch's name of a device; else the GPU, or the CPU where there is none.
        save_features: also write ``features/<dataset>.safetensors``, one float16 row per prediction.

    Returns:
        ``{dataset: content of its metrics file}``: ``frame`` and ``video`` metrics (``auroc``, ``ap``, ``eer``,
        ``accuracy``), counts, the frames that could not be read, and the ``Provenance`` of the predictions; also
        ``video_deepfakebench`` where DeepfakeBench's grouping of frames gives other numbers.

    Raises:
        LNCLIPError: names, weights or frames are invalid, or a probability is not a number. Datasets that are finished
            stay so.
    """
    names = _dataset_names(config, datasets)
    check_writable(out, folder=True)
    videos = {name: read_videos(config, [name], "test") for name in names}
    loaded = weights if isinstance(weights, LoadedDetector) else load_detector(config, weights, device)
    _warn_of_other_preprocessing(config, loaded.weights.facts)
    common, results = _provenance(loaded), {}
    found = {name: crop_recipes(config, videos[name]) for name in names}
    _warn_of_other_crops(found, loaded.weights.facts)
    _warn_of_another_recipe(found, loaded.weights)
    for name in names:
        crops, recipes = found[name]
        provenance = replace(
            common, dataset=name, split="test", crops=crops, recipes=recipes | (common.recipes or {}),
            videos_sha256=videos_digest(videos[name]),
            faces_missing=sum(max(0, config.frame_num.test - len(video.frames)) for video in videos[name]),
        )  # fmt: skip
        finished = finished_result(out, provenance)
        if finished is None or (save_features and not has_features(features_file(out, name), provenance)):
            results[name] = _test_one(loaded, videos[name], out, provenance, progress, save_features)
        else:
            logger.info("%s: finished before with these weights and this configuration", name)
            results[name] = finished
    return results


def _test_one(loaded, videos, out, provenance, progress, save_features):
    started = time.monotonic()
    name, count = provenance.dataset, loaded.config.frame_num.test
    frames = FrameDataset(loaded.config, videos, frames_per_video=count, transform=loaded.transform)
    scoring = partial(score, features=save_features)
    table = predict_frames(loaded, frames, title=name, progress=progress, scoring=scoring)
    features_file(out, name).unlink(missing_ok=True)
    if save_features:
        write_features(features_file(out, name), table["features"], provenance)
    return write_result(out, provenance, table, videos, seconds=time.monotonic() - started)


def write_result(out, provenance: Provenance, table: dict, videos: list[Video], seconds: float | None = None) -> dict:
    """Write the predictions of a dataset, and their metrics, which it returns.

    Args:
        out: see :func:`test`.
        table: the columns of ``lnclip_df.evaluation.predict.score`` for frames of ``videos``.
        seconds: how long the prediction took.
    """
    result = provenance.to_json() | {
        **_metrics(table),
        "videos": len(set(table["video"])),
        **_counts(table),
        "frames": len(table["frame"]),
        "skipped_frames": table["skipped"],
        "seconds": None if seconds is None else round(seconds, 3),
    }
    predictions, metrics = _files(out, provenance.dataset)
    metrics.unlink(missing_ok=True)
    write_table(predictions, table, videos, provenance)
    write_json(metrics, result)
    return result


def report(results: dict[str, dict]) -> str:
    """The table of the datasets' video metrics for a terminal."""
    rows = [["data set", "videos", "frames", "AUROC", "AP", "EER", "accuracy", "crops"]]
    for name, result in results.items():
        skipped = f" ({len(result['skipped_frames'])} frames skipped)" if result["skipped_frames"] else ""
        video = [percent(result["video"][key]) for key in ("auroc", "ap", "eer", "accuracy")]
        video[0] += enough.mark(result.get("reals"), result.get("fakes"))
        crops = ", ".join(result["crops"]) + skipped
        rows.append([name, str(result["videos"]), str(result["frames"]), *video, crops])
    text = "\n".join(aligned_lines(rows))
    return text + enough.note(text).rstrip()


def _counts(table) -> dict[str, int]:
    """The number of real and of fake videos."""
    fakes = len({video for video, label in zip(table["video"], table["label"], strict=True) if label})
    return {"reals": len(set(table["video"])) - fakes, "fakes": fakes}


def _metrics(table):
    label, prob = table["label"], table["prob"]
    metrics = {"frame": frame_metrics(label, prob), "video": video_metrics(table["video"], label, prob)}
    theirs = deepfakebench_video_metrics(table["frame"], label, prob)
    return metrics | ({"video_deepfakebench": theirs} if theirs != metrics["video"] else {})


def finished_result(out, provenance: Provenance) -> dict | None:
    """What an earlier test with the same predictions left, or None."""
    predictions, metrics = _files(out, provenance.dataset)
    if not (predictions.is_file() and metrics.is_file()):
        return None
    try:
        result = read_json(metrics)
    except LNCLIPError:  # a damaged file is written again
        return None
    return result if Provenance.from_json(result).same_predictions(provenance) else None


def _files(out, name):
    return Path(out) / "predictions" / f"{name}.parquet", Path(out) / "metrics" / f"{name}.json"


def _warn_of_other_preprocessing(config, facts):
    """Warn of the keys by which frames are prepared differently from training."""
    if not facts.config:
        return
    before = dict(entries(facts.config))
    for key, now in config.predicting().items():
        if role_of(key).stage == "input" and before.get(key) != now:
            logger.warning("%s is %s here and was %s in training", key, now, before.get(key))


def _warn_of_other_crops(found, trained):
    """Warn once of faces that were cropped in several ways, and once of those cropped differently from training."""
    if mixed := [f"{name} ({', '.join(crops)})" for name, (crops, _) in found.items() if len(crops) > 1]:
        logger.warning("crops of several recipes are mixed in %s", "; ".join(mixed))
    others: dict[str, list[str]] = {}
    for name, (crops, facts) in found.items():
        if text := departure(crops, trained.crops or {}, facts | trained.recipes):
            others.setdefault(text, []).append(name)
    if others:
        shown = "; ".join(f"{', '.join(names)} ({text})" for text, names in others.items())
        logger.warning(
            "the crops differ from those of the training, so that figures are not comparable with others: %s", shown
        )


def _warn_of_another_recipe(found, weights):
    """Warn once of faces that were cropped otherwise than those that a released model was trained on."""
    if weights.model is None:
        return
    its = named_recipes()[weights.model.recipe]
    others = [
        f"{name} ({', '.join(crops)})" for name, (crops, facts) in found.items()
        if not all(its.made(facts.get(recipe, {})) for recipe in crops)
    ]  # fmt: skip
    if others:
        logger.warning(
            "%s was trained on crops of recipe %s, and figures on other crops are not comparable with its own: %s",
            weights, weights.model.recipe, "; ".join(others),
        )  # fmt: skip


def _dataset_names(config, datasets):
    names = list(dict.fromkeys(datasets or config.lnclip.benchmarks or config.test_dataset))
    if not names:
        raise LNCLIPError("no dataset to test on: name one in datasets, lnclip.benchmarks or test_dataset")
    for name in names:
        if not re.fullmatch(r"\w[\w.+ -]{0,99}", name):
            raise LNCLIPError(f"dataset {name!r}: the name becomes a file's; use letters, digits and . _ + -")
    return names


def _provenance(loaded):
    """The provenance that all datasets share: weights, training and settings."""
    config, facts = loaded.config, loaded.weights.facts
    predicted = {key: value for key, value in config.predicting().items() if key != "lnclip.data_root"}
    trained = {key: value for key, value in facts.config.items() if key != "label_dict"}
    return Provenance(
        weights=loaded.record,
        train_dataset=(facts.config or config.to_dict()).get("train_dataset", []),
        train_crops=facts.crops or {},
        recipes=facts.recipes,
        config_sha256=config_digest(config),
        trained=TrainingRecord(trained, facts.seed, facts.selection),
        predicted=predicted | {"frame_num": config.frame_num.test},
        metric=VIDEO_SCORE,
        versions=versions(),
        device=str(loaded.device),
    )
