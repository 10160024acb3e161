"""A dataset's crops as one memory-mapped file: the pixels of its files, in their place, whole or not at all."""

import errno
import os
import pickle
import signal
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from crops_on_disk import on_disk, write_crops
from tars import into_tars
from torch.utils.data import DataLoader

from lnclip_df.config.loading import load_config
from lnclip_df.core import iteration
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import read_frame_paths, read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset, collate
from lnclip_df.datasets.frames import crop_recipes, read_frame
from lnclip_df.datasets.pack import write_pack
from lnclip_df.media.crop_files import new_tar
from lnclip_df.media.recipe import Recipe, add_recipe

SIZE = 24
RECIPES = [Recipe({"size": 256}), Recipe({"size": 128}), None]
PATH = "./datasets/rgb/{label}/{video}/{index:03d}.png"


def png(seed, size=SIZE):
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    data, recipe = cv2.imencode(".png", noise)[1].tobytes(), RECIPES[seed // 3 % 3]
    return data if recipe is None else add_recipe(data, recipe)


def make_faces(root, path=PATH):
    """Write UADFV: two labels, three videos each, three frames each; the videos of a label differ in their recipe."""
    splits = {"train": (), "val": (), "test": ("0000", "0001", "0002")}
    return write_crops(root, png, splits, path)


def to_pack(root, file):
    return write_pack(file, root / "datasets" / "pack", data_root=root, progress=False)


def pack_of(root):
    return root / "datasets" / "pack" / "UADFV.pack"


def configured(root, *overrides):
    return load_config("lnclip.yaml", [f"lnclip.data_root={root}", f"resolution={SIZE}", *overrides])


def frames_of(root, *overrides):
    config = configured(root, *overrides)
    return FrameDataset(config, read_videos(config, ["UADFV"], "test"), frames_per_video=3)


def pixels_of(root, frame):
    """A frame's file as OpenCV decodes it, RGB."""
    return cv2.imread(str(on_disk(root, frame)))[..., ::-1]


def remove_files(root, file):
    for frame in read_frame_paths(file):
        on_disk(root, frame).unlink()


# --- what is read back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATH, "{label}\\{video}\\{index}.png", "ROOT/elsewhere/{label}/{video}/{index}.png"])
def test_every_frame_is_read_with_the_pixels_of_its_file(tmp_path, path):
    file = make_faces(tmp_path, path.replace("ROOT", str(tmp_path)))
    expected = {frame: pixels_of(tmp_path, frame) for frame in read_frame_paths(file)}
    summary = to_pack(tmp_path, file)
    assert (summary.shape, summary.written) == ((18, SIZE, SIZE, 3), 18) and str(pack_of(tmp_path)) in str(summary)
    remove_files(tmp_path, file)
    for frame, pixels in expected.items():
        np.testing.assert_array_equal(read_frame(configured(tmp_path), "UADFV", frame), pixels)


def test_crops_in_tars_are_packed_and_one_that_has_changed_is_seen(tmp_path):
    file = make_faces(tmp_path, "./datasets/rgb/UADFV/frames/{label}-{video}/{index:03d}.png")
    expected = [pixels_of(tmp_path, frame) for frame in read_frame_paths(file)]
    tar, *_ = into_tars(tmp_path)
    to_pack(tmp_path, file)
    np.testing.assert_array_equal(np.load(pack_of(tmp_path), mmap_mode="r"), expected)
    assert len(frames_of(tmp_path)) == 18
    with new_tar(tar, tar.stem) as save:
        for name in ("000.png", "001.png", "002.png"):
            save("frames", name, png(99))
    with pytest.raises(LNCLIPError, match=r"UADFV.pack is out of date: .*000.png has changed; run lnclip-df pack"):
        frames_of(tmp_path)


def test_a_frame_is_a_view_of_the_file_and_numpy_reads_the_pixels_too(tmp_path):
    file = make_faces(tmp_path)
    to_pack(tmp_path, file)
    frame = read_frame(configured(tmp_path), "UADFV", read_frame_paths(file)[4])
    base = frame
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap) and not frame.flags.writeable
    np.testing.assert_array_equal(np.load(pack_of(tmp_path), mmap_mode="r")[4], frame)


def test_recipes_are_counted_as_from_the_files(tmp_path):
    file = make_faces(tmp_path)
    to_pack(tmp_path, file)
    config = configured(tmp_path)
    videos = read_videos(config, ["UADFV"], "test")
    from_files = crop_recipes(configured(tmp_path, "lnclip.pack_dir=null"), videos)
    assert sorted(from_files[0].values()) == [2, 2, 2] and len(from_files[1]) == 2
    remove_files(tmp_path, file)
    assert crop_recipes(config, videos) == from_files


@pytest.mark.slow
def test_workers_read_the_same_items(tmp_path):
    file = make_faces(tmp_path)
    alone = [item["image"] for item in frames_of(tmp_path)]
    to_pack(tmp_path, file)
    remove_files(tmp_path, file)
    frames = pickle.loads(pickle.dumps(frames_of(tmp_path)))
    loader = DataLoader(frames, 3, num_workers=2, collate_fn=collate)
    packed = [image for batch in loader for image in batch["image"]]
    assert len(packed) == len(alone) == 18 and all((one == two).all() for one, two in zip(packed, alone, strict=True))


# --- a pack that does not fit the data --------------------------------------------------------------------------------


def test_a_frame_that_the_pack_lacks_is_named(tmp_path):
    file = make_faces(tmp_path)
    to_pack(tmp_path, file)
    file.write_text(file.read_text().replace("0002/001", "0002/007"))
    with pytest.raises(LNCLIPError, match=r"UADFV.pack lacks 2 of the 18 frames, \S*0002/007.png first; run lnclip-df"):
        frames_of(tmp_path)
    with pytest.raises(LNCLIPError, match=r"lacks the frame x; run lnclip-df pack again, or set lnclip.pack_dir: null"):
        read_frame(configured(tmp_path), "UADFV", "x")


def test_a_file_that_has_changed_is_named_until_it_is_packed_again(tmp_path):
    file = make_faces(tmp_path)
    to_pack(tmp_path, file)
    frame = read_frame_paths(file)[7]
    changed = on_disk(tmp_path, frame)
    changed.write_bytes(png(99))
    with pytest.raises(LNCLIPError, match=rf"UADFV.pack is out of date: {changed} has changed; run lnclip-df pack"):
        frames_of(tmp_path)
    assert to_pack(tmp_path, file).written == 18
    np.testing.assert_array_equal(frames_of(tmp_path)[16]["image"].permute(1, 2, 0), pixels_of(tmp_path, frame))


def test_one_changed_file_among_many_touched_ones_is_named(tmp_path, monkeypatch, caplog):
    file = make_faces(tmp_path)
    to_pack(tmp_path, file)
    for frame in read_frame_paths(file):
        os.utime(on_disk(tmp_path, frame), (1, 1))
    changed = on_disk(tmp_path, read_frame_paths(file)[7])
    changed.write_bytes(png(99))
    monkeypatch.setattr("lnclip_df.datasets.pack.COMPARED", 2)
    with caplog.at_level("INFO", "lnclip_df"), pytest.raises(LNCLIPError, match=f"{changed} has changed"):
        frames_of(tmp_path)
    assert "18 of the crops' files have another size or time" in caplog.text


def test_a_copied_tree_has_not_changed(tmp_path):
    file = make_faces(tmp_path)
    to_pack(tmp_path, file)
    for frame in read_frame_paths(file):
        os.utime(on_disk(tmp_path, frame), (1, 1))
    assert len(frames_of(tmp_path)) == 18


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: data[:-1], "it does not end as a pack does"),
        (lambda data: data[:1000] + data[1001:], "its size is not the one that it states"),
        (lambda data: data[:-40] + b"x" + data[-39:], "its index differs from its checksum"),
        (lambda data: b"", "EOF"),
        (lambda data: data[:1000] + bytes(4) + data[1004:], "the pixels of .*png have changed"),
    ],
)
def test_damage_is_one_line_and_pack_writes_it_again(tmp_path, damage, fault):
    file = make_faces(tmp_path)
    to_pack(tmp_path, file)
    whole = pack_of(tmp_path).read_bytes()
    pack_of(tmp_path).write_bytes(damage(whole))
    with pytest.raises(LNCLIPError, match=rf"UADFV.pack is damaged.*{fault}.*; run lnclip-df pack again") as error:
        frames_of(tmp_path)
    assert "\n" not in str(error.value)
    assert to_pack(tmp_path, file).written == 18
    assert pack_of(tmp_path).read_bytes() == whole


# --- writing ----------------------------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_written_again(tmp_path):
    file = make_faces(tmp_path)
    to_pack(tmp_path, file)
    before = pack_of(tmp_path).stat()
    again = to_pack(tmp_path, file)
    after = pack_of(tmp_path).stat()
    assert (again.written, again.shape[0]) == (0, 18)
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.listdir(tmp_path / "datasets" / "pack") == ["UADFV.pack"]


def in_a_process(root, file, code):
    """Run ``write_pack`` in a process of its own, after ``code``."""
    call = f"pack.write_pack({str(file)!r}, {str(root / 'datasets/pack')!r}, data_root={str(root)!r})"
    imports = "import os, resource, signal\nfrom lnclip_df.core import iteration\nfrom lnclip_df.datasets import pack"
    program = f"{imports}\niteration.BATCH = 4\n{code}\n{call}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("sync", "written"), [(3, 14), (11, 0)])
def test_a_killed_run_is_finished_by_the_next(tmp_path, sync, written):
    file, folder = make_faces(tmp_path), tmp_path / "datasets/pack"
    code = f"""
sync, calls = pack._sync, []
def killing(file):
    sync(file)
    calls.append(file)
    if len(calls) == {sync}: os.kill(os.getpid(), signal.SIGKILL)
pack._sync = killing
"""
    assert in_a_process(tmp_path, file, code).returncode == -signal.SIGKILL
    assert not pack_of(tmp_path).exists()
    with open(folder / ".UADFV.pack.journal", "ab") as journal:
        journal.write(b'["./datasets/rgb/UAD')  # a line that was not finished
    assert to_pack(tmp_path, file).written == written
    assert os.listdir(folder) == ["UADFV.pack"]
    for frame, pixels in zip(read_frame_paths(file), np.load(pack_of(tmp_path), mmap_mode="r"), strict=True):
        np.testing.assert_array_equal(pixels, pixels_of(tmp_path, frame))
    assert len(frames_of(tmp_path)) == 18


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_one_line_and_the_next_run_continues(tmp_path):
    file = make_faces(tmp_path)
    limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({10 * SIZE * SIZE * 3}, {10 * SIZE * SIZE * 3}))"
    last = in_a_process(tmp_path, file, limit).stderr.strip().splitlines()[-1]
    assert "cannot write " in last and last.endswith("File too large; fix that and run again to continue")
    assert to_pack(tmp_path, file).written == 10
    assert len(frames_of(tmp_path)) == 18


def test_crops_that_change_between_two_runs_are_read_again(tmp_path, monkeypatch):
    file = make_faces(tmp_path)
    monkeypatch.setattr(iteration, "BATCH", 4)
    broken = on_disk(tmp_path, read_frame_paths(file)[9])
    broken.write_bytes(png(9)[:-40])
    with pytest.raises(LNCLIPError, match=r"000.png is broken"):
        to_pack(tmp_path, file)
    broken.write_bytes(png(9))
    on_disk(tmp_path, read_frame_paths(file)[5]).write_bytes(png(77))
    assert to_pack(tmp_path, file).written == 13
    np.testing.assert_array_equal(read_frame(configured(tmp_path), "UADFV", read_frame_paths(file)[5]),
                                  pixels_of(tmp_path, read_frame_paths(file)[5]))  # fmt: skip


def test_crops_of_different_sizes_are_refused(tmp_path):
    file = make_faces(tmp_path)
    other = on_disk(tmp_path, read_frame_paths(file)[3])
    other.write_bytes(png(3, size=16))
    message = rf"one size, and there are 17 of 24 × 24, 1 of 16 × 16 pixels \(the last: {other}\)"
    with pytest.raises(LNCLIPError, match=message):
        to_pack(tmp_path, file)
    assert not (tmp_path / "datasets" / "pack").exists()


def test_missing_and_broken_files_are_counted_before_anything_is_written(tmp_path):
    file = make_faces(tmp_path)
    first, second, third, *_ = (on_disk(tmp_path, frame) for frame in read_frame_paths(file))
    first.unlink()
    second.write_bytes(b"no image")
    third.unlink()
    os.mkfifo(third)
    with pytest.raises(LNCLIPError, match=rf"3 of the 18 frames are missing or broken, the first is {first}: no such"):
        to_pack(tmp_path, file)
    assert not (tmp_path / "datasets" / "pack").exists()


def test_a_disk_that_is_too_small_is_said_first(tmp_path, monkeypatch):
    file = make_faces(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=18 * SIZE * SIZE * 3 - 1))
    with pytest.raises(LNCLIPError, match=r"cannot write .*UADFV.pack: 0.00 GB more are needed, 0.00 GB are free"):
        to_pack(tmp_path, file)
    monkeypatch.undo()
    assert to_pack(tmp_path, file).written == 18


def test_two_processes_do_not_write_one_pack(tmp_path, monkeypatch):
    file = make_faces(tmp_path)
    faults = []

    def meanwhile(path):
        with pytest.raises(LNCLIPError) as error:
            to_pack(tmp_path, file)
        faults.append(str(error.value))
        return SimpleNamespace(free=1 << 40)

    monkeypatch.setattr("shutil.disk_usage", meanwhile)
    monkeypatch.setattr("lnclip_df.datasets.pack._is_up_to_date", lambda *_: False)
    to_pack(tmp_path, file)
    assert faults == [f"another process is writing {pack_of(tmp_path)}; wait until it has ended"]


def test_a_relative_folder_starts_from_the_data_root_for_writing_as_for_reading(tmp_path, monkeypatch):
    file = make_faces(tmp_path)
    monkeypatch.chdir("/")
    write_pack(file, "./datasets/pack", data_root=tmp_path, progress=False)
    remove_files(tmp_path, file)
    assert len([*frames_of(tmp_path)]) == 18 and pack_of(tmp_path).is_file()


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    fcntl = pytest.importorskip("fcntl")

    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert to_pack(tmp_path, make_faces(tmp_path)).written == 18
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{pack_of(tmp_path)}: its file system has no locks; let one process alone write it"
    ]
