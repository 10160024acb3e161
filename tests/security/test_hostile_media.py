"""Media that want more than to be looked at: no other file or socket is opened, and what is too large is refused."""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from clips import av, every_frame, growing, noise, write_clip
from PIL import Image

from lnclip_df.media import images, limits, video
from lnclip_df.media.frames import UnreadableVideo, open_frames
from lnclip_df.media.limits import MAX_PIXELS
from lnclip_df.media.video import CONTAINERS

WIDE, HIGH = 16_000, 8_500  # 136 million pixels: beyond the limit, within what FFmpeg and Pillow take by themselves
MANY = 100_000


def refusal(path, **options):
    """The one line with which a video or image is refused, in two attempts as the preprocessing makes them."""
    with pytest.raises(UnreadableVideo) as caught:
        open_frames(path, **options).recount()
    assert str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


# --- other files and sockets ------------------------------------------------------------------------------------------


class Sentinel:
    """A pipe and a port, and whether anybody came to read them."""

    def __init__(self, folder):
        self.pipe, self.opened = folder / "sentinel.ts", threading.Event()
        os.mkfifo(self.pipe)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.02)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self):
        os.close(os.open(self.pipe, os.O_WRONLY))  # waits for a reader
        self.opened.set()

    def connected(self):
        try:
            self.socket.accept()[0].close()
            return True
        except TimeoutError:
            return False

    def close(self):
        os.close(os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK))
        self.socket.close()


@pytest.fixture
def sentinel(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    made = Sentinel(tmp_path)
    yield made
    made.close()


def hls(url):
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n"


def dash(url):
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
        f"<BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


def sdp(port):
    address = "IN IP4 127.0.0.1"
    return f"v=0\no=- 0 0 {address}\ns=x\nc={address}\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"


def picture(format):
    buffer = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(buffer, format)
    return buffer.getvalue()


HOSTILE = {
    "a playlist": lambda pipe, url, port: hls("sentinel.ts"),
    "a playlist of a whole path": lambda pipe, url, port: hls(pipe),
    "a playlist of a file address": lambda pipe, url, port: hls(f"file://{pipe}"),
    "a playlist of the net": lambda pipe, url, port: hls(url),
    "a playlist within a playlist": lambda pipe, url, port: "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nsentinel.ts\n",
    "a list of files to join": lambda pipe, url, port: "ffconcat version 1.0\nfile sentinel.ts\n",
    "a list that joins the net": lambda pipe, url, port: f"ffconcat version 1.0\nfile '{url}'\n",
    "a manifest": lambda pipe, url, port: dash("sentinel.ts"),
    "a manifest of the net": lambda pipe, url, port: dash(url),
    "a session": lambda pipe, url, port: sdp(port),
    "a page": lambda pipe, url, port: f"<!DOCTYPE html><html><body><video src='{url}'></video></body></html>",
    "a text": lambda pipe, url, port: f"not a video {url}\n" * 50,
    "a subtitle": lambda pipe, url, port: "1\n00:00:01,000 --> 00:00:02,000\nsentinel.ts\n\n",
    "a script of styles": lambda pipe, url, port: "[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Text\n",
    "raw pixels": lambda pipe, url, port: b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(384),
}


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_video_container_is_refused_and_opens_nothing_else(sentinel, tmp_path, what, suffix):
    made = HOSTILE[what](sentinel.pipe, f"http://127.0.0.1:{sentinel.port}/a.ts", sentinel.port)
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(made if isinstance(made, bytes) else made.encode())
    assert refusal(path).startswith("cannot be opened: ")
    assert not sentinel.opened.is_set() and not sentinel.connected()


def test_the_sentinel_sees_what_ffmpeg_opens_by_itself(sentinel, tmp_path):
    (tmp_path / "x.mp4").write_text("ffconcat version 1.0\nfile sentinel.ts\n")
    with pytest.raises(av.error.FFmpegError), av.open(str(tmp_path / "x.mp4")) as container:
        list(container.demux())
    assert sentinel.opened.wait(5)
    with pytest.raises(av.error.FFmpegError):
        av.open(f"http://127.0.0.1:{sentinel.port}/a.ts", timeout=0.2)
    assert sentinel.connected()


FORMATS = {  # FFmpeg's name of the format, codec
    "a.mp4": ("mp4", "libx264"),
    "a.mov": ("mov", "libx264"),
    "a.mkv": ("matroska", "libx264"),
    "a.webm": ("webm", "libvpx"),
    "a.avi": ("avi", "mpeg4"),
    "a.m2ts": ("mpegts", "libx264"),
    "a.ts": ("mpegts", "mpeg2video"),
    "a.mpg": ("mpeg", "mpeg2video"),
    "a.flv": ("flv", "libx264"),
    "a.wmv": ("asf", "mpeg4"),
    "a.mov.avi": ("mov", "libx264"),
    "a.avi.mp4": ("avi", "mpeg4"),
}
OTHERS = {"raw.mp4": ("h264", "libx264"), "ogg.mp4": ("ogg", "libtheora"), "mxf.mov": ("mxf", "mpeg2video")}


@pytest.mark.parametrize("name", FORMATS)
def test_the_containers_of_real_data_are_read_whatever_their_suffix(tmp_path, name):
    format, codec = FORMATS[name]
    path = write_clip(tmp_path / name, noise(30), codec, format=format, options={"g": "8"})
    reference = every_frame(path)
    frames = open_frames(path, max_seconds=2)
    assert frames.count == len(reference) == 30
    found = dict(frames.read([0, 7, 8, 29]))
    assert [*found] == [0, 7, 8, 29]
    for index, image in found.items():
        np.testing.assert_array_equal(image, reference[index])
        assert frames.time(index) == pytest.approx(index / 25, abs=1e-3)
    assert frames.seconds == pytest.approx(1.2, abs=0.01)


def test_every_container_that_is_accepted_is_tested():
    assert {format for format, _ in FORMATS.values()} == {*CONTAINERS, "mp4", "webm"}


@pytest.mark.parametrize("name", OTHERS)
def test_other_containers_are_refused_with_the_way_to_convert_them(tmp_path, name):
    format, codec = OTHERS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV does not encode {codec}")
    path = write_clip(tmp_path / name, noise(30), codec, format=format)
    assert len(every_frame(path)) >= 29
    assert refusal(path).endswith("mp4, mov, mkv, webm, avi, ts, mpg, flv, wmv (ffmpeg -c copy changes it)")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_an_image_is_read_by_the_accepted_readers_alone(tmp_path, suffix, monkeypatch):
    for module, name in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn")):
        monkeypatch.setattr(module, name, lambda *args, **options: pytest.fail("a program was started"))
    for format, data in (("EPS", EPS), ("PPM", picture("PPM")), ("TGA", picture("TGA"))):
        path = tmp_path / f"{format}.{suffix}"
        path.write_bytes(data)
        with Image.open(path) as image:
            assert image.format == format
        assert refusal(path).startswith("cannot be decoded: damaged, or no PNG, JPEG")


# --- pixels -----------------------------------------------------------------------------------------------------------


def claiming(format):
    """An image of 64 × 48 pixels whose header says ``WIDE`` × ``HIGH``."""
    data = bytearray(picture(format))
    if format == "PNG":
        _claim_png(data, data.index(b"IHDR"))
    elif format == "JPEG":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, HIGH, WIDE)
    elif format == "BMP":
        struct.pack_into("<ii", data, 18, WIDE, HIGH)
    elif format == "WEBP":
        struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, WIDE, HIGH)
    else:
        [first] = struct.unpack_from("<I", data, 4)
        for place in range(first + 2, first + 2 + 12 * data[first], 12):
            tag = struct.unpack_from("<H", data, place)[0]
            if tag in (256, 257):
                struct.pack_into("<HII", data, place + 2, 4, 1, WIDE if tag == 256 else HIGH)
    return bytes(data)


def _claim_png(data, place):
    struct.pack_into(">II", data, place + 4, WIDE, HIGH)
    struct.pack_into(">I", data, place + 17, zlib.crc32(data[place : place + 17]))


def bombs(folder):
    """Images and videos that claim too many pixels: in the container, in the stream, or in both."""
    for format, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("TIFF", "tif"), ("WEBP", "webp")):
        (folder / f"claims.{suffix}").write_bytes(claiming(format))
    for name in ("claims.mov", "conceals.mov"):
        data = bytearray(write_clip(folder / name, noise(3), "png", pix_fmt="rgb24").read_bytes())
        place = data.find(b"IHDR")
        while place >= 0:
            _claim_png(data, place)
            place = data.find(b"IHDR", place + 1)
        if name == "claims.mov":
            struct.pack_into(">HH", data, data.index(b"png \0\0\0\0") + 28, WIDE, HIGH)
        (folder / name).write_bytes(data)
    data = bytearray(write_clip(folder / "claims.avi", noise(3), "rawvideo").read_bytes())
    struct.pack_into("<ii", data, data.index(b"strf") + 12, WIDE, HIGH)
    (folder / "claims.avi").write_bytes(data)


MEASURE = """
import json, sys
from pathlib import Path
from lnclip_df.media.frames import UnreadableVideo, open_frames, read_twice

def peak():  # MiB, of this program alone: what getrusage says begins with the process that started it
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) >> 10

def attempt(path):
    try:
        frames = open_frames(path)
        return len(read_twice(frames, lambda: list(frames.read([0]))))
    except UnreadableVideo as error:
        return str(error)

folder = Path(sys.argv[1])
attempt(folder / "good.webp"), attempt(folder / "good.mov")
before = peak()
reasons = {path.name: attempt(path) for path in sorted(folder.glob("c*"))}
grown = peak() - before
import av
with av.open(str(folder / "claims.mov")) as container:
    size = container.streams.video[0].width, container.streams.video[0].height
print(json.dumps([reasons, grown, size, peak() - before]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_too_many_pixels_are_refused_before_they_are_allocated(tmp_path):
    bombs(tmp_path)
    write_clip(tmp_path / "good.mov", noise(3), "png", pix_fmt="rgb24")
    (tmp_path / "good.webp").write_bytes(picture("WEBP"))
    command = [sys.executable, "-W", "error", "-c", MEASURE, str(tmp_path)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    reasons, grown, size, grown_without = json.loads(found)
    assert reasons.pop("conceals.mov") == "no frame can be decoded"  # its container knows nothing of it
    assert len(reasons) == 7
    assert set(reasons.values()) == {f"a picture of {WIDE} × {HIGH} pixels, the limit is {MAX_PIXELS:,} pixels"}
    assert grown < 40 and size == [WIDE, HIGH] and grown_without > 100  # MiB; FFmpeg by itself would allocate them


def test_the_largest_picture_is_taken_and_one_column_more_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 48)
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    Image.fromarray(noise(1, 48, 65)[0]).save(tmp_path / "b.png")
    write_clip(tmp_path / "a.mp4", noise(5))
    write_clip(tmp_path / "b.mp4", noise(5, 48, 66))
    for name in ("a.png", "a.mp4"):
        [(_, image)] = open_frames(tmp_path / name).read([0])
        assert image.shape == (48, 64, 3)
    assert refusal(tmp_path / "b.png") == "a picture of 65 × 48 pixels, the limit is 3,072 pixels"
    assert refusal(tmp_path / "b.mp4") == "a picture of 66 × 48 pixels, the limit is 3,072 pixels"


def test_a_stream_that_grows_on_the_way_is_read_as_far_as_it_is_within_the_limit(tmp_path, monkeypatch):
    path = growing(tmp_path / "a.mkv", (48, 96))
    frames = open_frames(path)
    frames.recount()
    assert [image.shape[0] for _, image in frames.read(range(frames.count))] == [48] * 9 + [96] * 9
    monkeypatch.setattr(limits, "MAX_PIXELS", 60 * 60)
    frames = open_frames(path)
    frames.recount()
    assert [image.shape[0] for _, image in frames.read(range(frames.count))] == [48] * 9


def test_a_large_picture_within_the_limit_gives_no_warning(tmp_path, recwarn, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 40)  # Pillow warns from here on, and refuses twice as many
    images.pillow.cache_clear()
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    assert len(list(open_frames(tmp_path / "a.png").read([0]))) == 1 and not recwarn.list
    images.pillow.cache_clear()


# --- length -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """100,000 frames of 16 × 16 pixels, 4,000 s: as mp4, mkv and avi."""
    folder = tmp_path_factory.mktemp("long")
    with (
        av.open(str(folder / "a.mp4"), "w") as mp4,
        av.open(str(folder / "a.mkv"), "w") as mkv,
        av.open(str(folder / "a.avi"), "w") as avi,
    ):
        streams = [container.add_stream("mpeg4", rate=25) for container in (mp4, mkv, avi)]
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24").reformat(format="yuv420p")
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for at in range(MANY):
            frame.pts = at
            for container, stream in zip((mp4, mkv, avi), streams, strict=True):
                container.mux(stream.encode(frame))
        for container, stream in zip((mp4, mkv, avi), streams, strict=True):
            container.mux(stream.encode(None))
    return folder


@pytest.fixture
def counted(monkeypatch):
    """How many packets were looked at; a frame that is decoded is a fault."""
    packets, add = [], video.LengthLimit.add

    def noted(self, packet):
        packets.append(packet.pts)
        return add(self, packet)

    monkeypatch.setattr(video.LengthLimit, "add", noted)
    monkeypatch.setattr(video, "decode_packets", lambda *args: pytest.fail("a frame was decoded"))
    return packets


def altered(path, folder, change):
    data = bytearray(path.read_bytes())
    change(data)
    (folder / path.name).write_bytes(data)
    return folder / path.name


def claim_a_second(data):
    """Let an mp4 or mkv say that it lasts 1 s; the packets' times stay."""
    if data[4:8] == b"ftyp":
        place = data.index(b"mdhd") + 16
        data[place + 4 : place + 8] = data[place : place + 4]  # duration, in units of that many a second
    else:
        struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, 1000.0)


def hurry(data):
    """Let an mp4 or avi show all its frames within 1 s: 100,000 a second."""
    if data[4:8] == b"ftyp":
        struct.pack_into(">II", data, data.index(b"mdhd") + 16, MANY, MANY)
        struct.pack_into(">III", data, data.index(b"stts") + 8, 1, MANY, 1)
    else:
        struct.pack_into("<II", data, data.index(b"strh") + 28, 1, MANY)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_long_video_is_refused_by_what_its_container_says(long, counted, name):
    assert refusal(long / name, max_seconds=60) == "4000.0 s long, the limit is 60 s" and not counted


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_container_that_understates_its_length_is_noticed_while_packets_are_counted(long, counted, tmp_path, name):
    path = altered(long / name, tmp_path, claim_a_second)
    with av.open(str(path)) as container:
        assert container.duration == av.time_base
    assert refusal(path, max_seconds=60) == "60.0 s long or more by its packets, the limit is 60 s"
    assert len(counted) == 60 * 25 + 2


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_times_that_no_camera_has_are_not_believed(long, counted, tmp_path, name):
    path = altered(long / name, tmp_path, hurry)
    with av.open(str(path)) as container:
        assert container.duration == pytest.approx(av.time_base, rel=1e-3)
    reason = refusal(path, max_seconds=60)
    assert reason == "14,401 frames or more, of at most 240 a second: longer than the limit of 60 s"
    assert len(counted) == 60 * 240 + 1


def test_within_the_limit_and_without_one_all_frames_are_there(long):
    for longest in (None, 4000, 4001):
        frames = open_frames(long / "a.mp4", max_seconds=longest)
        assert (frames.count, frames.seconds, frames.time(MANY - 1)) == (MANY, 4000, 3999.96)
    assert refusal(long / "a.mp4", max_seconds=3999.9) == "4000.0 s long, the limit is 3999.9 s"
