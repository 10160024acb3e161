"""Videos, pictures and readings of them that the preprocessing tests share."""

from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lnclip_df.preprocess import CropSettings, RunOptions, preprocess

av = pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")
astronaut = pytest.importorskip("skimage.data").astronaut


def write_clip(path, frames, codec="libx264", times=None, options=None, pix_fmt="yuv420p", format=None, aspect=None):
    """Write frames (uint8 RGB H×W×3) as a video; ``times`` are their presentation times in 1/25 s.

    ``aspect``, if given, is the width of a pixel divided by its height.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for at, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = times[at], Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def growing(path, sizes):
    """A video of nine frames each of several sizes, in one stream of JPEGs."""
    parts = [
        write_clip(path.with_name(f"{size}.mov"), noise(9, size, size), "mjpeg", pix_fmt="yuvj420p") for size in sizes
    ]
    with av.open(str(path), "w") as container, av.open(str(parts[0])) as first:
        stream = container.add_stream_from_template(first.streams.video[0])
        for number, part in enumerate(parts):
            with av.open(str(part)) as source:
                for at, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
                    packet.pts = packet.dts = 9 * number + at
                    packet.time_base, packet.stream = Fraction(1, 25), stream
                    container.mux(packet)
    return path


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


def noise(count, height=48, width=64, seed=0):
    """Frames that all differ everywhere: a coarse random picture that drifts, its number in stripes at the top."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count // 8 + 3, 6, 8, 3)).astype(np.float32)
    frames = []
    for at in range(count):
        low, part = divmod(at, 8)
        mixed = coarse[low] * (1 - part / 8) + coarse[low + 1] * part / 8
        frame = cv2.resize(mixed, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
        for bit in range(8):
            frame[:8, bit * 8 : bit * 8 + 8] = 255 * (at >> bit & 1)
        frames.append(frame)
    return frames


def every_frame(path):
    """All frames of a video in turn, by PyAV alone: RGB, those that do not decode left out."""
    frames = []
    with av.open(str(path), metadata_errors="ignore") as container:
        container.streams.video[0].codec_context.thread_count = 1  # several conceal faults each in its own way
        packets = container.demux(video=0)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                return frames
            if packet is None:
                return frames
            try:
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.error.FFmpegError:
                continue


def portrait(shift=0, height=240, width=320):
    return np.ascontiguousarray(astronaut()[:height, 60 + shift : 60 + shift + width])


def faceless(height=240, width=320):
    return np.full((height, width, 3), 90, np.uint8)


def options(**given):
    """The two option groups of ``preprocess``; by default three frames per video, one process and no bar."""
    how = {field.name: given.pop(field.name) for field in fields(RunOptions) if field.name in given}
    return CropSettings(**{"frames": 3, **given}), RunOptions(**{"workers": 1, "progress": False, **how})


def run(source, out, **given):
    return preprocess(source, out, *options(**given))


def contents(folder, manifests=True):
    """``{path below the folder: bytes}`` of every file, hidden ones too; of records and rows all but the seconds."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and (manifests or name.parts[0] != "manifests"):
            found[name.as_posix()] = _without_seconds(path)
    return found


def _without_seconds(path):
    import csv
    import json

    if path.suffix == ".json" and path.parent.name != "manifests":
        value = json.loads(path.read_text(encoding="utf-8"))
        return {key: part for key, part in value.items() if key != "seconds"}
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return [{key: part for key, part in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return path.read_bytes()


def rows(out, name="videos.v1"):
    return contents(out)[f"manifests/{name}.csv"]
