"""Which files below a folder are videos, and what they are called."""

import errno
import os

import pytest

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.discover import find_videos

retinaface = pytest.importorskip("retinaface")


def test_keys_keep_folders_and_tell_suffixes_apart(tmp_path):
    for name in ("b/one.mp4", "a/one.MP4", "a/two.mov", "a/two.webm", "a/note.txt", ".hidden/x.mp4", "a/._one.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_videos(tmp_path)) == ["a/one", "a/two.mov", "a/two.webm", "b/one"]
    assert list(find_videos(tmp_path / "b" / "one.mp4")) == ["one"]


def test_no_video_is_lost_to_another_with_its_key(tmp_path):
    for name in ("a.mp4", "a.mov", "a.mp4.mp4"):
        (tmp_path / name).touch()
    assert list(find_videos(tmp_path)) == ["a.mov", "a.mp4", "a.mp4.mp4"]


def test_images_that_differ_in_a_number_are_one_video_and_others_are_each_one(tmp_path):
    groups = {
        "numbers": ("000.png", "001.png", "010.jpg"),
        "words": ("frame_1.png", "frame_2.png"),
        "twice": ("cam2_1.png", "cam2_2.png"),
        "mixed": ("cam1_1.png", "cam2_1.png"),
        "people": ("anna.png", "bert.png"),
        "lonely": ("001.png",),
        "both": ("1.png", "2.png", "film.mp4"),
    }
    for folder, names in groups.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    assert list(find_videos(tmp_path)) == [
        "both", "both/film", "lonely/001", "mixed/cam1_1", "mixed/cam2_1", "numbers", "people/anna", "people/bert",
        "twice", "words",
    ]  # fmt: skip
    assert list(find_videos(tmp_path / "numbers")) == ["numbers"]
    assert list(find_videos(tmp_path / "people" / "anna.png")) == ["anna"]


def test_what_an_earlier_run_wrote_is_not_found(tmp_path):
    for name in ("a.mp4", "frames/a/000.png", "frames/a/001.png", "landmarks/a/000.npy", "masks/a/000.png",
                 "records/a.json", "manifests/videos.png", "Set/real/frames/x/000.png", "Set/real/landmarks/x/000.npy",
                 "alone/frames/1.png", "alone/frames/2.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_videos(tmp_path)) == ["a", "alone/frames"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(LNCLIPError, match=r"cannot list .*closed: Permission denied"):
        find_videos(tmp_path)


def test_linked_folders_are_followed_each_once(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for path in ("videos/here.mp4", "elsewhere/there.mp4"):
        (tmp_path / path).touch()
    for link, target in (("session2", "../elsewhere"), ("session3", "../elsewhere"), ("circle", ".")):
        (tmp_path / "videos" / link).symlink_to(target)
    found = find_videos(tmp_path / "videos")
    assert sorted(path.name for path in found.values()) == ["here.mp4", "there.mp4"]
