"""Five-point alignment: the similarity transform that brings a face onto a template, enlarged."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lnclip_df.core.registry import Registry

TEMPLATE_SIDE = 112
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


GEND_TEMPLATE = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]])  # of a side of 1
NATIVE = "native"  # a crop's size that follows the face's


def template(size: float = 256, scale: float = 1.3, points=TEMPLATE, side: float = TEMPLATE_SIDE) -> np.ndarray:
    """Where the eyes, the nose and the corners of the mouth come to lie in a crop.

    Args:
        size: side of the crop in pixels.
        scale: how much wider than the template the crop reaches: (scale − 1)/2 of its side on every side.
        points, side: the template and its side.

    Returns:
        float64, 5×2 (x, y), in pixels of the crop.
    """
    return (points * size / side + size * (scale - 1) / 2) / scale


def similarity(source, target) -> np.ndarray:
    """Least-squares similarity transform (turn, scale, shift; no mirroring) from points to points.

    Umeyama, PAMI 1991; in the plane it is one complex division: target ≈ a · source + b.

    Args:
        source, target: K×2 points (x, y).

    Returns:
        float64, 2×3, for :func:`cv2.warpAffine`.

    Raises:
        ValueError: a point is not finite, or the source points are all one.
    """
    source, target = (np.asarray(points, dtype=np.float64) @ [1, 1j] for points in (source, target))
    spread = source - source.mean()
    variance = np.vdot(spread, spread).real
    if not (np.isfinite(variance) and np.isfinite(target).all() and variance > 0):
        raise ValueError("points that are not finite, or all in one place, have no similarity transform")
    a = np.vdot(spread, target - target.mean()) / variance
    b = target.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def least_median(source, target) -> np.ndarray:
    """As :func:`similarity`, by OpenCV's least median of squares: a point that does not fit has no influence.

    Raises:
        ValueError: no transform is found.
    """
    import cv2

    matrix, _ = cv2.estimateAffinePartial2D(np.float32(source), np.float32(target), method=cv2.LMEDS)
    if matrix is None:
        raise ValueError("these points have no similarity transform")
    return matrix


class Alignment(NamedTuple):
    """A template (5×2, of a face whose side is ``side``), how the transform to it is fitted, and both in words."""

    template: np.ndarray
    side: float
    fit: Callable[[np.ndarray, np.ndarray], np.ndarray]
    words: str


ALIGNMENTS: Registry[Alignment] = Registry(
    "alignment",
    {
        "deepfakebench": Alignment(
            TEMPLATE, TEMPLATE_SIDE, similarity, "five points onto DeepfakeBench's template, similarity, bilinear"
        ),
        "gend": Alignment(
            GEND_TEMPLATE, 1, least_median, "five points onto GenD's template, least median of squares, bilinear"
        ),
    },
)


def align(image, points, size: int | str = 256, scale: float = 1.3, alignment: str = "deepfakebench"):
    """Cut out the face whose five points are given; see :func:`template` and :func:`warp`.

    Args:
        image: H×W×3 or H×W uint8.
        points: 5×2 (x, y) in pixels of ``image``.
        size: side S of the crop; ``NATIVE``: see :func:`native_size`.
        alignment: a name in ``ALIGNMENTS``.

    Returns:
        The crop, S×S(×3) uint8, and the transform to it, float64 2×3.
    """
    chosen = ALIGNMENTS.choose(alignment)
    side = native_size(points, chosen.template / chosen.side, scale) if isinstance(size, str) else size
    matrix = chosen.fit(points, template(side, scale, chosen.template, chosen.side))
    return warp(image, matrix, side), matrix


def native_size(points, unit_template, scale: float) -> int:
    """The side of a crop that neither enlarges nor reduces a face much: ``scale`` times the face's side in pixels.

    That is the mean of ten quotients: the distance of two of its five points by their distance on a template of side 1.
    """
    first, second = np.triu_indices(len(unit_template), k=1)
    distances = (np.linalg.norm(where[first] - where[second], axis=1) for where in (np.asarray(points), unit_template))
    return max(1, round(float(np.mean(np.divide(*distances)) * scale)))


def warp(image, matrix, size: int):
    """An image (uint8) under a 2×3 transform: size×size, bilinear, black outside the image."""
    import cv2

    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def move(points, matrix) -> np.ndarray:
    """Points (K×2) under a 2×3 transform, float32."""
    return (np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
