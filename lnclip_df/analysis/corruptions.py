"""Corruptions of a video's face crops, five levels each: pure functions of crops, level and random numbers."""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.registry import Registry

SIDE = 256  # side of the crops that the sizes in pixels are meant for


@dataclass(frozen=True)
class Corruption:
    """A corruption with five levels.

    Attributes:
        title: its name in tables and plots.
        levels: from mild to strong.
        unit: of the levels; one that begins with % is of their hundredfold.
        apply: ``apply(frames, level, rng)`` takes a video's crops, uint8 H×W×3 RGB, and returns as many of the same
            shapes. It draws the same numbers from ``rng`` at every level: the levels of a video differ in strength
            alone.
    """

    title: str
    levels: tuple[float, ...]
    unit: str
    apply: Callable[[list[np.ndarray], float, np.random.Generator], list[np.ndarray]]


CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corruption(name: str, title: str, levels: tuple[float, ...], unit: str):
    """Decorator that adds a function to ``CORRUPTIONS``; see ``Corruption``."""

    def add(apply):
        CORRUPTIONS.register(name)(Corruption(title, levels, unit, apply))
        return apply

    return add


def corrupt(name: str, level: float, frames: list[np.ndarray], video: str, seed: int) -> list[np.ndarray]:
    """A video's crops (uint8 H×W×3 RGB, in order) under a corruption; the same arguments give the same crops.

    ``video`` is its key: each video has its own random numbers.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(video.encode())])
    return CORRUPTIONS.choose(name).apply(frames, level, rng)


@corruption("jpeg", "JPEG", (100, 75, 50, 25, 10), "quality")
def jpeg(frames, quality, rng):
    """JPEG of a quality by OpenCV's encoder (4:2:0)."""
    return [_jpeg(frame, int(quality)) for frame in frames]


def _jpeg(frame, quality):
    done, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise LNCLIPError(f"OpenCV cannot write a crop of shape {frame.shape} as JPEG")
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


@corruption("blur", "Gaussian blur", (0.5, 1, 2, 3, 4), "σ in pixels")
def blur(frames, sigma, rng):
    """Gaussian blur of ``sigma`` pixels of a 256-pixel crop, in proportion on other crops."""
    return [cv2.GaussianBlur(frame, (0, 0), sigma * max(frame.shape[:2]) / SIDE) for frame in frames]


@corruption("scale", "scaling down and up again", (224, 160, 112, 64, 32), "side in pixels")
def rescale(frames, size, rng):
    """Down to ``size`` pixels (area average) and up again (bicubic), like a face that was small in its video."""
    return [_rescale(frame, size) for frame in frames]


def _rescale(frame, size):
    height, width = (max(1, round(side * size / SIDE)) for side in frame.shape[:2])
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, frame.shape[1::-1], interpolation=cv2.INTER_CUBIC)


@corruption("noise", "Gaussian noise", (4, 8, 16, 24, 32), "σ of 255")
def noise(frames, sigma, rng):
    """Gaussian noise of standard deviation ``sigma`` of 255, independent in every pixel, channel and frame."""
    return [_rounded(frame + sigma * rng.standard_normal(frame.shape, dtype=np.float32)) for frame in frames]


@corruption("light", "contrast and brightness", (0.1, 0.2, 0.3, 0.4, 0.5), "%, up or down")
def light(frames, share, rng):
    """Brightness and contrast, each up or down by ``share``; the signs are drawn once per video."""
    contrast, brightness = 1 + share * rng.choice([-1, 1], 2)
    return [_rounded(((frame.astype(np.float32) - 127.5) * contrast + 127.5) * brightness) for frame in frames]


@corruption("h264", "H.264", (17, 23, 30, 37, 44), "CRF")
def h264(frames, crf, rng):
    """The sequence of crops encoded as H.264 (x264, preset medium, 25 frames a second, 4:2:0) at a CRF, and decoded.

    Crops are padded to even sides by repeating the border, and cut again. Crops of each shape are a sequence of their
    own.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise LNCLIPError("h264 needs PyAV: pip install 'lnclip-df[robustness]'") from error
    corrupted = list(frames)
    for shape in dict.fromkeys(frame.shape for frame in frames):
        indices = [index for index, frame in enumerate(frames) if frame.shape == shape]
        try:
            decoded = _through_h264(av, [frames[index] for index in indices], int(crf))
        except (av.FFmpegError, ValueError) as error:
            raise LNCLIPError(f"H.264 at CRF {crf} of crops of {shape[1]}×{shape[0]}: {one_line(error)}") from error
        for index, frame in zip(indices, decoded, strict=True):
            corrupted[index] = frame
    return corrupted


def _through_h264(av, frames, crf):
    height, width = frames[0].shape[:2]
    padded = [np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") for frame in frames]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": str(crf), "preset": "medium", "threads": "1"}
        if min(height, width) < 64:  # the result of x264's assembly code varies from call to call on small frames
            options["x264-params"] = "asm=0"
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = padded[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        pictures = (frame.to_ndarray(format="rgb24", threads=1) for frame in container.decode(video=0))
        decoded = [picture[:height, :width] for picture in pictures]
    if len(decoded) != len(frames):
        raise ValueError(f"{len(frames)} frames were encoded and {len(decoded)} decoded")
    return decoded


@corruption("occlusion", "occlusion", (0.05, 0.1, 0.2, 0.3, 0.4), "% of the area")
def occlude(frames, share, rng):
    """A grey square of ``share`` of the area; its position is drawn once per video."""
    down, across = rng.random(2)
    return [_occluded(frame, share, down, across) for frame in frames]


def _occluded(frame, share, down, across):
    height, width = frame.shape[:2]
    tall, wide = round(height * share**0.5), round(width * share**0.5)
    top, left = round(down * (height - tall)), round(across * (width - wide))
    frame = frame.copy()
    frame[top : top + tall, left : left + wide] = 128
    return frame


def _rounded(image):
    return np.rint(image).clip(0, 255).astype(np.uint8)
