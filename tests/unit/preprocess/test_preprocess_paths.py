"""Names that no face can have: each is a line in the summary, and the others are done."""

import os

import pytest
from clips import contents, run

from lnclip_df.core.errors import LNCLIPError

retinaface = pytest.importorskip("retinaface")


@pytest.mark.parametrize("name", ["...mp4", "..mp4"])
def test_a_name_that_climbs_out_is_refused(clip, tmp_path, name):
    source = tmp_path / name
    source.write_bytes(clip.read_bytes())
    with pytest.raises(LNCLIPError, match="rename"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, reason",
    [
        ("x" * 251 + ".mp4", "too long"),
        ("顔" * 83 + "xx.mp4", "too long"),
        (b"bad\xff\xfe.mp4", "not UTF-8"),
        (b"bad\xff/fine.mp4", "not UTF-8"),
        ("good/000.png.mp4", "collides with what is written of 'good'"),
        ("good/000.npy/deeper.mp4", "collides with what is written of 'good'"),
        ("good.json/other.mp4", "collides with what is written of 'good'"),
    ],
    ids=["long", "long in bytes", "file not UTF-8", "folder not UTF-8", "face", "points", "record"],
)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_a_name_that_no_face_can_have_is_a_line_and_the_others_are_done(beside, tmp_path, name, reason, workers):
    source = beside(name, "other.mp4")
    for resumed in (0, 2):
        summary = run(source, tmp_path / "out", frames=1, workers=workers)
        assert summary.counts == {"done": 2, "unreadable": 1} and summary.resumed == resumed
        assert set(summary.frame_paths()) == {"good", "other"}
        [(key, said)] = summary.failures
        assert key == os.fsdecode(name).removesuffix(".mp4") and reason in said and "rename the file" in said
        str(summary).encode("utf-8")


@pytest.mark.parametrize("length", [250, 251])
def test_the_longest_name_that_can_have_a_record_is_done(beside, tmp_path, length):
    summary = run(beside("x" * length + ".mp4"), tmp_path / "out", frames=1)
    assert summary.counts == ({"done": 2} if length == 250 else {"done": 1, "unreadable": 1})


def test_a_path_that_is_too_long_is_a_line(beside, tmp_path):
    source, deep = beside(), "/".join(["d" * 200] * 3)
    (source / deep).mkdir(parents=True)
    (source / "good.mp4").rename(source / deep / "good.mp4")
    out = tmp_path
    while len(str(out)) < 3400:
        out = out / ("o" * 200)
    [(key, reason)] = run(source, out).failures
    assert key == f"{deep}/good" and "too long" in reason


def test_only_names_that_no_face_can_have_is_a_run_too(tmp_path):
    (tmp_path / ("x" * 251 + ".mp4")).touch()
    assert run(tmp_path, tmp_path / "out", workers=None).counts == {"unreadable": 1}


@pytest.mark.parametrize("first, second", [("good/000.png", "good"), ("good", "good/000.png"), ("a.json/b", "a")])
def test_a_name_that_an_earlier_run_took_is_a_line(clip, tmp_path, first, second):
    for name in (first, second):
        path = tmp_path / name.replace("/", "-") / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(clip.read_bytes())
    assert run(tmp_path / first.replace("/", "-"), tmp_path / "out").counts == {"done": 1}
    before = contents(tmp_path / "out", manifests=False)
    [(key, reason)] = run(tmp_path / second.replace("/", "-"), tmp_path / "out").failures
    assert key == second and "collides" in reason and contents(tmp_path / "out", manifests=False) == before
