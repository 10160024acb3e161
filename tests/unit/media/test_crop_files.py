"""Crops in one tar per video: an ordinary tar, whole or not there, and never trusted."""

import json
import tarfile

import cv2
import numpy as np
import pytest

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.crop_files import END, file_names, is_file, members, new_tar, read_file
from lnclip_df.media.discover import find_videos
from lnclip_df.media.frames import open_frames
from lnclip_df.media.limits import UnreadableVideo


def png(value):
    return cv2.imencode(".png", np.full((4, 4, 3), value, np.uint8))[1].tobytes()


FILES = {
    ("landmarks", "000.npy"): b"points",
    ("frames", "1000.png"): png(7),
    ("frames", "002.png"): png(3),
    ("masks", "1000.png"): b"m" * 512,
}


def write(path, video="v", files=FILES):
    with new_tar(path, video) as save:
        for (kind, name), data in files.items():
            save(kind, name, data)
    return path


@pytest.mark.parametrize("video", ["v", "Ä 顔/e", "long " * 40 + "/v", "frames", "masks/v", "a.tar"])
def test_a_tar_unpacks_into_the_files_that_it_stands_for(tmp_path, video):
    tar = write(tmp_path / "frames" / f"{video}.tar", video)
    packed = {(kind, name): read_file(tmp_path / kind / video / name) for kind, name in FILES}
    assert packed == FILES
    assert {kind: set(file_names(tmp_path / kind / video)) for kind in ("frames", "landmarks", "masks")} == {
        "frames": {"002.png", "1000.png"}, "landmarks": {"000.npy"}, "masks": {"1000.png"},
    }  # fmt: skip
    assert is_file(tmp_path / "frames" / video / "002.png") and not is_file(tmp_path / "frames" / video / "003.png")
    with tarfile.open(tar) as ordinary:
        ordinary.extractall(tmp_path / "unpacked", filter="data")
    assert {(kind, name): (tmp_path / "unpacked" / kind / video / name).read_bytes() for kind, name in FILES} == FILES
    assert read_file(tmp_path / "frames" / video / "002.png", 4) == b"\x89PNG"


def test_files_win_over_the_tar_and_what_is_in_neither_is_not_found(tmp_path):
    write(tmp_path / "frames" / "v.tar")
    (tmp_path / "frames" / "v").mkdir()
    (tmp_path / "frames" / "v" / "002.png").write_bytes(b"file")
    assert read_file(tmp_path / "frames" / "v" / "002.png") == b"file"
    for absent in (tmp_path / "frames" / "v" / "003.png", tmp_path / "frames" / "w" / "002.png", tmp_path / "x.png"):
        with pytest.raises(OSError, match="No such file"):
            read_file(absent)


def test_a_tar_is_whole_or_not_there(tmp_path):
    path = tmp_path / "frames" / "v.tar"
    with pytest.raises(ZeroDivisionError), new_tar(path, "v") as save:
        save("frames", "000.png", b"half")
        raise ZeroDivisionError
    with new_tar(path, "v"):
        pass
    assert list(path.parent.iterdir()) == []
    assert write(path).read_bytes() == write(tmp_path / "again" / "v.tar").read_bytes()
    path.parent.joinpath("w").write_bytes(b"")
    with pytest.raises(LNCLIPError, match="cannot write"):
        write(path.parent / "w" / "v.tar")


def test_a_tar_that_changes_is_read_anew(tmp_path):
    tar = write(tmp_path / "v.tar")
    assert len(members(tar)) == 4
    write(tar, files={("frames", "004.png"): b"new"})
    assert [*members(tar)] == ["frames/004.png"] and read_file(tmp_path / "v" / "004.png") == b"new"


def test_a_tar_of_crops_is_a_video(tmp_path):
    write(tmp_path / "crops" / "v.tar")
    with tarfile.open(tmp_path / "crops" / "other.tar", "w"):
        pass
    found = find_videos(tmp_path / "crops")
    assert found.videos == {"v": tmp_path / "crops" / "v.tar"} and found.skipped == {".tar": 1}
    frames = open_frames(tmp_path / "crops" / "v.tar")
    assert frames.count == 2 and [image.mean() for _, image in frames.read([0, 1])] == [3, 7]
    (tmp_path / "clip.png").write_bytes(png(1))
    write(tmp_path / "frames" / "v.tar")
    (tmp_path / "crops" / "v.tar").unlink()
    assert find_videos(tmp_path).videos == {"clip": tmp_path / "clip.png"}  # frames/ is an earlier run's


def index_of(tar, index, length=None):
    """A tar's bytes with another index."""
    text = json.dumps(index)
    return tar.read_bytes()[: -len(END)] + f"[{text},{len(text) + 18 if length is None else length:15}]".encode() + END


@pytest.mark.parametrize(
    "damage",
    [
        lambda tar: b"",
        lambda tar: tar.read_bytes()[:-1],
        lambda tar: tar.read_bytes()[:700],
        lambda tar: bytes(4096),
        lambda tar: index_of(tar, {"../../etc/passwd": [0, 1]}),
        lambda tar: index_of(tar, {"frames/../000.png": [0, 1]}),
        lambda tar: index_of(tar, {"frames//000.png": [0, 1]}),
        lambda tar: index_of(tar, {"frames/000.png\n": [0, 1]}),
        lambda tar: index_of(tar, {"frames/000.png": [-1, 1]}),
        lambda tar: index_of(tar, {"frames/000.png": [0, -1]}),
        lambda tar: index_of(tar, {"frames/000.png": [512, 1 << 40]}),
        lambda tar: index_of(tar, {"frames/000.png": [1 << 70, 1]}),
        lambda tar: index_of(tar, {"frames/000.png": [0, 1e999]}),
        lambda tar: index_of(tar, {"frames/000.png": "01"}),
        lambda tar: index_of(tar, {"frames/000.png": None}),
        lambda tar: index_of(tar, [1]),
        lambda tar: index_of(tar, {}, length=-1),
        lambda tar: index_of(tar, {}, length=1 << 40),
        lambda tar: index_of(tar, {}, length=18),
    ],
)
def test_a_damaged_or_hostile_tar_is_one_line(tmp_path, damage):
    tar = write(tmp_path / "v.tar")
    tar.write_bytes(damage(tar))
    with pytest.raises(ValueError, match=r"^\S*/v\.tar is damaged, or no tar of preprocess; preprocess its video"):
        read_file(tmp_path / "v" / "000.png")
    with pytest.raises(UnreadableVideo, match="is damaged"):
        open_frames(tar)
    with pytest.raises(LNCLIPError, match="no video below"):
        find_videos(tmp_path)
