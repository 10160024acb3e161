"""Files, folders and patterns are found once each, under unique names."""

import pytest

from lnclip_df import LNCLIPError
from lnclip_df.scoring.inputs import find_inputs


def test_folders_patterns_and_files_are_found_once_each_under_names_of_their_own(tmp_path):
    for name in ("a/x.mp4", "b/x.mp4", "b/x/y.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    inputs = find_inputs([tmp_path / "a", tmp_path / "b", str(tmp_path / "*" / "x.mp4"), tmp_path / "a" / "x.mp4"])
    assert [file.path.relative_to(tmp_path).as_posix() for file in inputs] == ["a/x.mp4", "b/x.mp4", "b/x/y.png"]
    names = [file.name for file in inputs]
    assert len({name.casefold() for name in names}) == 3
    assert not any(name in {other.rpartition("/")[0] for other in names} for name in names)


def test_equal_names_get_the_first_number_that_is_free(tmp_path):
    folders = ["Clip", "clip", "clip-2", "CLIP", "clip-2"]
    paths = [tmp_path / str(at) / name / "a.mp4" for at, name in enumerate(folders)]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.touch()
    names = [file.name for file in find_inputs([path.parents[1] for path in paths])]
    assert names == ["Clip/a", "clip-2/a", "clip-2-2/a", "CLIP-3/a", "clip-2-3/a"]


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


def test_what_a_folder_has_besides_is_said_and_images_are_grouped_on_request(tmp_path, caplog):
    for name in ("IMG_1.jpg", "IMG_2.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in find_inputs(tmp_path)] == ["IMG_1", "IMG_2"]
    assert "passed over: 1 .txt" in caplog.messages
    assert any("2 of them are one video each" in message for message in caplog.messages)
    assert [file.path for file in find_inputs(tmp_path, sequences=True)] == [tmp_path]
