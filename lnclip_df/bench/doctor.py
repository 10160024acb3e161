"""What an environment and a DeepfakeBench checkout still lack before LNCLIP-DF runs there."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from lnclip_df.bench.checkout import (
    DETECTORS,
    PREDICTOR,
    SHIM,
    TEST_CONFIG,
    TRAIN_CONFIG,
    json_path,
    open_checkout,
    test_settings,
    train_settings,
)
from lnclip_df.bench.dataset_json import read_videos, steps_per_epoch
from lnclip_df.bench.install import install, our_labels
from lnclip_df.config.loading import bench_configs, settings
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.findings import Finding

SAMPLED_VIDEOS = 50


def doctor(checkout, *, detector_yaml="lnclip.yaml", python=sys.executable) -> list[Finding]:
    """Look at an interpreter and a checkout; change nothing.

    Args:
        checkout: root of the checkout.
        detector_yaml: the detector's YAML, from the checkout's root; the packaged one where it is not there.
        python: the interpreter that is to run DeepfakeBench.

    Returns:
        Findings in the order of a setup: environment, checkout, configuration, data. ``problem`` means that training or
        testing fails or is wrong as it stands.
    """
    try:
        root = open_checkout(checkout)
    except LNCLIPError as error:
        return [Finding("checkout", "problem", str(error))]
    findings = [*_environment(root, python), *_checkout(root)]
    yaml = root / detector_yaml
    yaml = yaml if yaml.is_file() else bench_configs() / "lnclip.yaml"
    try:
        train, test = train_settings(root, yaml), test_settings(root, yaml)
        return [*findings, *_configuration(train, test), *_data(root, train, test)]
    except LNCLIPError as error:
        return [*findings, Finding("configuration", "problem", str(error))]
    except (KeyError, TypeError, AttributeError) as error:
        return [
            *findings,
            Finding("configuration", "problem", f"{yaml}: {type(error).__name__} {error}", "mend the YAML"),
        ]


def _environment(root, python):
    try:
        found = _probe(root, python)
    except LNCLIPError as error:
        yield Finding("environment", "problem", str(error), "install lnclip-df in that environment")
        return
    yield from _packages(found)
    yield _opencv(found["versions"])
    if found["gpus"]:
        yield Finding("GPU", "ok", f"{found['gpus']} found")
    else:
        yield Finding("GPU", "warning", "none; DeepfakeBench calls CUDA at import", "run it with lnclip-df bench-run")


def _probe(root, python):
    command = [str(python), "-B", "-m", "lnclip_df.bench.probe"]
    try:
        child = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        return json.loads(child.stdout.splitlines()[-1])
    except OSError as error:
        raise LNCLIPError(f"cannot start {python}: {error.strerror or error}") from error
    except (IndexError, ValueError) as error:
        reason = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        raise LNCLIPError(f"{python} cannot be looked into: {reason}") from error


def _packages(found):
    versions = found["versions"]
    if found["absent"]:
        absent = ", ".join(found["absent"])
        yield Finding("packages", "problem", f"absent: {absent}", "pip install them")
    if versions["numpy"] and int(versions["numpy"].split(".")[0]) >= 2:
        yield Finding("numpy", "problem", f"{versions['numpy']}; imgaug needs 1.x", "pip install 'numpy<2'")
    if versions["albumentations"] not in (None, "1.3.1"):
        found_version = f"{versions['albumentations']}; IsotropicResize and ImageCompression are written for 1.3.1"
        yield Finding("albumentations", "problem", found_version, "pip install albumentations==1.3.1")
    if found["import_error"]:
        yield Finding("import", "problem", f"DeepfakeBench cannot be imported: {found['import_error']}", "mend that")
    elif not found["absent"]:
        yield Finding("import", "ok", "DeepfakeBench's datasets, detectors and trainer can be imported")


def _opencv(versions):
    full, headless = versions["opencv-python"], versions["opencv-python-headless"]
    if full and headless and full != headless:
        found = f"opencv-python {full} and opencv-python-headless {headless} share the folder cv2"
        return Finding("opencv", "warning", found, f"pip install opencv-python=={headless}")
    return Finding("opencv", "ok", full or headless or "no wheel of it")


def _checkout(root):
    if (root / PREDICTOR).is_file():
        yield Finding("predictor", "ok", f"{PREDICTOR} is there")
    else:
        mend = "put any dlib predictor there under that name, or run with lnclip-df bench-run"
        yield Finding("predictor", "warning", f"{PREDICTOR} is absent; plain train.py cannot start", mend)
    try:
        plan = install(root, dry_run=True)
    except LNCLIPError as error:
        yield Finding("installation", "problem", str(error))
        return
    lines = plan.splitlines()
    changed = [
        line.split()[-1].removeprefix("b/") for line in lines if line.startswith(("+++ ", "new file ", "deleted "))
    ]
    kept = "".join(f"; {line}" for line in lines if line.startswith("kept "))
    vital = {SHIM, DETECTORS, TRAIN_CONFIG, TEST_CONFIG} & set(changed)
    if changed:
        found = f"to be written or renewed: {', '.join(changed)}"
        yield Finding("installation", "problem" if vital else "warning", found, "run lnclip-df install")
    else:
        yield Finding("installation", "ok", f"complete{kept}")


def _configuration(train, test):
    ours = settings(train)
    for name, config in ((TRAIN_CONFIG, train), (TEST_CONFIG, test)):
        yield _lmdb(name, config)
        missing = sorted(our_labels().keys() - (config.get("label_dict") or {}).keys())
        if missing:
            found = f"label_dict in force lacks {len(missing)} of our labels, {missing[0]} first"
            yield Finding(f"labels in {Path(name).name}", "warning", found, "run lnclip-df install")
    if train.get("lr_scheduler") is not None:
        found = f"{train['lr_scheduler']!r}; DeepfakeBench steps it once, after the last epoch"
        yield Finding("lr_scheduler", "problem", found, "set it to null: lnclip.schedule sets the rate")
    others = [name for name in test.get("test_dataset") or [] if name not in ours.val_dataset]
    if others:
        found = f"{', '.join(others)}; train.py chooses its checkpoint on these"
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
    alike = all(train.get(key) == test.get(key) for key in ("lmdb", "dataset_json_folder", "label_dict"))
    for name in test.get("test_dataset") or []:
        yield from _dataset(root, test, name, "test", by="test.py")
        if not alike:
            yield from _dataset(root, train, name, "test")
    try:
        steps = steps_per_epoch(train, root=root)
    except LNCLIPError:
        return
    if steps == 1:
        mend = f"lower train_batchSize ({train['train_batchSize']}): the second epoch would divide by zero"
        yield Finding("train loader", "problem", "one step an epoch", mend)
    else:
        yield Finding("train loader", "ok", f"{steps} steps an epoch in one process")


def _dataset(root, config, name, split, by="train.py"):
    title = f"{name} {split} ({by})"
    try:
        videos = read_videos(json_path(root, config, name), name, split, config["compression"])
    except LNCLIPError as error:
        yield Finding(title, "problem", str(error), "" if ";" in str(error) else "make it with rearrange")
        return
    findings = [
        _unknown_labels(title, config, videos),
        *([] if config.get("lmdb") else [_paths(title, root, videos)]),
        _surplus(title, config["frame_num"][split], videos),
        _recurring(title, videos),
    ]
    findings = [finding for finding in findings if finding]
    yield from findings or [Finding(title, "ok", f"{len(videos)} videos")]


def _unknown_labels(title, config, videos):
    unknown = sorted({video.label for video in videos} - (config.get("label_dict") or {}).keys())
    if unknown:
        return Finding(title, "problem", f"labels {', '.join(unknown)} are not in label_dict", "run lnclip-df install")
    return None


def _paths(title, root, videos):
    empty = [video.name for video in videos if not video.frames]
    if empty:
        return Finding(
            title, "problem", f"{len(empty)} videos without a frame, {empty[0]} first", "make the JSON again"
        )
    first = [video.frames[0] for video in videos]
    wrong = [path for path in first if not path.startswith(".")]
    if wrong:
        found = f"{len(wrong)} videos have frame paths such as {wrong[0]!r}, which DeepfakeBench never finds"
        return Finding(title, "problem", found, "begin them with ./ (from the checkout's root)")
    sample = first[:: max(1, len(first) // SAMPLED_VIDEOS)]
    lost = [path for path in sample if not os.path.isfile(os.path.join(root, path))]
    if lost:
        found = f"{len(lost)} of {len(sample)} frames looked for are not on disk, {lost[0]} first"
        return Finding(title, "problem", found, "DeepfakeBench would put another frame in their place")
    return None


def _surplus(title, frame_num, videos):
    longer = sum(len(video.frames) > frame_num for video in videos)
    if longer:
        found = f"{longer} of {len(videos)} videos have more than frame_num {frame_num} frames; it takes the first ones"
        return Finding(title, "warning", found, f"list {frame_num} evenly spaced frames in the JSON")
    return None


def _recurring(title, videos):
    labels = defaultdict(list)
    for video in videos:
        if video.frames:
            folder = video.frames[0].replace("\\", "/").split("/")[-2]
            labels[folder].append(video.label)
    shared = {folder: names for folder, names in labels.items() if len(names) > 1}
    if shared:
        folder, names = next(iter(shared.items()))
        found = f"{len(shared)} folder names recur, such as {folder} ({', '.join(sorted(set(names)))})"
        return Finding(
            title, "warning", found, "DeepfakeBench's video AUC takes them for one video; use lnclip-df test"
        )
    return None
