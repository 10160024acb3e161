"""Frames of videos: those asked for are those of a full decode in turn, whatever the container says."""

import os
import struct
from bisect import bisect_right
from fractions import Fraction
from itertools import product

import cv2
import numpy as np
import pytest
from clips import av, every_frame, noise, write_clip, write_sound

from lnclip_df.media import limits, video
from lnclip_df.media.frames import Miscounted, UnreadableVideo, open_frames

FRAMES = noise(48)


OPEN_GOP = {"x264-params": "open-gop=1:keyint=10:min-keyint=5:log-level=none", "bf": "3"}


KINDS = {  # file: codec, and what else the encoder is told
    "closed.mp4": ("libx264", {"g": "12", "bf": "3"}),
    "one-key.mkv": ("libx264", {"g": "250", "bf": "3"}),
    "intra.mov": ("libx264", {"g": "1"}),
    "pairs.mp4": ("libx264", {"g": "2", "bf": "1"}),
    "open.mp4": ("libx264", OPEN_GOP),
    "open.mkv": ("libx264", OPEN_GOP),
    "refresh.mp4": ("libx264", {"x264-params": "intra-refresh=1:keyint=10:log-level=none"}),
    "interlaced.mp4": ("libx264", {"x264-params": "interlaced=1:keyint=10:log-level=none"}),
    "unordered.avi": ("libx264", {"g": "12", "bf": "3"}),
    "part2.mp4": ("mpeg4", {"g": "12", "bf": "2"}),
    "part2.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "vp8.webm": ("libvpx", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "vp9.webm": ("libvpx-vp9", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=12:bframes=3:log-level=none"}),
    "open-hevc.mkv": ("libx265", {"x265-params": "keyint=12:bframes=3:open-gop=1:log-level=none"}),
    "layers.mp4": ("libx265", {"x265-params": "keyint=24:bframes=3:temporal-layers=3:log-level=none"}),
    "av1.mp4": ("libsvtav1", {"g": "12", "preset": "12"}),
    "jpegs.mov": ("mjpeg", {}),
    "jpegs.avi": ("mjpeg", {}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, files = tmp_path_factory.mktemp("kinds"), {}

    def make(name):
        if name not in files:
            codec, options = KINDS[name]
            try:
                av.codec.Codec(codec, "w")
            except ValueError:
                pytest.skip(f"this PyAV does not encode {codec}")
            pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            files[name] = write_clip(folder / name, FRAMES, codec, options=options, pix_fmt=pix_fmt)
        return files[name]

    return make


def draws(count, seed, times=6):
    """Index lists to ask for: sorted, from one to nine."""
    rng = np.random.default_rng(seed)
    for _ in range(times):
        yield sorted(rng.choice(count, min(count, int(rng.integers(1, 10))), replace=False).tolist())


def read(frames, indices):
    """What the preprocessing does: ask, and where frames were miscounted, count again and ask again."""
    try:
        return list(frames.read(indices))
    except Miscounted:
        frames.recount()
        return list(frames.read([index for index in indices if index < frames.count]))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_frames_asked_for_are_those_of_a_full_decode(made, name, threads):
    reference = every_frame(made(name))
    assert len(reference) == len(FRAMES)
    for indices in [*draws(len(FRAMES), 0), [], [0], [47], list(range(48))]:
        frames = open_frames(made(name), threads)
        assert frames.count == len(FRAMES)
        found = read(frames, indices)
        assert [index for index, _ in found] == indices
        for index, frame in found:
            np.testing.assert_array_equal(frame, reference[index])


@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv", "hevc.mp4", "jpegs.mov", "interlaced.mp4", "vp9.webm"])
def test_usual_videos_are_never_decoded_twice(made, name):
    for indices in draws(len(FRAMES), 1):
        list(open_frames(made(name)).read(indices))  # Miscounted is not raised


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted as Linux lists them")
def test_reading_starts_no_threads_beside_the_decoders(made):
    before = len(os.listdir("/proc/self/task"))
    for _, _ in open_frames(made("closed.mp4"), threads=1).read(range(8)):
        assert len(os.listdir("/proc/self/task")) <= before


def test_irregular_times_change_nothing(tmp_path):
    times = np.cumsum(np.random.default_rng(2).integers(1, 40, len(FRAMES))).tolist()
    for name in ("variable.mp4", "variable.mkv"):
        path = write_clip(tmp_path / name, FRAMES, times=times, options={"g": "10", "bf": "3"})
        reference = every_frame(path)
        assert len(reference) == len(FRAMES)
        for indices in draws(len(FRAMES), 3):
            for index, frame in read(open_frames(path), indices):
                np.testing.assert_array_equal(frame, reference[index])


@pytest.mark.parametrize("name", ["variable.mp4", "variable.mkv", "even.avi"])
def test_frames_say_when_they_are_shown(tmp_path, name):
    times = np.cumsum(np.random.default_rng(2).integers(1, 40, len(FRAMES))).tolist()
    if name == "even.avi":
        times = list(range(len(FRAMES)))
    path = write_clip(tmp_path / name, FRAMES, "mpeg4", times=times, options={"g": "10", "bf": "0"})
    frames = open_frames(path)
    shown = [(time - times[0]) / 25 for time in times]
    whole = shown[-1] * len(shown) / (len(shown) - 1)
    for _ in range(2):
        assert [frames.time(index) for index in range(len(FRAMES))] == pytest.approx(shown, abs=6e-4)
        assert frames.seconds == pytest.approx(whole, abs=1e-3)
        assert all(float(frames.moment(index)) == frames.time(index) for index in (0, 5, 47))
        frames.recount()  # the frames that decode say the same


def test_frames_that_do_not_say_when_they_are_shown_follow_at_the_average_rate(made, monkeypatch):
    monkeypatch.setattr(video, "packet_time", lambda decoder, packet: None)
    frames = open_frames(made("closed.mp4"))
    assert [frames.time(index) for index in (0, 1, 47)] == [0, 0.04, 1.88] and frames.seconds == 1.92
    frames.rate = None
    assert frames.time(3) is None and frames.moment(3) is None and frames.seconds == 1.92


def test_frames_before_an_edit_lists_start_are_not_counted(tmp_path):
    path = write_clip(tmp_path / "cut.mp4", FRAMES, options={"g": "12", "bf": "2"})
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 4 + 4 + 4  # version and flags, entries; then duration, start
    duration, start = struct.unpack_from(">Ii", data, place)
    scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 4 + 4 + 8)[0]
    struct.pack_into(">Ii", data, place, duration, start + scale * 17 // 25)
    path.write_bytes(data)
    reference = every_frame(path)
    assert len(reference) == len(FRAMES) - 17
    for indices in draws(len(reference), 4):
        frames = open_frames(path)
        assert frames.count == len(reference)
        for index, frame in read(frames, indices):
            np.testing.assert_array_equal(frame, reference[index])


def test_an_invisible_vp8_packet_is_no_frame(made, tmp_path):
    whole, path = made("vp8.webm").read_bytes(), tmp_path / "hidden.webm"
    with av.open(str(made("vp8.webm"))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    hidden = packets[10]
    assert hidden[0] & 16 and whole.count(hidden) == 1
    path.write_bytes(whole.replace(hidden, bytes([hidden[0] & ~16]) + hidden[1:]))
    reference = every_frame(path)
    assert len(reference) == len(FRAMES) - 1
    for indices in ([3, 9, 10, 30], [3, 30]):
        for index, frame in read(open_frames(path), indices):
            np.testing.assert_array_equal(frame, reference[index])


def test_what_no_wanted_frame_needs_is_not_decoded(made, monkeypatch, tmp_path):
    decoded = []
    original = video.decode_packets

    def counted(*args):
        for frame in original(*args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video, "decode_packets", counted)
    path = write_clip(tmp_path / "long.mp4", noise(600), options={"g": "10", "bf": "2"})
    frames = open_frames(path)
    assert frames.count == 600 and decoded == []
    indices = list(range(0, 600, 100))
    assert [index for index, _ in frames.read(indices)] == indices
    assert len(decoded) <= 5 * len(indices)
    decoded.clear()
    list(open_frames(made("one-key.mkv")).read([47]))
    assert 1 <= len(decoded) < 36  # of 48: B-frames that nothing refers to are passed over


@pytest.mark.slow
@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv", "part2.mp4", "vp9.webm", "hevc.mp4", "unordered.avi"])
def test_damaged_files_give_no_wrong_frame_and_no_other_error(made, tmp_path, name):
    whole, rng, outcomes = made(name).read_bytes(), np.random.default_rng(7), set()
    path = tmp_path / name
    for trial in range(24):
        data = bytearray(whole)
        if trial % 3 == 0:
            del data[int(rng.integers(1, len(data))) :]
        for _ in range(int(rng.integers(1, 6)) if trial % 3 else 0):
            place, size = int(rng.integers(0, len(data))), int(rng.integers(1, 30))
            data[place : place + size] = rng.bytes(min(size, len(data) - place))
        path.write_bytes(data)
        try:
            frames = open_frames(path, threads=1 + trial % 2)
            by_time, damaged, lost = full_decode(path)
            indices = sorted(set(rng.integers(0, frames.count, 6).tolist())) if frames.count else []
            try:
                times = frames.times
                for index, frame in frames.read(indices):
                    if times is not None and not damaged and times[index] not in lost:
                        assert any(np.array_equal(frame, one) for one in by_time[times[index]])
                outcomes.add("read")
            except Miscounted:
                outcomes.add("miscounted")
            frames.recount()
            reference = every_frame(path)
            assert frames.count == len(reference)
            indices = [index for index in indices if index < frames.count]
            found = list(frames.read(indices))
            assert [index for index, _ in found] == indices
            for index, frame in found:
                assert damaged or np.array_equal(frame, reference[index])
        except UnreadableVideo as error:
            assert str(error) and "\n" not in str(error)
            outcomes.add("unreadable")
    assert len(outcomes) > 1


def full_decode(path):
    """``{time: frames}`` of everything in turn, and whether a fault was concealed (which has no one right result).

    Also the times that are shown between the key frames around a packet that does not decode. Its header may be that of
    a frame to which no other refers; passed over as such, it gives no error, and other pixels to those that do refer.
    """
    by_time, damaged, keys, broken = {}, False, [], set()
    with av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            return by_time, damaged, set()
        container.streams.video[0].codec_context.thread_count = 1
        packets = container.demux(video=0)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None
            if packet is None:
                lost = {time for time in by_time if time is not None and bisect_right(keys, time) in broken}
                return by_time, damaged, lost
            if packet.is_keyframe and packet.pts is not None:
                keys.append(packet.pts)
            try:
                for frame in packet.decode():
                    by_time.setdefault(frame.pts, []).append(frame.to_ndarray(format="rgb24"))
                    damaged |= frame.is_corrupt
            except av.error.FFmpegError:
                damaged |= path.suffix == ".mp4" and container.streams.video[0].codec_context.name == "mpeg4"
                broken.add(len(keys))


def test_a_packet_that_does_not_decode_is_counted_out(made, tmp_path):
    path = tmp_path / "hole.mov"
    with av.open(str(made("jpegs.mov"))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    path.write_bytes(made("jpegs.mov").read_bytes().replace(packets[20], bytes(len(packets[20]))))
    frames, reference = open_frames(path), every_frame(path)
    assert frames.count == 48 and len(reference) == 47
    with pytest.raises(Miscounted):
        list(frames.read([0, 20, 40]))
    frames.recount()
    assert frames.count == 47
    for index, frame in frames.read([0, 20, 40]):
        np.testing.assert_array_equal(frame, reference[index])


def test_a_file_that_changes_between_readings_is_miscounted(tmp_path):
    path = write_clip(tmp_path / "a.avi", FRAMES[:20], "mpeg4")
    frames = open_frames(path)
    frames.recount()
    write_clip(path, FRAMES[:9], "mpeg4")
    with pytest.raises(Miscounted):
        list(frames.read([0, 15]))


def test_what_is_no_video_is_named(tmp_path):
    write_sound(tmp_path / "sound.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.webm").write_text("not a video")
    for name, reason in (("sound.mp4", "no video stream"), ("empty.mp4", "cannot be opened"), ("text.webm", "cannot")):
        with pytest.raises(UnreadableVideo, match=reason):
            open_frames(tmp_path / name)
    for name, reason in (("absent.mp4", "No such file"), ("x" * 300 + ".mp4", "name too long")):
        with pytest.raises(UnreadableVideo, match=reason):
            open_frames(tmp_path / name)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        with pytest.raises(UnreadableVideo, match="not a regular file"):
            open_frames(tmp_path / "pipe.mp4")


def test_a_name_with_a_colon_and_a_title_that_is_not_utf8_are_read(made, tmp_path, monkeypatch):
    path = tmp_path / "12:30.mkv"
    with av.open(str(path), "w") as container, av.open(str(made("closed.mp4"))) as source:
        container.metadata["title"] = "TITLE HERE"
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    data = path.read_bytes()
    assert data.count(b"TITLE HERE") == 1
    path.write_bytes(data.replace(b"TITLE HERE", b"TITLE \xff\xfe\xfd\xfc"))
    monkeypatch.chdir(tmp_path)
    assert len(list(open_frames(path.name).read([0, 5]))) == 2


RAMP = np.zeros((48, 64, 3), np.uint8)
RAMP[:24, :32] = 255
RAMP[:24, 32:] = 90  # no two of its eight orientations are alike


def with_display_matrix(path, a, b, c, d):
    """Set a video's display matrix: a stored point (x, y) is shown at (a·x + c·y, b·x + d·y)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def shown(stored, a, b, c, d):
    """The same by the definition, point by point."""
    high, wide = stored.shape[:2]
    y, x = np.mgrid[:high, :wide]
    new_x, new_y = a * x + c * y, b * x + d * y
    image = np.zeros((np.ptp(new_y) + 1, np.ptp(new_x) + 1, 3), np.uint8)
    image[new_y - new_y.min(), new_x - new_x.min()] = stored
    return image


ORIENTATIONS = [
    matrix
    for matrix in product((-1, 0, 1), repeat=4)
    if abs(matrix[0] * matrix[3]) + abs(matrix[1] * matrix[2]) == 1 and sum(map(abs, matrix)) == 2
]


@pytest.mark.parametrize("matrix", ORIENTATIONS, ids=str)
def test_videos_are_turned_and_mirrored_as_their_display_matrix_says(tmp_path, matrix):
    path = with_display_matrix(write_clip(tmp_path / "a.mp4", [RAMP] * 2), *matrix)
    mirrored = matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0
    frames = open_frames(path)
    [(_, pixels)] = frames.read([0])
    expected = shown(RAMP, *matrix)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 10
    assert frames.changes == ({"mirrored": "by its display matrix"} if mirrored else {})
    plain = open_frames(path, as_shown=False)
    [(_, unmirrored)] = plain.read([0])
    assert plain.changes == {} and (np.array_equal(unmirrored, pixels) is not mirrored)


def test_there_are_eight_orientations():
    assert len(ORIENTATIONS) == 8 and len({shown(RAMP, *matrix).tobytes() for matrix in ORIENTATIONS}) == 8


def test_a_display_matrix_of_zeros_changes_nothing(tmp_path):
    path = with_display_matrix(write_clip(tmp_path / "a.mp4", [RAMP] * 2), 0, 0, 0, 0)
    [(_, pixels)] = open_frames(path).read([0])
    assert np.abs(pixels.astype(int) - RAMP).mean() < 10


@pytest.mark.parametrize(("aspect", "size"), [((2, 1), (48, 128)), ((1, 2), (96, 64)), ((128, 117), (48, 70))])
def test_pixels_that_are_not_square_are_made_so(tmp_path, aspect, size):
    path = write_clip(tmp_path / "a.mp4", [RAMP] * 2, aspect=Fraction(*aspect))
    frames = open_frames(path)
    [(_, pixels)] = frames.read([0])
    assert pixels.shape[:2] == size
    assert np.abs(pixels.astype(int) - cv2.resize(RAMP, size[::-1], interpolation=cv2.INTER_CUBIC)).mean() < 10
    assert frames.changes == {"square_pixels": f"from {aspect[0]}:{aspect[1]}"}
    stored = open_frames(path, as_shown=False)
    [(_, pixels)] = stored.read([0])
    assert pixels.shape[:2] == (48, 64) and stored.changes == {}


def test_pixels_are_made_square_before_the_frame_is_turned(tmp_path):
    path = with_display_matrix(write_clip(tmp_path / "a.mp4", [RAMP] * 2, aspect=Fraction(2)), 0, 1, -1, 0)
    [(_, pixels)] = open_frames(path).read([0])
    assert pixels.shape == (128, 48, 3)


def test_square_pixels_beyond_the_limit_are_refused(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", [RAMP] * 2, aspect=Fraction(5))
    monkeypatch.setattr(limits, "MAX_PIXELS", 4 * 48 * 64)
    with pytest.raises(UnreadableVideo, match="a picture of 320 × 48 pixels"):
        list(open_frames(path).read([0]))


def test_transparent_parts_of_a_video_are_black(tmp_path):
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "argb"
        rgba = np.dstack([np.full((48, 64, 3), 200, np.uint8), np.full((48, 64), 255, np.uint8)])
        rgba[:, :20, 3] = 0
        rgba[:, 20:40, 3] = 128
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode(None))
    [(_, pixels)] = open_frames(path).read([0])
    assert pixels[5, [5, 30, 50]].tolist() == [[0] * 3, [100] * 3, [200] * 3]


def two_streams(path, first, second, cover=None):
    """An mkv or mp4 with two video streams of frames; ``cover`` is the stream that is an attached picture."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, frames in enumerate((first, second)):
            stream = container.add_stream("mjpeg" if number == cover else "libx264", rate=25)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if number == cover else "yuv420p"
            if number == cover:
                stream.disposition = av.stream.Disposition.attached_pic
            elif number == 1:
                stream.disposition = av.stream.Disposition.default
            streams.append((stream, frames))
        for stream, frames in streams:
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("cover", [0, 1])
def test_a_cover_picture_is_never_taken_for_the_video(tmp_path, cover):
    clip, picture = noise(12), noise(1, 480, 640)
    path = two_streams(tmp_path / "a.mp4", *((picture, clip) if cover == 0 else (clip, picture)), cover=cover)
    with av.open(str(path)) as container:
        assert any(stream.disposition & av.stream.Disposition.attached_pic for stream in container.streams.video)
    frames = open_frames(path)
    assert frames.count == 12
    assert dict(frames.read([3]))[3].shape == (48, 64, 3)


def test_of_several_videos_in_a_file_the_one_is_read_that_ffmpeg_calls_the_best(tmp_path):
    path = two_streams(tmp_path / "a.mkv", noise(2, 480, 640), noise(30))
    with av.open(str(path)) as container:
        assert container.streams.best("video").index == 1
    frames = open_frames(path)
    assert frames.count == 30
    frames.recount()
    assert frames.count == 30 and dict(frames.read([7]))[7].shape == (48, 64, 3)


def test_a_song_with_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound, cover = container.add_stream("aac", rate=16000, layout="mono"), container.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        container.mux(cover.encode(av.VideoFrame.from_ndarray(RAMP, format="rgb24")))
        container.mux(cover.encode(None))
    with pytest.raises(UnreadableVideo, match="no video stream"):
        open_frames(tmp_path / "a.mp4")
