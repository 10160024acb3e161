"""The frames of a video, an image, an image folder or a tar of crops: how many decode, and the pixels of chosen ones.

Files are not trusted: FFmpeg may open nothing but the file itself, and that only as one of ``video.CONTAINERS``; Pillow
has the readers of ``images.FORMATS`` alone; frames of more than ``limits.MAX_PIXELS`` are refused before they are
allocated.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lnclip_df.media.crop_files import TAR, file_names, read_file
from lnclip_df.media.images import Animation, ImageFrames, list_images, open_pictures, read_image
from lnclip_df.media.kinds import kind_of
from lnclip_df.media.limits import Miscounted, UnreadableVideo
from lnclip_df.media.video import VideoFrames

T = TypeVar("T")


class TarFrames(ImageFrames):
    """The crops in a video's tar as its frames, see ``media/crop_files.py``."""

    def __init__(self, tar: Path):
        try:
            names = file_names(tar.with_suffix(""))
        except ValueError as error:
            raise UnreadableVideo(str(error)) from error
        super().__init__(tar.with_suffix("") / name for name in sorted(names, key=lambda name: int(name.split(".")[0])))

    def _image(self, path):
        return read_image(read_file(path))


def open_frames(
    path, threads: int = 1, *, max_seconds: float | None = None, as_shown: bool = True, decode_on: str = "cpu"
) -> VideoFrames | Animation | ImageFrames:
    """The frames of a video file, of an image, or of the images in a folder or a tar of crops.

    What another file is, its first bytes say.

    Args:
        path: the file or folder.
        threads: threads of a video's decoder.
        as_shown: whether a video's frames are mirrored and their pixels made square as its container says, and as
            players show them; they are turned upright in any case.
        decode_on: device that decodes a video, see :func:`~lnclip_df.media.video.check_decoder`.
        max_seconds: length that a video may have, by its container or its packets (:class:`~.video.LengthLimit`).

    Returns:
        ``count`` frames, of which ``read(indices)`` gives some, or raises :class:`Miscounted`.

    Raises:
        LNCLIPError: ``decode_on`` cannot be used here.
        UnreadableVideo: no regular file, no video, longer than ``max_seconds``, or of more than ``limits.MAX_PIXELS``.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return ImageFrames(list_images(path))
        if not path.is_file():
            os.stat(path)
            raise UnreadableVideo("not a regular file")
        if path.suffix == TAR:
            return TarFrames(path)
        kind = kind_of(path)
    except OSError as error:
        raise UnreadableVideo(f"cannot be opened: {error.strerror or error}") from error
    if kind == "picture":
        return open_pictures(path, max_seconds)
    return VideoFrames(path, threads, max_seconds, as_shown, decode_on)


def read_twice(frames: VideoFrames | Animation | ImageFrames, read: Callable[[], T]) -> T:
    """What ``read()`` returns; where other frames decode than were counted, once more on those that do."""
    if frames.count:
        try:
            return read()
        except Miscounted:
            pass
    frames.recount()
    if not frames.count:
        raise UnreadableVideo("no frame can be decoded")
    try:
        return read()
    except Miscounted as error:
        raise UnreadableVideo("every time that it is read, other frames decode") from error
