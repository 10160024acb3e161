"""Videos at a URL: listed, copied to the local disk one by one, resumed; what is secret in the URL stays there."""

import functools
import http.server
import os
import tempfile
import threading

import pytest
from clips import contents, run
from commands import call, error_of

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.remote import find_at, redacted
from lnclip_df.preprocess.paths import Source

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
pytest.importorskip("retinaface")


class Quiet(http.server.SimpleHTTPRequestHandler):
    broken = ""

    def do_GET(self):
        if self.broken and self.path.split("?")[0].endswith(self.broken):
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def videos(clip, tmp_path):
    folder = tmp_path / "server" / "videos"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "notes.txt").write_text("no video")
    for name in ("a.mp4", "b/c.mp4", ".hidden/d.mp4", "old/frames/x/000.png", "old/landmarks/x/000.npy"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(clip.read_bytes())
    return folder


@pytest.fixture
def server(videos):
    """The address of a server of the videos."""
    handler = functools.partial(Quiet, directory=videos.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/videos"
        server.shutdown()


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def crops(out):
    return {name: data for name, data in contents(out).items() if name.split("/")[0] in ("frames", "landmarks")}


def test_a_server_gives_the_crops_of_a_folder(videos, server, scratch, tmp_path, monkeypatch):
    local = run(videos, tmp_path / "local")
    remote = run(server, tmp_path / "remote")
    assert remote.counts == {"done": 2} and [record.key for record in remote.results] == ["a", "b/c"]
    assert crops(tmp_path / "remote") == crops(tmp_path / "local") and local.counts == remote.counts
    assert contents(tmp_path / "remote")["records/b/c.json"]["source"] == f"{server}/b/c.mp4"
    assert (tmp_path / "remote" / "manifests" / "videos.csv").is_file()
    assert list(scratch.iterdir()) == []
    assert run(server, tmp_path / "remote").resumed == 2
    os.utime(videos / "a.mp4", (1, 1))
    assert run(server, tmp_path / "remote").resumed == 1
    monkeypatch.setattr(Quiet, "broken", "c.mp4")
    os.utime(videos / "b" / "c.mp4", (1, 1))
    summary = run(f"{server}?signature=secret", tmp_path / "remote")
    ((key, reason),) = summary.failures
    assert key == "b/c" and reason.startswith(f"cannot be copied from {server}/b/c.mp4: ClientResponseError: 503")
    assert "secret" not in str(contents(tmp_path / "remote")) and list(scratch.iterdir()) == []
    monkeypatch.setattr(Quiet, "broken", "")
    assert run(server, tmp_path / "remote").counts == {"done": 2}


def test_one_video_has_an_address_of_its_own(server, scratch, tmp_path):
    summary = run(f"{server}/a.mp4?token=secret", tmp_path / "out")
    assert summary.counts == {"done": 1} and summary.manifest.name == "a.csv"
    assert "secret" not in str(contents(tmp_path / "out"))


@pytest.mark.slow
def test_workers_copy_for_themselves(videos, tmp_path):
    assert run(f"file://{videos}", tmp_path / "out", workers=2).counts == {"done": 2}


def test_what_is_passed_over_is_counted(scratch):
    memory = fsspec.filesystem("memory")
    for name in ("v/x.mp4", "v/x.mov", "v/seq/000.png", "v/seq/001.png", "v/one/photo.jpg", "v/README", "v/a//b.mp4",
                 "v//c.mp4"):  # fmt: skip
        memory.pipe(f"/{name}", b"")
    found = find_at("memory://v")
    assert found.videos == {
        "one/photo": "memory://v/one/photo.jpg", "x.mov": "memory://v/x.mov", "x.mp4": "memory://v/x.mp4"
    }  # fmt: skip
    assert found.skipped == {
        "numbered images, which are read from a folder alone": 2,
        "without a suffix": 1,
        "hidden": 2,
    }
    with pytest.raises(LNCLIPError, match=r"memory://nothing cannot be listed: FileNotFoundError: /nothing"):
        find_at("memory://nothing")
    with pytest.raises(LNCLIPError, match=r"no video below memory://v/seq; .*; passed over: 2 numbered"):
        find_at("memory://v/seq")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://host/videos", "nonsense://host/videos cannot be listed: ValueError: Protocol not known: nonsense"),
        ("http://me:secret@127.0.0.1:9/videos?key=secret", "http://127.0.0.1:9/videos cannot be listed: "),
    ],
)
def test_an_address_that_cannot_be_listed_is_a_line_without_its_secrets(tmp_path, url, message):
    error = error_of(call("preprocess", url, "--out", tmp_path / "out"))
    assert message in error and "secret" not in error


def test_crops_are_written_to_folders_alone(videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = error_of(call("preprocess", videos, "--out", "s3://bucket/crops"))
    assert "is a URL; name a folder on a file system" in error and not (tmp_path / "s3:").exists()
    error = error_of(call("preprocess", videos, "--out", "ftp://me:secret@host/x"))
    assert "ftp:/host/x is a URL" in error and "secret" not in repr(Source("x", "ftp://me:secret@host/x"))
    assert "root: s3:/bucket" in error_of(call("preprocess", "--dataset", "UADFV", "--root", "s3://bucket"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:secret@bucket/a?X=1", "s3://bucket/a"),
        ("404, url='https://h/a.mp4?sig=x%3D'", "404, url='https://h/a.mp4'"),
        ("why? nobody knows", "why? nobody knows"),
        ("out: ftp:/me:secret@host/x is a URL", "out: ftp:/host/x is a URL"),
        ("C:/clips/a@b.mp4", "C:/clips/a@b.mp4"),
        ("ftp://u:p%40@h/x y@z", "ftp://h/x y@z"),
    ],
)
def test_what_is_secret_in_an_address_is_left_out(text, shown):
    assert redacted(text) == shown
