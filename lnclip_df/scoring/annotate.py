"""A result drawn into a copy of its video or image: every person's box and score; and the timeline of the scores."""

import logging
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path, inside
from lnclip_df.core.plots import new_figure
from lnclip_df.faces.pipeline import in_two_attempts
from lnclip_df.media.video import Stills, UnreadableVideo, open_container, open_frames
from lnclip_df.preprocess.paths import face_name
from lnclip_df.scoring.draw import Trail, colour_of, draw, marks_at, reach
from lnclip_df.scoring.results import Result
from lnclip_df.scoring.timeline import write_timeline

CRF = "18"  # of x264: nearly what it was
RATE = Fraction(25)  # frames a second, of a video that does not say
SOUND = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")  # that an mp4 may hold, so that players find it
BT709 = 1  # the number that ITU-T H.273 gives it as primaries, transfer and matrix
LIMITED = 1  # FFmpeg's number of the range 16..235

logger = logging.getLogger(__name__)


def annotate(result: Result, folder, *, name: str, tick: Callable[[int, int], None] | None = None) -> list[Path]:
    """Write a copy of a video or image with boxes and scores, and a video's timeline.

    A video becomes ``NAME.annotated.mp4`` (H.264, all frames at their times, upright, sound as it is where an mp4 may
    hold it) and ``NAME.timeline.png``; an image ``NAME.annotated.png``; of a folder of images those that were scored
    become ``NAME.annotated/012.png``, with a timeline. A frame shows every person's box, which moves linearly between
    the frames that were scored, with the probability of fake of the nearest one and in the colour of its side of the
    threshold, and at the top the score of the whole. Memory does not grow with length.

    Args:
        result: nothing is written where there is no score, or where its file can no longer be read.
        folder: the output folder.
        name: relative, unique among results, with ``/`` between folders; see :class:`lnclip_df.scoring.inputs.Medium`.
        tick: called with frames done and frames in all.

    Returns:
        The files that were written.

    Raises:
        LNCLIPError: ``name`` leaves the folder, the file itself would be overwritten, matplotlib or PyAV's H.264 is
            absent, or something cannot be written.
    """
    if not result.persons:
        logger.info("%s: %s; nothing is drawn", result.path, result.reason or result.outcome)
        return []
    tick = tick or (lambda done, count: None)
    try:
        frames = open_frames(result.path)
        return _write(result, frames, lambda suffix: _target(folder, name, suffix, result.path), tick)
    except UnreadableVideo as error:
        logger.warning("%s can no longer be read (%s); it is not drawn", result.path, one_line(error))
        return []


def _target(folder, name, suffix, source):
    path = inside(folder, f"{name}{suffix}")
    if os.path.exists(path) and os.path.samefile(path, source):
        raise LNCLIPError(f"{path} is the file that was scored and would be overwritten; choose another folder")
    return path


def _write(result, frames, target, tick):
    if isinstance(frames, Stills) and not os.path.isdir(result.path):
        copy = target(".annotated.png")
        return in_two_attempts(frames, lambda: _copy_images(result, frames, lambda index: copy, tick))
    new_figure(1, 1)  # without matplotlib, say so before the long part
    timeline = target(".timeline.png")
    if isinstance(frames, Stills):
        copies = target(".annotated")
        made = in_two_attempts(frames, lambda: _copy_images(result, frames, lambda at: copies / face_name(at), tick))
    else:
        made = [target(".annotated.mp4")]
        _copy_video(result, frames, made[0], tick)
    write_timeline(timeline, result)
    return [*made, timeline]


class _Painter:
    """Draws a result into its frames."""

    def __init__(self, result, frames):
        self.result, self.frames = result, frames
        scored = [frame for person in result.persons for frame in person.frames]
        timed = all(frame.seconds is not None for frame in scored) and frames.count and frames.time(0) is not None
        self.seconds = frames.seconds / frames.count if timed and frames.seconds else None
        self.trails = [Trail(person, reach(result), self.seconds) for person in result.persons]
        self.colour = colour_of(result.score, result.threshold)
        what = "video" if frames.count > 1 else "image"
        self.headline = f"{what}: {result.decision}, score {result.score:.2f} (threshold {result.threshold:.2f})"

    def paint(self, index, image):
        """The frame with everything on it; ``image`` itself where that may be written to."""
        image = np.require(image, requirements=["C", "W"])
        time = index if self.seconds is None else self.frames.time(index)
        draw(image, marks_at(self.result, self.trails, time), self.headline, self.colour)
        return image


def _copy_images(result, frames, target, tick):
    """Write the images that were scored, each whole or not at all."""
    from PIL import Image

    painter, written = _Painter(result, frames), []
    indices = sorted({frame.index for person in result.persons for frame in person.frames})
    for index, image in frames.read([index for index in indices if index < frames.count]):
        with atomic_path(target(index)) as temporary:
            Image.fromarray(painter.paint(index, image)).save(temporary)
        written.append(target(index))
        tick(len(written), len(indices))
    return written


def _copy_video(result, frames, path, tick):
    with atomic_path(path) as temporary:
        in_two_attempts(frames, lambda: _encode(result, frames, temporary, path, tick))


def _encode(result, frames, temporary, path, tick):
    """Write all frames, and the sound between them as it comes."""
    import av

    painter = _Painter(result, frames)
    with open_container(frames.path) as source:
        sound = _Sound(source, frames.start)
        try:
            with _Film(temporary, frames, sound) as film:
                for index, image in frames.read(range(frames.count)):
                    film.add(painter.paint(index, image), frames.moment(index))
                    tick(index + 1, frames.count)
        except av.error.FFmpegError as error:
            raise LNCLIPError(f"cannot write {path}: {getattr(error, 'strerror', None) or one_line(error)}") from error
    if sound.reason:
        logger.warning("%s: its copy has no sound, %s", result.path, sound.reason)


class _Film:
    """An mp4 that is being written: H.264 in the size of its first frame, odd sides one pixel longer, and sound."""

    def __init__(self, path, frames, sound):
        import av

        if "libx264" not in av.codecs_available:
            raise LNCLIPError("a copy needs H.264, which this PyAV cannot write: pip install --force-reinstall av")
        self.frames, self.sound, self.stream, self.last = frames, sound, None, -1
        self.container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.stream is not None:
                self.container.mux(self.stream.encode(None))
                self.container.mux(self.sound.until(None))
        finally:
            self.container.close()

    def add(self, image, moment):
        """Write a frame (uint8 RGB H×W×3) to be shown at a moment, in seconds from the first."""
        import av

        if self.stream is None:
            self._begin(*image.shape[:2])
        frame = av.VideoFrame.from_ndarray(self._even(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
        tick = self.stream.codec_context.time_base
        self.last = max(self.last + 1, 0 if moment is None else round(moment / tick))
        frame.pts, frame.time_base = self.last, tick
        self.container.mux(self.stream.encode(frame))
        self.container.mux(self.sound.until(self.last * tick))

    def _begin(self, height, width):
        options = {"crf": CRF, "preset": "veryfast"}
        self.stream = self.container.add_stream("libx264", rate=self.frames.rate or RATE, options=options)
        self.stream.height, self.stream.width, self.stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        context = self.stream.codec_context
        context.time_base = self.frames.tick if self.frames.moment(0) is not None else 1 / RATE
        context.color_range, context.colorspace = LIMITED, BT709
        context.color_primaries = context.color_trc = BT709
        self.sound.begin(self.container)

    def _even(self, image):
        height, width = self.stream.height, self.stream.width
        if not (0 <= height - image.shape[0] <= 1 and 0 <= width - image.shape[1] <= 1):  # it changes on the way
            import cv2

            return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")


class _Sound:
    """The first sound stream of a container, packet by packet, on the clock that starts with the first frame.

    ``reason`` says why the copy has none; it is empty where the video has none either.
    """

    def __init__(self, source, start):
        self.reason, self.packets, self.next, self.made = "", iter(()), None, None
        self.stream = source.streams.audio[0] if source.streams.audio else None
        if self.stream is None:
            return
        context = self.stream.codec_context
        kind = "unknown" if context is None else context.codec.canonical_name
        if kind in SOUND:
            self.packets = self._shifted(source, round(start / self.stream.time_base))
        else:
            self.stream, self.reason = None, f"for an mp4 holds no {kind}"

    def begin(self, container):
        """Make a stream for it in the container that is written."""
        if self.stream is not None:
            self.made = container.add_stream_from_template(self.stream)

    def until(self, time: Fraction | None) -> list:
        """The packets before a time in seconds; for None all that are left."""
        found = []
        while (packet := self.next or next(self.packets, None)) is not None:
            self.next = packet
            if time is not None and packet.dts * packet.time_base >= time:
                break
            self.next = None
            packet.stream = self.made
            found.append(packet)
        return found

    def _shifted(self, source, shift):
        """The packets, those out of order left out."""
        import av

        last = -float("inf")
        try:
            for packet in source.demux(self.stream):
                if packet.size and packet.dts is not None and packet.dts > last:
                    last = packet.dts
                    packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
                    packet.dts -= shift
                    yield packet
        except av.error.FFmpegError:
            return  # the file is cut short here
