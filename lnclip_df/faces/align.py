"""Five-point alignment: the similarity transform that brings a face onto DeepfakeBench's template, enlarged."""

import numpy as np

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


def template(size: int = 256, scale: float = 1.3) -> np.ndarray:
    """Where the eyes, the nose and the corners of the mouth come to lie in a crop.

    Args:
        size: side of the crop in pixels.
        scale: how much wider than the template the crop reaches: (scale − 1)/2 of its side on every side.

    Returns:
        float64, 5×2 (x, y), in pixels of the crop.
    """
    return (TEMPLATE * size / TEMPLATE_SIDE + size * (scale - 1) / 2) / scale


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


def align(image, points, size: int = 256, scale: float = 1.3):
    """Cut out the face whose five points are given; see :func:`template`, :func:`similarity` and :func:`warp`.

    Args:
        image: H×W×3 or H×W uint8.
        points: 5×2 (x, y) in pixels of ``image``.

    Returns:
        The crop, size×size(×3) uint8, and the transform to it, float64 2×3.
    """
    matrix = similarity(points, template(size, scale))
    return warp(image, matrix, size), matrix


def warp(image, matrix, size: int):
    """An image (uint8) under a 2×3 transform: size×size, bilinear, black outside the image."""
    import cv2

    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def move(points, matrix) -> np.ndarray:
    """Points (K×2) under a 2×3 transform, float32."""
    return (np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
