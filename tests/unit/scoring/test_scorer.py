"""Scores equal those of preprocess and test, are computed per person, and do not depend on the batch."""

import json
import os

import cv2
import numpy as np
import pytest
import torch
from clips import faceless, portrait, run
from embedding import needs_embedding
from PIL import Image
from released import Released, tiny_config
from safetensors.torch import save_file
from scored_clips import FRAMES, WIDE, of, results_of

import lnclip_df
from lnclip_df import LNCLIPError
from lnclip_df.core.devices import cpu_has_bf16_units
from lnclip_df.core.files import sha256, write_json
from lnclip_df.datasets import Entry, write_dataset_json
from lnclip_df.evaluation.test import test as run_test
from lnclip_df.faces.detectors import shared_detector
from lnclip_df.media.recipe import Recipe
from lnclip_df.models.pixels import as_tensor, normalize
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.weights import save_weights
from lnclip_df.weights.export import export

pytest.importorskip("retinaface")


def sides(result, person):
    """In which half of the picture a person is seen, by frame."""
    middle = result.size[0] / 2
    return {frame.index: "LR"[(frame.box[0] + frame.box[2]) / 2 > middle] for frame in person.frames}


# --- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("face", ["largest", pytest.param("track", marks=needs_embedding)])
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


@pytest.mark.parametrize("all_faces", [False, pytest.param(True, marks=needs_embedding)])
@pytest.mark.slow
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
    with pytest.raises(LNCLIPError, match="workers: 0 received"):
        of(scorer, clips / "still.png", workers=0)


def test_a_probability_that_is_not_a_number_is_no_score(weights, clips):
    scorer = lnclip_df.load(weights, device="cpu")
    with torch.no_grad():
        scorer.detector.head.bias.fill_(float("nan"))
    with pytest.raises(LNCLIPError, match="the probability of a face is not a number"):
        of(scorer, clips / "one.mp4")


# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_embedding
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


@pytest.mark.slow
@needs_embedding
def test_a_person_is_one_over_a_cut_that_swaps_sides(scorer, clips):
    result = of(scorer, clips / "cut.mp4", all_faces=True)
    assert sorted("".join(sides(result, p).values()) for p in result.persons) == ["LLLLRRRR", "RRRRLLLL"]


def test_a_face_that_enters_late_counts_where_it_is_seen(scorer, clips):
    result = of(scorer, clips / "late.mp4")
    assert (result.frames, result.found, result.faces) == (8, 3, 3)
    assert [frame.index for frame in result.persons[0].frames] == [5, 6, 7]


@needs_embedding
def test_who_passes_by_for_a_moment_does_not_decide(scorer, clips, monkeypatch):
    result = of(scorer, clips / "passing.mp4", all_faces=True)
    assert [len(p.frames) for p in result.persons] == [FRAMES, 1]
    assert result.score == result.persons[0].score


@pytest.mark.parametrize("options", [{}, {"all_faces": True}, {"face": "track"}])
@needs_embedding
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
    assert "few videos" not in caplog.text
    write_json(tmp_path / "calibration.json", beside | {"validation": {"reals": 4}, "temperature": None})
    assert lnclip_df.load(mine).temperature is None
    assert "the threshold 0.1230 was set on few videos (4 real; 20 of each are needed)" in caplog.text
    logits = [np.log(frame.prob / (1 - frame.prob)) for frame in result.persons[0].frames]
    assert result.calibrated == pytest.approx(np.mean([1 / (1 + np.exp(-logit / 2.5)) for logit in logits]), abs=1e-9)
    assert result.threshold == 0.123 and lnclip_df.load(mine, threshold=0.7).threshold == 0.7
    write_json(tmp_path / "calibration.json", beside | {"weights_sha256": "0" * 64})
    other = lnclip_df.load(mine)
    assert (other.temperature, other.threshold) == (None, 0.5)
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(LNCLIPError, match=r"calibration\.json is damaged"):
        lnclip_df.load(mine)


@pytest.mark.parametrize("known", [True, False])
def test_faces_cut_differently_from_training_are_named_once_with_the_setting(weights, clips, tmp_path, caplog, known):
    options = ScoreOptions(frames=2)
    here = options.crops.recipe(shared_detector(options.crops, 1), None)
    trained = Recipe(here.facts | {"size": 128, "sampling": {"mode": "fixed_num_frames", "frames": 32}})
    facts = {"crops": {trained.fingerprint: 9}, "recipes": {trained.fingerprint: trained.facts} if known else {}}
    detector = lnclip_df.load(weights).detector
    save_weights(detector, tmp_path / "w.safetensors", facts | {"config": tiny_config().to_dict()}, delta=False)
    scorer = lnclip_df.load(tmp_path / "w.safetensors")
    for _ in range(2):
        results_of(scorer, clips / "one.mp4", frames=2)
    (line,) = [record.getMessage() for record in caplog.records if "differently" in record.getMessage()]
    assert line.endswith(": size 128, now 256" if known else ": which setting differs is not recorded")


@pytest.mark.parametrize("other", [{"sampling": {"mode": "fixed_num_frames", "frames": 32}}, {"face": "mask"}])
def test_neither_fewer_frames_nor_the_face_that_a_yaml_chooses_is_another_way_to_cut(
    weights, clips, tmp_path, caplog, other
):
    options = ScoreOptions(frames=2)
    here = options.crops.recipe(shared_detector(options.crops, 1), None)
    trained = Recipe(here.facts | other)
    facts = {"crops": {trained.fingerprint: 9}, "recipes": {trained.fingerprint: trained.facts}}
    facts["config"] = tiny_config().to_dict() | {"train_dataset": ["FFIW"]}  # whose YAML has face: mask
    save_weights(lnclip_df.load(weights).detector, tmp_path / "w.safetensors", facts, delta=False)
    results_of(lnclip_df.load(tmp_path / "w.safetensors"), clips / "one.mp4", frames=2)
    assert "differently" not in caplog.text


def test_precision_is_fp32_on_a_cpu_unless_bf16_is_faster_here(weights):
    assert lnclip_df.load(weights, device="cpu").config.lnclip.precision == "fp32"
    trained_in_bf16 = lnclip_df.load(weights, overrides=["lnclip.precision=bf16"], device="cpu")
    expected = "bf16" if cpu_has_bf16_units() else "fp32"
    assert trained_in_bf16.config.lnclip.precision == expected
    assert lnclip_df.load(weights, device="cpu", precision="bf16").detector.settings.precision == "bf16"
    with pytest.raises(LNCLIPError, match="precision: 'fp8' received; accepted are auto, fp32, tf32, bf16, fp16"):
        lnclip_df.load(weights, precision="fp8")


@pytest.mark.parametrize("resolution", [256, 32])
def test_the_authors_models_get_the_resize_that_they_were_trained_with(tmp_path, resolution):
    released, crop = Released(), np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    save_file(released.state(), tmp_path / "model.safetensors")
    shape = tiny_config().lnclip.backbone.model_dump()
    tiny = [f"lnclip.backbone={json.dumps(shape)}", f"resolution={resolution}"]
    own = lnclip_df.load(tmp_path, overrides=tiny, device="cpu", precision="fp32")
    resized = np.array(Image.fromarray(crop).resize((32, 32), Image.Resampling.BICUBIC))
    expected = released(normalize(as_tensor(resized), own.config.mean, own.config.std)[None]).softmax(dim=1)[0, 1]
    assert own.probabilities([crop])[0][0] == pytest.approx(expected.item(), abs=1e-6)


def test_an_export_in_the_authors_layout_keeps_its_own_resize_and_scores(weights, clips, tmp_path):
    export(weights, tmp_path / "hub", "transformers", tiny_config("lnclip.resize=deepfakebench"))
    own = lnclip_df.load(tmp_path / "hub")
    assert own.weights.format.startswith("GenD") and own.config.lnclip.resize == "deepfakebench"
    before = lnclip_df.load(weights, overrides=["lnclip.resize=deepfakebench"])
    assert of(own, clips / "one.mp4").score == pytest.approx(of(before, clips / "one.mp4").score, abs=1e-5)
