"""The frames of a video file, by FFmpeg. It may open no other file, and this one only as one of ``CONTAINERS``."""

import errno
import math
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.media import limits
from lnclip_df.media.limits import MAX_RATE, Miscounted, UnreadableVideo, check_pixels

CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf")  # FFmpeg's names: mp4 is mov, webm matroska
FRAME_PER_PACKET = ("h264", "hevc", "vp9", "mjpeg")  # decoders whose every packet gives a frame
SQUARE = Fraction(1)
UNTIMED = ("avi", "mpegts", "mpeg")  # avi knows no order but that of decoding, the others no key frames to seek
MAX_REPEAT = 19  # bytes of an MPEG-4 packet that may only say: the last frame again


class VideoFrames:
    """The frames of a video file, indexed from 0 in the order of their presentation.

    The container's packets, not its header, say how many there are. Where they carry unambiguous times, a frame is
    reached from the key frame before it, and what no wanted frame depends on is not decoded; a packet that does not
    decode, or a wanted frame that does not come whole, means that the packets are no measure: the video is
    :class:`Miscounted`. After :meth:`recount`, frames are counted as they decode.

    Args:
        path, threads, max_seconds, as_shown, decode_on: see :func:`~lnclip_df.media.frames.open_frames`.

    Attributes:
        count: how many frames there are.
        tick: the unit of the container's times, in seconds.
        rate: frames per second on average, as the container says; None where it does not.
        pixel_aspect: width of a pixel divided by its height; 1 where pixels are square, or used as if they were.
    """

    def __init__(
        self, path, threads: int = 1, max_seconds: float | None = None, as_shown: bool = True, decode_on: str = "cpu"
    ):
        check_decoder(decode_on)
        self.decode_on = decode_on
        self.path, self.threads, self.as_shown, self._mirrored = path, threads, as_shown, False
        times, keys = self._read_packets(max_seconds)
        self.count = len(times)
        ordered = None not in times and len(set(times)) == len(times)
        self._shown = sorted(times) if ordered else None
        self.times = self._shown
        self._keys = [bisect_right(self.times, time) - 1 for time in sorted(keys)] if self.times else []

    def _read_packets(self, max_seconds):
        """Times of the packets that give a frame (see :func:`packet_time`), and those of key frames."""
        import av

        times, keys = [], []
        with open_container(self.path) as container:
            stream = video_stream(container)
            self.tick, self.rate = stream.time_base, stream.average_rate or None
            self.pixel_aspect = (self.as_shown and stream.sample_aspect_ratio) or SQUARE
            self._claimed = container.duration / av.time_base if (container.duration or 0) > 0 else None
            limit = None if max_seconds is None else LengthLimit(max_seconds, self.tick, self._claimed)
            decoder = stream.codec_context.name
            timed = container.format.name not in UNTIMED
            try:
                for packet in container.demux(stream):
                    if limit:
                        limit.add(packet)
                    if packet.size > 0 and not packet.is_discard:
                        times.append(packet_time(decoder, packet) if timed else None)
                        if packet.is_keyframe:
                            keys.append(packet.pts)
            except av.error.FFmpegError:
                pass  # the file is cut short here; what came before counts
        return times, keys

    @property
    def seconds(self) -> float | None:
        """How long the video is: by the times of its frames, else their number and rate, else as its container says."""
        if self._shown and self.count > 1:
            return float((self._shown[-1] - self._shown[0]) * self.tick * self.count / (self.count - 1))
        if self.rate and self.count:
            return float(self.count / self.rate)
        return self._claimed

    @property
    def start(self) -> Fraction:
        """When the first frame is shown by the container's clock, in seconds; 0 where nothing says so."""
        return self._shown[0] * self.tick if self._shown else Fraction(0)

    def moment(self, index: int) -> Fraction | None:
        """When a frame is shown, in seconds from the first, exactly; None where nothing says so."""
        if self._shown:
            return (self._shown[index] - self._shown[0]) * self.tick
        return index / self.rate if self.rate else None

    def time(self, index: int) -> float | None:
        """When a frame is shown, in seconds from the first; None where nothing says so."""
        moment = self.moment(index)
        return None if moment is None else float(moment)

    @property
    def changes(self) -> dict[str, str]:
        """What was done to the frames read so far besides turning them; empty for usual videos."""
        aspect = self.pixel_aspect
        changes = {} if aspect == 1 else {"square_pixels": f"from {aspect.numerator}:{aspect.denominator}"}
        return changes | ({"mirrored": "by its display matrix"} if self._mirrored else {})

    def recount(self):
        """Decode everything once, to count what really decodes: by one thread, for several lose frames by chance."""
        self.threads, self.times = 1, None
        times = [frame.pts for frame in self._decoded()]
        self.count = len(times)
        self._shown = times if None not in times and all(a < b for a, b in pairwise(times)) else None

    def read(self, indices) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, uint8 RGB H×W×3)`` as a player shows them, see :func:`to_rgb`, for rising ``indices``."""
        for index, frame in self._in_turn(indices) if self.times is None else self._by_time(indices):
            self._mirrored = self.as_shown and is_mirrored(frame)
            yield index, to_rgb(frame, self.pixel_aspect, as_shown=self.as_shown)

    def _in_turn(self, indices):
        wanted = set(indices)
        position = -1
        for position, frame in enumerate(self._decoded()):
            if frame.is_corrupt and self.threads > 1:
                raise Miscounted  # each number of threads conceals a fault in its own way
            if position in wanted:
                yield position, frame
        if position + 1 != self.count:
            raise Miscounted

    def _by_time(self, indices):
        wanted = {self.times[index] for index in indices}
        with open_container(self.path, self.decode_on) as container:
            stream = self._stream(container)
            frames, position = decode_packets(container, wanted), 0
            for index in indices:
                keys_before = bisect_right(self._keys, index)
                start = self._keys[keys_before - 1] if keys_before else 0
                if start > position:
                    _seek(container, stream, self.times[start])
                    frames = decode_packets(container, wanted)
                yield index, _at(frames, self.times[index])
                position = index + 1

    def _decoded(self):
        with open_container(self.path, self.decode_on) as container:
            self._stream(container)
            yield from decode_packets(container)

    def _stream(self, container):
        stream = video_stream(container)
        stream.codec_context.thread_count = self.threads if self.decode_on == "cpu" else 1
        stream.thread_type = "AUTO"
        return stream


@lru_cache
def check_decoder(decode_on: str):
    """Check that videos can be decoded on a device, ``cpu`` or one that FFmpeg has H.264 decoders for (``cuda``).

    Raises:
        LNCLIPError: PyAV was built without it, or its driver does not work.
    """
    if decode_on == "cpu":
        return
    import av
    from av.codec.hwaccel import hwdevices_available

    known = hwdevices_available()
    if decode_on not in known:
        there = ", ".join(["cpu", *known])
        raise LNCLIPError(f"decode_on: {decode_on!r} received; this build of PyAV has {there}")
    try:
        _accelerator(decode_on).create(av.Codec("h264", "r"))
    except NotImplementedError as error:
        raise LNCLIPError(f"decode_on: this build of PyAV has no H.264 decoder on {decode_on}; choose cpu") from error
    except (av.error.FFmpegError, OSError) as error:
        fault = f"{decode_on} cannot be used ({one_line(error)})"
        raise LNCLIPError(f"decode_on: {fault}; install or update its driver, or choose cpu") from error


def _accelerator(decode_on):
    """PyAV's hardware decoding on a device, which never falls back to the CPU; None for the CPU."""
    from av.codec.hwaccel import HWAccel

    return None if decode_on == "cpu" else HWAccel(decode_on, allow_software_fallback=False)


def to_rgb(frame, pixel_aspect: Fraction = SQUARE, *, as_shown: bool = True) -> np.ndarray:
    """Pixels of an ``av.VideoFrame`` as a player shows them: uint8 RGB, H×W×3.

    Args:
        pixel_aspect: width of a pixel divided by its height; the smaller side is enlarged until pixels are square.
        as_shown: whether the frame is mirrored, and transparent parts are black; it is turned in any case.

    Raises:
        UnreadableVideo: square pixels would be too many.
    """
    width, height = square_size(frame.width, frame.height, pixel_aspect)
    alpha = as_shown and any(component.is_alpha for component in frame.format.components)
    format = "rgba" if alpha else "rgb24"
    size = {} if (width, height) == (frame.width, frame.height) else {"width": width, "height": height}
    rgb = frame.to_ndarray(format=format, threads=1, **size)  # by default one for each core, as long as frames live
    if alpha:
        rgb = np.rint(rgb[..., :3] * (rgb[..., 3:] / np.float32(255))).astype(np.uint8)
    turned = mirror(rgb, frame) if as_shown and is_mirrored(frame) else np.rot90(rgb, quarters(frame))
    return np.ascontiguousarray(turned)


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size in square pixels of a frame whose pixels have this aspect; no side becomes smaller."""
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    check_pixels(*size)
    return size


def display_matrix(frame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of a frame: a stored point (x, y) is shown at (a·x + c·y, b·x + d·y) (ISO/IEC 14496-12, 6.2.2)."""
    data = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    a, b, _, c, d = struct.unpack("=5i", data[:20]) if data else (1, 0, 0, 0, 1)
    return a, b, c, d


def is_mirrored(frame) -> bool:
    """Whether a frame's display matrix mirrors it, besides turning it."""
    a, b, c, d = display_matrix(frame)
    return a * d - b * c < 0


def quarters(frame) -> int:
    """By how many quarters of a turn, counterclockwise, a frame has to be turned to be upright."""
    return round(frame.rotation / 90) if any(display_matrix(frame)) else 0


def mirror(rgb: np.ndarray, frame) -> np.ndarray:
    """An image under a display matrix that mirrors it: the nearest of the four such matrices of 0, 1 and −1."""
    a, b, c, d = display_matrix(frame)
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def open_container(path, decode_on: str = "cpu"):
    """A video file as PyAV's input container, that opens no other file and allocates no frame beyond the limit.

    Raises:
        UnreadableVideo: not one of ``CONTAINERS``, no video stream or decoder (on that device), or frames of too many
            pixels.
    """
    container = _opened(path, _accelerator(decode_on), max_pixels=str(limits.MAX_PIXELS))
    try:
        stream = video_stream(container)
        if stream is None or stream.codec_context is None:
            raise UnreadableVideo("no decoder for its video stream" if stream else "no video stream")
        context = stream.codec_context
        if decode_on != "cpu" and not context.is_hwaccel:  # nothing falls back to the CPU unsaid
            raise UnreadableVideo(f"{decode_on} does not decode {context.name}; the CPU does, into another folder")
        context.options = {"max_pixels": str(limits.MAX_PIXELS)}
        check_pixels(*((context.width, context.height) if context.width else _claimed_size(path)))
    except UnreadableVideo:
        container.close()
        raise
    return container


def video_stream(container):
    """The video stream that FFmpeg calls the best, never an attached picture; None where there is none."""
    best = container.streams.best("video")
    if best is None or not best.disposition & best.disposition.attached_pic:
        return best
    films = (stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic)
    return max(films, key=lambda stream: stream.frames, default=None)


def _opened(path, hwaccel=None, **options):
    import av

    options |= {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
    try:
        # The whole path, since a name with a colon is no protocol.
        return av.open(os.path.abspath(path), options=options, metadata_errors="replace", hwaccel=hwaccel)
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        if getattr(error, "errno", None) == errno.EINVAL:
            accepted = "mp4, mov, mkv, webm, avi, ts, mpg, flv, wmv"
            reason = f"damaged, or another container than {accepted} (ffmpeg -c copy changes it)"
        raise UnreadableVideo(f"cannot be opened: {reason}") from error


def _claimed_size(path):
    """Width and height that the container claims, where FFmpeg forgot them: it does so beyond a limit."""
    with _opened(path, codec_whitelist="none") as container:
        context = video_stream(container).codec_context
        return context.width, context.height


class LengthLimit:
    """Raise :class:`UnreadableVideo` for a video longer than ``max_seconds``.

    Its length is what its container claims (s, or None), then the span of its packets' times (in units of ``tick``
    seconds), and their number at ``MAX_RATE``.
    """

    def __init__(self, max_seconds, tick, claimed):
        self.max_seconds, self.tick, self.span = max_seconds, tick, max_seconds / tick
        self.count, self.first, self.last = 0, math.inf, -math.inf
        if claimed is not None and claimed > max_seconds:
            raise UnreadableVideo(f"{claimed:.1f} s long, the limit is {max_seconds:g} s")

    def add(self, packet):
        self.count += 1
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None:
            self.first, self.last = min(self.first, time), max(self.last, time)
            if self.last - self.first > self.span:
                shown = f"{float((self.last - self.first) * self.tick):.1f} s long or more by its packets"
                raise UnreadableVideo(f"{shown}, the limit is {self.max_seconds:g} s")
        if self.count > self.max_seconds * MAX_RATE:
            shown = f"{self.count:,} frames or more, of at most {MAX_RATE} a second"
            raise UnreadableVideo(f"{shown}: longer than the limit of {self.max_seconds:g} s")


def packet_time(decoder, packet):
    """When a packet's frame is shown; None where it does not say, or may give no frame at all."""
    gives_one = (
        decoder in FRAME_PER_PACKET
        or (decoder == "vp8" and bytes(packet)[0] & 16)  # its header's bit: to be shown
        or (decoder == "mpeg4" and packet.size > MAX_REPEAT)
    )
    return packet.pts if gives_one else None


def _seek(container, stream, time):
    import av

    try:
        container.seek(time, stream=stream)
    except av.error.FFmpegError as error:
        raise Miscounted from error


def _at(frames, time):
    """The frame of that time, among frames in order; a damaged one on the way may have damaged it too."""
    for frame in frames:
        if frame.is_corrupt:
            break
        if frame.pts == time:
            return frame
        if frame.pts is None or frame.pts > time:
            break
    raise Miscounted


def decode_packets(container, wanted=None):
    """Yield every frame of the video stream from here on, passing over packets that do not decode.

    With ``wanted`` times, frames of other times that no frame depends on are left out, and a packet that does not
    decode is :class:`Miscounted`.
    """
    import av

    stream = video_stream(container)
    context, packets = stream.codec_context, container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        if packet is None:
            return
        if wanted is not None:
            context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        try:
            yield from packet.decode()
        except av.error.FFmpegError as error:
            if wanted is not None:
                raise Miscounted from error
