"""The frames of a video, an image folder or an image: how many really decode, and those that are asked for."""

import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lnclip_df.errors import one_line

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
FRAME_A_PACKET = ("h264", "hevc", "vp9", "mjpeg")  # decoders whose every packet gives a frame
LONGEST_REPEAT = 19  # bytes of an MPEG-4 packet that may only say: the last frame again


class UnreadableVideo(Exception):
    """A video of which no frame can be decoded; the message is the reason, in one line."""


class Miscounted(Exception):
    """Other frames decode than were counted: ``recount()``, then ask for the frames again."""


def open_frames(path, threads: int = 1):
    """The frames of a video file, of an image, or of the images in a folder.

    Args:
        path: the file or folder.
        threads: threads of a video's decoder.

    Returns:
        :class:`Clip` or :class:`Stills`: ``count`` frames, of which ``read(indices)`` gives some. Either may raise
        :class:`Miscounted` while reading.

    Raises:
        UnreadableVideo: not a regular file (a FIFO would be waited for), not a video, or without a video stream.
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
    return Stills([path]) if path.suffix.lower() in IMAGE_SUFFIXES else Clip(path, threads)


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
    """

    def __init__(self, path, threads: int = 1):
        self.path, self.threads = path, threads
        times, keys, self.count = _packets(path)
        ordered = None not in times and len(set(times)) == len(times)
        self._times = sorted(times) if ordered else None
        self._keys = [bisect_right(self._times, time) - 1 for time in sorted(keys)] if ordered else []

    def recount(self):
        """Decode everything once, to count what really decodes: by one thread, for several lose frames by chance."""
        self.threads, self._times = 1, None
        self.count = sum(1 for _ in self._decoded())

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
        with _open(self.path) as container:
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
        with _open(self.path) as container:
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

    def __init__(self, paths):
        self.paths = list(paths)

    @property
    def count(self) -> int:
        return len(self.paths)

    def recount(self):
        """Leave out the images that do not decode."""
        self.paths = [path for path in self.paths if _image(path) is not None]

    def read(self, indices) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, uint8 RGB H×W×3)``, upright as EXIF says.

        Raises:
            Miscounted: an image does not decode.
        """
        for index in indices:
            image = _image(self.paths[index])
            if image is None:
                raise Miscounted
            yield index, image


def to_rgb(frame) -> np.ndarray:
    """Pixels of an ``av.VideoFrame``: uint8 RGB, H×W×3, turned upright as the container's rotation says."""
    rgb = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(rgb, round(getattr(frame, "rotation", 0) / 90)))


def _image(path):
    """An image as uint8 RGB, or None where it does not decode."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception:  # of a broken image, Pillow's readers raise nearly anything
        return None


def _open(path):
    import av

    try:
        container = av.open(os.path.abspath(path), metadata_errors="replace")  # a name with a colon is no protocol
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(f"cannot be opened: {getattr(error, 'strerror', None) or one_line(error)}") from error
    streams = container.streams.video
    if not streams or streams[0].codec_context is None:
        container.close()
        raise UnreadableVideo("no decoder for its video stream" if streams else "no video stream")
    return container


def _packets(path):
    """Times of the packets that give a frame (None: see :func:`_time`), those of key frames, and their number."""
    import av

    times, keys = [], []
    with _open(path) as container:
        decoder = container.streams.video[0].codec_context.name
        timed = container.format.name != "avi"  # which knows no order but that of decoding
        try:
            for packet in container.demux(video=0):
                if packet.size > 0 and not packet.is_discard:
                    times.append(_time(decoder, packet) if timed else None)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        except av.error.FFmpegError:
            pass  # the file is cut short here; what came before counts
    return times, keys, len(times)


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
