"""Frames from PNG and LMDB, the dataset's items and batches, and the order of an epoch."""

import json
import multiprocessing

import cv2
import lmdb
import numpy as np
import pytest
import torch
from crops_on_disk import on_disk, write_crops
from torch.utils.data import DataLoader

from lnclip_df.config.loading import load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import read_frame_paths, read_videos
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset, collate
from lnclip_df.datasets.frames import read_frame
from lnclip_df.datasets.lmdb import lmdb_key
from lnclip_df.media.frames import open_frames
from lnclip_df.models.pixels import normalize
from lnclip_df.training.augmentation import TrainTransform

SIZE = 40

READ = FrameDataset.read


def image(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def png(seed):
    return cv2.imencode(".png", cv2.cvtColor(image(seed), cv2.COLOR_RGB2BGR))[1].tobytes()


def write_uadfv(root, path="./datasets/rgb/UADFV/{label}/frames/{video}/{index:03d}.png", frames=4):
    """UADFV with two videos a class, for tests and training, as PNG below ``root`` and in its LMDB."""
    file = write_crops(root, png, {"test": ("0000", "0001")}, path, frames=frames)
    content = json.loads(file.read_text())
    for splits in content["UADFV"].values():
        splits["train"] = splits["test"]
    file.write_text(json.dumps(content))
    database = root / "datasets" / "lmdb" / "UADFV_lmdb"
    database.mkdir(parents=True)
    with lmdb.open(str(database), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for frame in read_frame_paths(file):
            transaction.put(lmdb_key(frame).encode(), on_disk(root, frame).read_bytes())


def configured(root, *overrides):
    return load_config("lnclip.yaml", [f"lnclip.data_root={root}", "resolution=32", *overrides])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    write_uadfv(root)
    return root


def faces(root, *overrides, train=False, frames_per_video=4, **kwargs):
    config = configured(root, *overrides)
    videos = read_videos(config, ["UADFV"], "train" if train else "test")
    transform = TrainTransform(config) if train else None
    return FrameDataset(config, videos, frames_per_video=frames_per_video, transform=transform, **kwargs)


@pytest.mark.parametrize("source", ["lmdb=false", "lmdb=true"])
@pytest.mark.parametrize("path", ["./datasets/rgb/{label}/{video}/{index:03d}.png", "{label}\\{video}\\{index}.png"])
def test_frames_are_rgb_and_the_ones_asked_for(tmp_path, source, path):
    write_uadfv(tmp_path, path)
    config = configured(tmp_path, source)
    fake, *_, last = read_videos(config, ["UADFV"], "test")
    assert (read_frame(config, "UADFV", fake.frames[1]) == image(9)).all()
    assert (read_frame(config, "UADFV", last.frames[0]) == image(4)).all()


def with_first_frame(root, source, data):
    """Write the data set, its first frame with other bytes in both stores; its configuration and that frame."""
    write_uadfv(root)
    config = configured(root, source)
    frame = read_videos(config, ["UADFV"], "test")[0].frames[0]
    (root / frame).write_bytes(data)
    with lmdb.open(str(root / "datasets/lmdb/UADFV_lmdb")) as environment, environment.begin(write=True) as write:
        write.put(frame.encode(), data)
    return config, frame


@pytest.mark.parametrize("source", ["lmdb=false", "lmdb=true"])
def test_crops_of_other_depths_are_read_as_when_they_are_scored(tmp_path, source):
    deep = (np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)) * 257).astype(np.uint16)
    alpha = np.dstack([image(3), np.tile(np.arange(SIZE, dtype=np.uint8) * 6, (SIZE, 1))])
    for pixels in (deep, np.dstack([deep] * 3), alpha):
        data = cv2.imencode(".png", pixels)[1].tobytes()
        root = tmp_path / str(pixels.shape)
        root.mkdir()
        config, frame = with_first_frame(root, source, data)
        [(_, scored)] = open_frames(root / frame).read([0])
        np.testing.assert_array_equal(read_frame(config, "UADFV", frame), scored)


@pytest.mark.parametrize("damage", [b"", b"no image", png(0)[:-30], png(0)[:200]])
@pytest.mark.parametrize("source", ["lmdb=false", "lmdb=true"])
def test_broken_frames_are_named(tmp_path, source, damage):
    config, frame = with_first_frame(tmp_path, source, damage)
    with pytest.raises(LNCLIPError, match=r"UADFV_Fake/frames/0000/000.png.*is broken"):
        read_frame(config, "UADFV", frame)


@pytest.mark.parametrize(
    ("source", "dataset", "message"),
    [
        ("lmdb=false", "UADFV", r"cannot read frame .*/rgb/9.png: No such file"),
        ("lmdb=true", "UADFV", r"no frame ./datasets/rgb/9.png in .*UADFV_lmdb"),
        ("lmdb=true", "DFDC", r"cannot read frame ./datasets/rgb/9.png in .*DFDC_lmdb: "),
    ],
)
def test_absent_frames_are_named(root, source, dataset, message):
    with pytest.raises(LNCLIPError, match=message):
        read_frame(configured(root, source), dataset, "./datasets/rgb/9.png")


def test_an_item_is_a_frame_with_its_label_and_video(root):
    dataset = faces(root, frames_per_video=2)
    assert len(dataset) == 8
    item = dataset[5]
    assert item["image"].shape == (3, 32, 32) and item["image"].dtype == torch.uint8
    assert (item["label"], item["video"], item["index"]) == (0, 2, 5)
    assert item["frame"] == "./datasets/rgb/UADFV/UADFV_Real/frames/0000/003.png"
    assert dataset.videos[item["video"]].key == "UADFV/UADFV_Real/0000"


def chosen(dataset):
    """The frames of each video, by its key."""
    frames = {}
    for index, frame in dataset.items:
        frames.setdefault(dataset.videos[index].key, []).append(frame)
    return frames


def test_random_frames_depend_on_the_seed_and_the_video_alone(tmp_path):
    write_uadfv(tmp_path, frames=60)

    def drawn(seed, **options):
        return chosen(faces(tmp_path, frames_per_video=32, random_frames=True, seed=seed, **options))

    first = drawn(0)
    assert {len(frames) for frames in first.values()} == {32}
    assert len({tuple(frame[-7:] for frame in frames) for frames in first.values()}) == 4  # each video has its own draw
    assert drawn(0) == drawn(0, train=True) == first != drawn(1)
    config = configured(tmp_path)
    videos = read_videos(config, ["UADFV"], "test")[::-1]
    for seed in (0, 1):
        backwards = FrameDataset(config, videos[:3], frames_per_video=32, random_frames=True, seed=seed)
        assert chosen(backwards) == {video.key: drawn(seed)[video.key] for video in videos[:3]}
    for frames in first.values():
        assert frames == sorted(set(frames))


def test_frames_are_even_by_default_and_all_where_there_are_few(root):
    assert chosen(faces(root, frames_per_video=2, seed=5)) == chosen(faces(root, frames_per_video=2))
    assert chosen(faces(root, frames_per_video=9, random_frames=True)) == chosen(faces(root, frames_per_video=9))


def test_without_augmentation_the_epoch_changes_nothing(root):
    plain = faces(root, "use_data_augmentation=false", train=True)
    assert torch.equal(faces(root)[3]["image"], plain[7, 3]["image"])


@pytest.mark.parametrize("name", ["paper", "deepfakebench"])
def test_augmentation_varies_with_seed_epoch_and_index(root, name):
    setting = f"lnclip.augmentation={name}"
    dataset, other = faces(root, setting, train=True), faces(root, setting, train=True, seed=1)
    assert torch.equal(dataset[2]["image"], dataset[0, 2]["image"])
    epochs = [dataset[epoch, 2]["image"] for epoch in range(6)] + [other[epoch, 2]["image"] for epoch in range(6)]
    assert len({tensor.numpy().tobytes() for tensor in epochs}) >= 11


def batches(dataset, epoch=3, **loader):
    sampler = EpochSampler(len(dataset), seed=7, shuffle=True)
    sampler.set_epoch(epoch)
    return list(DataLoader(dataset, batch_size=3, sampler=sampler, collate_fn=collate, **loader))


@pytest.mark.parametrize(("source", "method"), [("lmdb=false", "fork"), ("lmdb=true", "fork"), ("lmdb=true", "spawn")])
@pytest.mark.slow
def test_results_do_not_depend_on_the_workers(root, source, method):
    dataset = faces(root, source, train=True)
    alone = batches(dataset)  # the database is then open in the parent
    shared = batches(dataset, num_workers=2, multiprocessing_context=method)
    again = batches(faces(root, source, train=True))
    for one, two, three in zip(alone, shared, again, strict=True):
        assert torch.equal(one["image"], two["image"]) and torch.equal(one["image"], three["image"])
        assert one["frame"] == two["frame"] == three["frame"]


def test_png_and_lmdb_give_the_same_tensors(root):
    for one, two in zip(faces(root), faces(root, "lmdb=true"), strict=True):
        assert torch.equal(one["image"], two["image"])


def test_two_datasets_read_one_database_in_one_process(root):
    assert torch.equal(faces(root, "lmdb=true")[0]["image"], faces(root, "lmdb=true", train=False)[0]["image"])


def _first_pixel(dataset, queue):
    queue.put(float(dataset[0]["image"][0, 0, 0]))


def test_a_forked_process_reopens_the_database(root):
    dataset = faces(root, "lmdb=true")
    expected = float(dataset[0]["image"][0, 0, 0])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_first_pixel, args=(dataset, queue))
    process.start()
    assert queue.get(timeout=30) == expected
    process.join()
    assert float(dataset[0]["image"][0, 0, 0]) == expected


def test_batches_stack_the_items(root):
    dataset = faces(root)
    batch = collate([dataset[1], dataset[15]])
    assert batch["image"].shape == (2, 3, 32, 32) and torch.equal(batch["image"][1], dataset[15]["image"])
    assert {key: batch[key].tolist() for key in ("label", "video", "index")} == {
        "label": [1, 0],
        "video": [0, 3],
        "index": [1, 15],
    }
    assert all(batch[key].dtype == torch.int64 for key in ("label", "video", "index"))
    assert batch["frame"] == [dataset.items[1][1], dataset.items[15][1]] and batch["skipped"] == []


@pytest.mark.parametrize("kept", [0, 1, 3, 100])
def test_frames_are_kept_in_memory_only_if_there_is_room_for_all(root, monkeypatch, kept):
    config, read = configured(root), []
    videos = read_videos(config, ["UADFV"], "test")
    plain = FrameDataset(config, videos, frames_per_video=2)
    size = plain.read(videos[0], plain.items[0][1]).nbytes
    dataset = FrameDataset(config, videos, frames_per_video=2, keep=kept * size)
    monkeypatch.setattr(FrameDataset, "read", lambda self, video, frame: read.append(frame) or READ(self, video, frame))
    for _ in range(2):
        assert all(torch.equal(dataset[index]["image"], plain[index]["image"]) for index in range(len(plain)))
    mine = len(read) - 2 * len(plain)
    assert mine == len(plain) * (1 if kept >= len(plain) else 2)


def test_broken_frames_are_an_error_or_are_left_out_by_name(tmp_path):
    write_uadfv(tmp_path)
    frame = faces(tmp_path).items[1][1]
    (tmp_path / frame).unlink()
    with pytest.raises(LNCLIPError, match=r"0000/001.png"):
        faces(tmp_path)[1]
    dataset = faces(tmp_path, "lnclip.missing_frames=skip")
    batch = collate([dataset[0], dataset[1]])
    assert batch["skipped"] == [frame] and batch["index"].tolist() == [0] and batch["image"].shape == (1, 3, 32, 32)
    empty = collate([dataset[1]])
    assert empty["image"].shape == (0, 3, 32, 32) and empty["image"].dtype == torch.uint8
    assert empty["label"].shape == (0,) and empty["label"].dtype == torch.int64 and empty["skipped"] == [frame]


@pytest.mark.parametrize("length", [1, 2, 7, 8])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_share_an_epoch(length, world_size):
    for shuffle in (True, False):
        ranks = [
            EpochSampler(length, seed=0, shuffle=shuffle, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        shares = [[index for _, index in sampler] for sampler in ranks]
        assert [len(share) for share in shares] == [len(sampler) for sampler in ranks]
        assert set().union(*shares) == set(range(length))
        if shuffle:
            assert len({len(share) for share in shares}) == 1
            assert sum(map(len, shares)) - length < world_size
        else:
            assert sorted(index for share in shares for index in share) == list(range(length))
            assert all(share == sorted(share) for share in shares)


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    sampler = EpochSampler(50, seed=3, shuffle=True)
    orders = []
    for epoch in (0, 1, 5):
        sampler.set_epoch(epoch)
        assert list(sampler) == list(sampler)
        assert {pair[0] for pair in sampler} == {epoch}
        orders.append([index for _, index in sampler])
    assert orders[0] != orders[1] != orders[2]
    resumed = EpochSampler(50, seed=3, shuffle=True)
    resumed.set_epoch(5)
    assert [index for _, index in resumed] == orders[2]
    assert [index for _, index in EpochSampler(50, seed=4, shuffle=True)] != orders[0]


def test_an_impossible_rank_is_refused():
    with pytest.raises(ValueError, match=r"rank is 2, not within 0..1"):
        EpochSampler(4, seed=0, shuffle=True, rank=2, world_size=2)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("lmdb=false", "./datasets/rgb/{label}/{video}/{index:03d}.png"),
        ("lmdb=true", "./datasets/rgb/{label}/{video}/{index:03d}.png"),
        ("lmdb=true", "./datasets\\{label}\\{video}\\{index}.png"),  # their PNGs take a backslash on Windows only
        ("lmdb=true", "{label}\\{video}\\{index}.png"),
    ],
)
def test_tensors_are_deepfakebenchs(tmp_path, monkeypatch, deepfakebench, source, path):
    write_uadfv(tmp_path, path)
    monkeypatch.chdir(tmp_path)
    theirs = _theirs(deepfakebench, {**configured(".", source).to_dict(), "test_dataset": "UADFV"})
    ours = {item["frame"]: item for item in faces(".", source)}
    assert set(theirs) == set(ours)
    stats = configured(".").mean, configured(".").std
    for frame, (tensor, label) in theirs.items():
        assert label == ours[frame]["label"]
        assert torch.equal(tensor, normalize(ours[frame]["image"], *stats))


def _theirs(kind, config):
    """Every item of theirs by its path; its handle of the database is closed, for ours to open."""
    dataset = kind(config, mode="test")
    items = {dataset.data_dict["image"][i]: dataset[i][:2] for i in range(len(dataset))}
    if config["lmdb"]:
        dataset.env.close()
    return items
