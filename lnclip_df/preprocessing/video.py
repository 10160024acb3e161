"""Find videos, and decode evenly spaced frames of one."""

import os
import stat
from collections import Counter
from pathlib import Path

import numpy as np

from lnclip_df.errors import LNCLIPError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")


class UnreadableVideo(Exception):
    """A video of which no frame can be decoded; the message is the reason, in one line."""


def find_videos(source) -> dict[str, Path]:
    """Find one video, or every video below a folder.

    Args:
        source: a video file, or a folder that is walked recursively. Hidden files and folders are passed over.

    Returns:
        ``{key: path}`` in the order of the keys. A key is the path below ``source`` without its suffix, with ``/``
        between folders; it keeps the suffix where another video would get the same key.

    Raises:
        LNCLIPError: ``source`` does not exist, is no video, or holds none.
    """
    source = Path(source)
    accepted = " ".join(suffix[1:] for suffix in VIDEO_SUFFIXES)
    try:
        is_folder = stat.S_ISDIR(os.stat(source).st_mode)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LNCLIPError(f"no video file or folder {source}: {reason}") from error
    if not is_folder:
        if source.suffix.lower() not in VIDEO_SUFFIXES:
            raise LNCLIPError(f"{source} is not a video file; accepted are {accepted}")
        return {source.stem: source}
    paths = list(_walk(source))
    if not paths:
        raise LNCLIPError(f"no video below {source}; looked for {accepted}")
    names = [path.relative_to(source).as_posix() for path in paths]
    stems = [path.relative_to(source).with_suffix("").as_posix() for path in paths]
    shared = Counter(names + stems)
    keys = [stem if shared[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
    return dict(sorted(zip(keys, paths, strict=True)))


def _walk(folder):
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(VIDEO_SUFFIXES):
                yield Path(parent, name)


def frame_indices(count: int, frames: int) -> list[int]:
    """Indices of ``frames`` evenly spaced frames of ``count``, first and last included; each once, in order.

    Example:
        >>> frame_indices(11, 3)
        [0, 5, 10]
        >>> frame_indices(2, 8)
        [0, 1]
    """
    if count < 1:
        return []
    return np.unique(np.rint(np.linspace(0, count - 1, frames)).astype(int)).tolist()


def sample_frames(path, frames: int, threads: int = 1) -> dict:
    """Decode evenly spaced frames over those of a video that really decode.

    The container's packets give a first guess of their number, so that an intact video is decoded once; where the
    guess was wrong, it is decoded again at the true indices.

    Args:
        path: the video file.
        frames: how many frames to choose; fewer come back from a shorter video.
        threads: decoder threads.

    Returns:
        ``{index: av.VideoFrame}``, the index counting decoded frames from 0; :func:`to_rgb` makes pixels of one.

    Raises:
        UnreadableVideo: not a regular file (a FIFO would be waited for), not a video, no video stream, or not one
            frame decodes.
    """
    _check_regular(path)
    chosen, count = _decode(path, set(frame_indices(_packets(path), frames)), threads)
    wanted = frame_indices(count, frames)
    if not wanted:
        raise UnreadableVideo("no frame can be decoded")
    if not chosen.keys() >= set(wanted):
        chosen, _ = _decode(path, set(wanted), threads)
    return {index: chosen[index] for index in wanted if index in chosen}


def to_rgb(frame) -> np.ndarray:
    """Pixels of an ``av.VideoFrame``: uint8 RGB, H×W×3, turned upright as the container's rotation says."""
    rgb = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(rgb, round(getattr(frame, "rotation", 0) / 90)))


def _check_regular(path):
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UnreadableVideo(f"cannot be opened: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        raise UnreadableVideo("not a regular file")


def _open(path):
    import av

    try:
        container = av.open(os.fspath(path))
    except (av.error.FFmpegError, OSError) as error:
        raise UnreadableVideo(f"cannot be opened: {error.strerror or error}") from error
    if not container.streams.video:
        container.close()
        raise UnreadableVideo("no video stream")
    return container


def _packets(path) -> int:
    import av

    with _open(path) as container:
        count = 0
        try:
            for packet in container.demux(video=0):
                count += packet.size > 0
        except av.error.FFmpegError:
            pass  # the file is cut short here; what came before counts
        return count


def _decode(path, wanted: set, threads: int):
    """Decode all that decodes; return the frames at ``wanted`` and the number of frames."""
    chosen, count = {}, 0
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        for frame in _decoded(container):
            if count in wanted:
                chosen[count] = frame
            count += 1
    return chosen, count


def _decoded(container):
    """Yield every frame of the first video stream, passing over packets that do not decode."""
    import av

    packets = container.demux(video=0)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue
