"""The frames of a video, an image folder or an image: how many really decode, and those that are asked for.

Files are not trusted: FFmpeg may open nothing but the file itself, and that only as one of ``CONTAINERS``; Pillow has
the readers of ``IMAGE_FORMATS`` alone; frames of more than ``MOST_PIXELS`` are refused before they are allocated.
"""

import errno
import math
import os
import re
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import one_line

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
CONTAINERS = ("mov", "matroska", "avi")  # FFmpeg's names: mp4 is mov, webm is matroska
MOST_PIXELS = 1 << 27  # of a frame: 134 million, as 16,384 × 8,192
FASTEST = 240  # frames a second beyond which a container's times are not believed
FRAME_A_PACKET = ("h264", "hevc", "vp9", "mjpeg")  # decoders whose every packet gives a frame
LONGEST_REPEAT = 19  # bytes of an MPEG-4 packet that may only say: the last frame again


class UnreadableVideo(Exception):
    """A video of which no frame can be decoded; the message is the reason, in one line."""


class Miscounted(Exception):
    """Other frames decode than were counted: ``recount()``, then ask for the frames again."""


def open_frames(path, threads: int = 1, *, longest: float | None = None):
    """The frames of a video file, of an image, or of the images in a folder.

    Args:
        path: the file or folder.
        threads: threads of a video's decoder.
        longest: seconds that a video may last; None: no limit. It is refused by what its container says, or while
            its packets are counted as soon as their times, or their number at ``FASTEST``, are beyond.

    Returns:
        :class:`Clip` or :class:`Stills`: ``count`` frames, of which ``read(indices)`` gives some. Either may raise
        :class:`Miscounted` while reading.

    Raises:
        UnreadableVideo: not a regular file (a FIFO would be waited for), not a video, or without a video stream.
            Also where it is longer than ``longest``, or its frames have more than ``MOST_PIXELS``.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return Stills(images_of(path))
        if not path.is_file():
            os.stat(path)
            raise UnreadableVideo("not a regular file")
    except OSError as error:
        raise UnreadableVideo(f"cannot be opened: {error.strerror or error}") from error
    return Stills([path]) if path.suffix.lower() in IMAGE_SUFFIXES else Clip(path, threads, longest)


def images_of(folder) -> list[Path]:
    """The images directly in a folder, in the order of the last number in their names, then of the names."""
    found = (path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((path for path in found if not path.name.startswith(".") and path.is_file()), key=_number)


def _number(path):
    numbers = re.findall(r"[0-9]+", path.stem)
    return int(numbers[-1]) if numbers else -1, path.name


class Clip:
    """The frames of a video file, indexed from 0 in the order of their presentation.

    The container's packets, not its header, say how many there are. Where they carry unambiguous times, a frame is
    reached from the key frame before it, and what no wanted frame depends on is not decoded; a packet that does not
    decode, or a wanted frame that does not come whole, means that the packets are no measure: the video is
    :class:`Miscounted`. After :meth:`recount`, frames are counted as they decode.

    Args:
        path: the file.
        threads: decoder threads.
        longest: see :func:`open_frames`.

    Attributes:
        count: how many frames there are.
        tick: the unit of the container's times, in seconds.
        rate: frames a second on the average, as the container says; None where it does not.
    """

    def __init__(self, path, threads: int = 1, longest: float | None = None):
        self.path, self.threads = path, threads
        found = _packets(path, longest)
        times, self.count = found.times, len(found.times)
        self.tick, self.rate, self._claimed = found.tick, found.rate, found.claimed
        ordered = None not in times and len(set(times)) == len(times)
        self._shown = sorted(times) if ordered else None
        self._times = self._shown
        self._keys = [bisect_right(self._times, time) - 1 for time in sorted(found.keys)] if self._times else []

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
        self.threads, self._times = 1, None
        times = [frame.pts for frame in self._decoded()]
        self.count = len(times)
        self._shown = times if None not in times and all(a < b for a, b in pairwise(times)) else None

    def read(self, indices) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, uint8 RGB H×W×3)``, upright as the container's rotation says, for rising ``indices``.

        Raises:
            Miscounted: see the class.
        """
        chosen = self._in_turn(indices) if self._times is None else self._by_time(indices)
        for index, frame in chosen:
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
        wanted = {self._times[index] for index in indices}
        with open_container(self.path) as container:
            stream = self._stream(container)
            frames, position = _decoded(container, wanted), 0
            for index in indices:
                keys_before = bisect_right(self._keys, index)
                start = self._keys[keys_before - 1] if keys_before else 0
                if start > position:
                    _seek(container, stream, self._times[start])
                    frames = _decoded(container, wanted)
                yield index, _at(frames, self._times[index])
                position = index + 1

    def _decoded(self):
        with open_container(self.path) as container:
            self._stream(container)
            yield from _decoded(container)

    def _stream(self, container):
        stream = container.streams.video[0]
        stream.codec_context.thread_count = self.threads
        stream.thread_type = "AUTO"
        return stream


class Stills:
    """Images as the frames of a video, indexed from 0 in the order given.

    Args:
        paths: the images; those that do not decode are :class:`Miscounted`, and left out by :meth:`recount`.
    """

    seconds = None

    def __init__(self, paths):
        self.paths = list(paths)

    @property
    def count(self) -> int:
        return len(self.paths)

    def time(self, index: int) -> None:
        """None: images have no time."""

    def recount(self):
        """Leave out the images that do not decode.

        Raises:
            UnreadableVideo: not one of them does; the reason is the first one's.
        """
        good, faults = [], []
        for path in self.paths:
            try:
                _image(path)
                good.append(path)
            except UnreadableVideo as error:
                faults.append(error)
        if faults and not good:
            raise faults[0]
        self.paths = good

    def read(self, indices) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, uint8 RGB H×W×3)``, upright as EXIF says.

        Raises:
            Miscounted: an image does not decode.
        """
        for index in indices:
            try:
                yield index, _image(self.paths[index])
            except UnreadableVideo as error:
                raise Miscounted from error


def to_rgb(frame) -> np.ndarray:
    """Pixels of an ``av.VideoFrame``: uint8 RGB, H×W×3, turned upright as the container's rotation says."""
    rgb = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(rgb, round(getattr(frame, "rotation", 0) / 90)))


def _image(path):
    """An image as uint8 RGB; :class:`UnreadableVideo` where it does not decode or is beyond the limit."""
    image_module, operations = _pillow()
    try:
        with image_module.open(path, formats=IMAGE_FORMATS) as image:
            _check_pixels(*image.size)
            return np.asarray(operations.exif_transpose(image).convert("RGB"))
    except UnreadableVideo:
        raise
    except Exception as error:  # of a broken image, Pillow's readers raise nearly anything
        raise UnreadableVideo(f"cannot be decoded: {one_line(error)}") from error


@cache
def _pillow():
    from PIL import Image, ImageOps

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # which it gives below our limit
    return Image, ImageOps


def _check_pixels(width, height):
    if width * height > MOST_PIXELS:
        raise UnreadableVideo(f"a picture of {width} × {height} pixels, the limit is {MOST_PIXELS:,} pixels")


def open_container(path):
    """A video file as PyAV's input container, that opens no other file and allocates no frame beyond the limit.

    Raises:
        UnreadableVideo: not one of ``CONTAINERS``, no video stream or decoder, or frames of too many pixels.
    """
    container = _opened(path, max_pixels=str(MOST_PIXELS))
    try:
        streams = container.streams.video
        if not streams or streams[0].codec_context is None:
            raise UnreadableVideo("no decoder for its video stream" if streams else "no video stream")
        context = streams[0].codec_context
        context.options = {"max_pixels": str(MOST_PIXELS)}
        _check_pixels(*((context.width, context.height) if context.width else _claimed_size(path)))
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


@dataclass
class _Packets:
    """What a container says of its video stream, and the packets of it that give a frame.

    Attributes:
        tick, rate, claimed: unit of its times (s), frames a second, and seconds of the container; None where not said.
        times, keys: of the packets (None: see :func:`_time`), and of key frames.
    """

    tick: Fraction
    rate: Fraction | None
    claimed: float | None
    times: list[int | None] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)


def _packets(path, longest):
    """Count the packets that give a frame, no further than it is clear that they last longer than ``longest``."""
    import av

    with open_container(path) as container:
        stream = container.streams.video[0]
        claimed = container.duration / av.time_base if (container.duration or 0) > 0 else None
        found = _Packets(stream.time_base, stream.average_rate or None, claimed)
        length = None if longest is None else _Length(longest, found.tick, claimed)
        decoder = stream.codec_context.name
        timed = container.format.name != "avi"  # which knows no order but that of decoding
        try:
            for packet in container.demux(video=0):
                if length:
                    length.add(packet)
                if packet.size > 0 and not packet.is_discard:
                    found.times.append(_time(decoder, packet) if timed else None)
                    if packet.is_keyframe:
                        found.keys.append(packet.pts)
        except av.error.FFmpegError:
            pass  # the file is cut short here; what came before counts
    return found


class _Length:
    """How long a video lasts, by what its container claims, then by its packets: :class:`UnreadableVideo` if too long.

    Args:
        longest: seconds it may last.
        tick: unit of the packets' times, in seconds.
        claimed: seconds that the container says, or None.
    """

    def __init__(self, longest, tick, claimed):
        self.longest, self.tick, self.span = longest, tick, longest / tick
        self.count, self.first, self.last = 0, math.inf, -math.inf
        if claimed is not None and claimed > longest:
            raise UnreadableVideo(f"{claimed:.1f} s long, the limit is {longest:g} s")

    def add(self, packet):
        self.count += 1
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None:
            self.first, self.last = min(self.first, time), max(self.last, time)
            if self.last - self.first > self.span:
                seconds = float((self.last - self.first) * self.tick)
                raise UnreadableVideo(f"{seconds:.1f} s long or more by its packets, the limit is {self.longest:g} s")
        if self.count > self.longest * FASTEST:
            shown = f"{self.count:,} frames or more, of at most {FASTEST} a second"
            raise UnreadableVideo(f"{shown}: longer than the limit of {self.longest:g} s")


def _time(decoder, packet):
    """When a packet's frame is shown; None where it does not say, or may give no frame at all."""
    gives_one = (
        decoder in FRAME_A_PACKET
        or (decoder == "vp8" and bytes(packet)[0] & 16)  # its header's bit: to be shown
        or (decoder == "mpeg4" and packet.size > LONGEST_REPEAT)
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


def _decoded(container, wanted=None):
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
