"""Test a detector: a table of predictions and a metrics file for each dataset."""

import logging
import re
from dataclasses import replace
from pathlib import Path

from lnclip_df.config.schema import Config, entries, role_of
from lnclip_df.core import enough
from lnclip_df.core.devices import device_names
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable, read_json, write_json
from lnclip_df.core.iteration import part_of
from lnclip_df.core.provenance import Provenance, TrainingRecord, versions
from lnclip_df.core.tables import aligned_lines, percent
from lnclip_df.datasets.dataset_json import Video, read_videos
from lnclip_df.datasets.frames import crop_recipes
from lnclip_df.datasets.schema import named_faces
from lnclip_df.evaluation.features import features_file, has_features, write_features
from lnclip_df.evaluation.metrics import VIDEO_SCORE, deepfakebench_video_metrics, frame_metrics, video_metrics
from lnclip_df.evaluation.parts import Parts
from lnclip_df.evaluation.predict import (
    LoadedDetector,
    config_digest,
    load_detector,
    require_frames,
    videos_digest,
    write_table,
)
from lnclip_df.evaluation.shards import Share, frames_of, helped, predict_share
from lnclip_df.faces.recipes import named_recipes
from lnclip_df.media.recipe import departure

logger = logging.getLogger(__name__)


def test(
    config: Config, weights, out, *, datasets=None, device=None, progress: bool = True, save_features: bool = False,
    shard: str | None = None, devices: int | str = 1,
) -> dict:  # fmt: skip
    """Predict every frame of the test splits of datasets, and compute metrics of frames and videos.

    A dataset that ``out`` already has, from the same weights, configuration and frames, is not predicted again. What is
    predicted of the others is written regularly to ``parts/<dataset>/``, so that a test that was ended continues, and
    several processes and machines can share one; when all is there it is joined. Without ``shard``, parts of a test
    with other weights or settings are removed.

    Args:
        config: see ``lnclip_df.config.loading.load_config``.
        weights: the detector's weights, as ``lnclip_df.weights.load_weights`` takes them; or a ``LoadedDetector``, as
            ``lnclip_df.evaluation.external.load_external`` returns it, with its configuration.
        out: folder for ``predictions/<dataset>.parquet`` and ``metrics/<dataset>.json``.
        datasets: names; else the configuration's ``lnclip.benchmarks``, else its ``test_dataset``.
        device: torch's name of a device; else the GPU, or the CPU where there is none.
        save_features: also write ``features/<dataset>.safetensors``, one float16 row per prediction.
        shard: ``i/n``: predict only the i-th of n shares of the batches. The last shard to finish joins all.
        devices: how many devices of this machine predict, or which, see ``lnclip_df.core.devices.device_names``; each
            has a process of its own. The predictions are those of one device.

    Returns:
        ``{dataset: content of its metrics file}``: ``frame`` and ``video`` metrics (``auroc``, ``ap``, ``eer``,
        ``accuracy``), counts, the frames that could not be read, and the ``Provenance`` of the predictions; also
        ``video_deepfakebench`` where DeepfakeBench's grouping of frames gives other numbers. With ``shard``, datasets
        of which other shards are not finished are left out.

    Raises:
        LNCLIPError: names, weights or frames are invalid, a probability is not a number, or with ``shard``, ``out``
            contains parts of another test. Datasets that are finished stay so, and so do parts.
    """
    names = _dataset_names(config, datasets)
    part_of(shard)
    check_writable(out, folder=True)
    videos = {name: read_videos(config, [name], "test") for name in names}
    device = weights.device.type if isinstance(weights, LoadedDetector) else device
    first, *others = device_names(device, devices)
    loaded = weights if isinstance(weights, LoadedDetector) else load_detector(config, weights, first)
    _warn_of_other_preprocessing(config, loaded.weights.facts)
    found = {name: crop_recipes(config, videos[name]) for name in names}
    _warn_of_other_crops(found, loaded.weights.facts)
    _warn_of_another_recipe(found, loaded.weights)
    common, tests, results = _provenance(loaded), {}, {}
    for name, (crops, recipes) in found.items():
        provenance = replace(
            common, dataset=name, split="test", crops=crops, recipes=recipes | (common.recipes or {}),
            videos_sha256=videos_digest(videos[name]),
            faces_missing=sum(max(0, config.frame_num.test - len(video.frames)) for video in videos[name]),
        )  # fmt: skip
        parts = Parts(out, provenance, loaded.config.test_batchSize, save_features)
        results[name] = _finished(out, parts)
        if results[name] is None:
            parts.prepare(shared=shard is not None)
            tests[name] = parts
        else:
            logger.info("%s: finished before with these weights and this configuration", name)
    with helped(loaded, others if tests else [], list(tests.values()), shard) as check:
        for name, parts in tests.items():
            frames, share = frames_of(loaded, videos[name]), Share(shard, processes=1 + len(others))
            predict_share(loaded, frames, parts, share, progress=progress, check=check)
            results[name] = _joined(out, parts, frames)
    for name in (name for name in tests if results[name] is None):
        frames = frames_of(loaded, videos[name])
        results[name] = _joined(out, tests[name], frames)  # the other processes of this machine are finished now
        if results[name] is None:
            _say_missing(tests[name], frames, shard)
    return {name: result for name, result in results.items() if result is not None}


def _finished(out, parts) -> dict | None:
    """The content of the metrics file, where predictions, metrics and features are there; parts are then removed."""
    result, provenance = finished_result(out, parts.provenance), parts.provenance
    if result is None or (parts.features and not has_features(features_file(out, provenance.dataset), provenance)):
        return None
    parts.remove()
    return result


def _joined(out, parts, frames) -> dict | None:
    """Join the parts of a dataset into its files, and return its metrics; None where parts are missing."""
    joined, name = parts.join(frames), parts.provenance.dataset
    if finished := _finished(out, parts):  # another process was quicker
        return finished
    if joined is None:
        return None
    table, seconds = joined
    if not table["frame"]:
        parts.remove()
    require_frames(table, name)
    if parts.features:
        write_features(features_file(out, name), table["features"], parts.provenance)
    elif not has_features(features_file(out, name), parts.provenance):
        features_file(out, name).unlink(missing_ok=True)
    result = write_result(out, parts.provenance, table, frames.videos, seconds=seconds)
    parts.remove()
    return result


def _say_missing(parts, frames, shard):
    """Say which shards of a dataset are not finished; LNCLIPError where the test is not shared."""
    if shard is None:
        raise LNCLIPError(f"{parts.folder} was removed during the test; run it again")
    count = part_of(shard).step
    shards = sorted({number % count + 1 for number in parts.missing(frames)})
    logger.info(
        "%s: shard %s is finished, but there are no metrics yet, because shards are missing: %s of %d. The last shard "
        "to finish writes predictions and metrics; a later call of this command does so too",
        parts.provenance.dataset, shard, ", ".join(map(str, shards)), count,
    )  # fmt: skip


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
    if metrics.is_file() and finished_result(out, provenance) is None:  # else another process may have just written it
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
    mixtures = {
        name: departure(crops, list(crops)[:1], facts, named_faces=named_faces([name]))
        for name, (crops, facts) in found.items()
    }
    if mixed := [f"{name} ({text})" for name, text in mixtures.items() if text]:
        logger.warning("crops of several recipes are mixed in %s", "; ".join(mixed))
    others: dict[str, list[str]] = {}
    for name, (crops, facts) in found.items():
        own = named_faces([name, *trained.train_dataset])
        if text := departure(crops, trained.crops or {}, facts | trained.recipes, named_faces=own):
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
