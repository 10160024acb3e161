"""Output as one tar per video: the same crops as in folders, resumed in the same way."""

import os
import tarfile

import pytest
from clips import contents, options, portrait, run, write_clip

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.media.crop_files import pending_path
from lnclip_df.preprocess.paths import Source
from lnclip_df.preprocess.run import preprocess_sources

pytest.importorskip("retinaface")


def crops(out):
    """The files below the three folders."""
    return {
        name: data for name, data in contents(out).items() if name.split("/")[0] in ("frames", "landmarks", "masks")
    }


@pytest.mark.slow
def test_the_tars_of_a_run_unpack_into_the_files_of_another(clip, tmp_path):
    mask = write_clip(tmp_path / "mask.mp4", [portrait(shift) for shift in range(6)])
    sources = [Source("a", str(clip), mask=str(mask)), Source("b/c", str(clip)), Source("empty", str(mask) + "x")]
    preprocess_sources(sources, tmp_path / "png", *options())
    summary = preprocess_sources(sources, tmp_path / "tar", *options(format="tar"))
    assert summary.counts == {"done": 2, "unreadable": 1} and summary.sheet is not None
    assert crops(tmp_path / "tar").keys() == {"frames/a.tar", "frames/b/c.tar"}
    for tar in crops(tmp_path / "tar"):
        with tarfile.open(tmp_path / "tar" / tar) as file:
            file.extractall(tmp_path / "unpacked", filter="data")
    (tmp_path / "unpacked" / "index.json").unlink()
    assert crops(tmp_path / "unpacked") == crops(tmp_path / "png")
    assert contents(tmp_path / "tar" / "records") == contents(tmp_path / "png" / "records")
    assert contents(tmp_path / "tar")["manifests/videos.jpg"] == contents(tmp_path / "png")["manifests/videos.jpg"]


@pytest.mark.slow
def test_tars_are_resumed_and_made_again_as_folders_are(clip, tmp_path):
    source, out = tmp_path / "v.mp4", tmp_path / "out"
    source.write_bytes(clip.read_bytes())
    tar = out / "frames" / "v.tar"
    run(source, out, format="tar")
    before = contents(out)
    assert run(source, out, format="tar").resumed == 1
    assert run(source, out).resumed == 1 and contents(out) == before  # stored as it is
    with pytest.raises(LNCLIPError, match="size 256, now 128"):
        run(source, out, format="tar", size=128)
    tar.write_bytes(tar.read_bytes()[:-512])
    pending_path(tar).write_bytes(b"left by a run that was killed")
    assert run(source, out, format="tar").resumed == 0 and contents(out) == before
    os.utime(source, (1, 1))
    assert run(source, out).resumed == 0 and not tar.exists()
    os.utime(source, (2, 2))
    assert run(source, out, format="tar").resumed == 0
    assert crops(out).keys() == {"frames/v.tar"} and [*(out / "frames").iterdir()] == [tar]


def test_a_name_that_a_tar_has_already_costs_its_video_alone(clip, tmp_path):
    sources = [Source("v", str(clip)), Source("v.tar/w", str(clip))]
    summary = preprocess_sources(sources, tmp_path, *options(format="tar", frames=1))
    assert summary.counts == {"done": 1, "unreadable": 1}
    assert "collides with" in summary.failures[0][1]


@pytest.mark.parametrize("form", ["png", "tar"])
def test_a_tar_of_another_tool_stays_and_is_named(clip, tmp_path, form):
    tar = tmp_path / "out" / "frames" / "v.tar"
    tar.parent.mkdir(parents=True)
    with tarfile.open(tar, "w") as file:
        file.add(clip, "mine.mp4")
    before = contents(tmp_path / "out")
    with pytest.raises(LNCLIPError, match=r"v\.tar was made by another tool; give another output folder, or remove it"):
        preprocess_sources([Source("v", str(clip))], tmp_path / "out", *options(format=form))
    assert contents(tmp_path / "out") == before


def test_an_unknown_format_is_refused():
    with pytest.raises(LNCLIPError, match="format: 'zip' received; accepted are png and tar"):
        options(format="zip")
