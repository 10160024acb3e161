"""Scoring what a user has: the numbers of preprocess and test, every person apart, whatever the batch."""

import json
import os
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from clips import faceless, portrait, run, write_clip
from released import Released, saved_weights, tiny_config
from safetensors.torch import save_file
from typer.testing import CliRunner

import lnclip_df
from lnclip_df import LNCLIPError, cli
from lnclip_df.core.devices import cpu_is_faster_in_bf16
from lnclip_df.core.files import sha256, write_json
from lnclip_df.datasets import Entry, write_dataset_json
from lnclip_df.demo import people, scenes
from lnclip_df.evaluation.test import test as run_test
from lnclip_df.scoring import ScoreOptions
from lnclip_df.scoring.feature_bank import make_bank
from lnclip_df.scoring.inputs import find_inputs
from lnclip_df.scoring.score_files import score_files
from lnclip_df.weights.export import export

pytest.importorskip("retinaface")
FRAMES, HIGH, WIDE = 8, 200, 240
NOBODY = [faceless(HIGH, WIDE)] * FRAMES


@cache
def person(identity):
    """Frames of one of the demo's people, HIGH × WIDE."""
    scene = scenes.make_scene(0, identity, FRAMES, 288)
    frames = scenes.film(people.make_person(0, identity), scene)
    return [cv2.resize(frame, (WIDE, WIDE))[:HIGH] for frame in frames]


def beside(left, right):
    return [np.hstack(pair) for pair in zip(left, right, strict=True)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return saved_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def scorer(weights):
    return lnclip_df.load(weights, device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    films = {
        "one": [portrait(2 * at, HIGH, WIDE) for at in range(FRAMES)],
        "two": beside(person(0), person(5)),
        "none": NOBODY,
        "late": NOBODY[:5] + person(0)[5:],
        "cut": beside(person(0)[:4], person(5)[:4]) + beside(person(5)[4:], person(0)[4:]),
        "passing": beside(person(0), NOBODY[:4] + person(5)[4:5] + NOBODY[5:]),
    }
    for name, frames in films.items():
        write_clip(folder / f"{name}.mp4", frames, options={"crf": "10"})
    (folder / "broken.mp4").write_bytes((folder / "one.mp4").read_bytes()[:300])
    cv2.imwrite(str(folder / "still.png"), portrait()[..., ::-1])
    return folder


def results_of(scorer, path, **options):
    return list(scorer.results(path, **{"frames": FRAMES, **options}))


def of(scorer, path, **options):
    (result,) = results_of(scorer, path, **options)
    return result


def sides(result, person):
    """In which half of the picture a person is seen, by frame."""
    middle = result.size[0] / 2
    return {frame.index: "LR"[(frame.box[0] + frame.box[2]) / 2 > middle] for frame in person.frames}


# --- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("face", ["largest", "track"])
def test_a_score_is_that_of_preprocess_and_test(weights, scorer, clips, tmp_path, monkeypatch, face):
    monkeypatch.chdir(tmp_path)
    names = ["one", "two", "late"]
    for name in names:
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / f"{name}.mp4").write_bytes((clips / f"{name}.mp4").read_bytes())
    made = run("videos", "faces", frames=FRAMES, face=face)
    paths = made.frame_paths()
    entries = [Entry("real" if name == "one" else "fake", "test", name, paths[name]) for name in names]
    write_dataset_json(tmp_path / "json" / "mine.json", "mine", entries)
    labels = json.dumps({"real": 0, "fake": 1})
    config = tiny_config(f"label_dict={labels}", f"dataset_json_folder={tmp_path / 'json'}", "workers=0")
    run_test(config, weights, tmp_path / "run", datasets=["mine"], device="cpu", progress=False)
    from lnclip_df.evaluation.predictions import read_predictions

    table, _ = read_predictions(tmp_path / "run" / "predictions" / "mine.parquet")
    for name in names:
        expected = [prob for video, prob in zip(table["video"], table["prob"], strict=True) if name in video]
        result = of(scorer, clips / f"{name}.mp4", face=face)
        assert result.score == pytest.approx(np.mean(expected), abs=1e-6)
        assert [frame.prob for frame in result.persons[0].frames] == pytest.approx(expected, abs=1e-6)
        aligned = of(scorer, paths[name][0].parent, aligned=True)
        assert aligned.score == pytest.approx(result.score, abs=1e-6) and aligned.recipe == result.recipe
        assert result.recipe == made.recipe.fingerprint


@pytest.mark.parametrize("all_faces", [False, True])
def test_scores_do_not_depend_on_the_batch_or_the_company(scorer, clips, all_faces):
    wanted = ["one.mp4", "two.mp4", "still.png", "late.mp4"]
    alone = [of(scorer, clips / name, all_faces=all_faces, batch_size=32) for name in wanted]
    for batch_size in (1, 3, 7, 64):
        together = results_of(scorer, [clips / name for name in wanted], all_faces=all_faces, batch_size=batch_size)
        for one, other in zip(alone, together, strict=True):
            assert one.path == other.path and one.found == other.found
            probs = [[frame.prob for p in result.persons for frame in p.frames] for result in (one, other)]
            assert np.abs(np.subtract(*probs)).max() < 1e-5


def test_the_video_score_is_the_mean_of_its_frames(scorer, clips):
    result = of(scorer, clips / "one.mp4")
    probs = [frame.prob for frame in result.persons[0].frames]
    assert len(probs) == FRAMES and np.ptp(probs) > 1e-3
    assert result.score == pytest.approx(sum(probs) / len(probs), abs=1e-12)
    assert [frame.seconds for frame in result.persons[0].frames] == pytest.approx([at / 25 for at in range(FRAMES)])


def test_predict_is_the_score_as_a_float(weights, scorer, clips, monkeypatch):
    monkeypatch.setenv("LNCLIP_WEIGHTS", str(weights))
    score = lnclip_df.predict(clips / "one.mp4", frames=FRAMES)
    assert isinstance(score, float) and score == of(scorer, clips / "one.mp4").score
    assert lnclip_df.predict(str(clips / "one.mp4"), weights, frames=FRAMES) == score
    with pytest.raises(LNCLIPError, match=r"none\.mp4: no face in 8 frames"):
        lnclip_df.predict(clips / "none.mp4", frames=FRAMES)
    with pytest.raises(LNCLIPError, match="contains 8 videos and images"):
        lnclip_df.predict(clips)


def test_images_are_scored_by_path_or_as_arrays(scorer, clips):
    scores = scorer.score([clips / "still.png", portrait(), faceless()])
    assert scores[:2] == pytest.approx(of(scorer, clips / "still.png").score, abs=1e-6)
    assert np.isnan(scores[2])
    crop = of(scorer, clips / "still.png", keep_crops=True).persons[0].frames[0].crop
    assert scorer.score([crop], aligned=True)[0] == pytest.approx(scores[0], abs=1e-6)
    for wrong in (portrait().astype(float), portrait()[..., 0], np.empty((0, 5, 3), np.uint8)):
        with pytest.raises(LNCLIPError, match="uint8 RGB H×W×3; received"):
            scorer.score([wrong])
    assert scorer.score([]).shape == (0,)


def test_a_probability_that_is_not_a_number_is_no_score(weights, clips):
    scorer = lnclip_df.load(weights, device="cpu")
    with torch.no_grad():
        scorer.detector.head.bias.fill_(float("nan"))
    with pytest.raises(LNCLIPError, match="the probability of a face is not a number"):
        of(scorer, clips / "one.mp4")


# --- who --------------------------------------------------------------------------------------------------------------


def test_each_person_has_a_score_of_their_own(scorer, clips):
    result = of(scorer, clips / "two.mp4", all_faces=True)
    assert len(result.persons) == 2 and result.faces == 2 * FRAMES
    assert sorted("".join(sides(result, p).values()) for p in result.persons) == ["L" * FRAMES, "R" * FRAMES]
    assert result.score == max(p.score for p in result.persons) == result.persons[0].score
    for p in result.persons:
        left = sides(result, p)[0] == "L"
        alone = np.mean(scorer.score([frame[:, :WIDE] if left else frame[:, WIDE:] for frame in two_decoded(clips)]))
        assert p.score == pytest.approx(alone, abs=0.02)


def two_decoded(clips):
    from clips import every_frame

    return every_frame(clips / "two.mp4")


def test_a_person_is_one_over_a_cut_that_swaps_sides(scorer, clips):
    result = of(scorer, clips / "cut.mp4", all_faces=True)
    assert sorted("".join(sides(result, p).values()) for p in result.persons) == ["LLLLRRRR", "RRRRLLLL"]


def test_a_face_that_enters_late_counts_where_it_is_seen(scorer, clips):
    result = of(scorer, clips / "late.mp4")
    assert (result.frames, result.found, result.faces) == (8, 3, 3)
    assert [frame.index for frame in result.persons[0].frames] == [5, 6, 7]


def test_who_passes_by_for_a_moment_does_not_decide(scorer, clips, monkeypatch):
    result = of(scorer, clips / "passing.mp4", all_faces=True)
    assert [len(p.frames) for p in result.persons] == [FRAMES, 1]
    assert result.score == result.persons[0].score


@pytest.mark.parametrize("options", [{}, {"all_faces": True}, {"face": "track"}])
def test_no_face_is_never_real(scorer, clips, options):
    result = of(scorer, clips / "none.mp4", **options)
    assert (result.outcome, result.score, result.decision, result.persons) == ("no face", None, None, [])
    assert result.reason == "no face in 8 frames"


def test_a_broken_file_says_why_and_the_others_are_scored(scorer, clips):
    results = {os.path.basename(result.path): result for result in results_of(scorer, clips)}
    assert results["broken.mp4"].outcome == "unreadable" and results["broken.mp4"].reason
    assert results["one.mp4"].score is not None and results["still.png"].score is not None
    assert list(results) == sorted(results)


def test_crops_that_are_no_crops_are_refused(scorer, clips, tmp_path):
    cv2.imwrite(str(tmp_path / "wide.png"), portrait()[..., ::-1])
    result = of(scorer, tmp_path / "wide.png", aligned=True)
    assert result.outcome == "unreadable" and "an aligned face is square, this is 320×240" in result.reason
    cv2.imwrite(str(tmp_path / "crop.png"), portrait()[:200, :200])
    assert of(scorer, tmp_path / "crop.png", aligned=True).recipe == "foreign"


# --- what counts as fake ----------------------------------------------------------------------------------------------


def test_the_decision_is_fake_above_the_threshold(weights, scorer, clips):
    score = of(scorer, clips / "one.mp4").score
    for threshold, decision in ((score - 1e-6, "fake"), (score, "real")):
        assert of(lnclip_df.load(weights, threshold=threshold), clips / "one.mp4").decision == decision
    with pytest.raises(LNCLIPError, match=r"threshold: 1\.5 received; accepted is a number, 0 to 1"):
        lnclip_df.load(weights, threshold=1.5)


def test_the_calibration_beside_the_weights_is_used_if_it_is_theirs(weights, clips, tmp_path, caplog):
    mine = tmp_path / "best.safetensors"
    mine.write_bytes(weights.read_bytes())
    beside = {"temperature": 2.5, "threshold": {"score": 0.123}, "weights_sha256": sha256(mine)}
    write_json(tmp_path / "calibration.json", beside)
    result = of(lnclip_df.load(mine), clips / "one.mp4")
    logits = [np.log(frame.prob / (1 - frame.prob)) for frame in result.persons[0].frames]
    assert result.calibrated == pytest.approx(np.mean([1 / (1 + np.exp(-logit / 2.5)) for logit in logits]), abs=1e-9)
    assert result.threshold == 0.123 and lnclip_df.load(mine, threshold=0.7).threshold == 0.7
    write_json(tmp_path / "calibration.json", beside | {"weights_sha256": "0" * 64})
    other = lnclip_df.load(mine)
    assert (other.temperature, other.threshold) == (None, 0.5)
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(LNCLIPError, match=r"calibration\.json is damaged"):
        lnclip_df.load(mine)


def test_precision_is_fp32_on_a_cpu_unless_bf16_is_faster_here(weights):
    assert lnclip_df.load(weights, device="cpu").config.lnclip.precision == "fp32"
    trained_in_bf16 = lnclip_df.load(weights, overrides=["lnclip.precision=bf16"], device="cpu")
    expected = "bf16" if cpu_is_faster_in_bf16() else "fp32"
    assert trained_in_bf16.config.lnclip.precision == expected
    assert lnclip_df.load(weights, device="cpu", precision="bf16").detector.settings.precision == "bf16"
    with pytest.raises(LNCLIPError, match="precision: 'fp8' received; accepted are auto, fp32, bf16"):
        lnclip_df.load(weights, precision="fp8")


def test_the_authors_models_get_the_resize_that_they_were_trained_with(tmp_path):
    shape = tiny_config().lnclip.backbone.model_dump()
    save_file(Released().state(), tmp_path / "model.safetensors")
    tiny = [f"lnclip.backbone={json.dumps(shape)}", "resolution=32"]
    assert lnclip_df.load(tmp_path, overrides=tiny).config.lnclip.resize == "clip"
    said = [*tiny, "lnclip.resize=deepfakebench"]
    assert lnclip_df.load(tmp_path, overrides=said).config.lnclip.resize == "deepfakebench"


def test_an_export_in_the_authors_layout_keeps_its_own_resize_and_scores(weights, scorer, clips, tmp_path):
    export(weights, tmp_path / "hub", "transformers", tiny_config())
    own = lnclip_df.load(tmp_path / "hub")
    assert own.weights["format"].startswith("GenD") and own.config.lnclip.resize == "deepfakebench"
    assert of(own, clips / "one.mp4").score == pytest.approx(of(scorer, clips / "one.mp4").score, abs=1e-5)


# --- what is scored ---------------------------------------------------------------------------------------------------


def test_folders_patterns_and_files_are_found_once_each_under_names_of_their_own(clips, tmp_path):
    for name in ("a/x.mp4", "b/x.mp4", "b/x/y.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    inputs = find_inputs([tmp_path / "a", tmp_path / "b", str(tmp_path / "*" / "x.mp4"), tmp_path / "a" / "x.mp4"])
    assert [file.path.relative_to(tmp_path).as_posix() for file in inputs] == ["a/x.mp4", "b/x.mp4", "b/x/y.png"]
    names = [file.name for file in inputs]
    assert len({name.casefold() for name in names}) == 3
    assert not any(name in {other.rpartition("/")[0] for other in names} for name in names)


@pytest.mark.parametrize(
    ("paths", "message"),
    [([], "nothing to score"), (["no*.mp4"], r"no file or folder matches no\*\.mp4"), (["x.txt"], "x.txt"),
     (["https://example.org/x.mp4"], "no video file or folder https:")],
)  # fmt: skip
def test_what_is_not_there_is_said_before_anything_is_scored(tmp_path, monkeypatch, paths, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LNCLIPError, match=message):
        find_inputs(paths)


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path):
    (tmp_path / "a[1].mp4").write_bytes(b"")
    assert [file.path.name for file in find_inputs(str(tmp_path / "a[1].mp4"))] == ["a[1].mp4"]


# --- the command ------------------------------------------------------------------------------------------------------


def command(*arguments):
    return CliRunner().invoke(cli.app, ["predict", *map(str, arguments), "--frames", str(FRAMES), "--quiet"])


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
    assert "3/8" in table.splitlines()[1] and table.splitlines()[2].endswith("no face: no face in 8 frames")
    rows = command(*paths, "--weights", weights, "--format", "csv").stdout.splitlines()
    assert rows[0].startswith("path,outcome,decision,score") and ",no face,,,," in rows[2]
    assert command(clips / "one.mp4", "--weights", weights).exit_code == 0


def test_a_run_that_was_broken_off_goes_on(weights, clips, tmp_path, monkeypatch):
    from lnclip_df.scoring.results_log import ResultsLog

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
        file.write('{"provenance": "cut sh')
    command(*paths, *arguments, "--out", out)
    assert [path.name for path in count] == ["late.mp4", "one.mp4", "two.mp4"]
    assert out.read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.jsonl", "whole.jsonl"]


def test_what_was_scored_otherwise_is_scored_again(weights, clips, tmp_path, monkeypatch):
    from lnclip_df.scoring.results_log import ResultsLog

    log = ResultsLog(tmp_path / "s.csv", {"threshold": 0.5})
    log.add(clips / "one.mp4", {"score": 1})
    assert ResultsLog(tmp_path / "s.csv", {"threshold": 0.5}).row(clips / "one.mp4") == {"score": 1}
    assert ResultsLog(tmp_path / "s.csv", {"threshold": 0.6}).row(clips / "one.mp4") is None
    assert ResultsLog(tmp_path / "s.csv", {"threshold": 0.5}).row(clips / "two.mp4") is None


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


def test_a_bank_names_the_training_video_that_a_face_is_from(scorer, clips, tmp_path):
    made = run(clips, tmp_path / "faces", frames=FRAMES)
    entries = [Entry("real", "train", name, made.frame_paths()[name]) for name in ("one", "two", "late")]
    write_dataset_json(tmp_path / "json" / "mine.json", "mine", entries)
    own = lnclip_df.load(scorer.weights["path"], overrides=[
        f"label_dict={json.dumps({'real': 0, 'fake': 1})}", f"dataset_json_folder={tmp_path / 'json'}", "workers=0",
    ])  # fmt: skip
    make_bank(own, tmp_path / "bank.safetensors", datasets=["mine"], frames=FRAMES, progress=False)
    arguments = ["--explain", tmp_path / "e", "--bank", tmp_path / "bank.safetensors", "--format", "jsonl"]
    done = command(clips / "one.mp4", "--weights", scorer.weights["path"], *arguments)
    for entry in json.loads(done.stdout)["explained"]:
        assert "one" in entry["nearest"][0]["video"] and entry["nearest"][0]["angle"] < 0.1
        assert [len(entry["nearest"]), entry["nearest"][0]["label"]] == [3, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--bank", "b.safetensors"], "bank: it names the nearest examples of the faces that explain_to shows"),
     (["--frames", "0"], "frames: 0 received"), (["--device", "abacus"], "device 'abacus' cannot be used")],
)  # fmt: skip
def test_invalid_options_are_one_line(weights, clips, arguments, message):
    done = CliRunner().invoke(cli.app, ["predict", str(clips / "one.mp4"), "--weights", str(weights), *arguments])
    assert done.exit_code == 1 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_invalid_choices_are_named(clips):
    with pytest.raises(LNCLIPError, match="format: 'xml' received; accepted are table, csv, jsonl"):
        score_files(None, [clips / "one.mp4"], ScoreOptions(), format="xml")
    with pytest.raises(LNCLIPError, match="accepted are largest and track"):
        ScoreOptions(face="mask")


def test_without_weights_and_network_the_message_says_what_to_do(clips, monkeypatch, tmp_path):
    monkeypatch.delenv("LNCLIP_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = CliRunner().invoke(cli.app, ["predict", str(clips / "one.mp4")])
    assert done.exit_code == 1 and "yermandy/GenD_CLIP_L_14" in done.stderr
