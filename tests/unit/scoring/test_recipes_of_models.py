"""Which crops a model is scored on: a released model's own recipe, unless another is named."""

import logging

import pytest
from commands import call, error_of
from scored_clips import FRAMES, of
from zoo import NAME, make_zoo

import lnclip_df
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.scoring.options import ScoreOptions, score_options
from lnclip_df.weights.zoo import find_model, released_models

pytest.importorskip("retinaface")


@pytest.fixture
def released(tmp_path, monkeypatch):
    make_zoo(tmp_path, monkeypatch)
    yield
    released_models.cache_clear()


def test_without_a_released_model_the_options_are_the_papers():
    assert score_options() == ScoreOptions() and score_options(None, frames=3, all_faces=True) == ScoreOptions(
        frames=3, all_faces=True
    )


def test_a_released_models_crops_are_found_by_retinaface_where_its_detector_is_not_named(released):
    options = score_options(find_model(NAME), frames=5)
    assert (options.name, options.alignment, options.size, options.sampling) == (
        "gend",
        "gend",
        "native",
        "from_middle",
    )
    assert (options.detector, options.score, options.face, options.frames) == ("retinaface", None, "largest", 5)
    named = score_options(find_model(NAME), detector="det_10g.onnx", face="track")
    assert (named.detector, named.score, named.face) == ("det_10g.onnx", 0.5, "track")


def test_a_recipe_that_is_named_replaces_the_models_and_needs_its_files(released):
    assert score_options(find_model(NAME), "paper", frames=5) == ScoreOptions(frames=5)
    with pytest.raises(LNCLIPError, match="recipe gend: detector is missing"):
        score_options(None, "gend")


@pytest.mark.slow
def test_a_released_model_scores_its_own_crops_and_says_so(released, clips, caplog):
    scorer = lnclip_df.load(NAME, device="cpu", precision="fp32")
    assert scorer.options(frames=2) == score_options(find_model(NAME), frames=2)
    with caplog.at_level(logging.INFO, "lnclip_df"):
        result = of(scorer, clips / "one.mp4", keep_crops=True)
    said = "faces are cut by recipe gend and found by retinaface; tiny-gend was trained on crops of recipe gend, which "
    assert f"{said}needs detector: the path of InsightFace's det_10g.onnx" in caplog.text
    crops = [frame.crop for frame in result.persons[0].frames]
    assert len(crops) == FRAMES and all(40 < len(crop) < 200 for crop in crops)  # as large as the faces are
    caplog.clear()
    as_in_the_paper = of(scorer, clips / "one.mp4", options=score_options(frames=FRAMES), keep_crops=True)
    assert {len(frame.crop) for frame in as_in_the_paper.persons[0].frames} == {256}
    assert abs(as_in_the_paper.score - result.score) < 0.1 and as_in_the_paper.recipe != result.recipe
    assert scorer.score([clips / "still.png"]).shape == (1,)


@pytest.mark.slow
def test_predict_draws_native_crops_too(released, clips, tmp_path):
    pytest.importorskip("matplotlib")
    options = ["--weights", NAME, "--frames", 2, "--device", "cpu", "--quiet", "--explain", tmp_path / "out"]
    done = call("predict", clips / "one.mp4", *options)
    assert done.exit_code == 0, done.output
    assert "was trained on crops of recipe gend" in done.stderr and [*(tmp_path / "out").iterdir()]
    assert "recipe gend: detector is missing" in error_of(
        call("predict", clips / "one.mp4", *options, "--recipe", "gend")
    )
