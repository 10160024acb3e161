"""Seven degradations of a video's face crops, five levels each: pure functions of crops, level and seed."""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line

SIDE = 256  # of the crops that sizes in pixels are meant for


@dataclass(frozen=True)
class Corruption:
    """A degradation: its name in words, its five levels from mild to strong, their unit, and the function.

    ``apply(frames, level, rng)`` takes a video's crops, uint8 H×W×3 RGB, and gives as many of the same shapes. It draws
    the same numbers from ``rng`` whatever the level, so that levels of one video differ in strength alone.
    """

    title: str
    levels: tuple[float, ...]
    unit: str
    apply: Callable


def corrupt(name: str, level: float, frames: list, video: str, seed: int) -> list:
    """A video's crops under a corruption; the same arguments give the same crops.

    Args:
        name: of ``CORRUPTIONS``.
        level: one of its levels.
        frames: uint8 H×W×3 RGB, in order.
        video: its key; each video has draws of its own.
        seed: of the draws.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(video.encode())])
    return CORRUPTIONS[name].apply(frames, level, rng)


def jpeg(frames, quality, rng):
    """JPEG at a quality, 100 to 10, with OpenCV's encoder (4:2:0)."""
    return [_jpeg(frame, int(quality)) for frame in frames]


def _jpeg(frame, quality):
    done, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise LNCLIPError(f"OpenCV cannot write a crop of {frame.shape} as JPEG")
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def blur(frames, sigma, rng):
    """Gaussian blur of ``sigma`` pixels of a 256-pixel crop, as wide in proportion on others."""
    return [cv2.GaussianBlur(frame, (0, 0), sigma * _scale(frame)) for frame in frames]


def rescale(frames, size, rng):
    """Down to ``size`` pixels (area average) and up again (bicubic), as a face that was small in its video."""
    return [_rescale(frame, size) for frame in frames]


def _rescale(frame, size):
    height, width = (max(1, round(side * size / SIDE)) for side in frame.shape[:2])
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, frame.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def noise(frames, sigma, rng):
    """Gaussian noise of standard deviation ``sigma`` of 255, every pixel, channel and frame for itself."""
    return [_rounded(frame + sigma * rng.standard_normal(frame.shape, dtype=np.float32)) for frame in frames]


def light(frames, share, rng):
    """Brightness and contrast together, each up or down by ``share`` (the signs drawn for a video)."""
    contrast, brightness = 1 + share * rng.choice([-1, 1], 2)
    return [_rounded(((frame.astype(np.float32) - 127.5) * contrast + 127.5) * brightness) for frame in frames]


def occlude(frames, share, rng):
    """A grey square of ``share`` of the area, at a place of its own in every video."""
    down, across = rng.random(2)
    return [_occluded(frame, share, down, across) for frame in frames]


def _occluded(frame, share, down, across):
    height, width = frame.shape[:2]
    tall, wide = round(height * share**0.5), round(width * share**0.5)
    top, left = round(down * (height - tall)), round(across * (width - wide))
    frame = frame.copy()
    frame[top : top + tall, left : left + wide] = 128
    return frame


def h264(frames, crf, rng):
    """The sequence of crops encoded as H.264 (x264, preset medium, 25 frames a second, 4:2:0) at a CRF, and decoded.

    Crops are padded to even sides by repeating the border, and cut again. Those of another shape than the first make
    a sequence of their own.
    """
    try:
        import av
    except ImportError as error:
        raise LNCLIPError("h264 needs PyAV: pip install 'lnclip-df[robustness]'") from error
    shapes = [frame.shape for frame in frames]
    found = [None] * len(frames)
    for shape in dict.fromkeys(shapes):
        places = [at for at, other in enumerate(shapes) if other == shape]
        try:
            decoded = _through_h264(av, [frames[at] for at in places], int(crf))
        except (av.FFmpegError, ValueError) as error:
            raise LNCLIPError(f"H.264 at CRF {crf} of crops of {shape[1]}×{shape[0]}: {one_line(error)}") from error
        for at, frame in zip(places, decoded, strict=True):
            found[at] = frame
    return found


def _through_h264(av, frames, crf):
    height, width = frames[0].shape[:2]
    padded = [np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") for frame in frames]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": str(crf), "preset": "medium", "threads": "1"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *padded[0].shape[:2], "yuv420p"
        for frame in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        decoded = [frame.to_ndarray(format="rgb24")[:height, :width] for frame in container.decode(video=0)]
    if len(decoded) != len(frames):
        raise ValueError(f"{len(frames)} frames went in and {len(decoded)} came out")
    return decoded


CORRUPTIONS = {
    "jpeg": Corruption("JPEG", (100, 75, 50, 25, 10), "quality", jpeg),
    "blur": Corruption("Gaussian blur", (0.5, 1, 2, 3, 4), "σ, pixels of 256", blur),
    "scale": Corruption("down- and up-scaling", (224, 160, 112, 64, 32), "pixels of 256", rescale),
    "noise": Corruption("Gaussian noise", (4, 8, 16, 24, 32), "σ of 255", noise),
    "light": Corruption("brightness and contrast", (0.1, 0.2, 0.3, 0.4, 0.5), "± share", light),
    "h264": Corruption("H.264", (17, 23, 30, 37, 44), "CRF", h264),
    "occlusion": Corruption("occlusion", (0.05, 0.1, 0.2, 0.3, 0.4), "share of the area", occlude),
}


def _scale(frame):
    return max(frame.shape[:2]) / SIDE


def _rounded(image):
    return np.rint(image).clip(0, 255).astype(np.uint8)
