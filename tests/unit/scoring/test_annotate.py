"""Copies of videos and images with boxes and scores, and timelines: what was scored is shown where and when it was."""

import logging
import os
import struct
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import av, cv2, every_frame, growing, noise, write_clip
from PIL import Image

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.plots import save_figure
from lnclip_df.media.frames import open_frames
from lnclip_df.media.sampling import evenly_spaced_floor
from lnclip_df.scoring.annotate import annotate
from lnclip_df.scoring.draw import FAKE, REAL, Mark, Trail, draw, marks_at, max_gap, text_patch
from lnclip_df.scoring.results import NO_FACE, SCORED, UNREADABLE, FrameScore, Person, Result
from lnclip_df.scoring.timeline import draw_timeline
from lnclip_df.scoring.video_writer import VideoWriter

pytestmark = pytest.mark.slow

pytest.importorskip("matplotlib")
HIGH, WIDE, COUNT = 180, 240, 41


def scene(count=COUNT, height=HIGH, width=WIDE):
    """Frames without vermillion or blue: grey, a little brighter to the right and over time."""
    ramp = np.tile(np.linspace(60, 190, width)[:, None], (height, 1, 3))
    return [(ramp + at / 4).astype(np.uint8) for at in range(count)]


def moving(at, shift=0):
    """The box of a face that moves to the right and down."""
    return 40.0 + 2 * at + shift, 70.0 + at, 90.0 + 2 * at + shift, 130.0 + at


def scored(path, persons, *, frames, decoded=COUNT, threshold=0.5, timed=True, clip=None):
    """A result of ``{index: (box, prob)}`` for each person."""
    clip = clip or open_frames(path)
    made = []
    for number, found in enumerate(persons, 1):
        rows = [FrameScore(i, clip.time(i) if timed else None, box, prob) for i, (box, prob) in sorted(found.items())]
        made.append(Person(number, rows))
    return Result(
        str(path), SCORED, score=made[0].score, threshold=threshold, frames=frames, decoded=decoded, persons=made,
        seconds=clip.seconds,
    )  # fmt: skip


@pytest.fixture
def one(tmp_path):
    """A video and the result of a person who is seen in every tenth frame, fake at first and then real."""
    path = write_clip(tmp_path / "in" / "clip.mp4", scene(), options={"crf": "10"})
    probs = {0: 0.87, 10: 0.91, 20: 0.62, 30: 0.31, 40: 0.04}
    return scored(path, [{at: (moving(at), prob) for at, prob in probs.items()}], frames=5)


def decoded(path):
    """``[(seconds from the first, RGB)]`` of all frames, by PyAV alone."""
    with av.open(str(path)) as container:
        frames = [
            (frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]
    return [(time - frames[0][0], image) for time, image in frames]


def of_colour(image, colour, near=60):
    return np.abs(image.astype(int) - colour).sum(axis=2) < near


def warmth(image):
    """How much more red than blue there is; compression moves it less than it moves a colour."""
    return image[..., 0].astype(int) - image[..., 2]


def box_in(image, top, bottom):
    """Left and right edge of a vermillion box's inside, midway between top and bottom."""
    columns = np.flatnonzero(warmth(image)[int(top + bottom) // 2] > 80)
    gap = np.argmax(np.diff(columns))
    return columns[gap] + 1, columns[gap + 1]


def has(image, patch):
    """Whether an image holds a patch, whole and once."""
    high, wide = patch.shape[:2]
    far = cv2.matchTemplate(image, patch, cv2.TM_SQDIFF_NORMED)
    near = np.argwhere(far < far.min() + 1e-3)
    return sum((image[y : y + high, x : x + wide] == patch).all() for y, x in near) == 1


# --- where, when and in what colour -----------------------------------------------------------------------------------


def naive(frames, index, step, shots):
    """The rule of ``Trail`` told frame by frame, for boxes of one height."""
    before = [frame for frame in frames if frame.index <= index]
    after = [frame for frame in frames if frame.index >= index]
    if before and after and after[0].index - before[-1].index <= step:
        low, high = before[-1], after[0]
        (left, _, right, _), (l2, _, r2, _) = low.box, high.box
        shared = max(min(right, r2) - max(left, l2), 0)
        together = shared / (right - left + r2 - l2 - shared) >= 0.2
        if low is high or (together and shots[low.index] == shots[high.index]):
            part = (index - low.index) / max(high.index - low.index, 1)
            return low.box[0] + part * (high.box[0] - low.box[0]), (low if part < 0.5 else high).index
    near = [frame for frame in frames if abs(frame.index - index) <= step / 2 and shots[frame.index] == shots[index]]
    near = [frame for frame in near if frame in (*before[-1:], *after[:1])]
    if not near:
        return None
    nearest = min(near, key=lambda frame: abs(frame.index - index))
    return nearest.box[0], nearest.index


@pytest.mark.parametrize("seed", range(20))
def test_a_box_moves_while_it_is_followed_and_is_not_shown_where_nobody_was_seen_or_in_another_shot(seed):
    rng = np.random.default_rng(seed)
    count, looked = int(rng.integers(40, 200)), int(rng.integers(2, 33))
    asked = evenly_spaced_floor(count, looked)
    kept = [index for index in asked if rng.random() < 0.7] or asked[:1]
    lefts = rng.uniform(0, 99, len(kept)).tolist()
    frames = [
        FrameScore(index, index / 32, (left, 10.0, left + 60, 50.0), 0.5)
        for index, left in zip(kept, lefts, strict=True)
    ]
    result = Result("x", SCORED, frames=len(asked), decoded=count, persons=[Person(1, frames)])
    step = max_gap(result)
    assert step == max(np.diff(asked))
    shots = np.cumsum(rng.random(count) < 0.05).tolist()
    for seconds in (None, 1 / 32):
        trail = Trail(result.persons[0], step, seconds, shots)
        for index in range(count):
            found, expected = trail.at(index * (seconds or 1), shots[index]), naive(frames, index, step, shots)
            assert (found is None) == (expected is None)
            if found is not None:
                assert (found[0][0], found[1].index) == (pytest.approx(expected[0]), expected[1])


def test_labels_say_the_nearest_frames_probability_in_the_colour_of_its_side():
    rows = [FrameScore(0, None, (0, 0, 9, 9), 0.874), FrameScore(10, None, (0, 0, 9, 9), 0.3)]
    result = Result("x", SCORED, threshold=0.3, frames=2, decoded=11, persons=[Person(1, rows)])
    trails = [Trail(person, max_gap(result)) for person in result.persons]
    shown = [marks_at(result, trails, at)[0] for at in range(11)]
    assert [(mark.text, mark.colour) for mark in shown] == [("P(fake) 0.87", FAKE)] * 5 + [("P(fake) 0.30", REAL)] * 6
    two = Result("x", SCORED, frames=2, decoded=11, persons=[Person(1, rows), Person(2, rows[1:])])
    trails = [Trail(person, max_gap(two)) for person in two.persons]
    assert [mark.text for mark in marks_at(two, trails, 10)] == ["2: P(fake) 0.30", "1: P(fake) 0.30"]
    assert [mark.text for mark in marks_at(two, trails, 0)] == ["1: P(fake) 0.87"]


@pytest.mark.parametrize("height, width", [(180, 240), (720, 1280), (1280, 720), (1080, 1920)])
def test_text_grows_with_the_frame_and_labels_lie_inside_and_not_on_each_other(height, width):
    image = np.full((height, width, 3), 128, np.uint8)
    over_the_edge = width * 0.6, height * -0.1, width * 1.2, height * 0.4
    corner = 0, 0, width * 0.3, height * 0.5
    marks = [Mark(corner, "1: P(fake) 0.90", FAKE), Mark(over_the_edge, "2: P(fake) 0.10", REAL)]
    draw(image, marks, "video: fake", FAKE, 0.5)
    size = max(9, round(min(height, width) / 26))
    sides = ("P(fake) above 0.50", FAKE), ("up to 0.50", REAL)
    for text, colour in (("1: P(fake) 0.90", FAKE), ("2: P(fake) 0.10", REAL), ("video: fake", FAKE), *sides):
        patch = text_patch(text, colour, size)
        assert patch.shape[0] == pytest.approx(1.5 * size, abs=4) and has(image, patch)


# --- videos -----------------------------------------------------------------------------------------------------------

VARIABLE = np.cumsum([0, *np.random.default_rng(5).integers(1, 9, COUNT - 1)]).tolist()
SOURCES = {
    "even.mp4": ({"options": {"bf": "2"}}, "libx264"),
    "variable.mp4": ({"times": VARIABLE, "options": {"bf": "2"}}, "libx264"),
    "variable.mkv": ({"times": VARIABLE}, "libx264"),
    "even.avi": ({}, "mpeg4"),
    "even.webm": ({"options": {"cpu-used": "8", "deadline": "realtime"}}, "libvpx"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_copy_has_all_frames_at_their_times_in_their_size(tmp_path, name):
    options, codec = SOURCES[name]
    path = write_clip(tmp_path / name, scene(), codec, **options)
    result = scored(path, [{at: (moving(at), 0.9) for at in (0, 10, 20, 30, 40)}], frames=5)
    copy, timeline = annotate(result, tmp_path / "out", name="a/b")
    assert copy == tmp_path / "out" / "a" / "b.annotated.mp4" and timeline.name == "b.timeline.png"
    times = options.get("times", range(COUNT))
    found = decoded(copy)
    assert [float(time) for time, _ in found] == pytest.approx([(at - times[0]) / 25 for at in times], abs=1.1e-3)
    assert {image.shape for _, image in found} == {(HIGH, WIDE, 3)}
    with av.open(str(copy)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert sorted(path.name for path in (tmp_path / "out" / "a").iterdir()) == [copy.name, timeline.name]


@pytest.mark.parametrize("times", [None, VARIABLE])
def test_boxes_are_where_the_faces_are_at_scored_frames_and_between(tmp_path, times):
    path = write_clip(tmp_path / "a.mp4", scene(), times=times, options={"crf": "10"})
    clip = open_frames(path)
    where = [clip.time(at) * 12 for at in range(COUNT)] if times else [2 * at for at in range(COUNT)]
    boxes = {at: ((40 + where[at], 60, 80 + where[at], 120), 0.9) for at in (0, 10, 20, 30, 40)}
    copy, _ = annotate(scored(path, [boxes], frames=5), tmp_path / "out", name="a")
    for at, (_, image) in enumerate(decoded(copy)):
        left, right = box_in(image, 60, 120)
        assert left == pytest.approx(40 + where[at], abs=1.6) and right == pytest.approx(80 + where[at], abs=1.6)


def test_the_colour_follows_the_nearest_frame_and_nothing_is_drawn_in_a_gap(tmp_path):
    path = write_clip(tmp_path / "a.mp4", scene(), options={"crf": "10"})
    rows = {0: 0.9, 4: 0.1, 36: 0.9, 40: 0.9}  # every fourth frame was looked at
    result = scored(path, [{at: ((60, 80, 120, 140), prob) for at, prob in rows.items()}], frames=11)
    copy, _ = annotate(result, tmp_path / "out", name="a")
    seen = []
    for _, image in decoded(copy):
        middle = image[105:115, 40:140]
        seen.append("fake" if warmth(middle).max() > 80 else "real" if warmth(middle).min() < -80 else None)
    assert seen == ["fake"] * 2 + ["real"] * 5 + [None] * 27 + ["fake"] * 7


def test_no_box_goes_from_one_shot_into_another(tmp_path):
    shots = [255 - frame for frame in scene(20)], scene(21)
    path = write_clip(tmp_path / "a.mp4", [*shots[0], *shots[1]], options={"crf": "10"})
    boxes = [{at: ((60, 80, 120, 140), 0.9) for at in (0, 8, 16)}, {at: ((130, 80, 190, 140), 0.9) for at in (16, 24)}]
    result = scored(path, boxes, frames=6)
    copy, _ = annotate(result, tmp_path / "out", name="a")
    shown = [[warmth(image[105:115, left : left + 70]).max() > 80 for left in (40, 150)] for _, image in decoded(copy)]
    assert [first for first, _ in shown] == [True] * 20 + [False] * 21
    second = [other for _, other in shown]  # half a gap of 8 around frames 16 and 24, which a cut parts
    assert second[:12] + second[13:28] + second[29:] == [False] * 12 + [True] * 15 + [False] * 12


@pytest.mark.parametrize("tags", [None, (1, 1)])
def test_what_lies_outside_boxes_and_labels_is_as_it_was(tmp_path, tags):
    pictures = noise(COUNT, HIGH, WIDE)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        if tags:
            stream.codec_context.color_range, stream.codec_context.colorspace = tags
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    box = (60, 70, 120, 140)
    copy, _ = annotate(scored(path, [{at: (box, 0.9) for at in (0, 20, 40)}], frames=3), tmp_path / "out", name="a")
    outside = np.ones((HIGH, WIDE), bool)
    outside[:40] = False  # the headline, and the label above the box
    outside[-25:] = False  # the legend
    outside[50:150, 50:160] = False
    inside = np.s_[78:132, 68:112]
    for before, (_, after) in zip(every_frame(path), decoded(copy), strict=True):
        for part in (outside, inside):
            error = np.mean((before[part].astype(float) - after[part]) ** 2)
            assert 10 * np.log10(255**2 / error) > 33


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_turned_video_is_upright_in_the_copy(tmp_path, quarter):
    pictures = scene()
    pictures = [np.where(np.arange(WIDE)[:, None] < 30, 255, picture).astype(np.uint8) for picture in pictures]
    path = write_clip(tmp_path / "a.mp4", pictures)
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    data[data.index(b"tkhd") + 44 : data.index(b"tkhd") + 80] = matrix
    path.write_bytes(data)
    if not hasattr(av.VideoFrame, "rotation"):
        pytest.skip("this PyAV does not say a frame's rotation")
    copy, _ = annotate(scored(path, [{0: ((80, 100, 140, 150), 0.9)}], frames=1), tmp_path / "out", name="a")
    with av.open(str(copy)) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == 0
    image, upright = frame.to_ndarray(format="rgb24"), np.rot90(pictures[0], -quarter)
    assert image.shape == upright.shape
    assert np.abs(image[60:90].astype(int) - upright[60:90]).mean() < 8
    assert box_in(image, 100, 150) == (pytest.approx(80, abs=1.6), pytest.approx(140, abs=1.6))


def test_the_copy_of_an_animation_is_a_video_at_its_times(tmp_path):
    first, *others = map(Image.fromarray, scene(6))
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=[100, 300, 100, 100, 200, 100])
    result = scored(tmp_path / "a.gif", [{0: (moving(0), 0.9), 5: (moving(5), 0.9)}], frames=2, decoded=6)
    copy, _ = annotate(result, tmp_path / "out", name="a")
    assert [float(time) for time, _ in decoded(copy)] == pytest.approx([0, 0.1, 0.4, 0.5, 0.6, 0.8], abs=1e-3)


def test_odd_sizes_become_even_by_repeating_the_edge(tmp_path):
    path = write_clip(tmp_path / "a.mkv", scene(5, 61, 83), options={"crf": "5"}, pix_fmt="yuv444p")
    copy, _ = annotate(scored(path, [{0: ((20, 20, 40, 40), 0.9)}], frames=1, decoded=5), tmp_path, name="b")
    image = decoded(copy)[0][1]
    assert image.shape == (62, 84, 3)
    assert (
        np.abs(image[61].astype(int) - image[60]).mean() < 3
        and np.abs(image[:, 83].astype(int) - image[:, 82]).mean() < 3
    )


def test_a_video_whose_size_changes_is_copied_in_its_first_size(tmp_path):
    path = growing(tmp_path / "a.mkv", (64, 128))
    result = scored(path, [{0: ((20, 20, 40, 40), 0.9)}], frames=1, decoded=18)
    copy, _ = annotate(result, tmp_path, name="b")
    assert [image.shape for _, image in decoded(copy)] == [(64, 64, 3)] * 18


def test_frames_that_do_not_decode_are_left_out_and_the_others_keep_their_times(tmp_path):
    whole = write_clip(tmp_path / "whole.mov", scene(), "mjpeg", pix_fmt="yuvj420p")
    with av.open(str(whole)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    path = tmp_path / "a.mov"
    path.write_bytes(whole.read_bytes().replace(packets[15], bytes(len(packets[15]))))
    result = scored(path, [{at: (moving(at), 0.9) for at in (0, 10, 20, 30, 40)}], frames=5)
    found = decoded(annotate(result, tmp_path / "out", name="a")[0])
    kept = [at for at in range(COUNT) if at != 15]
    assert [float(time) for time, _ in found] == pytest.approx([at / 25 for at in kept], abs=1e-3)
    for at, (_, image) in zip(kept, found, strict=True):
        left, right = box_in(image, moving(at)[1], moving(at)[3])
        assert left == pytest.approx(moving(at)[0], abs=1.6) and right == pytest.approx(moving(at)[2], abs=1.6)


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path):
    peaks = []
    for count in (60, 600):
        path = write_clip(tmp_path / f"{count}.mp4", scene(60) * (count // 60), options={"preset": "ultrafast"})
        result = scored(path, [{0: (moving(0), 0.9)}], frames=1, decoded=count)
        tracemalloc.start()
        annotate(result, tmp_path / "out", name=str(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20 * HIGH * WIDE * 3


# --- sound ------------------------------------------------------------------------------------------------------------


def with_sound(path, codec, rate=48000, layout="mono", delay=Fraction(0)):
    """A video with a tone that begins ``delay`` seconds after the picture (before it where negative)."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264" if path.suffix != ".avi" else "mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = WIDE, HIGH, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        for at, picture in enumerate(scene()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at + max(-int(delay * 25), 0), Fraction(1, 25)
            container.mux(video.encode(frame))
        for at in range(40):
            tone = np.sin(2 * np.pi * 440 * np.arange(at * 1920, at * 1920 + 1920) / rate)
            frame = av.AudioFrame.from_ndarray((tone * 9000).astype(np.int16)[None], format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = (
                rate,
                at * 1920 + int(max(delay, 0) * rate),
                Fraction(1, rate),
            )
            container.mux(sound.encode(frame))
        for stream in (video, sound):
            container.mux(stream.encode(None))
    return path


def heard(path):
    """Bytes of the sound packets, and their time from the first picture."""
    with av.open(str(path)) as container:
        first = next(frame.pts * frame.time_base for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        return [bytes(packet) for packet in packets], [
            float(packet.pts * packet.time_base - first) for packet in packets
        ]


SOUNDS = [("a.mp4", "aac", 0), ("a.mkv", "libopus", Fraction(2, 5)), ("a.mkv", "flac", 0), ("a.avi", "libmp3lame", 0),
          ("a.mkv", "aac", Fraction(-2, 5))]  # fmt: skip


@pytest.mark.parametrize("name, codec, delay", SOUNDS)
def test_sound_is_copied_as_it_is_and_stays_with_the_picture(tmp_path, name, codec, delay):
    path = with_sound(tmp_path / name, codec, delay=delay)
    result = scored(path, [{at: (moving(at), 0.9) for at in (0, 20, 40)}], frames=3)
    copy, _ = annotate(result, tmp_path / "out", name="a")
    packets, times = heard(path)
    copied, copied_times = heard(copy)
    assert copied == packets
    assert copied_times == pytest.approx(times, abs=2e-3)
    with av.open(str(copy)) as container:
        sound = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    assert np.abs(sound.astype(float)).mean() > 0.1 * np.abs(sound.astype(float)).max() > 0


def test_sound_that_an_mp4_does_not_hold_is_left_out_and_said(tmp_path, caplog):
    path = with_sound(tmp_path / "a.avi", "pcm_s16le")
    with caplog.at_level(logging.WARNING):
        copy, _ = annotate(scored(path, [{0: (moving(0), 0.9)}], frames=1), tmp_path / "out", name="a")
    assert caplog.messages == [f"{path}: the copy has no sound, because an mp4 cannot contain pcm_s16le"]
    with av.open(str(copy)) as container:
        assert not container.streams.audio and len(list(container.decode(video=0))) == COUNT


# --- images -----------------------------------------------------------------------------------------------------------


def test_an_image_becomes_a_png_with_the_box_the_score_and_nothing_else_changed(tmp_path):
    before = scene(1)[0]
    Image.fromarray(before).save(tmp_path / "a.png")
    result = scored(tmp_path / "a.png", [{0: ((60, 70, 120, 140), 0.126)}], frames=1, decoded=1, timed=False)
    [copy] = annotate(result, tmp_path, name="a")
    assert copy == tmp_path / "a.annotated.png"
    after = np.asarray(Image.open(copy))
    label, head = text_patch("P(fake) 0.13", REAL, 9), text_patch("image: real, P(fake) 0.13 (threshold 0.50)", REAL, 9)
    expected = before.copy()
    expected[67:143, 57:123], expected[68:142, 58:122] = 255, REAL
    expected[70:140, 60:120] = before[70:140, 60:120]
    expected[2 : 2 + len(head), 2 : 2 + head.shape[1]] = head
    expected[68 - len(label) : 68, 58 : 58 + label.shape[1]] = label
    sides = np.hstack([text_patch("P(fake) above 0.50", FAKE, 9), text_patch("up to 0.50", REAL, 9)])
    expected[HIGH - 2 - len(sides) : HIGH - 2, 2 : 2 + sides.shape[1]] = sides
    np.testing.assert_array_equal(after, expected)


def test_of_a_folder_of_images_those_that_were_scored_are_drawn(tmp_path):
    (tmp_path / "in").mkdir()
    for at, picture in enumerate(scene(12)):
        Image.fromarray(picture).save(tmp_path / "in" / f"frame_{at}.png")
    found = {at: (moving(at), at / 12) for at in (0, 5, 11)}
    made = annotate(scored(tmp_path / "in", [found], frames=3, decoded=12, timed=False), tmp_path / "out", name="in")
    names = [path.relative_to(tmp_path / "out").as_posix() for path in made]
    assert names == ["in.annotated/000.png", "in.annotated/005.png", "in.annotated/011.png", "in.timeline.png"]
    assert box_in(np.asarray(Image.open(made[2])), *moving(11)[1::2]) == (moving(11)[0], moving(11)[2])


def test_crops_that_were_given_have_labels_and_no_box(tmp_path):
    before = np.full((224, 224, 3), 128, np.uint8)
    Image.fromarray(before).save(tmp_path / "a.png")
    result = scored(tmp_path / "a.png", [{0: (None, 0.87)}], frames=1, decoded=1, timed=False)
    after = np.asarray(Image.open(annotate(result, tmp_path, name="a")[0]))
    assert has(after[16:], text_patch("P(fake) 0.87", FAKE, 9))  # below the headline, which says the same
    np.testing.assert_array_equal(after[40:-20], before[40:-20])  # below it, the legend


# --- timeline ---------------------------------------------------------------------------------------------------------


def rows_of(path, colour):
    """The rows in which a timeline has markers of that colour, left of the legend."""
    return np.flatnonzero(of_colour(np.asarray(Image.open(path).convert("RGB"))[:, :800], colour, near=12).any(axis=1))


def test_the_timeline_has_every_point_at_its_height(tmp_path):
    heights = {}
    for prob in (0.55, 0.75, 0.95):
        rows = [FrameScore(at, at / 25, None, prob) for at in range(0, 40, 10)]
        result = Result("a.mp4", SCORED, score=prob, frames=4, decoded=31, persons=[Person(1, rows)])
        save_figure(draw_timeline(result), tmp_path / f"{prob}.png")
        heights[prob] = rows_of(tmp_path / f"{prob}.png", FAKE).mean()
    assert heights[0.55] > heights[0.75] > heights[0.95]  # rows count from the top
    assert heights[0.55] - heights[0.75] == pytest.approx(heights[0.75] - heights[0.95], abs=1)
    fifth = heights[0.75] - heights[0.95]
    assert 40 < fifth < 90
    threshold = Result("a.mp4", SCORED, score=0.9, threshold=0.35, frames=4, decoded=31, persons=result.persons)
    save_figure(draw_timeline(threshold), tmp_path / "t.png")
    tints = np.asarray(Image.open(tmp_path / "t.png").convert("RGB"))[:, 400].astype(int)
    warm = np.flatnonzero(tints[:, 0] > tints[:, 2] + 4)
    assert warm.max() == pytest.approx(heights[0.55] + fifth, abs=3)  # the tint of fake ends at the threshold


def test_the_timeline_has_a_panel_for_every_person_and_breaks_where_nobody_was_seen():
    seen = list(range(0, 100, 5)), [at for at in range(0, 100, 5) if at < 30 or at > 65]
    persons = [
        Person(number, [FrameScore(at, at / 25, None, prob + 0.02 * (at % 3)) for at in indices])
        for number, indices, prob in ((1, seen[0], 0.8), (2, seen[1], 0.2))
    ]
    result = Result("a.mp4", SCORED, score=0.8, frames=20, decoded=96, persons=persons)
    panels = draw_timeline(result).axes
    lines = [[line.get_xdata().tolist() for line in panel.lines if line.get_linestyle() == "-"] for panel in panels]
    assert lines[0] == [pytest.approx([at / 25 for at in seen[0]])]
    assert lines[1] == [
        pytest.approx([at / 25 for at in seen[1] if at < 30]), pytest.approx([at / 25 for at in seen[1] if at > 65])
    ]  # fmt: skip
    assert panels[1].get_title(loc="left") == f"person 2: {persons[1].score:.2f} in 12 of 20 frames"


def test_the_legend_says_of_those_not_drawn_what_their_numbers_say():
    def person(number, frames, prob):
        return Person(number, [FrameScore(at, at / 25, None, prob) for at in range(frames)], brief=frames < 5)

    persons = [*(person(number, 20, 0.9 - number / 20) for number in range(1, 10)), person(10, 2, 0.99)]
    result = Result(f"{'a' * 56}.mp4", SCORED, score=0.85, frames=20, decoded=20, persons=persons)
    figure = draw_timeline(result)
    assert len(figure.axes) == 8 and figure.legends[0].get_title().get_text() == (
        "not shown: 1 with a lower score, 1 seen too briefly"
    )
    assert figure.get_suptitle() == f"{'a' * 56}.mp4: fake, P(fake) 0.85 over 20 of 20 frames"
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(part.get_tightbbox()) for part in [*figure.axes, *figure.texts])


# --- what is refused, and what is left behind -------------------------------------------------------------------------


def everything(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("outcome", [NO_FACE, UNREADABLE])
def test_without_a_score_nothing_is_written_and_it_is_said(tmp_path, caplog, outcome):
    with caplog.at_level(logging.INFO):
        assert annotate(Result("x.mp4", outcome, "no face in 32 frames"), tmp_path / "out", name="x") == []
    assert caplog.messages == ["x.mp4: no face in 32 frames; no copy is written"] and not everything(tmp_path)


def test_a_file_that_is_gone_by_now_is_said(tmp_path, one, caplog):
    os.remove(one.path)
    assert annotate(one, tmp_path / "out", name="a") == []
    assert "can no longer be read (cannot be opened: No such file or directory)" in caplog.messages[0]
    assert not everything(tmp_path / "out")


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a"])
def test_a_name_does_not_leave_the_folder(tmp_path, one, name):
    before = everything(tmp_path)
    with pytest.raises(LNCLIPError, match="leaves its folder"):
        annotate(one, tmp_path / "out", name=name)
    assert everything(tmp_path) == before


def test_what_was_scored_is_not_overwritten(tmp_path, one):
    for place in ("a.annotated.mp4", "b.annotated.mp4"):
        os.link(one.path, tmp_path / place)
    before = Path(one.path).read_bytes()
    for name in ("a", "b"):
        with pytest.raises(LNCLIPError, match="would be overwritten; choose another folder"):
            annotate(one, tmp_path, name=name)
    assert Path(one.path).read_bytes() == before
    assert len(annotate(one, tmp_path, name="c")) == 2


def test_a_copy_that_is_broken_off_leaves_nothing(monkeypatch, tmp_path, one):
    def stop(self, image, seconds):
        add(self, image, seconds)
        written.append(seconds)
        if len(written) == 20:
            raise KeyboardInterrupt

    add, written = VideoWriter.add, []
    monkeypatch.setattr(VideoWriter, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        annotate(one, tmp_path / "out", name="a")
    assert everything(tmp_path / "out") == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, one):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(LNCLIPError, match="cannot write"):
        annotate(one, tmp_path / "out", name="a")


def test_without_matplotlib_the_extra_is_named_before_the_long_part(tmp_path, one, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(LNCLIPError, match=r"pip install 'lnclip-df\[demo\]'"):
        annotate(one, tmp_path / "out", name="a")
    assert everything(tmp_path / "out") == []


@pytest.mark.slow
def test_two_names_never_share_a_file(tmp_path, one):
    names = ("a", "a.annotated", "a.timeline", "a.annotated.mp4", "b/a")
    written = [path for name in names for path in annotate(one, tmp_path / "out", name=name)]
    assert len(set(written)) == len(written) == 2 * len(names) and all(path.is_file() for path in written)
