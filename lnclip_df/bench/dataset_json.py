"""DeepfakeBench's reading of a dataset JSON, and the number of steps in an epoch that follows from it."""

import math
import os
from pathlib import Path
from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.datasets.dataset_json import COMPRESSED

C40_NAMES = {f"{name}_c40": name for name in ("FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT")}


class Video(NamedTuple):
    """One video of a dataset JSON: its name, its label's name, and the paths of its frames."""

    name: str
    label: str
    frames: list


def read_videos(path, dataset: str, split: str, compression: str) -> list[Video]:
    """Videos of one split of a dataset JSON, chosen as DeepfakeBench chooses them.

    Args:
        path: the JSON file.
        dataset: the dataset's name; a name such as ``FF-DF_c40`` means ``FF-DF`` at c40.
        split: ``train``, ``val`` or ``test``.
        compression: level taken where the JSON has one, ``c23`` for example.

    Raises:
        LNCLIPError: the file is absent, not JSON, or lacks the dataset, the split or the level.
    """
    index = read_json(path)
    if dataset in C40_NAMES:
        dataset, compression = C40_NAMES[dataset], "c40"
    videos = []
    for label in _key(index, path, dataset):
        keys = [dataset, label, split] + ([compression] if dataset in COMPRESSED else [])
        for name, record in _key(index, path, *keys).items():
            if not isinstance(record, dict) or not {"label", "frames"} <= record.keys():
                raise LNCLIPError(f"{path}: {'/'.join(keys)}/{name} lacks 'label' or 'frames'; make the JSON again")
            videos.append(Video(name, record["label"], record["frames"]))
    return videos


def _key(index, path, *keys):
    for depth, key in enumerate(keys):
        if not isinstance(index, dict) or key not in index:
            raise LNCLIPError(f"{path} has no {'/'.join(keys[: depth + 1])}; make it again or name another dataset")
        index = index[key]
    if not isinstance(index, dict):
        raise LNCLIPError(f"{path}: {'/'.join(keys)} is not a mapping; make the JSON again")
    return index


def training_frames(config: dict, root=".") -> int:
    """Length of the data set that ``training/train.py`` makes from ``train_dataset``.

    Args:
        config: a configuration as DeepfakeBench's scripts hold it.
        root: the folder that its relative paths start from.

    Raises:
        LNCLIPError: a dataset JSON is missing or unfit, or ``dataset_type`` is one that chooses frames differently.
    """
    kind = config.get("dataset_type")
    if kind not in (None, "pair"):
        raise LNCLIPError(f"dataset_type: {kind!r} is not known to lnclip's schedule; use null or pair")
    datasets = config["train_dataset"]
    cap = config["frame_num"]["train"]
    total = 0
    for dataset in datasets:
        path = Path(os.path.join(root, config["dataset_json_folder"], f"{dataset}.json"))
        for video in read_videos(path, dataset, "train", config["compression"]):
            if kind is None or config["label_dict"].get(video.label) != 0:
                total += min(len(video.frames), cap)
    if not total:
        raise LNCLIPError(f"train_dataset: {datasets} holds no training frame in {config['dataset_json_folder']}")
    return total


def steps_per_epoch(config: dict, world_size: int = 1, root=".") -> int:
    """Length of DeepfakeBench's train loader: the last batch is kept, and every process gets as many frames.

    Args:
        config: a configuration as DeepfakeBench's scripts hold it.
        world_size: number of processes that share an epoch.
        root: the folder that its relative paths start from.

    Raises:
        LNCLIPError: as ``training_frames``.
    """
    frames_a_process = math.ceil(training_frames(config, root) / world_size)
    return math.ceil(frames_a_process / config["train_batchSize"])
