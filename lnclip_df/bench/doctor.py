"""Check whether LNCLIP-DF can run in an environment and a DeepfakeBench checkout."""

import os
from collections import defaultdict
from pathlib import Path

from lnclip_df.bench.checkout import (
    DETECTORS,
    SHIM,
    TEST_CONFIG,
    TRAIN_CONFIG,
    json_path,
    open_checkout,
    predictor_path,
    test_settings,
    train_settings,
)
from lnclip_df.bench.dataset_json import read_videos, steps_per_epoch
from lnclip_df.bench.edits import our_labels
from lnclip_df.bench.install import install
from lnclip_df.bench.probe import probe
from lnclip_df.config.files import bench_configs
from lnclip_df.config.schema import Settings
from lnclip_df.config.validation import validate
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.findings import Finding
from lnclip_df.media.crop_files import is_file
from lnclip_df.models.backbones import processor_of

SAMPLED_VIDEOS = 50


def doctor(checkout, *, detector_path=None) -> list[Finding]:
    """Check this environment and a checkout; change nothing in it.

    Once the detector is installed, ``train.py`` and ``test.py`` run on two items of each data set, with the detector
    and its weights, which are downloaded if they are not here.

    Args:
        detector_path: the scripts' argument of that name, from the checkout's root; by default ``lnclip.yaml``, the
            packaged one if it does not exist.

    Returns:
        Findings in the order of a setup: environment, checkout, configuration, data, scripts. A ``problem`` means that
        training or testing fails, or gives wrong results.
    """
    try:
        root = open_checkout(checkout)
    except LNCLIPError as error:
        return [Finding("checkout", "problem", str(error))]
    yaml = root / (detector_path or "lnclip.yaml")
    if detector_path is None and not yaml.is_file():
        yaml = bench_configs() / "lnclip.yaml"
    rehearsed = yaml if yaml.is_file() and (root / SHIM).is_file() else None
    environment, scripts = _environment(root, rehearsed)
    return [*environment, *_checkout(root), *_settings(root, yaml), *scripts]


def _settings(root, yaml):
    """Findings on configuration and data."""
    try:
        train, test = train_settings(root, yaml), test_settings(root, yaml)
        return [*_configuration(train, test, our_labels(root)), *_data(root, train, test)]
    except LNCLIPError as error:
        return [Finding("configuration", "problem", str(error))]
    except (KeyError, TypeError, AttributeError) as error:
        found = f"{yaml}: {type(error).__name__} {error}"
        return [Finding("configuration", "problem", found, "fix the YAML")]


def _environment(root, yaml):
    """Findings on the environment, and those on the two scripts."""
    try:
        found = probe(root, yaml)
    except LNCLIPError as error:
        return [Finding("environment", "problem", str(error), "install lnclip-df again")], []
    versions = found["versions"]
    findings = [*_packages(found), _opencv(versions["opencv-python"], versions["opencv-python-headless"])]
    if found["gpus"]:
        findings.append(Finding("GPU", "ok", f"{found['gpus']} found"))
    else:
        gpu = "none; DeepfakeBench calls CUDA at import"
        findings.append(Finding("GPU", "warning", gpu, "run it with lnclip-df bench-run"))
    return findings, [_script(name, stopped) for name, stopped in found["scripts"].items()]


def _script(name, stopped):
    if stopped is None:
        return Finding(name, "ok", "two items of each data set pass through it, to the metrics")
    return Finding(name, "problem", f"it stops: {stopped}", "fix that and run doctor again")


def _packages(found):
    versions = found["versions"]
    if found["absent"]:
        yield Finding("packages", "problem", f"missing: {', '.join(found['absent'])}", "pip install them")
    if versions["numpy"] and int(versions["numpy"].split(".")[0]) >= 2:
        yield Finding("numpy", "problem", f"{versions['numpy']}; imgaug needs 1.x", "pip install 'numpy<2'")
    if versions["albumentations"] not in (None, "1.3.1"):
        version = f"{versions['albumentations']}; DeepfakeBench's augmentation is written for 1.3.1"
        yield Finding("albumentations", "problem", version, "pip install albumentations==1.3.1")
    if found["import_error"]:
        error = f"DeepfakeBench cannot be imported: {found['import_error']}"
        yield Finding("import", "problem", error, "fix that first")
    elif not found["absent"]:
        yield Finding("import", "ok", "DeepfakeBench's datasets, detectors and trainer can be imported")


def _opencv(full, headless):
    if full and headless and full != headless:
        found = f"opencv-python {full} and opencv-python-headless {headless} share the folder cv2"
        return Finding("opencv", "warning", found, f"pip install opencv-python=={headless}")
    return Finding("opencv", "ok", full or headless or "no wheel is installed")


def _checkout(root):
    predictor = predictor_path(root)
    if (root / predictor).is_file():
        yield Finding("predictor", "ok", f"{predictor} exists")
    else:
        fix = "run it with lnclip-df bench-run, or put any dlib predictor there under that name"
        yield Finding("predictor", "warning", f"{predictor} is missing, without which train.py cannot start", fix)
    try:
        plan = install(root, dry_run=True)
    except LNCLIPError as error:
        yield Finding("installation", "problem", str(error))
        return
    lines = plan.splitlines()
    edits = [line for line in lines if line.startswith(("+++ ", "new file ", "deleted "))]
    changed = [line.split()[-1].removeprefix("b/") for line in edits]
    if changed:
        status = "warning" if {SHIM, DETECTORS, TRAIN_CONFIG, TEST_CONFIG}.isdisjoint(changed) else "problem"
        found = f"not written or not up to date: {', '.join(changed)}"
        yield Finding("installation", status, found, "run lnclip-df install")
    else:
        kept = "".join(f"; {line}" for line in lines if line.startswith("kept "))
        yield Finding("installation", "ok", f"complete{kept}")


def _configuration(train, test, labels):
    ours = validate(Settings, train.get("lnclip") or {}, "configuration", "lnclip")
    for name, config in ((TRAIN_CONFIG, train), (TEST_CONFIG, test)):
        yield _lmdb(name, config)
        missing = sorted(labels.keys() - (config.get("label_dict") or {}).keys())
        if missing:
            found = f"{len(missing)} labels of lnclip-df are missing from label_dict, for example {missing[0]}"
            yield Finding(f"labels in {Path(name).name}", "warning", found, "run lnclip-df install")
    if train.get("lr_scheduler") is not None:
        found = f"{train['lr_scheduler']!r} has no effect: lnclip.schedule sets the learning rate"
        yield Finding("lr_scheduler", "warning", found, "set it to null")
    if train["optimizer"]["type"] == "sam":
        yield Finding("optimizer", "problem", "sam: lnclip.schedule does not reach its learning rate", "use adam")
    if ours.resize == "backbone" and train.get("resolution") == processor_of(ours.backbone).size:
        found = f"{train['resolution']} is the backbone's own size: OpenCV resizes to it, not lnclip.resize: backbone"
        yield Finding("resolution", "warning", found, "set it to the size of the crops (256)")
    others = [name for name in test.get("test_dataset") or [] if name not in ours.val_dataset]
    if others:
        found = f"train.py would choose its checkpoint on {', '.join(others)}"
        yield Finding("test_dataset", "warning", found, f"train with --test_dataset {' '.join(ours.val_dataset)}")


def _lmdb(name, config):
    title = f"lmdb in {Path(name).name}"
    if not config.get("lmdb"):
        return Finding(title, "ok", f"false: PNG files, JSONs from {config['dataset_json_folder']}")
    found = f"true: frames from {config.get('lmdb_dir')}/<dataset>_lmdb, JSONs from {config['dataset_json_folder']}"
    return Finding(title, "warning", found, f"set lmdb: False in {name} to read PNG files")


def _data(root, train, test):
    for name in train.get("train_dataset") or []:
        yield from _dataset(root, train, name, "train")
    same = all(train.get(key) == test.get(key) for key in ("lmdb", "dataset_json_folder", "label_dict"))
    for name in test.get("test_dataset") or []:
        yield from _dataset(root, test, name, "test", by="test.py")
        if not same:
            yield from _dataset(root, train, name, "test")
    try:
        steps = steps_per_epoch(train, root=root)
    except LNCLIPError:
        return
    if steps == 1 and train["nEpochs"]:
        fix = f"lower train_batchSize ({train['train_batchSize']}): the second epoch would divide by zero"
        yield Finding("train loader", "problem", "one step per epoch", fix)
    else:
        yield Finding("train loader", "ok", f"{steps} steps per epoch in one process")


def _dataset(root, config, name, split, by="train.py"):
    title, path = f"{name} {split} ({by})", json_path(root, config, name)
    if not path.is_file():
        yield Finding(title, "problem", f"cannot read {path}: no such file", "write it with lnclip-df rearrange")
        return
    try:
        videos = read_videos(path, name, split, config["compression"])
    except LNCLIPError as error:
        yield Finding(title, "problem", str(error))
        return
    findings = [
        *_labels(config, videos),
        *([] if config.get("lmdb") else _paths(root, videos)),
        *_extra_frames(config, split, videos),
        *_shared_names(videos),
    ]
    for status, found, fix in findings or [("ok", f"{len(videos)} videos", "")]:
        yield Finding(title, status, found, fix)


def _labels(config, videos):
    unknown = sorted({video.label for video in videos} - (config.get("label_dict") or {}).keys())
    if unknown:
        yield "problem", f"labels {', '.join(unknown)} are not in label_dict", "run lnclip-df install"


def _paths(root, videos):
    empty = [video.name for video in videos if not video.frames]
    if empty:
        yield "problem", f"{len(empty)} videos have no frame, for example {empty[0]}", "write the JSON again"
        return
    first = [video.frames[0] for video in videos]
    wrong = [path for path in first if not path.startswith(".")]
    if wrong:
        found = f"{len(wrong)} videos have frame paths that DeepfakeBench never finds, for example {wrong[0]!r}"
        yield "problem", found, "begin them with ./ (from the checkout's root)"
        return
    sample = first[:: max(1, len(first) // SAMPLED_VIDEOS)]
    missing = [path for path in sample if not _has_bytes(os.path.join(root, path))]
    tarred = [path for path in missing if is_file(root / path)]
    if tarred:
        found = f"{len(tarred)} of {len(sample)} frames checked are in tars, for example {tarred[0]}"
        yield "problem", found, "DeepfakeBench reads files and LMDB: unpack the tars, or run lnclip-df lmdb"
        return
    if missing:
        found = f"{len(missing)} of {len(sample)} frames checked are missing or empty, for example {missing[0]}"
        yield "problem", found, "write them and the JSON again: DeepfakeBench reads no pack, and would use other frames"


def _has_bytes(path):
    return os.path.isfile(path) and os.path.getsize(path) > 0


def _extra_frames(config, split, videos):
    frame_num = config["frame_num"][split]
    longer = sum(len(video.frames) > frame_num for video in videos)
    if longer:
        found = f"{longer} of {len(videos)} videos have more than frame_num {frame_num} frames; it takes the first ones"
        fix = f"list {frame_num} evenly spaced frames in the JSON"
        if split == "train" and (config.get("lnclip") or {}).get("train_frames") == "random":
            fix = f"write the JSON with lnclip-df rearrange --draw {frame_num} --seed {config.get('manualSeed') or 0}"
        yield "warning", found, fix


def _shared_names(videos):
    labels = defaultdict(list)
    for video in videos:
        if video.frames:
            folder = video.frames[0].replace("\\", "/").split("/")[-2]
            labels[folder].append(video.label)
    shared = {folder: names for folder, names in labels.items() if len(names) > 1}
    if shared:
        folder, names = next(iter(shared.items()))
        found = f"{len(shared)} folder names occur in several videos: {folder} ({', '.join(sorted(set(names)))}), …"
        yield "warning", found, "DeepfakeBench's video AUC counts them as one video; use lnclip-df test"
