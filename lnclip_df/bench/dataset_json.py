"""A dataset JSON as DeepfakeBench reads it, and the number of steps per epoch that follows from it."""

import math
from typing import NamedTuple

from lnclip_df.bench.checkout import json_path
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.datasets.dataset_json import COMPRESSED

C40_NAMES = {f"{name}_c40": name for name in ("FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT")}


class Video(NamedTuple):
    """One video of a dataset JSON: its name, the name of its label, and the paths of its frames."""

    name: str
    label: str
    frames: list[str]


def read_videos(path, dataset: str, split: str, compression: str) -> list[Video]:
    """The videos of one split of a dataset JSON that DeepfakeBench uses.

    Args:
        dataset: name of the dataset; ``FF-DF_c40`` means ``FF-DF`` at level c40.
        split: ``train``, ``val`` or ``test``.
        compression: level to use where the dataset has levels: ``c23``, for example.

    Raises:
        LNCLIPError: the file is missing or not JSON, or does not contain the dataset, the split or the level.
    """
    classes = read_json(path)
    if dataset in C40_NAMES:
        dataset, compression = C40_NAMES[dataset], "c40"
    videos = []
    for label in _mapping(classes, path, dataset):
        keys = [dataset, label, split] + ([compression] if dataset in COMPRESSED else [])
        for name, record in _mapping(classes, path, *keys).items():
            if not isinstance(record, dict) or not {"label", "frames"} <= record.keys():
                raise LNCLIPError(f"{path}: {'/'.join(keys)}/{name} lacks 'label' or 'frames'. Write the JSON again.")
            videos.append(Video(name, record["label"], record["frames"]))
    return videos


def _mapping(value, path, *keys):
    """The mapping at nested keys."""
    for depth, key in enumerate(keys):
        if not isinstance(value, dict) or key not in value:
            raise LNCLIPError(f"{path} has no {'/'.join(keys[: depth + 1])}. Write it again, or name another dataset.")
        value = value[key]
    if not isinstance(value, dict):
        raise LNCLIPError(f"{path}: {'/'.join(keys)} is not a mapping. Write the JSON again.")
    return value


def training_frames(config: dict, root=".") -> int:
    """Number of training frames that ``training/train.py`` uses from ``train_dataset``.

    Args:
        config: configuration of DeepfakeBench's scripts.
        root: folder that its relative paths start from.

    Raises:
        LNCLIPError: a dataset JSON is missing or invalid, or ``dataset_type`` is neither null nor ``pair``.
    """
    kind = config.get("dataset_type")
    if kind not in (None, "pair"):
        raise LNCLIPError(f"dataset_type: {kind!r} is not supported by lnclip's schedule. Use null or pair.")
    datasets, max_frames = config["train_dataset"], config["frame_num"]["train"]
    total = 0
    for dataset in datasets:
        for video in read_videos(json_path(root, config, dataset), dataset, "train", config["compression"]):
            if kind is None or config["label_dict"].get(video.label) != 0:
                total += min(len(video.frames), max_frames)
    if not total:
        raise LNCLIPError(f"train_dataset: {datasets} has no training frame in {config['dataset_json_folder']}")
    return total


def steps_per_epoch(config: dict, world_size: int = 1, root=".") -> int:
    """Number of batches of DeepfakeBench's train loader in each of ``world_size`` processes.

    The last batch may be smaller. Other arguments and errors as for ``training_frames``.
    """
    frames_per_process = math.ceil(training_frames(config, root) / world_size)
    return math.ceil(frames_per_process / config["train_batchSize"])
