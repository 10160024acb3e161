"""The recipe in a crop: what is put in is read back, by Pillow too, the pixels stay, and no bytes make it raise."""

import io
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from lnclip_df.media.recipe import (
    FOREIGN,
    HEADER,
    KEYWORD,
    Recipe,
    add_recipe,
    count_recipes,
    departure,
    read_recipe,
    recipe_facts,
)

FACTS = {"detector": {"name": "retinaface", "score": 0.9}, "face": "largest", "size": 256, "note": "Ä 顔"}
RECIPE = Recipe(FACTS)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def png(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue(), pixels


def test_pillow_reads_the_recipe_and_the_same_pixels():
    data, pixels = png()
    with Image.open(io.BytesIO(add_recipe(data, RECIPE))) as image:
        image.load()
        np.testing.assert_array_equal(np.asarray(image), pixels)
        text = json.loads(image.text[KEYWORD.decode()])
    assert text == FACTS | {"fingerprint": RECIPE.fingerprint} == read_recipe(add_recipe(data, RECIPE)).to_dict()
    assert read_recipe(add_recipe(data, RECIPE)) == RECIPE
    cv2 = pytest.importorskip("cv2")
    decoded = cv2.imdecode(np.frombuffer(add_recipe(data, RECIPE), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], pixels)


def test_what_was_done_to_a_videos_frames_is_in_its_recipe_and_not_in_the_fingerprint():
    changed = RECIPE.of_video({"square_pixels": "from 2:1"})
    found = read_recipe(add_recipe(png()[0], changed))
    assert found.facts == FACTS | {"frames": {"square_pixels": "from 2:1"}}
    assert found.fingerprint == RECIPE.fingerprint == Recipe(changed.facts).fingerprint
    assert RECIPE.of_video({}) == RECIPE


def test_the_first_bytes_are_enough_and_others_have_none():
    data, _ = png()
    assert read_recipe(add_recipe(data, RECIPE)[:4096]) == read_recipe(add_recipe(data, RECIPE))
    assert read_recipe(data) is None and read_recipe(b"") is None and read_recipe(add_recipe(data, RECIPE)[:60]) is None


@pytest.mark.slow
@given(st.dictionaries(st.text(), values, max_size=5))
def test_any_recipe_comes_back(recipe):
    recipe.pop("fingerprint", None)
    data, _ = png()
    found = read_recipe(add_recipe(data, Recipe(recipe)))
    assert found == Recipe(recipe) and found.to_dict() == recipe | {"fingerprint": Recipe(recipe).fingerprint}


@pytest.mark.slow
@given(st.dictionaries(st.text(), values, min_size=2, max_size=5), st.text())
def test_the_fingerprint_follows_the_values_and_not_their_order(recipe, other):
    fingerprint = Recipe(recipe).fingerprint
    assert Recipe(dict(reversed(recipe.items()))).fingerprint == fingerprint
    assert Recipe(recipe | {"fingerprint": other}).fingerprint == fingerprint
    assert len(fingerprint) == 10 and int(fingerprint, 16) >= 0
    changed = recipe | {"another setting": other}
    assert changed == recipe or Recipe(changed).fingerprint != fingerprint


def chunk(kind, body):
    return len(body).to_bytes(4, "big") + kind + body + b"\0\0\0\0"


@given(st.binary(max_size=200), st.sampled_from([b"tEXt", b"zTXt", b"IDAT", b"IEND", b"\0\0\0\0"]))
@example(b'lnclip-recipe\0{"fingerprint": 3}', b"tEXt")
@example(b"lnclip-recipe\0[]", b"tEXt")
@example(b"lnclip-recipe\0" + b"[" * 100_000, b"tEXt")
@example(b'lnclip-recipe\0{"a": "\xff"}', b"tEXt")
def test_no_bytes_make_it_raise(noise, kind):
    data, _ = png()
    assert read_recipe(noise) is None
    for text in (data[:8] + noise, data[:HEADER] + noise, data[:HEADER] + chunk(kind, noise) + data[HEADER:]):
        assert read_recipe(text) is None


def test_crops_are_counted_by_recipe():
    data, _ = png()
    other = Recipe(FACTS | {"size": 128})
    files = [data, add_recipe(data, RECIPE), add_recipe(data, other), add_recipe(data, RECIPE)]
    counts = count_recipes(map(read_recipe, files))
    assert counts == {RECIPE.fingerprint: 2, FOREIGN: 1, other.fingerprint: 1}
    assert next(iter(counts)) == RECIPE.fingerprint


def test_what_recipes_say_is_read_without_what_was_done_to_one_video():
    files = [png()[0], add_recipe(png()[0], RECIPE.of_video({"turned": "a quarter"}))]
    assert recipe_facts(map(read_recipe, files)) == {RECIPE.fingerprint: FACTS}


def test_a_departure_names_the_settings_that_differ():
    small, other = Recipe(FACTS | {"size": 128}), Recipe(FACTS | {"size": 128, "scale": 1.5})
    facts = {recipe.fingerprint: recipe.facts for recipe in (RECIPE, small, other)}
    names = [small.fingerprint, RECIPE.fingerprint]
    assert departure(names, names, facts) == departure(names, [], facts) == ""
    found = departure([small.fingerprint, other.fingerprint], [RECIPE.fingerprint], facts)
    assert sorted(found.split("; ")) == ["scale none, now 1.5", "size 256, now 128", "size 256, now 128"]
    assert departure([FOREIGN], names, facts) == "crops without a recipe"
    assert departure([small.fingerprint], ["0123456789"], facts) == "which setting differs is not recorded"


def test_which_frames_were_taken_is_no_other_cut_unless_it_is_asked_for():
    many, few = (Recipe(FACTS | {"sampling": {"mode": "fixed_num_frames", "frames": frames}}) for frames in (32, 16))
    facts = {recipe.fingerprint: recipe.facts for recipe in (many, few)}
    assert departure([few.fingerprint], [many.fingerprint], facts) == ""
    assert departure([few.fingerprint], [many.fingerprint], facts, sampling=True) == "sampling.frames 32, now 16"
