"""Write a copy of a scored video or image with every person's box and score, and the timeline of the scores."""

import logging
import os
from contextlib import nullcontext
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path, inside
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.faces.tracking import same_shot, small_picture
from lnclip_df.media.frames import Animation, ImageFrames, UnreadableVideo, open_frames, read_twice
from lnclip_df.media.video import open_container
from lnclip_df.preprocess.paths import face_name
from lnclip_df.scoring.draw import Trail, colour_of, draw, marks_at, max_gap
from lnclip_df.scoring.results import Result
from lnclip_df.scoring.timeline import draw_timeline
from lnclip_df.scoring.video_writer import SourceSound, VideoWriter

logger = logging.getLogger(__name__)


def annotate(result: Result, folder, *, name: str) -> list[Path]:
    """Write a copy of a video or image with boxes and scores, and the timeline of a video.

    A video becomes ``NAME.annotated.mp4`` (H.264, all frames at their times, upright, with its sound unchanged where an
    mp4 can contain it) and ``NAME.timeline.png``. An image becomes ``NAME.annotated.png``. Of a folder of images, those
    that were scored become ``NAME.annotated/012.png``, with a timeline. Each frame shows every person's box, which
    moves linearly between scored frames and ends with the shot; the probability of fake of the nearest scored frame, in
    the colour of its side of the threshold; at the top the score of the file, and below what the colours mean. A video
    is decoded twice, first to find its cuts. Memory does not grow with length.

    Args:
        result: nothing is written if it has no score, or if its file can no longer be read.
        folder: the output folder.
        name: see :class:`lnclip_df.scoring.inputs.InputFile`.

    Returns:
        The files that were written.

    Raises:
        LNCLIPError: ``name`` leaves the folder, the scored file would be overwritten, matplotlib or PyAV's H.264 is
            missing, or a file cannot be written.
    """
    if not result.persons:
        logger.info("%s: %s; no copy is written", result.path, result.reason or result.outcome)
        return []
    try:
        frames = open_frames(result.path)
        return _write(result, frames, Path(folder), name)
    except UnreadableVideo as error:
        logger.warning("%s can no longer be read (%s); no copy is written", result.path, one_line(error))
        return []


def _write(result, frames, folder, name):
    def target(suffix):
        path = inside(folder, f"{name}{suffix}")
        if os.path.exists(path) and os.path.samefile(path, result.path):
            raise LNCLIPError(f"{path} is the file that was scored and would be overwritten; choose another folder")
        return path

    if isinstance(frames, ImageFrames) and not os.path.isdir(result.path):
        copy = target(".annotated.png")
        return read_twice(frames, lambda: _copy_images(result, frames, lambda index: copy))
    new_figure(1, 1)  # if matplotlib is missing, fail before the slow part
    timeline = target(".timeline.png")
    if isinstance(frames, ImageFrames):
        copies = target(".annotated")
        written = read_twice(frames, lambda: _copy_images(result, frames, lambda index: copies / face_name(index)))
    else:
        written = [target(".annotated.mp4")]
        with atomic_path(written[0]) as temporary:
            read_twice(frames, lambda: _copy_video(result, frames, temporary, written[0]))
    save_figure(draw_timeline(result), timeline)
    return [*written, timeline]


class _Painter:
    """Draws a result into its frames."""

    def __init__(self, result, frames, shots=None):
        self.result, self.frames, self.shots = result, frames, shots
        timed = result.timed and frames.count and frames.time(0) is not None
        self.seconds = frames.seconds / frames.count if timed and frames.seconds else None
        self.trails = [Trail(person, max_gap(result), self.seconds, shots) for person in result.persons]
        self.colour = colour_of(result.score, result.threshold)
        kind = "video" if frames.count > 1 else "image"
        over = f" over {result.used} of {result.frames} frames" if result.frames > 1 else ""
        score = f"P(fake) {result.score:.2f}{over}"
        self.headline = f"{kind}: {result.decision}, {score} (threshold {result.threshold:.2f})"

    def paint(self, index, image):
        """The frame with everything on it; ``image`` itself is changed where it is writable."""
        image = np.require(image, requirements=["C", "W"])
        time = index if self.seconds is None else self.frames.time(index)
        shot = 0 if self.shots is None else self.shots[index]
        marks = marks_at(self.result, self.trails, time, shot)
        draw(image, marks, self.headline, self.colour, self.result.threshold)
        return image


def _copy_images(result, frames, target):
    """Write the images that were scored, each whole or not at all."""
    from PIL import Image

    painter, written = _Painter(result, frames), []
    indices = sorted({frame.index for person in result.persons for frame in person.frames})
    for index, image in frames.read([index for index in indices if index < frames.count]):
        with atomic_path(target(index)) as temporary:
            Image.fromarray(painter.paint(index, image)).save(temporary)
        written.append(target(index))
    return written


def _copy_video(result, frames, temporary, path):
    import av

    painter = _Painter(result, frames, _shots(frames))
    with nullcontext() if isinstance(frames, Animation) else open_container(frames.path) as source:
        sound = SourceSound(source, frames.start)
        try:
            with VideoWriter(temporary, frames, sound) as writer:
                for index, image in frames.read(range(frames.count)):
                    writer.add(painter.paint(index, image), frames.moment(index))
        except av.error.FFmpegError as error:
            raise LNCLIPError(f"cannot write {path}: {getattr(error, 'strerror', None) or one_line(error)}") from error
    if sound.problem:
        logger.warning("%s: the copy has no sound, %s", result.path, sound.problem)


def _shots(frames) -> list[int]:
    """The number of the shot of every frame of a video, from 0."""
    small = (small_picture(image) for _, image in frames.read(range(frames.count)))
    return list(accumulate((not same_shot(*pair) for pair in pairwise(small)), initial=0))
