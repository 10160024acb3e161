"""Datasets of a user: made from folders, crops or a CSV, found by name, and each mistake of a user is one line."""

import json
import os
from pathlib import Path

import pytest
import trees
import yaml
from commands import call, error_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import configured

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.new import new_dataset
from lnclip_df.datasets.overview import overview
from lnclip_df.datasets.rearrange import rearrange
from lnclip_df.datasets.scan import scan_faces, scan_videos
from lnclip_df.datasets.schema import load_dataset, own_datasets, own_labels

REALS = [f"{number:03d}" for number in range(6)]
FAKES = [f"{number}_{kind}" for number in REALS for kind in ("swap", "lips")]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working folder, without a folder of datasets elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNCLIP_DATASETS", raising=False)
    return tmp_path


def videos(*paths):
    for path in paths:
        trees.write(Path(path), str(path).encode())


def crops(*folders):
    for path in folders:
        trees.write(Path(path, "000.png"), trees.png())


def sorted_videos():
    videos(*(f"real/{name}.mp4" for name in REALS), *(f"fake/{name}.mov" for name in FAKES))


def faces_of(name):
    """Faces where preprocessing puts them."""
    for item in scan_videos(name):
        place, _, stem = item.path.rpartition("/")
        crops(f"datasets/rgb/{place}/frames/{stem}")


def by_name(items):
    return {item.name: item for item in items}


def test_two_folders_make_a_dataset_whose_fakes_are_with_their_reals():
    sorted_videos()
    made = new_dataset("mine", "real", {"": "fake"})
    assert made.path == Path("datasets/mine.yaml") and own_datasets() == {"mine": made.path}
    items = scan_videos("mine")
    assert items == made.items and len(items) == 18
    split_of = {item.path: item.splits for item in items}
    fakes = [item for item in items if item.fake]
    assert {item.pair for item in fakes} == {f"mine-real/{name}" for name in REALS}
    assert all(item.splits == split_of[item.pair] and item.name.startswith(item.pair[-3:]) for item in fakes)
    assert {(item.splits, item.fake) for item in items} == {
        ((split,), fake) for split in ("train", "val", "test") for fake in (False, True)
    }
    assert load_dataset("mine").labels == {"mine_real": 0, "mine_fake": 1}


def test_each_method_has_its_label_and_may_have_names_of_another():
    videos(*(f"real/{name}.mp4" for name in REALS), *(f"{m}/{name}.mp4" for m in ("swaps", "lips") for name in REALS))
    made = new_dataset("mine", "real", {"swap": "swaps", "lipsync": "lips"})
    assert load_dataset("mine").labels == {"mine_real": 0, "mine_swap": 1, "mine_lipsync": 1}
    assert {(item.label, item.method) for item in made.items if item.fake} == {
        ("mine_swap", "swap"), ("mine_lipsync", "lipsync"),
    }  # fmt: skip
    faces_of("mine")
    (written,) = rearrange("mine", None, "json")
    classes = json.loads(written.read_text())["mine"]
    assert {len({**c["train"], **c["val"], **c["test"]}) for c in classes.values()} == {6}


def test_several_folders_of_real_videos_are_one_label():
    videos(*(f"a/{name}.mp4" for name in REALS[:3]), *(f"b/{name}.mp4" for name in REALS[3:]))
    videos(*(f"fake/{name}.mov" for name in FAKES))
    result = call("dataset", "new", "mine", "--real", "a", "--real", "b", "--fake", "fake")
    assert result.exit_code == 0 and "6 real and 12 fake videos; 12 fakes have their real video" in result.stdout
    assert load_dataset("mine").labels == {"mine_real": 0, "mine_fake": 1}
    assert sorted(item.name for item in scan_videos("mine") if not item.fake) == REALS
    faces_of("mine")
    assert len(scan_faces("mine")) == 18


def test_images_beside_videos_are_named_as_left_out_and_images_alone_are_refused():
    sorted_videos()
    videos("real/a.jpg", "fake/b.gif", "im/real/a.jpg")
    result = call("dataset", "new", "mine", "--real", "real", "--fake", "fake")
    assert result.exit_code == 0 and "\nleft out: 1 .jpg, 1 .gif\n" in result.stdout
    line = make("other", "--real", "im/real", "--fake", "fake")
    assert "im/real contains no videos but images (1 .jpg); cut their faces with lnclip-df preprocess im --out" in line
    assert "then name faces/real in dataset new" in line


def test_the_same_videos_elsewhere_and_listed_in_another_order_give_the_same_splits(tmp_path):
    sorted_videos()
    here = by_name(new_dataset("mine", "real", {"": "fake"}).items)
    for name in (*reversed(FAKES), *REALS):
        videos(tmp_path / "disk" / ("f" if "_" in name else "r") / f"{name}.mkv")
    Path("datasets/mine.yaml").unlink()
    there = by_name(new_dataset("mine", tmp_path / "disk" / "r", {"": tmp_path / "disk" / "f"}).items)
    assert {name: item.splits for name, item in here.items()} == {name: item.splits for name, item in there.items()}
    assert yaml.safe_load(Path("datasets/mine.yaml").read_text())["folders"][0]["path"] == str(tmp_path / "disk" / "r")


def test_a_video_without_a_face_moves_no_other_one():
    sorted_videos()
    before = {item.path: item.splits for item in new_dataset("mine", "real", {"": "fake"}).items}
    faces_of("mine")
    for lost in ("mine-real/frames/000", "mine-fake/frames/001_lips"):
        (Path("datasets/rgb") / lost / "000.png").unlink()
        (Path("datasets/rgb") / lost).rmdir()
    found = {item.path: item.splits for item in scan_faces("mine")}
    assert len(found) == 16 and found.items() <= before.items()


def test_crops_below_the_folder_of_the_videos_are_no_videos_of_their_own():
    videos(*(f"{name}.mp4" for name in REALS), *(f"fakes/{name}.mp4" for name in FAKES))
    Path("fakes").rename("../fakes")
    before = {item.path: item.splits for item in new_dataset("mine", ".", {"": "../fakes"}).items}
    faces_of("mine")
    assert {item.path: item.splits for item in scan_videos("mine")} == before
    assert {item.path: item.splits for item in scan_faces("mine")} == before


def test_folders_below_a_folder_videos_are_read():
    names = [f"{day}/{name}" for day in "ab" for name in REALS]
    videos(*(f"real/videos/{name}.mp4" for name in names), *(f"fake/{name}.mp4" for name in FAKES))
    made = new_dataset("mine", "real", {"": "fake"})
    assert sorted(item.name for item in made.items if not item.fake) == names


def test_persons_named_by_a_pattern_are_in_one_split():
    names = [f"id{a}_{number}" for a in range(6) for number in range(3)]
    swaps = [f"id{a}_id{a ^ 1}_{number}" for a in range(6) for number in range(2)]
    videos(*(f"real/{name}.mp4" for name in names), *(f"fake/{name}.mp4" for name in swaps))
    items = new_dataset("mine", "real", {"": "fake"}, by=r"id\d+").items
    splits = {}
    for item in items:
        assert item.ids
        for person in item.ids:
            splits.setdefault(person, set()).update(item.splits)
    assert len(splits) == 6 and all(len(found) == 1 for found in splits.values())
    assert {item.ids for item in items if item.fake} >= {("id0", "id1")}


def test_groups_of_the_pattern_are_the_ids():
    videos(*(f"real/a{a}-take1.mp4" for a in range(3)), *(f"fake/b{b}-take1.mp4" for b in range(3)))
    items = new_dataset("mine", "real", {"": "fake"}, by=r"([ab]\d)-take").items
    assert {item.ids for item in items} == {(f"{c}{n}",) for c in "ab" for n in range(3)}


@pytest.mark.parametrize(
    ("layout", "real", "fake"),
    [
        ("faces/frames/{}", "faces/real", "faces/fake"),  # preprocess videos/ --out faces
        ("faces/frames/{}", "faces/frames/real", "faces/frames/fake"),
        ("faces/{}/frames", "faces/real", "faces/fake"),  # preprocess videos/real --out faces/real
        ("crops/{}", "crops/real", "crops/fake"),
    ],
)
def test_crops_that_exist_are_a_dataset(layout, real, fake):
    for kind, names in (("real", REALS), ("fake", FAKES)):
        crops(*(f"{layout.format(kind)}/{name}" for name in names))
    new_dataset("mine", real, {"": fake})
    items = scan_faces("mine")
    assert sorted(item.name for item in items) == sorted(REALS + FAKES)
    assert all(item.pair for item in items if item.fake) and all(len(item.frames) == 1 for item in items)
    with pytest.raises(LNCLIPError, match="face crops, which need no preprocessing"):
        scan_videos("mine")
    (written,) = rearrange("mine", None, "json")
    frame = json.loads(written.read_text())["mine"]["mine_real"]
    assert any(split["000"]["frames"][0].startswith("./") for split in frame.values() if "000" in split)


CSV = "path,label,split,method,pair,identity\n"


def listed(*rows, header=CSV):
    Path("list.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    return "list.csv"


def test_a_csv_says_what_each_video_is():
    videos(*(f"clips/videos/{name}.mp4" for name in "abcdef"), "clips/videos/unlisted.mp4")
    table = listed(
        "clips/videos/a.mp4,real,train,,,p1", "clips/videos/b.mp4,0,,,,p2;p3", ".\\clips\\videos\\c.mp4,REAL,,,,p4",
        "clips/videos/d.mp4,1,,swap,clips/videos/a.mp4,", "clips/videos/e.mp4,fake,,lips,b,p3",
        "clips/videos/f.mp4,fake,none,lips,,",
    )  # fmt: skip
    made = new_dataset("mine", table=table, shares="50,0,50")
    items = by_name(made.items)
    assert {name: (item.fake, item.method, item.pair and item.pair[-1], item.ids) for name, item in items.items()} == {
        "clips/a": (False, None, None, ("p1",)),
        "clips/b": (False, None, None, ("p2", "p3")),
        "clips/c": (False, None, None, ("p4",)),
        "clips/d": (True, "swap", "a", ()),
        "clips/e": (True, "lips", "b", ("p3",)),
        "clips/f": (True, "lips", None, ()),
    }
    splits = {name[-1]: item.splits for name, item in items.items()}
    assert splits["a"] == splits["d"] == ("train",) and splits["b"] == splits["e"] == ("test",) and splits["f"] == ()


def test_a_csv_with_every_split_needs_no_shares():
    videos(*(f"{name}.mp4" for name in "abcd"))
    rows = [f"{name}.mp4,{kind},{split}" for name, kind, split in zip(
        "abcd", ("real", "fake") * 2, ("train", "train", "test", "test"), strict=True)]  # fmt: skip
    made = new_dataset("mine", table=listed(*rows, header="path,label,split\n"))
    assert made.dataset.split is None
    assert [item.splits for item in made.items] == [("train",), ("train",), ("test",), ("test",)]
    with pytest.raises(LNCLIPError, match="leave out the shares"):
        new_dataset("other", table="list.csv", shares="70,15,15")


@pytest.mark.parametrize(("label", "words"), [("fakes", "is fakes; accepted"), ("", "gives it no label")])
def test_a_label_that_is_changed_later_is_checked_too(label, words):
    videos(*(f"{name}.mp4" for name in "abcdefg"))
    rows = [f"{name}.mp4,{'fake' if name > 'c' else 'real'}" for name in "abcdef"]
    new_dataset("mine", table=listed(*rows, header="path,label\n"), shares="50,0,50")
    listed(*rows[:-1], f"f.mp4,{label}", header="path,label\n")
    with pytest.raises(LNCLIPError, match=f"mine: mine/f: .*list.csv {words}"):
        scan_videos("mine")
    listed(*rows[:-1], header="path,label\n")
    assert len(scan_videos("mine")) == 5  # a video that is not listed is no part of the dataset


def test_a_csv_may_have_labels_as_pandas_writes_them():
    videos(*(f"{name}.mp4" for name in "abcdef"))
    rows = [f"{name}.mp4,{'1.0' if name > 'c' else '0.0'}" for name in "abcdef"]
    made = new_dataset("mine", table=listed(*rows, header="path,label\n"))
    assert [item.fake for item in made.items] == [False] * 3 + [True] * 3


def test_a_csv_of_crops():
    crops(*(f"faces/frames/{name}.mp4" for name in "abcdef"))
    rows = [f"faces/frames/{name}.mp4/,{'fake' if name > 'c' else 'real'}" for name in "abcdef"]
    new_dataset("mine", table=listed(*rows, header="path;label\n".replace(";", ",")))
    assert [item.name for item in scan_faces("mine")] == [f"faces/{name}" for name in "abcdef"]


def test_faces_are_read_without_a_json_as_rearrange_would_write_them(tmp_path):
    sorted_videos()
    new_dataset("mine", "real", {"": "fake"})
    faces_of("mine")
    config = configured(tmp_path)
    without = {split: read_videos(config, ["mine"], split) for split in ("train", "val", "test")}
    rearrange("mine", None, tmp_path / config.dataset_json_folder, relative_to=tmp_path)
    assert without == {split: read_videos(config, ["mine"], split) for split in ("train", "val", "test")}
    assert {video.label for video in without["test"]} == {0, 1}
    assert all(video.frames[0].startswith("./datasets/rgb/mine-") for video in without["test"])


def test_labels_of_all_of_a_users_datasets_are_known_to_every_json(tmp_path):
    sorted_videos()
    new_dataset("mine", "real", {"": "fake"})
    faces_of("mine")
    config = configured(tmp_path)
    json_folder = tmp_path / config.dataset_json_folder
    (written,) = rearrange("mine", None, json_folder, relative_to=tmp_path)
    (json_folder / "mine-paired.json").write_text(written.read_text().replace('"mine":', '"mine-paired":'))
    assert "mine_fake" not in config.label_dict
    assert {video.label for video in read_videos(config, ["mine-paired"], "train")} == {0, 1}


def test_datasets_are_found_in_the_folder_that_the_environment_names(tmp_path, monkeypatch):
    sorted_videos()
    monkeypatch.setenv("LNCLIP_DATASETS", str(tmp_path / "shelf"))
    new_dataset("mine", "real", {"": "fake"})
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert len(scan_videos("mine")) == 18 and own_labels() == {"mine_real": 0, "mine_fake": 1}
    (row,) = [row for row in overview() if row.name == "mine"]
    assert (row.videos, row.faces, row.access) == (18, None, str(tmp_path / "shelf" / "mine.yaml"))


def test_other_yamls_in_the_folder_are_named_and_stop_nothing():
    sorted_videos()
    new_dataset("mine", "real", {"": "fake"})
    Path("datasets/else.yaml").write_text("train: images\n")
    assert own_labels() == {"mine_real": 0, "mine_fake": 1}
    rows = {row.name: row for row in overview()}
    assert "else.yaml" in rows["else"].fault and rows["mine"].fault == ""
    Path("datasets/else.yaml").write_text(Path("datasets/mine.yaml").read_text())
    with pytest.raises(LNCLIPError, match=r"else.yaml: its name is 'mine'"):
        load_dataset("else")
    Path("datasets/UADFV.yaml").write_text("name: UADFV\n")
    with pytest.raises(LNCLIPError, match="has the name of a packaged dataset"):
        load_dataset("UADFV")


def test_a_label_is_real_or_fake_and_not_both():
    sorted_videos()
    new_dataset("mine", "real", {"": "fake"})
    path = Path("datasets/mine.yaml")
    path.write_text(path.read_text().replace("mine_fake", "UADFV_Real"))
    with pytest.raises(LNCLIPError, match="label UADFV_Real is real elsewhere"):
        load_dataset("mine")


def test_paired_training_sets_of_ones_own_dataset():
    sorted_videos()
    new_dataset("mine", "real", {"": "fake"}, shares="80,0,20")
    faces_of("mine")
    rearrange("mine", None, "json")
    result = call("pairs", "json/mine.json")
    assert result.exit_code == 0, result.stderr
    paired = json.loads(Path("json/mine-paired.json").read_text())["mine-paired"]
    reals, fakes = (set(paired[label]["train"]) for label in ("mine_real", "mine_fake"))
    assert reals and {name[:3] for name in fakes} == reals


def test_a_combination_of_ones_own_datasets_takes_each_ones_faces():
    for name in ("a", "b"):
        videos(*(f"{name}/{kind}/{n}.mp4" for n in REALS for kind in ("real", "fake")))
        new_dataset(name, f"{name}/real", {"": f"{name}/fake"})
        faces_of(name)
    parts = [{"dataset": name, "splits": ["train"], "videos": 2} for name in ("a", "b")]
    combined = {"name": "both", "combine": {"seed": 0, "splits": ["val"], "parts": parts}}
    Path("datasets/both.yaml").write_text(yaml.safe_dump(combined))
    items = scan_faces("both")
    assert len(items) == 8 and {item.label for item in items} == {"a_real", "a_fake", "b_real", "b_fake"}
    assert own_labels().keys() >= {"a_real", "b_fake"}


# --- mistakes ---------------------------------------------------------------------------------------------------------


def make(*arguments):
    return error_of(call("dataset", "new", *arguments))


FOLDERS = ("--real", "real", "--fake", "fake")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mine",), "name either a folder of real videos"),
        (("mine", "--real", "real"), "name either a folder of real videos"),
        (("mine", *FOLDERS, "--csv", "list.csv"), "name either a folder of real videos"),
        (("mine", "--real", "nowhere", "--fake", "fake"), "real: no folder nowhere"),
        (("mine", "--real", "empty", "--fake", "fake"), "real: empty contains neither a video"),
        (("mine", "--real", "crops", "--fake", "fake"), "has videos and crops has face crops"),
        (("mine", "--real", "crops/a", "--fake", "crops"), "real: crops/a contains images itself; put those of each"),
        (("mine", "--real", "real", "--fake", "real"), "are the same, once real and once fake; take one of them out"),
        (("mine", "--real", "real", "--fake", "copies"), "real/000.mp4 and copies/x.mp4 are the same, once real"),
        (("mine", *FOLDERS, "--real", "real"), "real and real both have a video 000; rename one"),
        (("mine", *FOLDERS, "--real", "extra", "--fake", "real2=copies"), "each needs a name of its own"),
        (("mine", "--csv", "list.csv", "--csv", "more.csv"), "--csv: give one CSV; put the rows of all into it"),
        (("mine", *FOLDERS, "--fake", "copies"), "--fake: give each folder a method of its own"),
        (("mine", *FOLDERS, "--fake", "real=copies"), "other than real"),
        (("mine", *FOLDERS, "--fake", "fake=copies"), "each needs a name of its own"),
        (("mine", *FOLDERS, "--fake", "../x=copies"), "method '../x'"),
        (("mine", "--real", "real", "--fake", "swap="), "--fake swap=: expected METHOD=DIR"),
        (("mine", *FOLDERS, "--split", "70,15"), "split '70,15': expected the shares of train, val and test"),
        (
            ("mine", *FOLDERS, "--split", "70,20,20"),
            "70,20,20: split: the shares of train, val and test add up to 110; expected 100",
        ),
        (("mine", *FOLDERS, "--split", "120,-10,-10"), "greater than or equal to 0"),
        (("mine", *FOLDERS, "--split", "nan,50,50"), "train"),
        (("mine", *FOLDERS, "--by", "id("), "not a regular expression"),
        (("mine", *FOLDERS, "--by", "person"), "matches the path of no video"),
        (("mine", *FOLDERS, "--by", "[0-9]"), "mine: too few videos for train, val, test"),
        (("UADFV", *FOLDERS), "a dataset UADFV comes with lnclip-df"),
        (("uadfv", *FOLDERS), "a dataset UADFV comes with lnclip-df"),
        (("FF-DF", *FOLDERS), "a dataset FF-DF comes with lnclip-df"),
        (("FS", *FOLDERS), "name 'FS': commands read FS as FF-FS; choose another name"),
        (("cdfv3", *FOLDERS), "commands read CDFv3 as Celeb-DF++; choose another name"),
        (("there", *FOLDERS), "datasets/there.yaml exists"),
        (("../mine", *FOLDERS), "name '../mine': use at most 60 letters"),
        (("a/b", *FOLDERS), "use at most 60 letters"),
        (("a,b", *FOLDERS), "use at most 60 letters"),
        (("mine.yaml", *FOLDERS), "use at most 60 letters"),
        (("x" * 61, *FOLDERS), "use at most 60 letters"),
        (("", *FOLDERS), "use at most 60 letters"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, words):
    sorted_videos()
    Path("empty/deeper").mkdir(parents=True)
    crops("crops/a", "crops/b", "crops/c")
    trees.write(Path("copies/x.mp4"), Path("real/000.mp4").read_bytes())
    trees.write(Path("datasets/there.yaml"), b"name: there\n")
    line = make(*arguments)
    assert words in line and len(line) < 420
    assert [path.name for path in Path("datasets").iterdir()] == ["there.yaml"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["../x.mp4,real", "b.mp4,fake"], "line 2: ../x.mp4 leaves the folder of the CSV"),
        (["/etc/x.mp4,real", "b.mp4,fake"], "line 2: /etc/x.mp4 is absolute; write the path from the folder"),
        (["a.mp4,real", "nowhere.mp4,fake"], "line 3: no file nowhere.mp4"),
        (["a.mp4,maybe", "b.mp4,fake"], "line 2: label 'maybe' is none of real, fake, 0 (real) and 1 (fake)"),
        ([",real", "b.mp4,fake"], "line 2: the path is empty"),
        (["a.mp4,real", "a.mp4,fake"], "line 3: a.mp4 is listed before"),
        (["a.mp4,real", "c.mp4,real"], "has only real videos"),
        (["a.mp4,real", "note.txt,fake"], "line 3: note.txt is neither a video"),
        (["a.mp4,real", "crops,fake"], "line 3: crops is neither a video"),
        (["a.mp4,real", "crops/x,fake"], "lists videos and folders"),
        (["a.mp4,real", "masks/d.mp4,fake"], "line 3: masks/d.mp4 is hidden, or in a folder masks"),
        (["a.mp4,real", "landmarks/e.mp4,fake"], "line 3: landmarks/e.mp4 is hidden, or in a folder masks"),
        (["a.mp4,real", ".old/f.mp4,fake"], "line 3: .old/f.mp4 is hidden"),
        (["a.mp4,real,dev", "b.mp4,fake,"], "line 2: split 'dev' is none of train, val, test, none"),
        (["a.mp4,real,,", "b.mp4,fake,,z.mp4"], "line 3: pair z.mp4 is the path of no real video"),
        (["a.mp4,real,,", "b.mp4,fake,,b.mp4"], "line 3: pair b.mp4 is the path of no real video"),
        (["a.mp4", "b.mp4"], "label"),
        (["a.mp4,real", "b.mp4,fake"], "mine: too few videos for train, val, test"),
    ],
)
def test_a_wrong_csv_is_one_line(rows, words):
    videos("a.mp4", "b.mp4", "c.mp4", "masks/d.mp4", "landmarks/e.mp4", ".old/f.mp4")
    trees.write(Path("note.txt"), b"?")
    crops("crops/x")
    header = ",".join(("path", "label", "split", "pair")[: 1 + rows[0].count(",")])
    assert words in make("mine", "--csv", listed(*rows, header=f"{header}\n"))
    assert not Path("datasets").exists()


def test_a_csv_with_another_suffix_or_with_a_pattern_beside_identities():
    videos("a.mp4", "b.mp4")
    assert "ends in .csv" in make("mine", "--csv", "list.tsv")
    table = listed("a.mp4,real,p", "b.mp4,fake,q", header="path,label,identity\n")
    assert "leave out one of the two" in make("mine", "--csv", table, "--by", "x")


PATHS = [*(f"{name}.mp4" for name in "abcdef"), "./a.mp4", "../b.mp4", "nowhere.mp4", "", '"', "=1"]
CELLS = st.tuples(
    st.sampled_from(PATHS), st.sampled_from(["real", "fake", "1", "0", "x"]),
    st.sampled_from(["", "", "train", "test", "none", "y"]), st.sampled_from(["", "", "a.mp4", "b", "z"]),
    st.sampled_from(["", "p", "p;q", ";"]),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CELLS, min_size=1, max_size=8))
def test_any_csv_gives_a_dataset_or_one_line(rows):
    videos(*(f"{name}.mp4" for name in "abcdef"))
    header = "path,label,split,pair,identity"
    table = listed(*map(",".join, rows), header=f"{header}\n")
    try:
        made = new_dataset("mine", table=table, shares="50,0,50")
    except LNCLIPError as error:
        assert "\n" not in str(error)
        assert not own_datasets()
    else:
        assert {item.fake for item in made.items} == {False, True}
        made.path.unlink()


@pytest.mark.skipif(os.name != "posix", reason="names of any bytes")
def test_a_name_that_cannot_be_written_is_named():
    sorted_videos()
    Path(os.fsdecode(b"real/\xff.mp4")).write_bytes(b"x")
    line = make("mine", *FOLDERS)
    assert "real: 1 files or folders cannot be used" in line and "not UTF-8" in line


def test_a_folder_in_place_of_a_dataset_says_how_to_make_one():
    crops("faces/frames/real/a", "faces/frames/fake/b")
    line = error_of(call("rearrange", "faces", "--out", "json"))
    assert "faces is a folder, not a dataset" in line
    assert "dataset new NAME --real faces/frames/real --fake faces/frames/fake" in line


def test_a_folder_that_was_moved_is_named():
    sorted_videos()
    new_dataset("mine", "real", {"": "fake"})
    Path("real").rename("genuine")
    with pytest.raises(LNCLIPError, match=r"mine: no folder real \(its YAML's mine-real\); correct the path"):
        scan_videos("mine")
    assert len(scan_videos("mine", folders={"mine-real": "genuine"})) == 18
    with pytest.raises(LNCLIPError, match=r"no folder mine-real or mine-fake below .*rgb; preprocess the dataset"):
        scan_faces("mine")


def test_a_yaml_that_names_no_place_for_faces_needs_one():
    sorted_videos()
    path = new_dataset("mine", "real", {"": "fake"}).path
    path.write_text(path.read_text().replace("faces: rgb\n", ""))
    assert "mine: out is missing: name the folder for its faces" in error_of(call("preprocess", "--dataset", "mine"))
    assert "mine: root is missing" not in error_of(call("rearrange", "mine", "--out", "json"))
    path.write_text(path.read_text().replace("  path: ../real\n", ""))
    assert "mine: root is missing: name the folder that contains mine-real" in error_of(call("audit", "mine"))
