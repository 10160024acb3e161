"""DeepfakeBench's count of training frames and steps, against PyTorch's own loaders."""

import json
import math

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from lnclip_df.bench.dataset_json import read_videos, steps_per_epoch, training_frames
from lnclip_df.core.errors import LNCLIPError


def write_json(folder, dataset, lengths, compression=None):
    """A dataset JSON whose labels' videos have the given numbers of frames."""
    records = {}
    for label, counts in lengths.items():
        videos = {
            f"{label}-{i}": {"label": label, "frames": [f"./{label}/{i}/{k:03d}.png" for k in range(n)]}
            for i, n in enumerate(counts)
        }
        records[label] = {"train": {compression: videos} if compression else videos}
    path = folder / f"{dataset}.json"
    path.write_text(json.dumps({dataset.removesuffix("_c40"): records}))
    return path


def config(folder, *datasets, batch=4, cap=32, **others):
    return {
        "train_dataset": list(datasets),
        "dataset_json_folder": str(folder),
        "compression": "c23",
        "frame_num": {"train": cap},
        "train_batchSize": batch,
        "label_dict": {"real": 0, "fake": 1},
        **others,
    }


def test_frames_are_limited_per_video(tmp_path):
    write_json(tmp_path, "A", {"real": [10, 40], "fake": [3]})
    assert training_frames(config(tmp_path, "A")) == 10 + 32 + 3


def test_datasets_add_up(tmp_path):
    write_json(tmp_path, "A", {"real": [10]})
    write_json(tmp_path, "B", {"fake": [5, 6]})
    assert training_frames(config(tmp_path, "A", "B")) == 21


def test_compression_is_chosen_for_the_family(tmp_path):
    write_json(tmp_path, "FF-DF", {"real": [7]}, "c23")
    assert training_frames(config(tmp_path, "FF-DF")) == 7
    with pytest.raises(LNCLIPError, match="FF-DF/real/train/c40"):
        training_frames(config(tmp_path, "FF-DF", compression="c40"))


def test_c40_names_mean_the_dataset_at_c40(tmp_path):
    write_json(tmp_path, "FF-DF_c40", {"real": [9]}, "c40")
    assert training_frames(config(tmp_path, "FF-DF_c40")) == 9


def test_pairs_are_counted_by_their_fakes(tmp_path):
    write_json(tmp_path, "A", {"real": [10], "fake": [3, 4]})
    assert training_frames(config(tmp_path, "A", dataset_type="pair")) == 7


def test_other_dataset_types_are_refused(tmp_path):
    with pytest.raises(LNCLIPError, match="dataset_type: 'blend'"):
        training_frames(config(tmp_path, "A", dataset_type="blend"))


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 31, 64])
@pytest.mark.parametrize("batch", [1, 4, 5])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_steps_are_the_length_of_the_loader(tmp_path, frames, batch, world):
    write_json(tmp_path, "A", {"real": [frames]})
    data = torch.zeros(frames)
    sampler = DistributedSampler(data, num_replicas=world, rank=world - 1) if world > 1 else None
    loader = DataLoader(data, batch_size=batch, sampler=sampler)
    assert steps_per_epoch(config(tmp_path, "A", batch=batch, cap=math.inf), world) == len(loader)


def test_relative_folders_start_at_the_root(tmp_path):
    (tmp_path / "json").mkdir()
    write_json(tmp_path / "json", "A", {"real": [4]})
    assert steps_per_epoch(config("./json", "A"), root=tmp_path) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("{", "is not JSON"),
        ('{"B": {}}', "has no A"),
        ('{"A": {"real": {"test": {}}}}', "has no A/real/train"),
        ('{"A": {"real": {"train": []}}}', "A/real/train is not a mapping"),
        ('{"A": {"real": {"train": {"v": {"label": "real"}}}}}', "A/real/train/v lacks"),
        ('{"A": {"real": {"train": {}}}}', "no training frame"),
    ],
)
def test_an_invalid_json_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "A.json").write_text(content)
    with pytest.raises(LNCLIPError, match=message) as error:
        steps_per_epoch(config(tmp_path, "A"))
    assert str(tmp_path) in str(error.value)


def test_videos_keep_their_names(tmp_path):
    path = write_json(tmp_path, "A", {"real": [2]})
    (video,) = read_videos(path, "A", "train", "c23")
    assert video.name == "real-0" and video.label == "real" and len(video.frames) == 2
