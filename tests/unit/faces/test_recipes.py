"""The named recipes of crops: what they set, what they need, what is changed, and which crops are theirs."""

from dataclasses import replace

import pytest

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.base import Detector
from lnclip_df.faces.recipes import changed, crop_settings, named_recipes, without_its_files
from lnclip_df.faces.settings import CropSettings


class Named(Detector):
    """A detector that finds nothing, of a given name."""

    def __init__(self, name):
        self.recipe = {"name": name, "weights": "0" * 12}

    def __call__(self, images):
        raise NotImplementedError


def test_the_default_is_the_papers_recipe_whose_crops_stay_what_they_were():
    assert crop_settings() == CropSettings() and changed(CropSettings()) == {}
    facts = {
        "detector": {"name": "retinaface"}, "face": "largest", "size": 256, "scale": 1.3,
        "alignment": "five points onto DeepfakeBench's template, similarity, bilinear",
        "sampling": {"mode": "fixed_num_frames", "frames": 32},
    }  # fmt: skip
    detector = Named("retinaface")
    detector.recipe = {"name": "retinaface"}
    assert CropSettings().with_default_face().recipe(detector).facts == facts


def test_gend_is_what_its_authors_run():
    settings = crop_settings("gend", detector="det_10g.onnx")
    assert settings == CropSettings(
        sampling="from_middle", frames=32, detector="det_10g.onnx", face="mask_only", size="native", scale=1.3,
        score=0.5, alignment="gend", name="gend",
    )  # fmt: skip
    assert settings.with_default_face("mask").face == "mask_only" and settings.searches and settings.as_shown


def test_deepfakebench_is_dlib_with_its_second_detection():
    settings = crop_settings("deepfakebench", predictor="81.dat")
    assert settings == CropSettings(detector="dlib", predictor="81.dat", second_detection=True, name="deepfakebench")
    assert not settings.as_shown


@pytest.mark.parametrize(
    "name, missing",
    [
        ("gend", "detector is missing; give the path of InsightFace's det_10g.onnx"),
        ("deepfakebench", "predictor is missing; give the path of dlib's"),
    ],
)
def test_a_recipe_names_the_file_that_it_needs(name, missing):
    with pytest.raises(LNCLIPError, match=f"^recipe {name}: {missing}"):
        crop_settings(name)


def test_an_unknown_recipe_is_named_with_the_near_one():
    with pytest.raises(
        LNCLIPError, match=r"no recipe 'gnd' \(did you mean gend\?\); accepted: paper, gend, deepfakebench"
    ):
        crop_settings("gnd")


def test_each_key_can_be_replaced_and_is_recorded():
    settings = crop_settings("gend", detector="mine.onnx", frames=8, size=256, score=0.1)
    assert (settings.sampling, settings.alignment, settings.name) == ("from_middle", "gend", "gend")
    assert changed(settings) == {"frames": 8, "size": 256, "score": 0.1}
    assert changed(crop_settings("deepfakebench", predictor="81.dat", frames=4)) == {"frames": 4}
    other = crop_settings("deepfakebench", detector="retinaface", score=0.8)
    assert changed(other) == {"detector": "retinaface", "second_detection": False, "score": 0.8}
    with pytest.raises(LNCLIPError, match="no recipe 'mine'"):
        changed(CropSettings(name="mine"))


def test_dlib_takes_the_place_of_a_recipes_detector_without_its_score():
    settings = crop_settings("gend", detector="dlib")
    assert settings == replace(crop_settings("gend", detector="mine.onnx"), detector="dlib", score=None)
    with pytest.raises(LNCLIPError, match="score: dlib's scores are no probabilities"):
        crop_settings("gend", detector="dlib", score=0.5)
    assert crop_settings("deepfakebench", detector="dlib", predictor="81.dat").second_detection


@pytest.mark.parametrize("value", [-0.1, 1.1, "high", float("nan")])
def test_a_score_out_of_range_is_named(value):
    with pytest.raises(LNCLIPError, match=r"score: .* received; accepted is a number, 0 to 1"):
        CropSettings(score=value)


def test_dlib_has_no_score_and_a_size_is_a_number_or_native():
    with pytest.raises(LNCLIPError, match="score: dlib's scores are no probabilities"):
        CropSettings(detector="dlib", score=0.5)
    with pytest.raises(LNCLIPError, match="size: 'own' received; accepted is an integer, 16 to 4096, or native"):
        CropSettings(size="own")


@pytest.mark.parametrize("name, detector", [("paper", "retinaface"), ("gend", "scrfd"), ("deepfakebench", "dlib-hog")])
def test_crops_are_known_as_a_recipes_by_what_they_carry(name, detector):
    settings = without_its_files(name).with_default_face()
    facts = settings.recipe(Named(detector)).facts
    others = {other for other, recipe in named_recipes().items() if recipe.made(facts)}
    assert others == {name}
    assert not named_recipes()[name].made(facts | {"scale": 1.7})
    assert not named_recipes()[name].made(facts | {"detector": "mine"}) and not named_recipes()[name].made({})


def test_without_its_files_a_recipe_finds_faces_by_retinaface():
    assert without_its_files("paper") == CropSettings()
    gend = without_its_files("gend")
    assert (gend.detector, gend.score, gend.alignment, gend.size) == ("retinaface", None, "gend", "native")
    assert without_its_files("gend", score=0.7, frames=3) == replace(gend, score=0.7, frames=3)
    bench = without_its_files("deepfakebench")
    assert (bench.detector, bench.second_detection, bench.alignment) == ("retinaface", False, "deepfakebench")
