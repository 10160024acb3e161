"""Uploaded files are kept while a visitor needs them, and deleted afterwards."""

import os
import time
from pathlib import Path

import pytest

from lnclip_df.app.uploads import ABANDONED_AFTER, MAX_AGE, Uploads
from lnclip_df.core.errors import LNCLIPError


def names(folder):
    """Names of the files below a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_same_upload_of_two_visitors_stays_until_both_are_done(tmp_path):
    uploads, path = Uploads(tmp_path, 1 << 20), tmp_path / "sha" / "x.mp4"

    def upload():
        path.parent.mkdir(exist_ok=True)
        (tmp_path / "temporary").write_bytes(b"the same")
        os.rename(tmp_path / "temporary", path)

    for first, last in (("a", "b"), ("b", "a")):
        for session in ("a", "b"):
            upload()
            uploads.lease(session, session, [path])
        uploads.release(first)
        assert uploads.files(last) == [path] and path.exists()
        uploads.release(last)
        assert not path.exists()
    upload()
    uploads.lease("a", "a", [path])
    upload()  # of b, whose page has not said so yet
    uploads.release("a")
    assert path.exists()
    uploads.lease("b", "b", [path])
    uploads.release_session("b")
    assert not path.exists()


def test_what_is_left_of_a_broken_upload_is_swept(tmp_path):
    uploads, now = Uploads(tmp_path, 1 << 20), time.time()
    for name in ("half", "sha/held"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0")
    uploads.lease("a", "a", [tmp_path / "sha" / "held"])
    uploads.sweep(now + ABANDONED_AFTER - 5)
    assert names(tmp_path) == ["half", "held"]
    uploads.sweep(now + ABANDONED_AFTER + 5)
    assert names(tmp_path) == ["held"]
    uploads.sweep(now + MAX_AGE + 5)
    assert list(tmp_path.iterdir()) == [] and uploads.files("a") == []


def test_only_uploads_can_be_named(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"0")
    for path in ("../secret.mp4", tmp_path / "secret.mp4"):
        with pytest.raises(LNCLIPError, match="leaves its folder"):
            Uploads(tmp_path / "uploads", 100).lease("a", "a", [Path(path)])
