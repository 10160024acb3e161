"""Whole preprocessing runs: what is written, every fault a line, resumed after any end, the same however spread."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from clips import av, contents, cv2, faceless, options, portrait, run, write_clip, write_sound

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces import pipeline
from lnclip_df.faces.align import template
from lnclip_df.media.discover import find_videos
from lnclip_df.media.sampling import evenly_spaced_floor
from lnclip_df.preprocess import preprocess_sources, video_job
from lnclip_df.preprocess.manifest import COLUMNS
from lnclip_df.preprocess.paths import Source
from lnclip_df.preprocess.records import pending_path
from lnclip_df.preprocess.workers import DIED

retinaface = pytest.importorskip("retinaface")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    frames = [portrait(shift) for shift in range(12)]
    return write_clip(tmp_path_factory.mktemp("clip") / "face.mp4", frames)


# --- what is found --------------------------------------------------------------------------------------------------


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


# --- whole runs -------------------------------------------------------------------------------------------------------


def test_one_video_becomes_faces_and_landmarks(clip, tmp_path):
    summary = run(clip, tmp_path)
    assert summary.counts == {"done": 1} and summary.failures == [] and summary.faces == 3
    names = sorted(path.name for path in (tmp_path / "frames" / "face").iterdir())
    assert names == ["000.png", "005.png", "011.png"]
    assert summary.frame_paths()["face"] == [tmp_path.resolve() / "frames" / "face" / name for name in names]
    for name in names:
        crop = cv2.imread(str(tmp_path / "frames" / "face" / name))
        points = np.load(tmp_path / "landmarks" / "face" / name.replace("png", "npy"))
        assert crop.shape == (256, 256, 3)
        assert points.shape == (5, 2) and points.dtype == np.float32
        assert np.abs(points - template()).max() < 14
        seen = retinaface.detect_faces(crop[..., ::-1].copy())[0].landmarks
        assert np.abs(points - [[point.x, point.y] for point in seen]).max() < 8


@pytest.mark.slow
def test_faults_are_lines_in_the_summary_and_do_not_stop_the_run(clip, tmp_path):
    source = tmp_path / "videos"
    whole = clip.read_bytes()
    (source / "sub folder").mkdir(parents=True)
    (source / "sub folder" / "Ä 顔.mp4").write_bytes(whole)
    (source / "empty.mp4").touch()
    (source / "text.webm").write_text("not a video")
    (source / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    write_sound(source / "sound.mp4")
    write_clip(source / "faceless.mkv", [np.full((64, 96, 3), 90, np.uint8)] * 4)
    write_clip(source / "single.avi", [portrait()], codec="mpeg4")
    summary = run(source, tmp_path / "out", workers=2)
    assert summary.counts == {"done": 2, "no face": 1, "unreadable": 4}
    assert set(summary.frame_paths()) == {"sub folder/Ä 顔", "single"}
    assert len(summary.frame_paths()["single"]) == 1
    reasons = dict(summary.failures)
    assert set(reasons) == {"empty", "text", "truncated", "sound", "faceless"}
    assert reasons["faceless"] == "no face in 3 frames" and reasons["sound"] == "no video stream"
    assert all(reason and "\n" not in reason for reason in reasons.values())
    assert len(str(summary).splitlines()) == 6
    again = run(source, tmp_path / "out")
    assert again.counts == summary.counts and again.resumed == 3


@pytest.mark.slow
def test_frames_are_chosen_among_those_that_decode(tmp_path):
    frames = [portrait(shift) for shift in range(30)]
    whole = write_clip(tmp_path / "whole.mkv", frames, codec="mpeg4").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: int(len(whole) * 0.6)])
    with av.open(str(cut)) as container:
        count = 0
        try:
            for _ in container.decode(video=0):
                count += 1
        except av.error.FFmpegError:
            pass
    assert 5 < count < 25
    names = [path.stem for path in run(cut, tmp_path / "out", frames=4).frame_paths()["cut"]]
    assert names == [f"{index:03d}" for index in evenly_spaced_floor(count, 4)]


@pytest.mark.slow
def test_a_finished_video_is_passed_over_until_it_changes(clip, tmp_path):
    source, out = tmp_path / "a.mp4", tmp_path / "out"
    source.write_bytes(clip.read_bytes())
    assert run(source, out).resumed == 0
    face, before = out / "frames" / "a" / "000.png", contents(out)
    face.write_bytes(face.read_bytes() + b"untouched")
    assert run(source, out).resumed == 1 and face.read_bytes().endswith(b"untouched")
    os.utime(source, (1, 1))
    assert run(source, out).resumed == 0 and not face.read_bytes().endswith(b"untouched")
    (out / "records" / "a.json").write_text("{")
    assert run(source, out).resumed == 0
    write_clip(source, [portrait(shift) for shift in range(6)])
    assert run(source, out).resumed == 0 and {p.name for p in face.parent.iterdir()} == {
        "000.png",
        "002.png",
        "005.png",
    }
    assert contents(out).keys() != before.keys()


def test_faces_that_were_deleted_are_made_again(clip, tmp_path):
    run(clip, tmp_path)
    before = contents(tmp_path)
    for name in ("frames/face/005.png", "landmarks/face/005.npy"):
        (tmp_path / name).unlink()
        assert run(clip, tmp_path).resumed == 0 and contents(tmp_path) == before
    (tmp_path / "frames/face/005.png").rename(tmp_path / "frames/face/006.png")
    assert run(clip, tmp_path).resumed == 0 and contents(tmp_path) == before
    assert run(clip, tmp_path).resumed == 1


@pytest.mark.parametrize(
    "setting, said",
    [
        ({"size": 128}, "size 256, now 128"),
        ({"frames": 2}, "sampling.frames 3, now 2"),
        ({"scale": 1.5}, "scale 1.3, now 1.5"),
        ({"face": "track"}, "face largest, now track"),
        ({"sampling": "fixed_stride"}, "sampling.mode fixed_num_frames, now fixed_stride"),
    ],
)
def test_changed_settings_refuse_to_mix_with_old_crops(clip, tmp_path, setting, said):
    run(clip, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(LNCLIPError, match="another recipe") as caught:
        run(clip, tmp_path, **setting)
    assert said in str(caught.value) and "--out" in str(caught.value) and contents(tmp_path) == before


def test_crops_made_elsewhere_are_refused_and_kept(clip, tmp_path):
    folder = tmp_path / "frames" / "face"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "000.png"), portrait())
    before = contents(tmp_path)
    with pytest.raises(LNCLIPError, match="they are foreign"):
        run(clip, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_and_is_resumed(clip, tmp_path):
    source = tmp_path / "videos"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.mp4").write_bytes(clip.read_bytes())
    code = (
        "import sys; from lnclip_df.preprocess import *;"
        "preprocess(*sys.argv[1:], CropSettings(frames=12), RunOptions(1, progress=False))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(source), str(tmp_path / "out")])
    records, deadline = tmp_path / "out" / "records", time.monotonic() + 60
    while len(list(records.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.stem for path in records.glob("*.json")}
    assert 2 <= len(finished) < 6
    for key in finished:
        assert len(list((tmp_path / "out" / "frames" / key).glob("[0-9]*.png"))) == 12
    summary = run(source, tmp_path / "out", frames=12)
    assert summary.resumed == len(finished) and summary.counts == {"done": 6}
    run(source, tmp_path / "clean", frames=12)
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


@pytest.mark.slow
def test_workers_do_not_change_a_byte(clip, tmp_path):
    source = tmp_path / "videos"
    for name in ("a", "b", "c/d"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / f"{name}.mp4").write_bytes(clip.read_bytes())
    run(source, tmp_path / "one", workers=1)
    run(source, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("name", ["...mp4", "..mp4"])
def test_a_name_that_climbs_out_is_refused(clip, tmp_path, name):
    source = tmp_path / name
    source.write_bytes(clip.read_bytes())
    with pytest.raises(LNCLIPError, match="rename"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def beside(clip, tmp_path):
    """Write a good video and those with the names given (bytes or str) into one folder; return the folder."""

    def write(*names):
        source = tmp_path / "videos"
        for name in ("good.mp4", *names):
            path = source / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.write_bytes(clip.read_bytes())
            except OSError as error:
                pytest.skip(f"this file system has no such names: {error}")
        return source

    return write


@pytest.mark.parametrize(
    "name, reason",
    [
        ("x" * 251 + ".mp4", "too long"),
        ("顔" * 83 + "xx.mp4", "too long"),
        (b"bad\xff\xfe.mp4", "not UTF-8"),
        (b"bad\xff/fine.mp4", "not UTF-8"),
        ("good/000.png.mp4", "collides with what is written of 'good'"),
        ("good/000.npy/deeper.mp4", "collides with what is written of 'good'"),
        ("good.json/other.mp4", "collides with what is written of 'good'"),
    ],
    ids=["long", "long in bytes", "file not UTF-8", "folder not UTF-8", "face", "points", "record"],
)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_a_name_that_no_face_can_have_is_a_line_and_the_others_are_done(beside, tmp_path, name, reason, workers):
    source = beside(name, "other.mp4")
    for resumed in (0, 2):
        summary = run(source, tmp_path / "out", frames=1, workers=workers)
        assert summary.counts == {"done": 2, "unreadable": 1} and summary.resumed == resumed
        assert set(summary.frame_paths()) == {"good", "other"}
        [(key, said)] = summary.failures
        assert key == os.fsdecode(name).removesuffix(".mp4") and reason in said and "rename the file" in said
        str(summary).encode("utf-8")


@pytest.mark.parametrize("length", [250, 251])
def test_the_longest_name_that_can_have_a_record_is_done(beside, tmp_path, length):
    summary = run(beside("x" * length + ".mp4"), tmp_path / "out", frames=1)
    assert summary.counts == ({"done": 2} if length == 250 else {"done": 1, "unreadable": 1})


def test_a_path_that_is_too_long_is_a_line(beside, tmp_path):
    source, deep = beside(), "/".join(["d" * 200] * 3)
    (source / deep).mkdir(parents=True)
    (source / "good.mp4").rename(source / deep / "good.mp4")
    out = tmp_path
    while len(str(out)) < 3400:
        out = out / ("o" * 200)
    [(key, reason)] = run(source, out).failures
    assert key == f"{deep}/good" and "too long" in reason


def test_only_names_that_no_face_can_have_is_a_run_too(tmp_path):
    (tmp_path / ("x" * 251 + ".mp4")).touch()
    assert run(tmp_path, tmp_path / "out", workers=None).counts == {"unreadable": 1}


@pytest.mark.parametrize("first, second", [("good/000.png", "good"), ("good", "good/000.png"), ("a.json/b", "a")])
def test_a_name_that_an_earlier_run_took_is_a_line(clip, tmp_path, first, second):
    for name in (first, second):
        path = tmp_path / name.replace("/", "-") / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(clip.read_bytes())
    assert run(tmp_path / first.replace("/", "-"), tmp_path / "out").counts == {"done": 1}
    before = contents(tmp_path / "out", manifests=False)
    [(key, reason)] = run(tmp_path / second.replace("/", "-"), tmp_path / "out").failures
    assert key == second and "collides" in reason and contents(tmp_path / "out", manifests=False) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_is_a_line_and_is_not_waited_for(beside, tmp_path):
    source = beside()
    os.mkfifo(source / "pipe.mp4")
    (source / "link.mp4").symlink_to(source / "pipe.mp4")
    (source / "nowhere.mp4").symlink_to(source / "absent")
    summary = run(source, tmp_path / "out")
    assert summary.counts == {"done": 1, "unreadable": 3}
    reasons = dict(summary.failures)
    assert reasons["pipe"] == reasons["link"] == "not a regular file"
    assert reasons["nowhere"] == "cannot be opened: No such file or directory"
    assert run(source / "pipe.mp4", tmp_path / "out").failures == [("pipe", "not a regular file")]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("place", ["replace", "unlink"])
def test_a_full_or_read_only_disk_ends_the_run(clip, tmp_path, monkeypatch, fault, place):
    def refuse(*args, **kwargs):
        raise OSError(fault, os.strerror(fault))

    run(clip, tmp_path / "out")
    (tmp_path / "out" / "frames" / "face" / "000.png").unlink()
    monkeypatch.setattr(*((os, "replace") if place == "replace" else (Path, "unlink")), refuse)
    with pytest.raises(LNCLIPError, match=f"cannot write .*: {os.strerror(fault)}"):
        run(clip, tmp_path / "out")


@pytest.mark.parametrize(
    "taken", ["above", "above/out", "above/out/frames", "above/out/landmarks", "above/out/records"]
)
def test_a_file_where_the_output_goes_is_named(clip, tmp_path, taken):
    path = tmp_path / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("kept")
    with pytest.raises(LNCLIPError, match=f"^out: .*{path.name}") as caught:
        run(clip, tmp_path / "above" / "out")
    assert "\n" not in str(caught.value) and path.read_text() == "kept"


@pytest.mark.parametrize("below", [".", "faces"])
def test_faces_written_below_the_source_are_not_read_as_videos(beside, below):
    source = beside("a/b.mp4")
    assert run(source, source / below).counts == {"done": 2}
    again = run(source, source / below)
    assert again.counts == {"done": 2} and again.resumed == 2


def test_terminal_escapes_in_names_are_shown_escaped(beside, tmp_path):
    source = beside("Ä 顔.mp4")
    (source / "a\x1b[2J\r\nb\x9b.mp4").touch()
    shown = str(run(source, tmp_path / "out"))
    assert "a\\x1b[2J\\r\\nb\\x9b: " in shown and len(shown.splitlines()) == 2
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize(
    "name, values, accepted",
    [
        ("frames", (0, -1, 100_001, 2.5, "3", None), "an integer, 1 to 100000"),
        ("size", (0, 15, 4097, 64.0, None), "an integer, 16 to 4096"),
        ("scale", (0.5, 10.1, float("nan"), float("inf"), 1j, None), "a number, 1 to 10"),
        ("workers", (0, -2, 1.5), "an integer, 1 or more"),
    ],
)
def test_settings_out_of_range_are_named(clip, tmp_path, name, values, accepted):
    for value in values:
        with pytest.raises(LNCLIPError) as caught:
            run(clip, tmp_path / "out", **{name: value})
        assert str(caught.value) == f"{name}: {value!r} received; accepted is {accepted}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("setting", [{"size": 16}, {"scale": 10}, {"frames": 100_000}, {"size": np.int64(16)}])
def test_settings_at_their_bounds_are_taken(clip, tmp_path, setting):
    assert run(clip, tmp_path, **setting).counts == {"done": 1}


def test_sources_without_a_video_are_named(tmp_path):
    (tmp_path / "note.txt").touch()
    for source in (tmp_path, tmp_path / "note.txt", tmp_path / "absent", tmp_path / ("x" * 300)):
        with pytest.raises(LNCLIPError, match=source.name):
            run(source, tmp_path / "out")


@pytest.mark.slow
def test_the_script_does_what_the_function_does(clip, tmp_path):
    script = os.path.join(os.path.dirname(__file__), "..", "..", "..", "preprocessing", "preprocess.py")
    command = [sys.executable, script, str(clip), "--out", str(tmp_path / "out"), "--frames", "2", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 done" in done.stdout and (tmp_path / "out" / "frames" / "face" / "011.png").is_file()
    failed = subprocess.run(
        [sys.executable, script, "absent.mp4", "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1 and "absent.mp4" in failed.stderr


# --- what is written of a run -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def several(clip, tmp_path_factory):
    """Seven sources of every outcome."""
    source = tmp_path_factory.mktemp("several") / "videos.v1"
    for name in ("a", "b", "c d", "Ä 顔/e"):
        (source / f"{name}.mp4").parent.mkdir(parents=True, exist_ok=True)
        (source / f"{name}.mp4").write_bytes(clip.read_bytes())
    write_clip(source / "none.mkv", [faceless(64, 96)] * 4)
    (source / "empty.mp4").touch()
    (source / ("x" * 251 + ".mp4")).write_bytes(clip.read_bytes())
    return source


def rows(out, name="videos.v1"):
    return contents(out)[f"manifests/{name}.csv"]


def test_the_manifest_says_what_is_on_disk(several, tmp_path):
    summary = run(several, tmp_path, frames=5)
    found = {row["video"]: row for row in rows(tmp_path)}
    assert summary.manifest == tmp_path.resolve() / "manifests" / "videos.v1.csv"
    assert list(found) == sorted(find_videos(several)) and {*found["a"]} | {"seconds"} == {*COLUMNS}
    for key in ("a", "b", "c d", "Ä 顔/e"):
        row, record = found[key], json.loads((tmp_path / "records" / f"{key}.json").read_text(encoding="utf-8"))
        faces = sorted(path.name for path in (tmp_path / "frames" / key).iterdir())
        assert faces == [f"{index:03d}.png" for index in record["saved"]] == [f"{i:03d}.png" for i in (0, 2, 5, 8, 11)]
        assert (row["outcome"], row["asked"], row["decoded"], row["found"], row["saved"]) == (
            "done",
            "5",
            "12",
            "5",
            "5",
        )
        assert (row["width"], row["height"], row["error"]) == ("320", "240", "")
        assert 0.9 < float(row["score"]) <= 1 and 40 < float(row["box"]) < 160
        assert row["recipe"] == summary.recipe.fingerprint == record["recipe"]
        assert record["bytes"] == (several / f"{key}.mp4").stat().st_size
    assert found["none"]["outcome"] == "no face" and found["none"]["error"] == "no face in 4 frames"
    assert found["empty"]["outcome"] == found["x" * 251]["outcome"] == "unreadable"
    assert "cannot be opened" in found["empty"]["error"] and "too long" in found["x" * 251]["error"]
    about = json.loads((tmp_path / "manifests" / "videos.v1.json").read_text(encoding="utf-8"))
    assert about["outcomes"] == summary.counts and about["faces"] == 20 and about["videos"] == 7
    assert about["settings"]["frames"] == 5 and about["recipe"] == summary.recipe.to_dict()
    assert about["versions"]["numpy"] == np.__version__ and about["versions"]["python"] == sys.version.split()[0]


def test_every_crop_carries_the_recipe_of_the_run(clip, tmp_path):
    from PIL import Image

    summary = run(clip, tmp_path, size=128, sampling="fixed_stride", stride=5)
    for path in summary.frame_paths()["face"]:
        with Image.open(path) as crop:
            recipe = json.loads(crop.text["lnclip-recipe"])
        assert recipe == summary.recipe.to_dict() and crop.size == (128, 128)
    assert recipe["sampling"] == {"mode": "fixed_stride", "stride": 5} and recipe["detector"]["name"] == "retinaface"
    assert recipe["size"] == 128 and recipe["scale"] == 1.3 and recipe["face"] == "largest"


@pytest.mark.slow
def test_the_sheet_shows_crops_ten_across(several, clip, tmp_path):
    from PIL import Image

    summary = run(several, tmp_path / "out", frames=4)
    with Image.open(summary.sheet) as sheet:
        assert sheet.size == (960, 2 * 96)
        first = np.asarray(sheet.crop((0, 0, 96, 96)).convert("RGB")).astype(float)
    crops = [cv2.imread(str(path))[..., ::-1] for paths in summary.frame_paths().values() for path in paths]
    assert min(np.abs(cv2.resize(crop, (96, 96), interpolation=cv2.INTER_AREA) - first).mean() for crop in crops) < 4
    (tmp_path / "out" / "frames" / "a" / "000.png").write_bytes(b"broken since")
    assert run(several, tmp_path / "out", frames=4).sheet is not None
    assert run(clip, tmp_path / "one", frames=1).sheet.is_file()
    assert run(several / "none.mkv", tmp_path / "none").sheet is None


@pytest.mark.slow
def test_shards_together_are_one_run(several, tmp_path):
    whole = run(several, tmp_path / "whole")
    keys = []
    for part in ("2/3", "1/3", "3/3"):
        summary = run(several, tmp_path / "parts", shard=part)
        keys += [record.key for record in summary.results]
        waiting = [row["video"] for row in rows(tmp_path / "parts") if row["outcome"] == "waiting"]
        assert set(waiting) == {record.key for record in whole.results} - set(keys) - {"x" * 251}
    assert sorted(keys) == [record.key for record in whole.results]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1/0", "1", "a/b", "-1/3", ""])
def test_a_shard_that_is_none_is_named(clip, tmp_path, shard):
    with pytest.raises(LNCLIPError, match=f"shard: {shard!r} received; accepted is i/n"):
        run(clip, tmp_path / "out", shard=shard)


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same(several, tmp_path):
    distributed = pytest.importorskip("distributed")
    run(several, tmp_path / "local")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        summary = run(several, tmp_path / "cluster", scheduler=cluster.scheduler_address)
        assert summary.counts == {"done": 4, "no face": 1, "unreadable": 2}
        assert contents(tmp_path / "cluster") == contents(tmp_path / "local")
        assert run(several, tmp_path / "cluster", scheduler=cluster.scheduler_address).resumed == 5
        (tmp_path / "full" / "records").mkdir(parents=True)
        (tmp_path / "full" / "records" / "Ä 顔").symlink_to("/proc")  # where nothing can be written
        with pytest.raises(LNCLIPError, match="cannot write"):
            run(several, tmp_path / "full", scheduler=cluster.scheduler_address)


def test_a_scheduler_that_is_not_there_is_a_line(clip, tmp_path):
    distributed = pytest.importorskip("distributed")
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(LNCLIPError, match=r"scheduler: no Dask scheduler at tcp://127\.0\.0\.1:9"),
    ):
        run(clip, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert distributed.__version__


# --- ends of all kinds ------------------------------------------------------------------------------------------------

RUN = (
    "import sys; from lnclip_df.preprocess import *;"
    "preprocess(*sys.argv[1:3], CropSettings(frames=8), RunOptions(int(sys.argv[3]), progress=False))"
)


@pytest.mark.slow
def test_killed_twenty_times_a_run_ends_as_if_undisturbed(tmp_path):
    source, out = tmp_path / "videos", tmp_path / "out"
    for number in range(24):
        write_clip(source / f"{number}-{'x' * 45}.mp4", [portrait(number + shift, 160, 240) for shift in range(8)])
    run(source, tmp_path / "clean", frames=8)
    rng = np.random.default_rng(0)
    seen, left = [], 0
    for kill in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(source), str(out), "1" if kill % 5 else "2"], start_new_session=True
        )
        wait_for, deadline = ("records/*.json", "landmarks/*/*.npy")[kill % 2], time.monotonic() + 60
        before = set(out.glob(wait_for))
        while all(path in before for path in out.glob(wait_for)) and time.monotonic() < deadline:
            time.sleep(0.005)  # until it has begun to write, so that the kill comes in the middle of it
        time.sleep(float(rng.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        _wait_for_the_end_of(process.pid)
        seen.append(len(list(out.glob("records/*.json"))))
        for path in out.glob("frames/*/[0-9]*.png"):
            assert cv2.imread(str(path)).shape == (256, 256, 3)
        for folder in out.glob("frames/*"):
            if not (out / "records" / f"{folder.name}.json").exists():
                (folder / ".003-0123abcd.png").write_bytes(b"half")
                left += 1
    assert seen == sorted(seen) and seen[0] < seen[-1] < 24 and left > 5
    assert run(source, out, frames=8).counts == {"done": 24}
    assert contents(out) == contents(tmp_path / "clean")


def _wait_for_the_end_of(group, seconds=20):
    """Workers of a killed run end with it: wait until none of its process group is left."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("workers outlive the run that started them")


def test_what_a_killed_process_left_of_a_video_goes(clip, tmp_path):
    run(clip, tmp_path / "clean")
    run(clip, tmp_path / "out")
    record = tmp_path / "out" / "records" / "face.json"
    record.rename(pending_path(record))
    for name in ("frames/face/.005-0123abcd.png", "landmarks/face/.005-89abcdef.npy", "frames/face/007.png"):
        (tmp_path / "out" / name).write_bytes((tmp_path / "out" / "frames" / "face" / "000.png").read_bytes()[:100])
    (tmp_path / "out" / "landmarks" / "face" / "007.npy").touch()
    assert run(clip, tmp_path / "out").resumed == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


def test_a_record_under_way_is_no_other_videos():
    pending = {pending_path(Path("r", f"{key}.json")) for key in ("a", "a-b", "x" * 60, "x" * 61, "a-01234567")}
    assert len(pending) == 5 and all(len(os.fsencode(path.name)) < 32 for path in pending)


def dies(job):
    if "killer" in job.source.key:
        os.kill(os.getpid(), signal.SIGKILL)
    return video_job.process_video(job)


def dies_once(job):
    mark = Path(f"{job.out}.died")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return video_job.process_video(job)


@pytest.mark.parametrize("function", [dies, dies_once])
@pytest.mark.slow
def test_a_process_that_dies_costs_its_video_alone(clip, tmp_path, monkeypatch, function):
    from lnclip_df.preprocess import workers

    source = tmp_path / "videos"
    source.mkdir()
    for name in ("a", "b", "killer", "m", "n", "o", "p"):
        (source / f"{name}.mp4").write_bytes(clip.read_bytes())
    monkeypatch.setattr(workers, "process_video", function)
    summary = run(source, tmp_path / "out", workers=2)
    if function is dies_once:
        assert summary.counts == {"done": 7}
    else:
        assert summary.counts == {"done": 6, "unreadable": 1} and summary.failures == [("killer", DIED)]
        assert json.loads((tmp_path / "out" / "records" / "killer.json").read_text())["reason"] == DIED
    monkeypatch.undo()
    again = run(source, tmp_path / "out", workers=2)
    assert again.counts == {"done": 7} and again.resumed == (7 if function is dies_once else 6)


def test_whatever_a_detector_raises_is_a_line_and_the_others_are_done(clip, tmp_path, monkeypatch):
    source = tmp_path / "videos"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / f"{name}.mp4").write_bytes(clip.read_bytes())
    original, calls = pipeline.align, []

    def sometimes(*args):
        calls.append(args)
        if len(calls) == 5:
            raise RuntimeError("no\nway")
        return original(*args)

    monkeypatch.setattr(pipeline, "align", sometimes)
    summary = run(source, tmp_path / "out")
    assert summary.counts == {"done": 2, "unreadable": 1} and summary.failures == [("b", "RuntimeError: no way")]
    assert not list((tmp_path / "out" / "frames").glob("b/*"))


# --- videos of all kinds ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_twelve_faces_and_one_frame_and_one_image(tmp_path):
    one = cv2.resize(portrait(60, 240, 200), (160, 192))
    source = tmp_path / "videos"
    write_clip(source / "crowd.mp4", [np.vstack([np.hstack([one] * 4)] * 3)] * 2, options={"crf": "10"})
    write_clip(source / "single.mov", [portrait()])
    cv2.imwrite(str(source / "image.jpg"), portrait()[..., ::-1])
    summary = run(source, tmp_path / "out", frames=4)
    assert summary.counts == {"done": 3}
    assert {record.key: (record.decoded, record.saved) for record in summary.results} == {
        "crowd": (2, [0, 1]), "image": (1, [0]), "single": (1, [0]),
    }  # fmt: skip
    from lnclip_df.faces.detectors import make_detector
    from lnclip_df.faces.settings import CropSettings

    [faces] = make_detector(CropSettings())([np.vstack([np.hstack([one] * 4)] * 3)])
    assert len(faces.boxes) == 12


@pytest.mark.slow
def test_twenty_thousand_frames_are_not_all_decoded(tmp_path):
    path = tmp_path / "long.mp4"
    frames = [faceless(96, 128), *[np.full((96, 128, 3), 90 + shade, np.uint8) for shade in range(20)]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "250"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        pictures = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
        for at in range(20_000):
            picture = pictures[at // 7 % len(pictures)]
            picture.pts = at
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    summary = run(path, tmp_path / "out", frames=8)
    [record] = summary.results
    assert (record.outcome, record.decoded, record.asked) == ("no face", 20_000, 8)


@pytest.mark.slow
def test_an_image_folder_is_a_video(clip, tmp_path):
    folder = tmp_path / "videos" / "frames of a"
    folder.mkdir(parents=True)
    for number in range(6):
        cv2.imwrite(str(folder / f"img_{number + 5}.png"), portrait(number)[..., ::-1])
    (folder / "img_7.png").write_bytes(b"broken")
    summary = run(tmp_path / "videos", tmp_path / "out", frames=5)
    assert summary.counts == {"done": 1} and summary.results[0].decoded == 5
    assert [path.name for path in summary.frame_paths()["frames of a"]] == [f"{index:03d}.png" for index in range(5)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_a_video_that_disappears_or_changes_while_others_are_done(clip, tmp_path, monkeypatch, workers):
    from lnclip_df.preprocess import run as run_module

    source = tmp_path / "videos"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / f"{name}.mp4").write_bytes(clip.read_bytes())
    original = run_module.work_off

    def meanwhile(*args):
        (source / "b.mp4").unlink()
        (source / "c.mp4").write_bytes(clip.read_bytes()[:1000])
        return original(*args)

    monkeypatch.setattr(run_module, "work_off", meanwhile)
    summary = run(source, tmp_path / "out", workers=workers)
    assert summary.counts == {"done": 1, "unreadable": 2}
    assert dict(summary.failures)["b"] == "cannot be opened: No such file or directory"


def test_a_file_that_changes_while_it_is_read_is_done_again(clip, tmp_path, monkeypatch):
    source = tmp_path / "a.mp4"
    source.write_bytes(clip.read_bytes())
    original = video_job.open_frames

    def touched(*args):
        os.utime(source, (1, 1))
        return original(*args)

    with monkeypatch.context() as patched:
        patched.setattr(video_job, "open_frames", touched)
        assert run(source, tmp_path / "out").counts == {"done": 1}
    assert run(source, tmp_path / "out").resumed == 0 and run(source, tmp_path / "out").resumed == 1


def test_sources_may_be_relative_and_go_where_they_say(clip, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    source = Source("real/x", "in/x.mp4", folder="Set/real", name="x")
    preprocess_sources([source], "out", *options(frames=2), name="set")
    assert {path for path in contents(tmp_path / "out") if "manifests" not in path} == {
        "Set/real/frames/x/000.png", "Set/real/frames/x/011.png", "Set/real/landmarks/x/000.npy",
        "Set/real/landmarks/x/011.npy", "records/real/x.json",
    }  # fmt: skip
    for folder, name in (("../elsewhere", "x"), ("Set", "../../x"), ("/etc", "x")):
        with pytest.raises(LNCLIPError, match="is no folder name; rename"):
            preprocess_sources([Source("y", "in/x.mp4", folder, name)], "out", *options())
