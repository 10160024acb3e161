"""The data commands, in the order of docs/data.md, on miniature trees: what they print, and how they end."""

import json

import numpy as np
import pytest
import trees
from commands import call, error_of
from references import gend_crop

from lnclip_df.datasets.overview import overview
from lnclip_df.faces.detectors import make_detector
from lnclip_df.faces.settings import CropSettings

pytest.importorskip("av")
pytest.importorskip("retinaface")
pytest.importorskip("skimage")
from clips import cv2, every_frame, portrait, write_clip
from tree_videos import write_videos


@pytest.fixture
def root(tmp_path):
    write_videos(tmp_path, trees.TREES["UADFV"])
    return tmp_path


def preprocess(root):
    return call("preprocess", "--dataset", "UADFV", "--root", root, "--frames", 2, "--workers", 1, "--quiet")


def test_the_list_says_what_is_on_disk(root):
    before = {row.name: row for row in overview(root)}
    count = len(trees.TREES["UADFV"].videos)
    assert (before["UADFV"].videos, before["UADFV"].faces) == (count, None)
    assert (before["UADFV"].test_real, before["UADFV"].test_fake) == (49, 49)
    assert (before["DFDC"].videos, before["DFDC"].faces, before["DFDC"].fault) == (None, None, "")
    assert preprocess(root).exit_code == 0
    (line,) = [line for line in call("datasets", "--root", root).stdout.splitlines() if line.startswith("UADFV ")]
    assert line.split()[1:5] == ["49", "49", str(count), str(count)]
    assert all(row.videos is None for row in overview())


def test_a_dataset_that_is_there_and_cannot_be_read_says_why(root):
    write_videos(root, trees.TREES["Celeb-DF-v2"])
    (root / "Celeb-DF-v2" / "List_of_testing_videos.txt").write_text("what\n")
    (row,) = [row for row in overview(root) if row.name == "Celeb-DF-v2"]
    assert row.videos is None and "List_of_testing_videos.txt" in row.fault
    assert row.fault in call("datasets", "--root", root).stdout


def test_videos_to_faces_to_json_to_audit(root):
    made = preprocess(root)
    assert made.exit_code == 0 and "recipe " in made.stdout and "manifests" in made.stdout
    out = root / "json"
    written = call("rearrange", "UADFV", "--root", root, "--out", out, "--relative-to", root, "--lmdb", root / "lmdb")
    assert written.exit_code == 0 and str(out / "UADFV.json") in written.stdout and "UADFV_lmdb" in written.stdout
    assert set(json.loads((out / "UADFV.json").read_text())["UADFV"]) == {"UADFV_Real", "UADFV_Fake"}
    packed = call("pack", out / "UADFV.json", "--pack-dir", root / "pack", "--data-root", root, "--quiet")
    assert packed.exit_code == 0 and "UADFV.pack: " in packed.stdout and "crops of 256 × 256 pixels" in packed.stdout
    report = root / "audit.json"
    audited = call("audit", "UADFV", "--root", root, "--frames", 2, "--workers", 1, "--out", report, "--quiet")
    assert audited.exit_code == 1 and "not fit for the leaderboard" in audited.stdout  # 49 videos a class are missing
    assert json.loads(report.read_text())["fit"] is False


@pytest.mark.slow
def test_a_recipe_by_name_gives_gends_crops(tmp_path):
    """The frames and pixels of its detector.py, on the faces of the same detector."""
    frames = [portrait(shift) for shift in range(12)]
    clip = write_clip(tmp_path / "face.mp4", frames)
    options = ["--recipe", "gend", "--detector", "retinaface", "--frames", 3, "--out", tmp_path / "out", "--quiet"]
    made = call("preprocess", clip, *options)
    assert made.exit_code == 0, made.output
    crops = sorted((tmp_path / "out" / "frames" / "face").iterdir())
    assert [path.stem for path in crops] == ["000", "006", "011"]  # the middle one, then the farthest ones
    find = make_detector(CropSettings(score=0.5))
    for path in crops:
        frame = every_frame(clip)[int(path.stem)]
        [faces] = find([frame])
        expected = gend_crop(frame, faces.points[int(np.argmax(faces.areas))].tolist(), 1.3)
        difference = np.abs(cv2.imread(str(path))[..., ::-1].astype(int) - expected)
        assert difference.max() <= 1 and difference.mean() < 1e-3
    manifest = json.loads((tmp_path / "out" / "manifests" / "face.json").read_text())
    assert manifest["settings"]["name"] == "gend" and manifest["changed"] == {"frames": 3}
    assert manifest["recipe"]["size"] == "native" and manifest["recipe"]["detector"]["score"] == 0.5
    assert error_of(call("preprocess", clip, "--recipe", "gend", "--out", tmp_path / "other")).startswith(
        "error: recipe gend: detector is missing; give the path of InsightFace's det_10g.onnx"
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["preprocess"], "name either a video or folder, or --dataset"),
        (["preprocess", "a.mp4", "--dataset", "UADFV"], "name either a video or folder, or --dataset"),
        (["preprocess", "a.mp4"], "--out is missing"),
        (["preprocess", "--dataset", "UADFV"], "root is missing: name the folder that contains UADFV"),
        (["preprocess", "--dataset", "nope", "--root", "."], "no dataset nope"),
        (["rearrange", "UADFV", "--root", ".", "--out", "x", "--map", "y"], "expected NAME=PATH"),
        (["audit", "UADFV", "--root", "absent"], "no folder UADFV"),
        (["pairs", "absent/UADFV.json", "--root", "absent"], "no folder UADFV"),
    ],
)
def test_what_is_missing_is_one_line(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 1 and words in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "CDFv2", "--root", "."],
        ["preprocess", "--dataset", "CDFv2", "--root", "."],
        ["rearrange", "CDFv2", "--root", ".", "--out", "x"],
        ["train", "--datasets", "CDFv2"],
    ],
)
def test_a_dataset_may_be_named_by_its_column(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "Celeb-DF-v2" in error_of(call(*arguments))


def test_a_folder_says_what_it_has_besides_and_groups_numbered_images_on_request(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("IMG_1.png", "IMG_2.png"):
        (source / name).write_bytes(trees.png())
    (source / "notes.txt").touch()
    given = ("preprocess", source, "--workers", 1, "--quiet", "--out")
    single = call(*given, tmp_path / "single")
    assert single.exit_code == 1 and single.stdout.startswith("2 videos: 2 no face")
    assert "passed over: 1 .txt" in single.stdout and "2 of them are one video each" in single.stdout
    assert call(*given, tmp_path / "grouped", "--sequences").stdout.startswith("1 videos: 1 no face")
