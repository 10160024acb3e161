"""The data commands, in the order of docs/data.md, on miniature trees: what they print, and how they end."""

import json

import pytest
import trees
from commands import call

from lnclip_df.datasets.overview import overview

pytest.importorskip("av")
pytest.importorskip("retinaface")
pytest.importorskip("skimage")
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
    report = root / "audit.json"
    audited = call("audit", "UADFV", "--root", root, "--frames", 2, "--workers", 1, "--out", report, "--quiet")
    assert audited.exit_code == 1 and "not fit for the leaderboard" in audited.stdout  # 49 videos a class are missing
    assert json.loads(report.read_text())["fit"] is False


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["preprocess"], "name either a video or folder, or --dataset"),
        (["preprocess", "a.mp4", "--dataset", "UADFV"], "name either a video or folder, or --dataset"),
        (["preprocess", "a.mp4"], "--out is missing"),
        (["preprocess", "--dataset", "UADFV"], "--root is missing"),
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
