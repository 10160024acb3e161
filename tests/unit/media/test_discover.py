"""Which files below a folder are videos, and what they are called."""

import errno
import os
import tarfile

import pytest

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.crop_files import new_tar
from lnclip_df.media.discover import find_videos

retinaface = pytest.importorskip("retinaface")


def test_keys_keep_folders_and_tell_suffixes_apart(tmp_path):
    for name in ("b/one.mp4", "a/one.MP4", "a/two.mov", "a/two.webm", "a/note.txt", ".hidden/x.mp4", "a/._one.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_videos(tmp_path).videos) == ["a/one", "a/two.mov", "a/two.webm", "b/one"]
    assert list(find_videos(tmp_path / "b" / "one.mp4").videos) == ["one"]


def test_no_video_is_lost_to_another_with_its_key(tmp_path):
    for name in ("a.mp4", "a.mov", "a.mp4.mp4"):
        (tmp_path / name).touch()
    assert list(find_videos(tmp_path).videos) == ["a.mov", "a.mp4", "a.mp4.mp4"]


def write(folder, *names, content=b""):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_images_named_by_frame_numbers_are_one_video_and_others_are_each_one(tmp_path):
    groups = {
        "numbers": ("000.png", "001.png", "010.jpg"),
        "words": ("frame_1.png", "frame_2.png"),
        "camera": ("IMG_0001.jpg", "IMG_0002.jpg"),
        "mixed": ("cam1_1.png", "cam2_1.png"),
        "people": ("anna.png", "bert.png"),
        "lonely": ("001.png",),
        "animations": ("1.gif", "2.gif"),
        "both": ("1.png", "2.png", "film.mp4"),
    }
    for folder, names in groups.items():
        write(tmp_path / folder, *names)
    others = [
        "animations/1", "animations/2", "both", "both/film", "lonely/001", "mixed/cam1_1", "mixed/cam2_1", "numbers",
        "people/anna", "people/bert", "words",
    ]  # fmt: skip
    found = find_videos(tmp_path)
    assert list(found.videos) == sorted([*others, "camera/IMG_0001", "camera/IMG_0002"])
    assert (found.sequences, found.numbered) == (3, 2)
    assert found.notes() == [
        "numbered images: 3 folders of them are one video each",
        "numbered images: 2 of them are one video each; sequences makes a folder one video",
    ]
    asked = find_videos(tmp_path, sequences=True)
    assert list(asked.videos) == sorted([*others, "camera"])
    assert (asked.sequences, asked.numbered) == (4, 0)
    assert list(find_videos(tmp_path / "numbers").videos) == ["numbers"]
    assert list(find_videos(tmp_path / "people" / "anna.png").videos) == ["anna"]


def test_what_is_passed_over_is_counted_by_kind(tmp_path):
    write(tmp_path, "a.mp4", "notes.txt", "deep/b.TXT", "deep/c.json", "deep/README", ".hidden.mp4", ".git/x.mp4")
    (tmp_path / "frames").mkdir()
    (tmp_path / "landmarks").mkdir()
    found = find_videos(tmp_path)
    assert found.skipped == {
        ".txt": 2, ".json": 1, "without a suffix": 1, "hidden": 2, "folders of an earlier run": 2,
    }  # fmt: skip
    [note] = found.notes()
    assert note.startswith("passed over: ") and {"2 .txt", "1 .json", "2 hidden"} <= {*note[13:].split(", ")}
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(LNCLIPError, match=r"no video below .*; passed over: .*2 \.txt"):
        find_videos(tmp_path)


def test_the_content_of_a_file_with_another_suffix_decides(tmp_path):
    stream = (b"G" + bytes(187)) * 3
    write(tmp_path, "phone.HEIC", "camera.MTS", "old.3gp", "apple.m4v", "picture.AVIF")
    write(tmp_path, "clip", "clip.bin", content=b"\0\0\0\x18ftypmp42" + bytes(20))
    write(tmp_path, "photo.dat", content=b"\xff\xd8\xff\xe0")
    write(tmp_path, "tele.ts", content=stream)
    write(tmp_path, "code.ts", content=b"const x = 1;\n" * 40)
    write(tmp_path, "text", content=b"to be or not to be")
    found = find_videos(tmp_path)
    assert set(found.videos) == {
        "phone", "camera", "old", "apple", "picture", "clip", "clip.bin", "photo", "tele",
    }  # fmt: skip
    assert found.skipped == {".ts": 1, "without a suffix": 1}
    assert list(find_videos(tmp_path / "clip.bin").videos) == ["clip"]
    for name in ("code.ts", "text"):
        with pytest.raises(LNCLIPError, match="is not a video or image file"):
            find_videos(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    write(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.ts")
    assert find_videos(tmp_path).skipped == {"without a suffix": 1, ".ts": 1}
    with pytest.raises(LNCLIPError, match="is not a video or image file"):
        find_videos(tmp_path / "pipe")


def test_what_an_earlier_run_wrote_is_not_found(tmp_path):
    for name in ("a.mp4", "frames/a/000.png", "frames/a/001.png", "landmarks/a/000.npy", "masks/a/000.png",
                 "records/a.json", "manifests/videos.jpg", "Set/real/frames/x/000.png", "Set/real/landmarks/x/000.npy",
                 "alone/frames/1.png", "alone/frames/2.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_videos(tmp_path).videos) == ["a", "alone/frames"]


@pytest.mark.parametrize("beside", [(), ("records/a/b.json", "manifests/videos.csv")])
def test_frames_with_tars_of_crops_are_an_earlier_run_and_those_with_other_tars_are_not(tmp_path, beside):
    for name in ("frames/a.mp4", *beside):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with tarfile.open(tmp_path / "frames" / "code.tar", "w") as tar:
        tar.add(__file__, "code.py")
    found = find_videos(tmp_path)
    assert list(found.videos) == ["frames/a"] and found.skipped[".tar"] == 1
    with new_tar(tmp_path / "frames" / ("a/b.tar" if beside else "b.tar"), "b") as save:
        save("frames", "000.png", b"x")
    (tmp_path / "c.mp4").touch()
    assert list(find_videos(tmp_path).videos) == ["c"]


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
    found = find_videos(tmp_path / "videos").videos
    assert sorted(path.name for path in found.values()) == ["here.mp4", "there.mp4"]
