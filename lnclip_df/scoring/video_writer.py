"""Write a copy of a video as mp4: changed frames at their times, and the sound of the source unchanged."""

from fractions import Fraction
from typing import Any

import numpy as np

from lnclip_df.core.errors import LNCLIPError

CRF = "18"  # of x264: nearly lossless
RATE = Fraction(25)  # frames per second of a video that records none
SOUND_CODECS = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")  # which players find in an mp4
BT709 = 1  # its number in ITU-T H.273 as primaries, transfer and matrix
LIMITED = 1  # FFmpeg's number of the range 16..235


class VideoWriter:
    """An mp4 with H.264 in the size of the first frame (odd sides become one pixel longer) and copied sound.

    ``frames`` are those of the source, see :func:`lnclip_df.media.frames.open_frames`.

    Raises:
        LNCLIPError: this PyAV has no H.264 encoder.
    """

    def __init__(self, path, frames, sound: "SourceSound"):
        import av

        if "libx264" not in av.codecs_available:
            raise LNCLIPError("copies need H.264, which this PyAV cannot write: pip install --force-reinstall av")
        self.frames, self.sound, self.last = frames, sound, -1
        self.stream: Any = None
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

    def add(self, image: np.ndarray, seconds: Fraction | None):
        """Write a frame (uint8 RGB H×W×3), shown at a time in seconds from the first frame."""
        import av

        if self.stream is None:
            self._begin(*image.shape[:2])
        frame = av.VideoFrame.from_ndarray(self._resized(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED, threads=1)
        tick = self.stream.codec_context.time_base
        self.last = max(self.last + 1, 0 if seconds is None else round(seconds / tick))
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
        self.sound.add_stream(self.container)

    def _resized(self, image):
        """The frame in the size of the stream: an odd side repeats its edge; a frame of another size is scaled."""
        height, width = self.stream.height, self.stream.width
        if not (0 <= height - image.shape[0] <= 1 and 0 <= width - image.shape[1] <= 1):
            import cv2

            return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")


class SourceSound:
    """The packets of the first sound stream of a container, if there is one; times are counted from the first frame.

    Attributes:
        problem: why the copy has no sound; empty where it has, or where the source has none either.
    """

    def __init__(self, source, start: Fraction):
        self.problem, self.packets, self.next, self.output = "", iter(()), None, None
        self.stream = source.streams.audio[0] if source and source.streams.audio else None
        if self.stream is None:
            return
        context = self.stream.codec_context
        codec = "unknown" if context is None else context.codec.canonical_name
        if codec in SOUND_CODECS:
            self.packets = self._shifted(source, round(start / self.stream.time_base))
        else:
            self.stream, self.problem = None, f"because an mp4 cannot contain {codec}"

    def add_stream(self, container):
        """Add a stream for the sound to the container that is written."""
        if self.stream is not None:
            self.output = container.add_stream_from_template(self.stream)

    def until(self, time: Fraction | None) -> list:
        """The next packets before a time in seconds; for None all that are left."""
        found: list[Any] = []
        while (packet := self.next or next(self.packets, None)) is not None:
            self.next = packet
            if time is not None and packet.dts * packet.time_base >= time:
                break
            self.next = None
            packet.stream = self.output
            found.append(packet)
        return found

    def _shifted(self, source, shift):
        """The packets, without those out of order."""
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
            return  # the file is truncated here
