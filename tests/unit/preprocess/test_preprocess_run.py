"""Whole preprocessing runs: what is written, and every fault is a line in the summary."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import av, contents, cv2, faceless, options, portrait, run, write_clip, write_sound

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces import pipeline
from lnclip_df.faces.align import template
from lnclip_df.media.images import read_image
from lnclip_df.media.recipe import read_recipe
from lnclip_df.media.sampling import evenly_spaced_floor
from lnclip_df.preprocess import preprocess_sources
from lnclip_df.preprocess.paths import Source

retinaface = pytest.importorskip("retinaface")


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
    with pytest.raises(LNCLIPError, match=f"^cannot write .*{path.name}") as caught:
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


def test_whatever_a_detector_raises_is_a_line_and_the_others_are_done(copies, tmp_path, monkeypatch):
    source = copies("a.mp4", "b.mp4", "c.mp4")
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
        cv2.imwrite(str(folder / f"frame_{number + 5}.png"), portrait(number)[..., ::-1])
    (folder / "frame_7.png").write_bytes(b"broken")
    summary = run(tmp_path / "videos", tmp_path / "out", frames=5)
    assert summary.counts == {"done": 1} and summary.results[0].decoded == 5
    assert [path.name for path in summary.frame_paths()["frames of a"]] == [f"{index:03d}.png" for index in range(5)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_a_video_that_disappears_or_changes_while_others_are_done(clip, copies, tmp_path, monkeypatch, workers):
    from lnclip_df.preprocess import run as run_module

    source = copies("a.mp4", "b.mp4", "c.mp4")
    original = run_module.work_off

    def meanwhile(*args):
        (source / "b.mp4").unlink()
        (source / "c.mp4").write_bytes(clip.read_bytes()[:1000])
        return original(*args)

    monkeypatch.setattr(run_module, "work_off", meanwhile)
    summary = run(source, tmp_path / "out", workers=workers)
    assert summary.counts == {"done": 1, "unreadable": 2}
    assert dict(summary.failures)["b"] == "cannot be opened: No such file or directory"


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


def test_an_anamorphic_video_gives_the_crops_of_the_video_that_a_player_shows(tmp_path):
    frames = [portrait(shift) for shift in range(4)]
    write_clip(tmp_path / "in" / "plain.mp4", frames)
    narrow = [cv2.resize(frame, (160, 240), interpolation=cv2.INTER_AREA) for frame in frames]
    write_clip(tmp_path / "in" / "narrow.mp4", narrow, aspect=2)
    summary = run(tmp_path / "in", tmp_path / "out")
    narrow, plain = summary.results
    assert (narrow.size, plain.size) == ([320, 240], [320, 240]) and narrow.recipe == plain.recipe
    assert (narrow.changes, plain.changes) == ({"square_pixels": "from 2:1"}, {})
    recipes = {}
    for record in summary.results:
        data = (tmp_path / "out" / "frames" / record.key / "000.png").read_bytes()
        recipes[record.key] = read_recipe(data).facts
    assert recipes["narrow"] == recipes["plain"] | {"frames": {"square_pixels": "from 2:1"}}
    crops = [read_image(tmp_path / "out" / "frames" / record.key / "000.png") for record in summary.results]
    assert np.abs(crops[0].astype(int) - crops[1]).mean() < 8
    assert run(tmp_path / "in", tmp_path / "out").resumed == 2


def test_what_was_passed_over_is_in_the_summary_and_the_manifest(clip, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.mp4").write_bytes(clip.read_bytes())
    for name in ("notes.txt", "more.txt", "talk.mp3", "x_1.png", "x_2.png"):
        (source / name).touch()
    summary = run(source, tmp_path / "out")
    passed, numbered = summary.notes
    assert passed == "passed over: 2 .txt, 1 .mp3" and "2 of them are one video each" in numbered
    assert passed in str(summary) and numbered in str(summary)
    manifest = json.loads((tmp_path / "out" / "manifests" / "in.json").read_text())
    assert manifest["skipped"] == {".txt": 2, ".mp3": 1}
    assert (manifest["image_sequences"], manifest["numbered_images"]) == (0, 2)
    assert set(summary.counts) == {"done", "unreadable"} and len(summary.results) == 3
