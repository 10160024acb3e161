"""A file that a stranger uploads is read in a process whose memory is limited."""

import os
import signal
import struct
import zlib
from pathlib import Path

import pytest
from clips import portrait, write_clip

from lnclip_df.scoring.finder_process import FinderProcess
from lnclip_df.scoring.inputs import InputFile
from lnclip_df.scoring.options import ScoreOptions

pytest.importorskip("retinaface")
pytestmark = pytest.mark.slow


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def black_png(path, side):
    """A valid PNG of side × side black pixels, RGB: a thousand times smaller than its pixels."""
    packer, rows = zlib.compressobj(9), b""
    for _ in range(side):
        rows += packer.compress(bytes(1 + 3 * side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows + packer.flush()) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is one of Linux")
def test_a_file_that_needs_too_much_memory_is_unreadable_and_the_next_one_is_read(tmp_path):
    black_png(tmp_path / "large.png", 9000)
    write_clip(tmp_path / "good.mp4", [portrait(shift) for shift in range(4)])
    finder = FinderProcess(300)
    try:
        for name, outcome in [("large.png", "unreadable"), ("good.mp4", "scored")] * 2:
            found = finder(InputFile(name, tmp_path / name), ScoreOptions(frames=2))
            assert found.result.outcome == outcome, found.result.reason
            assert len(found.faces) == 2 * (outcome == "scored") and "\n" not in found.result.reason
    finally:
        finder.close()


def test_a_file_that_ends_the_process_is_unreadable_and_the_next_one_is_read(tmp_path, monkeypatch):
    write_clip(tmp_path / "good.mp4", [portrait(shift) for shift in range(4)])
    finder = FinderProcess(1000)
    try:
        monkeypatch.setattr("lnclip_df.scoring.finder_process.find_here", ends)
        found = finder(InputFile("good.mp4", tmp_path / "good.mp4"), ScoreOptions(frames=2))
        assert found.result.outcome == "unreadable" and "more than 1000 MB of memory" in found.result.reason
        monkeypatch.undo()
        found = finder(InputFile("good.mp4", tmp_path / "good.mp4"), ScoreOptions(frames=2))
        assert found.result.outcome == "scored"
    finally:
        finder.close()


def ends(file, options, threads):
    os.kill(os.getpid(), signal.SIGKILL)
