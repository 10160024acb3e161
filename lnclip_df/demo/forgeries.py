"""Forgeries of the demo: a face swap and a reenactment, rendered coarsely and blended into a real video."""

import numpy as np

from lnclip_df.demo.people import FACE, MOUTH_X, MOUTH_Y, Person, outline, speak
from lnclip_df.demo.scenes import Scene, pixels, place, speech


def swap(real, donor: Person, scene: Scene, rng) -> np.ndarray:
    """A real video with the donor's face over its own: uint8, frames×size×size×3."""
    mask = outline(FACE, donor.portrait.shape[:2], rng.uniform(3.0, 5.0))
    return _forge(real, donor.portrait, mask, scene.mouth, scene, rng, coarse=rng.uniform(2.6, 3.4))


def reenact(real, person: Person, scene: Scene, rng) -> np.ndarray:
    """A real video with another movement of the mouth: uint8, frames×size×size×3."""
    import cv2

    ellipse = np.zeros(person.portrait.shape[:2], np.float32)
    cv2.ellipse(ellipse, (MOUTH_X, MOUTH_Y + 2), (40, 34), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(ellipse, (0, 0), rng.uniform(3.0, 5.0))
    mouth = speech(rng, np.arange(len(real)) / 25) + 1.5
    return _forge(real, person.portrait, mask, mouth, scene, rng, coarse=rng.uniform(2.8, 3.6))


def _forge(real, portrait, mask, mouth, scene, rng, coarse):
    """Blend ``portrait`` under ``mask`` into every frame, at a resolution ``coarse`` times lower than the video's.

    As with real generators, the result has no sensor noise, its colours are not quite those of the frame, and its
    position jitters.
    """
    fakes, size = [], real.shape[1]
    strength, contrast, saturation = rng.uniform((0.75, 0.75, 0.65), (0.95, 0.85, 0.8)).astype(np.float32)
    layered = np.dstack([portrait, mask])
    for index, frame in enumerate(real):
        pose = scene.pose[index].copy()
        pose[:, 2] += rng.normal(0, 0.4, 2)
        layers = place(speak(layered, mouth[index]), pose, size)
        weight = layers[..., 3:]
        if not weight.any():  # the face is outside of the frame
            fakes.append(frame)
            continue
        made = _coarsen(layers[..., :3] * scene.shade * np.float32(scene.light[index]), coarse)
        box, total = _box(weight), np.float32(weight.sum() + 1e-6)  # outside the box the frame stays as it is
        fake, made, weight = frame.copy(), made[box], weight[box]
        made = _pale(_match_colours(made, frame[box], weight, total, strength), weight, total, contrast, saturation)
        fake[box] = pixels(frame[box] + weight * (made - frame[box]))
        fakes.append(fake)
    return np.stack(fakes)


def _box(weight):
    """The rows and columns from the first to the last weight above 0."""
    rows, columns = (np.flatnonzero(weight.any(axis=(axis, 2))) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _coarsen(image, factor):
    """Downscale and upscale again, as a generator of lower resolution would."""
    import cv2

    size = image.shape[1], image.shape[0]
    small = cv2.resize(image, (round(size[0] / factor), round(size[1] / factor)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)


def _match_colours(made, frame, weight, total, share):
    """Move mean and spread of each channel under ``weight`` towards the frame's by ``share`` (Reinhard et al. 2001).

    ``total`` is the sum of the weights.
    """
    means = [_sums(weight * image) / total for image in (made, frame)]
    spreads = [
        np.sqrt(_sums(weight * (image - mean) ** 2) / total) + np.float32(1e-6)
        for image, mean in zip((made, frame), means, strict=True)
    ]
    matched = (made - means[0]) * np.clip(spreads[1] / spreads[0], 0.5, 2) + means[1]
    return made + share * (matched - made)


def _pale(image, weight, total, contrast, saturation):
    """Move pixels towards their mean and towards grey: generators often give pale colours."""
    mean = _sums(weight * image) / total
    image = mean + contrast * (image - mean)
    grey = (image[..., :1] + image[..., 1:2] + image[..., 2:]) / 3
    return grey + saturation * (image - grey)


def _sums(image):
    """The sum of each channel, float32 3; by OpenCV, since numpy is slow over the first axes."""
    import cv2

    return np.array(cv2.sumElems(image)[:3], np.float32)
