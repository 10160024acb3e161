"""The command predict: rows, copies and explanations are written, an interrupted run resumes, errors are one line."""

import json
import os

import numpy as np
import pytest
from clips import run
from commands import call
from embedding import needs_embedding
from PIL import Image
from scored_clips import FRAMES, of

import lnclip_df
from lnclip_df import LNCLIPError
from lnclip_df.core.files import sha256
from lnclip_df.core.processes import DIED
from lnclip_df.datasets import Entry, write_dataset_json
from lnclip_df.scoring import ScoreOptions
from lnclip_df.scoring.feature_bank import make_bank
from lnclip_df.scoring.results_log import ResultsLog
from lnclip_df.scoring.score_files import score_files

pytest.importorskip("retinaface")


def command(*arguments):
    return call("predict", *arguments, "--frames", FRAMES, "--quiet")


@pytest.mark.slow
@needs_embedding
def test_the_command_writes_jsonl_that_holds_every_frame(weights, scorer, clips, tmp_path):
    out = tmp_path / "scores.jsonl"
    done = command(clips, "--weights", weights, "--format", "jsonl", "--out", out, "--all-faces")
    assert done.exit_code == 1  # a file without a face, and a broken one
    rows = {os.path.basename(row["path"]): row for row in map(json.loads, out.read_text().splitlines())}
    assert rows.keys() == {path.name for path in clips.iterdir()}
    expected = of(scorer, clips / "two.mp4", all_faces=True)
    assert rows["two.mp4"]["score"] == pytest.approx(expected.score, abs=1e-6)
    assert len(rows["two.mp4"]["persons"]) == 2 and rows["two.mp4"]["weights"] == sha256(weights)
    assert [frame["index"] for frame in rows["late.mp4"]["persons"][0]["frames"]] == [5, 6, 7]
    assert (rows["none.mp4"]["score"], rows["none.mp4"]["decision"]) == (None, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.jsonl"]


def test_the_table_and_the_csv_say_no_face_and_how_many_frames_count(weights, clips):
    paths = [clips / name for name in ("late.mp4", "none.mp4")]
    table = command(*paths, "--weights", weights).stdout
    assert "P(fake)" in table.splitlines()[0] and "3/8" in table.splitlines()[1]
    assert table.splitlines()[2] == "  note: the score rests on 3 of 8 frames"
    assert table.splitlines()[3].endswith("no face: no face in 8 frames")
    rows = command(*paths, "--weights", weights, "--format", "csv").stdout.splitlines()
    assert rows[0].startswith("path,outcome,decision,score") and ",no face,,,," in rows[2]
    assert command(clips / "one.mp4", "--weights", weights).exit_code == 0


@pytest.mark.slow
def test_a_run_that_was_broken_off_goes_on(weights, clips, tmp_path, monkeypatch):
    out, arguments = tmp_path / "s.jsonl", ["--weights", weights, "--format", "jsonl", "--batch-size", 1]
    paths = [clips / name for name in ("late.mp4", "one.mp4", "two.mp4")]
    whole = tmp_path / "whole.jsonl"
    command(*paths, *arguments, "--out", whole)
    add, count = ResultsLog.add, []

    def breaking(self, path, row):
        add(self, path, row)
        count.append(path)
        if len(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResultsLog, "add", breaking)
    assert command(*paths, *arguments, "--out", out).exit_code == 130
    assert not out.exists()
    with open(tmp_path / ".s.jsonl.part", "a") as file:
        file.write('\n{"provenance": "cut sh')
    command(*paths, *arguments, "--out", out)
    assert [path.name for path in count] == ["late.mp4", "one.mp4", "two.mp4"]
    assert out.read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.jsonl", "whole.jsonl"]


@pytest.fixture
def aligned(scorer, clips, tmp_path):
    """A function that scores seven aligned faces, and the output's folder."""
    crop = of(scorer, clips / "still.png", keep_crops=True).persons[0].frames[0].crop
    (tmp_path / "faces").mkdir()
    for number in range(7):
        Image.fromarray(np.roll(crop, 20 * number)).save(tmp_path / "faces" / f"face-{number}.png")
    (tmp_path / "faces" / "face-3.png").write_bytes(b"no picture")
    paths = sorted((tmp_path / "faces").iterdir())

    def score(out, **more):
        options = scorer.options(aligned=True, batch_size=1)
        return score_files(lambda: scorer, paths, options, out=out, format="jsonl", progress=False, **more)

    return score, tmp_path


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_the_last_shard_writes_what_one_run_writes(aligned, order):
    score, folder = aligned
    whole, out, seen = folder / "whole.jsonl", folder / "s.jsonl", []
    score(whole)
    for number in order:
        assert not out.exists()
        rows, text = score(out, shard=f"{number}/3")
        assert text.splitlines() == whole.read_text().splitlines()[number - 1 :: 3]
        seen += rows
    assert out.read_bytes() == whole.read_bytes() and len(seen) == 7
    assert {path.name for path in folder.iterdir()} == {"faces", "whole.jsonl", "s.jsonl"}


def test_a_shard_that_was_killed_goes_on_and_an_undivided_run_takes_what_shards_have_scored(aligned, monkeypatch):
    score, folder = aligned
    whole, out = folder / "whole.jsonl", folder / "s.jsonl"
    score(whole)
    add, scored = ResultsLog.add, []

    def killed(self, path, row):
        add(self, path, row)
        scored.append(path.name)
        if len(scored) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResultsLog, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        score(out, shard="1/2")
    score(out, shard="1/2")
    assert scored == ["face-0.png", "face-2.png", "face-4.png", "face-6.png"] and not out.exists()
    score(out)
    assert scored[4:] == ["face-1.png", "face-3.png", "face-5.png"]
    assert out.read_bytes() == whole.read_bytes() and len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("reason", [DIED, "not read within 3600 s"])
def test_a_resume_tries_a_file_again_whose_process_was_lost(aligned, monkeypatch, reason):
    score, folder = aligned
    score(folder / "whole.jsonl")
    add = ResultsLog.add

    def lost(self, path, row):
        add(self, path, row | {"outcome": "unreadable", "reason": reason})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ResultsLog, "add", lost)
        score(folder / "s.jsonl")
    score(folder / "s.jsonl")
    assert (folder / "s.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


def test_a_share_that_does_not_exist_is_one_line(weights, clips):
    done = call("predict", clips / "one.mp4", "--weights", weights, "--shard", "3/2")
    assert done.exit_code == 1 and done.stderr.startswith("error: shard: '3/2' received; accepted is i/n")


@pytest.mark.slow
@needs_embedding
def test_copies_and_explanations_lie_where_they_were_asked_for_and_are_named(weights, clips, tmp_path):
    paths = [clips / name for name in ("two.mp4", "none.mp4", "still.png")]
    drawn = ["--annotate", tmp_path / "a", "--explain", tmp_path / "e", "--format", "jsonl", "--all-faces"]
    rows = [json.loads(line) for line in command(*paths, "--weights", weights, *drawn).stdout.splitlines()]
    two, none, still = rows
    assert none["annotated"] == none["explained"] == []
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "two.annotated.mp4", "two.timeline.png", "still.annotated.png",
    }  # fmt: skip
    assert sorted(two["annotated"] + still["annotated"]) == sorted(map(str, (tmp_path / "a").iterdir()))
    assert {entry["file"] for row in (two, still) for entry in row["explained"]} == set(
        map(str, (tmp_path / "e").iterdir())
    )
    for shown in two["persons"]:
        probs = {frame["index"]: frame["prob"] for frame in shown["frames"]}
        explained = {e["index"]: e["prob"] for e in two["explained"] if e["person"] == shown["number"]}
        assert sorted(explained.values(), reverse=True) == sorted(probs.values(), reverse=True)[:4]
        assert all(probs[index] == prob for index, prob in explained.items())


@pytest.mark.slow
def test_a_bank_names_the_training_video_that_a_face_is_from(scorer, clips, tmp_path):
    made = run(clips, tmp_path / "faces", frames=FRAMES)
    entries = [Entry("real", "train", name, made.frame_paths()[name]) for name in ("one", "two", "late")]
    write_dataset_json(tmp_path / "json" / "mine.json", "mine", entries)
    own = lnclip_df.load(scorer.weights.path, overrides=[
        f"label_dict={json.dumps({'real': 0, 'fake': 1})}", f"dataset_json_folder={tmp_path / 'json'}", "workers=0",
    ])  # fmt: skip
    make_bank(own, tmp_path / "bank.safetensors", datasets=["mine"], frames=FRAMES, progress=False)
    arguments = ["--explain", tmp_path / "e", "--bank", tmp_path / "bank.safetensors", "--format", "jsonl"]
    done = command(clips / "one.mp4", "--weights", scorer.weights.path, *arguments)
    for entry in json.loads(done.stdout)["explained"]:
        assert "one" in entry["nearest"][0]["video"] and entry["nearest"][0]["angle"] < 0.1
        assert [len(entry["nearest"]), entry["nearest"][0]["label"]] == [3, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--bank", "b.safetensors"], "bank: it names the nearest examples of the faces that explain_to shows"),
     (["--frames", "0"], "frames: 0 received"), (["--device", "abacus"], "device 'abacus' cannot be used")],
)  # fmt: skip
def test_invalid_options_are_one_line(weights, clips, arguments, message):
    done = call("predict", clips / "one.mp4", "--weights", weights, *arguments)
    assert done.exit_code == 1 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_invalid_choices_are_named(clips):
    with pytest.raises(LNCLIPError, match="format: 'xml' received; accepted are table, csv, jsonl"):
        score_files(None, [clips / "one.mp4"], ScoreOptions(), format="xml")
    with pytest.raises(LNCLIPError, match="accepted are largest and track"):
        ScoreOptions(face="mask")


def test_without_weights_and_network_the_message_says_what_to_do(clips, monkeypatch, tmp_path):
    monkeypatch.delenv("LNCLIP_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = call("predict", clips / "one.mp4")
    assert done.exit_code == 1 and "yermandy/GenD_CLIP_L_14" in done.stderr


def test_a_file_that_is_scored_is_never_the_output(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    before = path.read_bytes()
    with pytest.raises(LNCLIPError, match="it is an input"):
        score_files(pytest.fail, [path], ScoreOptions(), out=path)
    assert path.read_bytes() == before
