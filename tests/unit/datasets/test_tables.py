"""The lists that come with a dataset: what is asked for, and how a malformed line is reported."""

import json
import os
import tempfile
from pathlib import Path

import pytest
import trees
from expected_items import FOLDERS, cut
from hypothesis import given, settings
from hypothesis import strategies as st

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.scan import scan_videos
from lnclip_df.datasets.schema import Table
from lnclip_df.datasets.table_formats import TABLE_FORMATS
from lnclip_df.datasets.tables import Rows, climbs


@pytest.mark.parametrize(
    ("name", "lists"), [("Celeb-DF-v2", "List_of"), ("FaceForensics++", ".json"), ("IDForge-v1", ".csv")]
)
def test_a_list_that_the_splits_need_is_asked_for(name, lists, tmp_path):
    trees.build_videos(tmp_path, cut(trees.TREES[name], lists))
    with pytest.raises(LNCLIPError, match=rf"{name.replace('+', '.')}: no file .*{lists[-4:]}"):
        scan_videos(name, tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 Celeb-real/id0_0000.mp4", "line 4 is '2 Celeb-real/id0_0000.mp4', not of the form"),
        ("Celeb-real/id0_0000.mp4", "line 4 is"),
        ("1 ../../id0_0000.mp4", "line 4: the path '../../id0_0000' leaves its folder"),
        ("1 /Celeb-real/id0_0000.mp4", "line 4: the path '/Celeb-real/id0_0000' leaves its folder"),
        ("0 YouTube-real/00170.mp4", "line 4: 'YouTube-real/00170' is listed before, in List_of.*, with other"),
        ("0 Celeb-real/id0_0000.mp4", r"Celeb-real/id0_0000: test\.real is '0', not '1'"),
    ],
)
def test_a_malformed_or_contradicting_line_names_file_and_line(line, message, tmp_path):
    trees.build_videos(tmp_path, trees.CELEB)
    path = tmp_path / "Celeb-DF-v2" / "List_of_testing_videos.txt"
    path.write_text(path.read_text() + f"\n{line}\n")
    with pytest.raises(LNCLIPError, match=message) as caught:
        scan_videos("Celeb-DF-v2", tmp_path)
    assert str(path) in str(caught.value) or "test.real" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        ("DFDC", "test/labels.csv", "filename,label\neeeeeeeeee.mp4,1\nx.mp4\n", "line 3 has 1 cells, not 2"),
        ("DFDC", "test/labels.csv", "file,label\neeeeeeeeee.mp4,1\n", "line 2 lacks a column of the key"),
        ("DFDC", "test/labels.csv", 'filename,label\n"eeee', "line 2 is not CSV"),
        ("DFDC", "test/labels.csv", "filename,label\n../e.mp4,1\n", "line 2: the path '../e.mp4' leaves"),
        ("DFDC", "train/dfdc_train_part_0/metadata.json", "{", "is not JSON"),
        ("DFDC", "train/dfdc_train_part_0/metadata.json", '{"a.mp4": 3}', "entry 1 is 3, not an object"),
        (
            "DFDC",
            "train/dfdc_train_part_0/metadata.json",
            '{"a": {"x": 1}, "a": {"x": 2}}',
            "the key 'a' has two values",
        ),
        ("DFDC", "train/dfdc_train_part_0/metadata.json", "3", "contains 3, not a list or object"),
        ("DFDC", "train/dfdc_train_part_0/metadata.json", '{"a": {"label": "\\ud800"}}', "entry 1 has a broken char"),
        ("FaceShifter", "test.json", '[["953", 974]]', "entry 1 is .*; expected a pair"),
        ("FaceShifter", "test.json", '{"953": "974"}', "not a list of pairs"),
        ("FaceShifter", "test.json", '[["071", "974"]]', "'071' is listed before, in test.json"),
        ("PolyGlotFake", "json_file/all_fake_video.json", '{"videos": []}', "no key video with the list"),
        ("Celeb-DF-v2", "List_of_testing_videos.txt", b"\xff\xff", "is not UTF-8"),
    ],
)
def test_a_malformed_table_names_file_and_place(name, file, text, message, tmp_path):
    trees.build_videos(tmp_path, trees.TREES[name])
    path = tmp_path / FOLDERS.get(name, name) / file
    trees.write(path, text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LNCLIPError, match=message) as caught:
        scan_videos(name, tmp_path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_listed_videos_that_are_absent_are_counted_in_one_line(tmp_path, caplog):
    trees.build_videos(tmp_path, trees.CELEB)
    (tmp_path / "Celeb-DF-v2" / "Celeb-real" / "id1_0007.mp4").unlink()
    scan_videos("Celeb-DF-v2", tmp_path)
    lines = [message for message in caplog.messages if "listed" in message]
    assert lines == [
        "Celeb-DF-v2: 1 videos of 3 listed in List_of_testing_videos.txt are not on disk, "
        "for example Celeb-real/id1_0007"
    ]


def test_a_split_of_another_name_is_an_error(tmp_path):
    tree = cut(trees.DEEPSPEAK_V1, "split-def")
    tree.files["DeepSpeak-v1.1/annotations-split-def.csv"] = "identity,split\n87,dev\n88,dev\n89,dev\n90,dev\n"
    with pytest.raises(LNCLIPError, match="split 'dev' is none of train, val, test; see split_names"):
        scan_videos("DeepSpeak-v1.1", trees.build_videos(tmp_path, tree))


def test_a_table_format_is_one_entry(tmp_path, monkeypatch):
    def read_words(path, text, table):
        for number, word in enumerate(text.split(), 1):
            yield f"word {number}", {"video": word}

    monkeypatch.setitem(TABLE_FORMATS, "words", read_words)
    rows = Rows(Table(file="x", format="words", key="{video}"))
    (tmp_path / "mine.txt").write_text("a b")
    rows.read(tmp_path / "mine.txt", {"split": "test"})
    assert rows.rows == {name: {"split": "test", "video": name} for name in "ab"}
    with pytest.raises(ValueError, match=r"no table format 'wrds' \(did you mean words\?\); accepted: lines, csv"):
        Table(file="x", format="wrds", key="{video}")


# --- properties -------------------------------------------------------------------------------------------------------

TABLES = [
    Table(file="x", format="lines", line=r"(?P<real>[01]) (?P<path>\S.*)\.mp4", key="{path}"),
    Table(file="x", format="csv", key=["{a}", "{column0}"], repeated="first"),
    Table(file="x", format="json", key="{key}", repeated="first"),
    Table(file="x", format="json", rows="videos", key="{key}"),
    Table(file="x", format="pairs", key="{video}", repeated="first"),
]
LINES = st.lists(
    st.from_regex(r"[01] [^\n]{0,12}\.mp4", fullmatch=True)
    | st.text(max_size=12)
    | st.sampled_from(["a,b", "1,2", "../x"])
).map("\n".join)
JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("videos"), c, max_size=3),
    max_leaves=8,
).map(json.dumps)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TABLES), LINES.map(str.encode) | JSONS.map(str.encode) | st.binary(max_size=60))
@pytest.mark.slow
def test_any_bytes_are_a_table_or_one_line_of_error(table, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table")
        path.write_bytes(data)
        rows = Rows(table)
        try:
            rows.read(path, {})
        except LNCLIPError as error:
            assert "\n" not in str(error) and "table" in str(error)
        for key, row in rows.rows.items():
            assert not climbs(key) and all(isinstance(text, str) for text in row.values())
            assert Path(os.path.normpath(Path(folder, key))).is_relative_to(folder)


@pytest.mark.parametrize("name", ["Celeb-DF-v2", "IDForge-v1", "FaceForensics++", "DeepSpeak-v1.1"])
def test_a_split_list_that_names_none_or_few_of_the_videos_is_refused(tmp_path, name):
    """Its test videos would be in the training split, or in none."""
    root = trees.build_videos(tmp_path, trees.TREES[name])
    others = {
        "List_of_testing_videos.txt": "1 other/Celeb-real/id1_0007.mp4\n",
        "val.csv": "pristine/id77/id77_01/id77_scene_0001.mp4\n",
        "train.json": '[["998", "999"]]', "val.json": "[]", "test.json": "[]",
        "annotations-split-def.csv": "identity,split\n99999,train\n",
    }  # fmt: skip
    for path in root.rglob("*"):
        if path.name in others:
            path.write_text(others[path.name])
    with pytest.raises(LNCLIPError, match=r"[02] of \d+ videos on disk are in .*give this dataset's list"):
        scan_videos(name, root)


def celeb(tmp_path, listed, videos=1400):
    folder = tmp_path / "Celeb-DF-v2"
    paths = [f"Celeb-real/id{number // 100}_{number % 100:04d}" for number in range(videos)]
    for path in paths:
        trees.write(folder / f"{path}.mp4", b"")
    lines = [f"1 {path}.mp4\n" for path in paths[:listed]]
    lines += [f"1 Celeb-real/id{number}_9999.mp4\n" for number in range(518 - listed)]
    (folder / "List_of_testing_videos.txt").write_text("".join(lines))
    return scan_videos("Celeb-DF-v2", tmp_path)


@pytest.mark.slow
def test_a_split_list_that_names_few_of_the_videos_that_it_must_is_refused(tmp_path):
    with pytest.raises(LNCLIPError, match=r"40 of 1400 videos on disk .* would be of split train"):
        celeb(tmp_path / "few", 40)  # of 1400 of 6529 videos, some 110 of the 518 listed must be there
    items = celeb(tmp_path / "enough", 90)
    assert sum(item.splits == ("test",) for item in items) == 90


def test_lists_are_read_with_separators_of_either_kind(tmp_path):
    for name, suffix in (("Celeb-DF-v2", ".txt"), ("IDForge-v1", ".csv"), ("FakeAVCeleb", ".csv")):
        root = trees.build_videos(tmp_path / name, trees.TREES[name])
        items = scan_videos(name, root)
        for path in root.rglob(f"*{suffix}"):
            path.write_text(path.read_text().replace("/", "\\"))
        assert scan_videos(name, root) == items
