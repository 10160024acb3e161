"""The frames of a video file, by FFmpeg. It may open no other file, and this one only as one of ``CONTAINERS``."""

import errno
import math
import os
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np

from lnclip_df.core.errors import one_line
from lnclip_df.media import limits
from lnclip_df.media.limits import MAX_RATE, Miscounted, UnreadableVideo, check_pixels

CONTAINERS = ("mov", "matroska", "avi")  # FFmpeg's names: mp4 is mov, webm is matroska
FRAME_PER_PACKET = ("h264", "hevc", "vp9", "mjpeg")  # decoders whose every packet gives a frame
MAX_REPEAT = 19  # bytes of an MPEG-4 packet that may only say: the last frame again


class VideoFrames:
    """The frames of a video file, indexed from 0 in the order of their presentation.

    The container's packets, not its header, say how many there are. Where they carry unambiguous times, a frame is
    reached from the key frame before it, and what no wanted frame depends on is not decoded; a packet that does not
    decode, or a wanted frame that does not come whole, means that the packets are no measure: the video is
    :class:`Miscounted`. After :meth:`recount`, frames are counted as they decode.

    Args:
        path, threads, max_seconds: see :func:`~lnclip_df.media.frames.open_frames`.

    Attributes:
        count: how many frames there are.
        tick: the unit of the container's times, in seconds.
        rate: frames per second on average, as the container says; None where it does not.
    """

    def __init__(self, path, threads: int = 1, max_seconds: float | None = None):
        self.path, self.threads = path, threads
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
            stream = container.streams.video[0]
            self.tick, self.rate = stream.time_base, stream.average_rate or None
            self._claimed = container.duration / av.time_base if (container.duration or 0) > 0 else None
            limit = None if max_seconds is None else LengthLimit(max_seconds, self.tick, self._claimed)
            decoder = stream.codec_context.name
            timed = container.format.name != "avi"  # which knows no order but that of decoding
            try:
                for packet in container.demux(video=0):
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

    def recount(self):
        """Decode everything once, to count what really decodes: by one thread, for several lose frames by chance."""
        self.threads, self.times = 1, None
        times = [frame.pts for frame in self._decoded()]
        self.count = len(times)
        self._shown = times if None not in times and all(a < b for a, b in pairwise(times)) else None

    def read(self, indices) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, uint8 RGB H×W×3)``, upright as the container's rotation says, for rising ``indices``."""
        for index, frame in self._in_turn(indices) if self.times is None else self._by_time(indices):
            yield index, to_rgb(frame)

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
        with open_container(self.path) as container:
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
        with open_container(self.path) as container:
            self._stream(container)
            yield from decode_packets(container)

    def _stream(self, container):
        stream = container.streams.video[0]
        stream.codec_context.thread_count = self.threads
        stream.thread_type = "AUTO"
        return stream


def to_rgb(frame) -> np.ndarray:
    """Pixels of an ``av.VideoFrame``: uint8 RGB, H×W×3, turned upright as the container's rotation says."""
    rgb = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(rgb, round(getattr(frame, "rotation", 0) / 90)))


def open_container(path):
    """A video file as PyAV's input container, that opens no other file and allocates no frame beyond the limit.

    Raises:
        UnreadableVideo: not one of ``CONTAINERS``, no video stream or decoder, or frames of too many pixels.
    """
    container = _opened(path, max_pixels=str(limits.MAX_PIXELS))
    try:
        streams = container.streams.video
        if not streams or streams[0].codec_context is None:
            raise UnreadableVideo("no decoder for its video stream" if streams else "no video stream")
        context = streams[0].codec_context
        context.options = {"max_pixels": str(limits.MAX_PIXELS)}
        check_pixels(*((context.width, context.height) if context.width else _claimed_size(path)))
    except UnreadableVideo:
        container.close()
        raise
    return container


def _opened(path, **options):
    import av

    options |= {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
    try:
        # The whole path, since a name with a colon is no protocol.
        return av.open(os.path.abspath(path), options=options, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        if getattr(error, "errno", None) == errno.EINVAL:
            reason = "damaged, or another container than mp4, mov, mkv, webm, avi (ffmpeg -c copy changes it)"
        raise UnreadableVideo(f"cannot be opened: {reason}") from error


def _claimed_size(path):
    """Width and height that the container claims, where FFmpeg forgot them: it does so beyond a limit."""
    with _opened(path, codec_whitelist="none") as container:
        context = container.streams.video[0].codec_context
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
    """Yield every frame of the first video stream from here on, passing over packets that do not decode.

    With ``wanted`` times, frames of other times that no frame depends on are left out, and a packet that does not
    decode is :class:`Miscounted`.
    """
    import av

    context = container.streams.video[0].codec_context
    packets = container.demux(video=0)
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
