"""Videos that the tests of preprocessing share."""

import os
from functools import partial

import pytest
from clips import faceless, portrait, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    frames = [portrait(shift) for shift in range(12)]
    return write_clip(tmp_path_factory.mktemp("clip") / "face.mp4", frames)


@pytest.fixture
def copies(clip, tmp_path):
    """Write a good video under the names given (bytes or str) into one folder; return the folder."""

    def write(*names):
        source = tmp_path / "videos"
        for name in names:
            path = source / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.write_bytes(clip.read_bytes())
            except OSError as error:
                pytest.skip(f"this file system has no such names: {error}")
        return source

    return write


@pytest.fixture
def beside(copies):
    """As ``copies``, with ``good.mp4`` besides."""
    return partial(copies, "good.mp4")


@pytest.fixture(scope="module")
def several(clip, tmp_path_factory):
    """Seven sources of every outcome."""
    source = tmp_path_factory.mktemp("several") / "videos.v1"
    for name in ("a", "b", "c d", "Ä 顔/e"):
        (source / f"{name}.mp4").parent.mkdir(parents=True, exist_ok=True)
        (source / f"{name}.mp4").write_bytes(clip.read_bytes())
    write_clip(source / "none.mkv", [faceless(64, 96)] * 4)
    (source / "empty.mp4").touch()
    (source / ("x" * 251 + ".mp4")).write_bytes(clip.read_bytes())
    return source
