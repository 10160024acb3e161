"""Files are written whole or not at all, and paths from data stay in their folder."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import (
    atomic_path,
    check_not_read,
    check_writable,
    inside,
    is_leftover,
    read_json,
    sha256,
    write_json,
    write_text,
)


def test_a_file_appears_whole(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"ä": [1, None]})
    assert read_json(tmp_path / "new" / "a.json") == {"ä": [1, None]}
    assert sha256(tmp_path / "new" / "a.json") == hashlib.sha256((tmp_path / "new" / "a.json").read_bytes()).hexdigest()
    assert os.listdir(tmp_path / "new") == ["a.json"]


def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == path.suffix and path.read_text() == "old"
        raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    write_text(tmp_path / "file", "")
    with pytest.raises(LNCLIPError, match=r"cannot write .*/file/a\.txt: "):
        write_text(tmp_path / "file" / "a.txt", "")


def test_nan_is_refused_and_what_is_not_json_is_named(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    write_text(tmp_path / "b.json", "{")
    for name, message in {"absent.json": "cannot read", "b.json": "is not JSON"}.items():
        with pytest.raises(LNCLIPError, match=message):
            read_json(tmp_path / name)


@pytest.mark.parametrize("parts", [("..", "x"), ("/etc/passwd",), ("a", "../../x"), ("link", "x")])
def test_a_path_does_not_leave_its_folder(tmp_path, parts):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    assert inside(root, "a", "b") == root.resolve() / "a" / "b"
    with pytest.raises(LNCLIPError, match="leaves its folder"):
        inside(root, *parts)


@pytest.mark.parametrize("folder", [False, True])
def test_whether_an_output_can_be_written_is_checked_without_a_trace(tmp_path, folder):
    check_writable(tmp_path / "new" / "deep" / "x", folder=folder)
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "x", tmp_path / ("n" * 300), Path("/proc/1/x"), Path("/dev/full") / "x"):
        with pytest.raises(LNCLIPError, match=f"cannot write {path}: "):
            check_writable(path, folder=folder)
    with pytest.raises(LNCLIPError, match=r"it is a f(ile|older); name another"):
        check_writable(tmp_path / "file" if folder else tmp_path, folder=folder)
    assert os.listdir(tmp_path) == ["file"]


def test_a_device_or_a_pipe_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        for write in (check_writable, lambda path: write_text(path, "x")):
            with pytest.raises(LNCLIPError, match="it is no regular file"):
                write(path)
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path):
    code = (
        "import os, sys; from lnclip_df.core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary: temporary.write_text('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")])
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".a-") and is_leftover(left)
    with atomic_path(tmp_path / "a.txt") as mine:
        assert mine.name != left and not is_leftover(mine.name)
        mine.write_text("whole")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "whole"


def test_a_folder_of_many_files_is_not_listed_at_each_write(tmp_path, monkeypatch):
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    for number in range(3):
        write_text(tmp_path / f"{number}.txt", "x")
    assert listed == [tmp_path]


def test_json_that_is_nested_too_deeply_is_no_json(tmp_path):
    write_text(tmp_path / "a.json", "[" * 100_000)
    with pytest.raises(LNCLIPError, match="is not JSON: it is nested too deeply"):
        read_json(tmp_path / "a.json")


def test_an_input_is_never_written_under_any_of_its_names(tmp_path):
    (tmp_path / "a.csv").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path)
    check_not_read([tmp_path / "b.csv"], [tmp_path / "a.csv"])
    with pytest.raises(LNCLIPError, match=r"cannot write .*a\.csv: it is an input; name another place"):
        check_not_read([tmp_path / "b.csv", tmp_path / "link" / "a.csv"], [tmp_path / "a.csv"])
