"""Crops other than those of the training: one warning for a whole test, which names the setting."""

import json

import pytest
from tiny import configured, make_toy, toy_with_weights, write_dataset

from lnclip_df.core.files import read_json
from lnclip_df.evaluation.test import test as run_test
from lnclip_df.leaderboard import make_board
from lnclip_df.media.recipe import Recipe, add_recipe
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.weights import save_weights

TRAINED, TESTED = (Recipe({"size": size, "scale": 1.3}) for size in (256, 32))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The data set toy, of which every crop carries a recipe, under two names."""
    root = make_toy(tmp_path_factory.mktemp("toy"))
    for path in root.rglob("*.png"):
        path.write_bytes(add_recipe(path.read_bytes(), TESTED))
    whole = json.loads((root / "preprocessing" / "dataset_json" / "toy.json").read_text())["toy"]
    write_dataset(root, "again", whole)
    return root


def made_run(root, out, recipes, trained=TRAINED, datasets=("toy", "again"), on="toy"):
    config = configured(root, f"train_dataset=[{on}]")
    facts = {"config": config.to_dict(), "crops": {trained.fingerprint: 12}, "recipes": recipes}
    save_weights(LNCLIPDetector(config), out / "best.safetensors", facts)
    run_test(config, out / "best.safetensors", out, datasets=datasets, device="cpu", progress=False)
    return out


@pytest.mark.parametrize(
    ("other", "said"),
    [({"sampling": {"mode": "fixed_num_frames", "frames": 16}}, None),
     ({"size": 128}, "crops of several recipes are mixed in toy (size 32, now 128)")],
)  # fmt: skip
def test_crops_are_mixed_where_they_are_cut_differently_not_where_frames_are_fewer(tmp_path, caplog, other, said):
    facts = {"size": 32, "scale": 1.3, "sampling": {"mode": "fixed_num_frames", "frames": 32}}
    config, weights = toy_with_weights(tmp_path)
    for path in tmp_path.rglob("*.png"):
        few = path.parent.name == "23"  # one video of a class
        path.write_bytes(add_recipe(path.read_bytes(), Recipe(facts | other if few else facts)))
    run_test(config, weights, tmp_path / "run", device="cpu", progress=False)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == ([said] if said else [])
    assert len(read_json(tmp_path / "run" / "metrics" / "toy.json")["crops"]) == 2


@pytest.mark.slow
def test_a_test_on_other_crops_says_once_which_setting_differs(root, tmp_path, caplog):
    out = made_run(root, tmp_path / "known", {TRAINED.fingerprint: TRAINED.facts})
    (line,) = [record.getMessage() for record in caplog.records if "crops" in record.getMessage()]
    assert line.endswith("not comparable with others: toy, again (size 256, now 32)")
    metrics = read_json(out / "metrics" / "toy.json")
    assert metrics["recipes"] == {recipe.fingerprint: recipe.facts for recipe in (TRAINED, TESTED)}
    assert (metrics["reals"], metrics["fakes"]) == (6, 6)
    (note,) = [text for text in make_board([out], resamples=0).notes if text.startswith("Not comparable")]
    assert "toy (size 256, now 32)" in note
    made_run(root, tmp_path / "older", {})
    assert "which setting differs is not recorded" in caplog.text


def test_a_face_that_the_yaml_of_the_dataset_names_is_no_other_crop(tmp_path, caplog):
    root = make_toy(tmp_path / "toy")
    whole = json.loads((root / "preprocessing" / "dataset_json" / "toy.json").read_text())["toy"]
    write_dataset(root, "FFIW", whole)  # whose YAML has face: mask
    largest, mask = Recipe({"face": "largest", "size": 256}), Recipe({"face": "mask", "size": 256, "people": "dlib"})
    for path in root.rglob("*.png"):
        path.write_bytes(add_recipe(path.read_bytes(), mask))
    out = made_run(root, tmp_path / "run", {largest.fingerprint: largest.facts}, largest, ["toy", "FFIW"])
    (line,) = [record.getMessage() for record in caplog.records if "crops" in record.getMessage()]
    assert line.endswith("not comparable with others: toy (face largest, now mask; people none, now dlib)")
    (note,) = [text for text in make_board([out], resamples=0).notes if text.startswith("Not comparable")]
    assert "toy" in note and "FFIW" not in note


@pytest.mark.parametrize(("trained", "on", "said"), [("mask", "FFIW", []), ("mask", "toy", ["face mask, now largest"])])
def test_the_largest_face_is_a_datasets_own_choice_too_and_one_that_was_asked_for_is_not(
    tmp_path, caplog, trained, on, said
):
    root = make_toy(tmp_path / "toy")
    before, largest = (Recipe({"face": face, "size": 256}) for face in (trained, "largest"))
    for path in root.rglob("*.png"):
        path.write_bytes(add_recipe(path.read_bytes(), largest))
    out = made_run(root, tmp_path / "run", {before.fingerprint: before.facts}, before, ["toy"], on)
    lines = [record.getMessage() for record in caplog.records if "not comparable" in record.getMessage()]
    notes = [text for text in make_board([out], resamples=0).notes if text.startswith("Not comparable")]
    assert [len(lines), len(notes)] == [len(said)] * 2 and all(text in lines[0] + notes[0] for text in said)
