"""Scenes of the demo: how a person is filmed, and the frames of the video."""

from typing import NamedTuple

import numpy as np

from lnclip_df.demo.people import CENTRE, Person, speak


class Scene(NamedTuple):
    """How a person is filmed.

    Attributes:
        background: the room, float32 size×size×3 in 0..255.
        pose: the affine transform from the portrait to each frame, frames×2×3.
        mouth: how far the mouth is open in each frame, in pixels of the portrait.
        light: brightness of each frame.
        shade: gain of each pixel, float32 size×size×3.
        noise: sensor noise, int8 frames×size×size×3.
        crf: quality of the compression, as H.264's constant rate factor.
    """

    background: np.ndarray
    pose: np.ndarray
    mouth: np.ndarray
    light: np.ndarray
    shade: np.ndarray
    noise: np.ndarray
    crf: int


def make_scene(seed: int, identity: int, frames: int, size: int) -> Scene:
    """Draw a scene at random: room, motion, speech, light, sensor noise and compression."""
    rng = np.random.default_rng((seed, 2, identity))
    time = np.arange(frames) / 25
    waves = [_wave(rng, time) for _ in range(5)]
    zoom = size / 288 * rng.uniform(1.1, 1.3) * (1 + 0.05 * waves[0])
    angle = np.deg2rad(rng.uniform(-6, 6) + 5 * waves[1])
    middle = size * (np.array([0.5, 0.46]) + rng.uniform(-0.03, 0.03, 2))
    shift = middle + size * np.stack([0.04 * waves[2], 0.03 * waves[3]], axis=1)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    turn = turn * zoom[:, None, None]
    pose = np.concatenate([turn, (shift - turn @ CENTRE)[..., None]], axis=2)
    return Scene(
        background=_room(rng, size),
        pose=pose,
        mouth=speech(rng, time),
        light=rng.uniform(0.85, 1.1) * (1 + 0.06 * waves[4]),
        shade=_shade(rng, size),
        noise=_noise(rng, frames, size, sigma=rng.uniform(2.5, 4.0)),
        crf=int(rng.integers(22, 27)),
    )


def _wave(rng, time):
    """A smooth motion within −1..1: the sum of two sines."""
    slow, fast = rng.uniform(0.3, 0.7), rng.uniform(0.8, 1.6)
    start = rng.uniform(0, 2 * np.pi, 2)
    return 0.7 * np.sin(2 * np.pi * slow * time + start[0]) + 0.3 * np.sin(2 * np.pi * fast * time + start[1])


def speech(rng, time) -> np.ndarray:
    """How far the mouth is open over time, in pixels of the portrait."""
    return 2.5 + 2.5 * np.sin(2 * np.pi * rng.uniform(1.5, 3.0) * time + rng.uniform(0, 2 * np.pi))


def _room(rng, size):
    """A blurred background of two colours with a few soft shapes, float32 size×size×3."""
    import cv2

    colours = rng.uniform(40, 210, (6, 3))
    colours += 0.6 * (colours.mean(axis=1, keepdims=True) - colours)
    ramp = np.linspace(0, 1, size)[:, None, None]
    room = np.ascontiguousarray(np.broadcast_to(colours[0] * (1 - ramp) + colours[1] * ramp, (size, size, 3)))
    for colour in colours[2:]:
        corner = rng.integers(-size // 4, size, 2)
        far = corner + rng.integers(size // 8, size // 2, 2)
        cv2.rectangle(room, corner.tolist(), far.tolist(), (0.5 * colour + 0.5 * colours[0]).tolist(), -1)
    return cv2.GaussianBlur(room, (0, 0), rng.uniform(2, 7)).astype(np.float32)


def _shade(rng, size):
    """Coloured light from one side, as a gain of each pixel, float32 size×size×3."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    side = rng.uniform(0, 2 * np.pi)
    slope = 1 + rng.uniform(0, 0.22) * (np.cos(side) * x + np.sin(side) * y)
    return (slope[..., None] * rng.uniform(0.93, 1.07, 3)).astype(np.float32)


def _noise(rng, frames, size, sigma):
    """Sensor noise, int8 frames×size×size×3: one random field, shifted and mirrored for each frame."""
    field = rng.normal(0, sigma, (size + 64, size + 64, 3)) + rng.normal(0, sigma, (size + 64, size + 64, 1))
    field = np.clip(np.round(field / np.sqrt(2)), -127, 127).astype(np.int8)
    noise = np.empty((frames, size, size, 3), np.int8)
    for frame in noise:
        top, left = rng.integers(0, 65, 2)
        steps = rng.choice([-1, 1], 2)
        frame[:] = field[top : top + size, left : left + size][:: steps[0], :: steps[1]]
    return noise


def film(person: Person, scene: Scene) -> np.ndarray:
    """The frames of a person in a scene: uint8 RGB, frames×size×size×3."""
    frames, portrait = [], np.dstack([person.portrait, person.alpha])
    for pose, mouth, light, noise in zip(scene.pose, scene.mouth, scene.light, scene.noise, strict=True):
        layers = place(speak(portrait, mouth), pose, len(noise))
        alpha = layers[..., 3:]
        clean = scene.background + alpha * (layers[..., :3] - scene.background)
        frames.append(pixels(clean * scene.shade * np.float32(light) + noise))
    return np.stack(frames)


def place(layers, pose, size: int) -> np.ndarray:
    """Warp the layers of a portrait into a frame. The margins are repeated, so that the shoulders reach the edge."""
    import cv2

    layers = np.ascontiguousarray(layers, dtype=np.float32)
    return cv2.warpAffine(layers, pose, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def pixels(values) -> np.ndarray:
    """Values rounded to uint8."""
    import cv2

    return cv2.add(values, np.zeros(4), dtype=cv2.CV_8U)  # which rounds, and cuts off below 0 and above 255
