"""The dataset JSON: what is read, in which order, what is written, and what is refused."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.config.loading import load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import COMPRESSED, Entry, frame_path, read_videos, write_dataset_json


@pytest.fixture
def dataset(tmp_path):
    """Write a dataset file and return the configuration that finds it."""

    def write(name, content, **settings):
        folder = tmp_path / "preprocessing" / "dataset_json"
        folder.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)
        changes = {f"lnclip.{key}": value for key, value in settings.items()}
        return load_config("lnclip.yaml", {"lnclip.data_root": str(tmp_path), **changes})

    return write


def video(label, *frames):
    return {"label": label, "frames": list(frames)}


def frames(folder, n=3):
    return [f"./datasets/rgb/{folder}/{i:03d}.png" for i in range(n)]


def test_a_plain_dataset_gives_its_split_only(dataset):
    celeb = {
        "Celeb-DF-v2": {
            "CelebDFv2_real": {"test": {"b": video("CelebDFv2_real", *frames("b"))}, "train": {}},
            "CelebDFv2_fake": {
                "test": {"a": video("CelebDFv2_fake", *frames("a"))},
                "train": {"c": video("CelebDFv2_fake", *frames("c"))},
            },
        }
    }
    fake, real = read_videos(dataset("Celeb-DF-v2", celeb), ["Celeb-DF-v2"], "test")
    assert (fake.key, fake.label, fake.compression) == ("Celeb-DF-v2/CelebDFv2_fake/a", 1, None)
    assert (real.key, real.label, real.split) == ("Celeb-DF-v2/CelebDFv2_real/b", 0, "test")
    assert real.frames == tuple(frames("b"))


@pytest.mark.parametrize("name", sorted(COMPRESSED))
def test_the_faceforensics_family_has_compression_levels(dataset, name):
    levels = {"c40": {"000": video("FF-real", *frames("c40"))}, "c23": {"000": video("FF-real", *frames("c23"))}}
    (only,) = read_videos(dataset(name, {name: {"FF-real": {"val": levels}}}), [name], "val")
    assert only.key == f"{name}/FF-real/c23/000"
    assert only.frames == tuple(frames("c23"))


def test_compression_levels_are_recognised_in_other_datasets(dataset):
    content = {"mine": {"FF-real": {"test": {"c23": {"c40": video("FF-real", *frames("x"))}}}}}
    (only,) = read_videos(dataset("mine", content), ["mine"], "test")
    assert only.key == "mine/FF-real/c23/c40"


def test_videos_named_like_compression_levels_are_videos(dataset):
    content = {"mine": {"FF-real": {"test": {"c23": video("FF-real", *frames("x"))}}}}
    (only,) = read_videos(dataset("mine", content), ["mine"], "test")
    assert (only.name, only.compression) == ("c23", None)


def test_a_family_dataset_without_levels_is_read_as_it_is(dataset):
    content = {"FF-DF": {"FF-DF": {"test": {"000_003": video("FF-DF", *frames("x"))}}}}
    assert read_videos(dataset("FF-DF", content), ["FF-DF"], "test")[0].key == "FF-DF/FF-DF/000_003"


def test_c40_names_give_c40(dataset):
    levels = {"c40": {"000": video("FF-real", *frames("c40"))}, "c23": {}}
    config = dataset("FF-NT_c40", {"FF-NT": {"FF-real": {"test": levels}}})
    assert read_videos(config, ["FF-NT_c40"], "test")[0].key == "FF-NT_c40/FF-real/c40/000"


def test_order_does_not_depend_on_the_file(dataset):
    names = ["10", "9", "a", "B"]
    for order in (names, names[::-1]):
        records = {name: video("DFDC_Real", *frames(name)) for name in order}
        config = dataset("DFDC", {"DFDC": {"DFDC_Real": {"test": records}}})
        assert [v.name for v in read_videos(config, ["DFDC", "DFDC"], "test")] == ["10", "9", "B", "a"]


@given(
    indices=st.lists(st.integers(0, 99999), min_size=1, max_size=30, unique=True),
    separator=st.sampled_from(["/", "\\"]),
    width=st.integers(1, 6),
)
@pytest.mark.slow
def test_frames_are_sorted_by_integer_index(tmp_path_factory, indices, separator, width):
    folder = tmp_path_factory.mktemp("json")
    paths = [separator.join((".", "datasets", "v", f"{i:0{width}d}.png")) for i in indices]
    (folder / "D.json").write_text(json.dumps({"D": {"FF-real": {"test": {"v": video("FF-real", *paths)}}}}))
    config = load_config("lnclip.yaml", [f"dataset_json_folder={folder}"])
    (only,) = read_videos(config, ["D"], "test")
    assert [int(path.split(separator)[-1][:-4]) for path in only.frames] == sorted(indices)
    assert set(only.frames) == set(paths)


def real(record):
    return {"D": {"FF-real": {"test": {"v": record}}}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "no D"),
        ({"E": {}}, "no D; there is E"),
        ({"D": []}, r"D is \[\], not a mapping"),
        ({"D": {"FF-real": {"train": {}}}}, r"no D.FF-real.test; there is train"),
        ({"D": {"FF-real": {"test": {}}}}, "split test of D contains no video"),
        ({"D": {}}, "split test of D contains no video"),
        ({"D": {"FF-real": {"test": {"label": "FF-real", "frames": []}}}}, "D.FF-real.test.label is 'FF-real', not a"),
        (real({"frames": ["1.png"]}), "D.FF-real.test.v is .*, not a video's label and frames"),
        (real(video("FF-real", "1.png") | {"method": 3}), "D.FF-real.test.v.method is 3, not a name"),
        (real(video("FF-reel", "1.png")), r"v.label 'FF-reel' is not in label_dict \(did you mean FF-real\?\)"),
        (real(video(["FF-real"], "1.png")), "is not in label_dict"),
        (real({"label": "FF-real", "frames": "1.png"}), "v.frames is '1.png', not a list"),
        (real(video("FF-real", 7)), "not a list of paths"),
        (real(video("FF-real")), "v.frames is empty"),
        (real(video("FF-real", "a/x.png")), "'a/x.png' has no index"),
        (real(video("FF-real", "./../../etc/1.png")), "climbs out of its folder"),
        (real(video("FF-real", "a\\..\\..\\1.png")), "climbs out of its folder"),
        (real(video("FF-real", "../1.png")), "climbs out of its folder"),
    ],
)
def test_faults_are_named_in_one_line_with_the_file(dataset, content, message):
    with pytest.raises(LNCLIPError, match=message) as caught:
        read_videos(dataset("D", content), ["D"], "test")
    assert "D.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_with_dots_that_stay_inside_are_read(dataset):
    paths = ["./a/../b/0.png", "..a/1.png", "a..b/2.png"]
    assert read_videos(dataset("D", real(video("FF-real", *paths))), ["D"], "test")[0].frames == tuple(paths)


def test_a_missing_level_names_those_there(dataset):
    config = dataset("FF-DF", {"FF-DF": {"FF-DF": {"test": {"raw": {}, "c40": {}}}}})
    with pytest.raises(LNCLIPError, match=r"no FF-DF.FF-DF.test.c23; there is raw, c40"):
        read_videos(config, ["FF-DF"], "test")


def test_a_missing_dataset_names_the_nearest(dataset):
    dataset("Celeb-DF-v1", {})
    config = dataset("UADFV", {})
    with pytest.raises(LNCLIPError, match=r"no dataset file .*Celeb-DF-v2.json; there is Celeb-DF-v1$"):
        read_videos(config, ["Celeb-DF-v2"], "test")


def test_a_missing_folder_is_named(tmp_path):
    config = load_config("lnclip.yaml", [f"lnclip.data_root={tmp_path}"])
    with pytest.raises(LNCLIPError, match=r"no folder .*dataset_json"):
        read_videos(config, ["UADFV"], "test")


def test_skipping_leaves_out_videos_without_frames_and_says_so(dataset, caplog):
    content = {"D": {"FF-real": {"test": {"v": video("FF-real"), "w": video("FF-real", "1.png")}}}}
    with caplog.at_level(logging.WARNING):
        videos = read_videos(dataset("D", content, missing_frames="skip"), ["D"], "test")
    assert [v.name for v in videos] == ["w"]
    assert "D.FF-real.test.v has no frames" in caplog.text


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("./datasets/rgb/a/0.png", "ROOT/datasets/rgb/a/0.png"),
        (".\\datasets\\rgb\\a\\0.png", "ROOT/datasets/rgb/a/0.png"),
        ("a/0.png", "ROOT/datasets/rgb/a/0.png"),
        ("a\\0.png", "ROOT/datasets/rgb/a/0.png"),
        ("/somewhere/0.png", "/somewhere/0.png"),
    ],
)
def test_a_frame_is_found_where_its_path_says(tmp_path, frame, expected):
    assert frame_path(frame, tmp_path, "datasets/rgb") == Path(expected.replace("ROOT", str(tmp_path)))


# --- writing ----------------------------------------------------------------------------------------------------------


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
            "demo_fake": {"train": {}, "val": {}, "test": {"a": {"label": "demo_fake", "frames": ["./a/000.png"]}}},
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
    of_c23 = [entry._replace(compression="c23") for entry in entries(tmp_path)]
    written = write_dataset_json(tmp_path / "x.json", "Demo", of_c23)
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
