"""People of the demo: variations of one public-domain portrait, with their faces warped and recoloured."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

# The portrait is skimage.data.astronaut() (NASA, public domain), cropped to these rows and columns. Everything below is
# in pixels of that crop: outlines drawn by hand, landmarks, and the regions whose shape makes an identity.
ROWS, COLUMNS = slice(0, 300), slice(60, 390)
HEAD = [
    *[(93, 76), (98, 58), (116, 42), (134, 28), (148, 19), (172, 15), (196, 21), (216, 34), (230, 50), (239, 68)],
    *[(241, 86), (236, 106), (228, 120), (219, 127), (214, 136), (206, 154), (196, 175), (188, 188), (160, 191)],
    *[(134, 182), (126, 160), (122, 134), (113, 127), (111, 118), (100, 108), (94, 92)],
]
BODY = [
    *[(124, 151), (108, 148), (84, 152), (66, 164), (56, 188), (52, 208), (24, 236), (0, 248), (0, 300), (330, 300)],
    *[(302, 320), (300, 332), (284, 276), (264, 256), (245, 248), (244, 240), (236, 218), (224, 200), (208, 182)],
    *[(196, 174), (160, 150)],
]
SKIN = [
    *[(127, 74), (140, 69), (160, 74), (180, 82), (200, 86), (210, 90), (213, 108), (218, 118), (214, 134)],
    *[(206, 154), (196, 175), (188, 188), (160, 190), (134, 182), (126, 160), (122, 134), (113, 128), (120, 100)],
]
FACE = [
    *[(128, 92), (146, 84), (166, 84), (186, 87), (204, 95), (207, 112), (203, 136), (194, 155), (180, 170)],
    *[(160, 175), (144, 170), (133, 155), (127, 136), (124, 112)],
]
MOUTH_X, MOUTH_Y = 163, 144
CHIN = np.array([160.0, 172.0])
CENTRE = np.array([165.0, 120.0])
REGIONS = {  # centre, sigma, largest shift in x and y
    "left eye": ((143, 100), 11, (3.0, 2.2)),
    "right eye": ((187, 103), 11, (3.0, 2.2)),
    "brows": ((165, 88), 20, (1.0, 4.5)),
    "nose": ((163, 124), 11, (2.5, 4.0)),
    "left mouth": ((147, 142), 12, (4.0, 2.5)),
    "right mouth": ((181, 143), 12, (4.0, 2.5)),
    "left jaw": ((124, 140), 20, (7.0, 4.0)),
    "right jaw": ((207, 140), 20, (7.0, 4.0)),
    "chin": ((160, 174), 20, (3.0, 6.5)),
    "left hair": ((100, 80), 26, (9.0, 7.0)),
    "right hair": ((236, 80), 26, (9.0, 7.0)),
    "crown": ((168, 22), 32, (6.0, 8.0)),
}
SWELLS = {"left eye": 0.16, "right eye": 0.16, "nose": 0.20, "left mouth": 0.12, "right mouth": 0.12}
SKIN_TONES = [(1.04, 1.02, 1.00), (1.00, 0.94, 0.88), (0.95, 0.85, 0.74), (0.82, 0.69, 0.57), (0.66, 0.52, 0.42)]
HAIR_TONES = [(1.05, 0.90, 0.62), (0.62, 0.45, 0.30), (0.30, 0.25, 0.23), (0.85, 0.45, 0.25), (0.90, 0.90, 0.92)]


class Person(NamedTuple):
    """An identity: its portrait, float32 H×W×3 in 0..255, and its alpha channel, H×W in 0..1."""

    portrait: np.ndarray
    alpha: np.ndarray


@lru_cache(maxsize=1)
def _original():
    """The portrait, float32 H×W×3 in 0..255, and soft masks H×W of the person, the skin, the hair and the clothes."""
    import cv2
    from skimage.data import astronaut

    portrait = astronaut()[ROWS, COLUMNS].astype(np.float32)
    shape = portrait.shape[:2]
    head, body, skin = outline(HEAD, shape, 1.2), outline(BODY, shape, 1.2), outline(SKIN, shape, 2.5)
    hue, saturation, _ = cv2.split(cv2.cvtColor(portrait / 255, cv2.COLOR_RGB2HSV))
    orange = ((hue < 40) & (saturation > 0.6) & (np.arange(shape[0])[:, None] > 190)).astype(np.float32)
    return {
        "portrait": portrait,
        "alpha": np.clip(2 * np.maximum(head, body) - 1, 0, 1),
        "skin": skin,
        "hair": np.clip(head - skin, 0, 1),
        "clothes": cv2.GaussianBlur(orange, (0, 0), 1.0),
    }


def outline(points, shape, softness: float) -> np.ndarray:
    """The mask of a closed outline: float32 in 0..1, its edge blurred with a sigma of ``softness`` pixels."""
    import cv2

    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1.0)
    return cv2.GaussianBlur(mask, (0, 0), softness)


@lru_cache(maxsize=4)
def make_person(seed: int, identity: int) -> Person:
    """Draw an identity at random: tones of skin, hair and clothes, shape of the face, mirrored or not."""
    import cv2

    rng = np.random.default_rng((seed, 1, identity))
    original = _original()
    portrait = _recolour(original, rng)
    layers = np.dstack([portrait, original["alpha"]])
    x, y = _shape(rng, layers.shape[:2])
    layers = cv2.remap(layers, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.5:
        layers = _mirror(layers)
    return Person(np.clip(layers[..., :3], 0, 255), np.clip(layers[..., 3], 0, 1))


def _recolour(original, rng):
    portrait, skin, hair, clothes = (original[name] for name in ("portrait", "skin", "hair", "clothes"))
    grey = portrait.mean(axis=-1, keepdims=True)
    tone = _between(SKIN_TONES, rng)
    skinned = 255 * (portrait / 255) ** rng.uniform(0.9, 1.15) * tone
    hued = np.clip(grey * rng.uniform(0.8, 1.3) + rng.uniform(-25, 25), 0, 255) * _between(HAIR_TONES, rng)
    hued = 0.85 * hued + 0.15 * portrait
    dressed = np.clip(grey * rng.uniform(0.5, 1.2, 3) * 1.2, 0, 255)
    for mask, new in ((skin, skinned), (hair, hued), (clothes, dressed)):
        portrait = portrait + mask[..., None] * (new - portrait)
    return np.clip(portrait, 0, 255).astype(np.float32)


def _between(tones, rng):
    """A tone between two neighbours in a list."""
    at = rng.uniform(0, len(tones) - 1)
    lower = min(int(at), len(tones) - 2)
    low, high = np.array(tones[lower]), np.array(tones[lower + 1])
    return (low * (lower + 1 - at) + high * (at - lower)).astype(np.float32)


def _shape(rng, shape):
    """The pixel of the original for each pixel of the identity: smooth shifts and swellings around the features."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    from_x, from_y = x.copy(), y.copy()
    for name, (centre, sigma, shifts) in REGIONS.items():
        bump = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
        shift = rng.uniform(-1, 1, 2) * shifts
        swell = rng.uniform(-1, 1) * SWELLS.get(name, 0.0)
        from_x += bump * (shift[0] + swell * (x - centre[0]))
        from_y += bump * (shift[1] + swell * (y - centre[1]))
    narrow, long = rng.uniform(0.92, 1.08), rng.uniform(0.94, 1.06)
    from_x = CENTRE[0] + (from_x - CENTRE[0]) * narrow
    from_y = CENTRE[1] + (from_y - CENTRE[1]) * long
    return from_x.astype(np.float32), from_y.astype(np.float32)


def _mirror(layers):
    """Mirror left and right about the centre of the face, so that the landmarks stay in place."""
    width = layers.shape[1]
    columns = np.clip(np.round(2 * CENTRE[0] - np.arange(width)), 0, width - 1).astype(int)
    return np.ascontiguousarray(layers[:, columns])


def speak(layers, opening: float) -> np.ndarray:
    """Lower the lower lip and the chin of a portrait by ``opening`` pixels: of its colours, the first three layers."""
    import cv2

    rows, columns, x, y, share = _mouth()
    speaking = layers.copy()
    moved = cv2.remap(layers, x, y - np.float32(opening) * share, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    speaking[rows, columns, :3] = moved[..., :3]
    return speaking


@lru_cache(maxsize=1)
def _mouth():
    """The rows and columns that speech moves, their pixels' x and y, and how much each moves, 0 to 1."""
    y, x = np.mgrid[118:215, 105:225].astype(np.float32)
    below = 1 / (1 + np.exp(-(y - MOUTH_Y - 1) / 2.0))
    bump = np.exp(-(((x - CHIN[0]) / 26) ** 2) - ((y - CHIN[1] + 12) / 24) ** 2)
    return slice(118, 215), slice(105, 225), x, y, (bump * below).astype(np.float32)
