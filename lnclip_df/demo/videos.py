"""Short videos of made-up people, and forgeries made from them, all drawn from one public-domain portrait."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import atomic_path, inside
from lnclip_df.media.opencv import one_thread

IDENTITIES = {"train": 40, "val": 16, "test": 24}
METHODS = ("swap", "reenact")
REAL, FAKE = "demo_real", "demo_fake"

# The portrait is skimage.data.astronaut() (NASA, public domain), cut to these rows and columns. Everything below is in
# pixels of that cut: outlines drawn by hand, landmarks, and the places whose shape makes an identity.
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
SHAPES = {  # centre, reach (sigma), largest shift in x and y
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


class DemoVideo(NamedTuple):
    """One video of the demo.

    ``label`` is ``demo_real`` or ``demo_fake``, ``split`` is ``train``, ``val`` or ``test``; ``source`` is the name of
    the real video (its own, for a real one); ``method`` is ``real`` or one of :data:`METHODS`.
    """

    label: str
    split: str
    name: str
    path: Path
    source: str
    method: str


@dataclass(frozen=True)
class Scene:
    """One identity's real video and the forgeries made from it."""

    seed: int
    split: str
    identity: int
    donor: int
    out: str
    frames: int
    size: int


class Person(NamedTuple):
    """An identity: its portrait float32 H×W×3 (0..255) and how much of each pixel is the person, H×W (0..1)."""

    portrait: np.ndarray
    alpha: np.ndarray


class Take(NamedTuple):
    """How a video was shot: what changes with time has one row a frame, the rest is the camera's and the room's."""

    background: np.ndarray
    pose: np.ndarray
    mouth: np.ndarray
    light: np.ndarray
    shade: np.ndarray
    noise: np.ndarray
    crf: int


def make_videos(out, *, seed=0, identities=None, frames=24, size=288, workers=None, progress=False) -> list[DemoVideo]:
    """Make one real video of every identity, and from each a forgery by every method.

    ``swap`` lays another identity's face of the same split over the video's own, ``reenact`` makes its mouth speak
    otherwise; both come out of a generator of low resolution, as forgeries do, with their colours carried over and
    their edges blended. The same arguments make the same videos, however many workers.

    Args:
        out: folder; videos go to ``out/demo_real`` and ``out/demo_fake``.
        seed: of everything random.
        identities: ``{split: number of identities}``, 2 or more in each split that has any (a swap needs another);
            :data:`IDENTITIES` by default. No identity is in two splits.
        frames: frames a video, at 25 a second.
        size: side of the square video in pixels, even.
        workers: processes; the number of cores by default. 1 works in this process.
        progress: show a bar with the rate.

    Returns:
        The :class:`DemoVideo` entries: by identity, the real video first.

    Raises:
        LNCLIPError: a setting is out of range, or the folder cannot be written.
    """
    identities = IDENTITIES if identities is None else identities
    _check(identities, frames, size, workers)
    scenes, first = [], 0
    for split, count in identities.items():
        for position in range(count):
            donor = first + (position + 1) % count
            scenes.append(Scene(seed, split, first + position, donor, str(out), frames, size))
        first += count
    workers = min(workers or usable_cores(), len(scenes))
    bar = partial(tqdm, total=len(scenes), desc="identities", unit="identity", disable=not progress, leave=False)
    if workers <= 1:
        made = list(bar(map(shoot, scenes)))
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            made = list(bar(pool.map(shoot, scenes, chunksize=2)))
    return [video for videos in made for video in videos]


def _check(identities, frames, size, workers):
    for split, count in identities.items():
        if split not in IDENTITIES:
            raise LNCLIPError(f"identities: split {split!r} is none of {', '.join(IDENTITIES)}")
        if count < 0 or count == 1:
            raise LNCLIPError(f"identities: {count} in {split}; a swap needs 2 or more, 0 leaves the split out")
    for name, value, least in (("frames", frames, 1), ("size", size, 64), ("workers", workers, 1)):
        if value is not None and value < least:
            raise LNCLIPError(f"{name}: {value!r} is below {least}")
    if size % 2:
        raise LNCLIPError(f"size: {size} is odd; video needs an even one")


@one_thread()
def shoot(scene: Scene) -> list[DemoVideo]:
    """Make the real video of one identity and its forgeries."""
    real_name = f"{scene.identity:03d}"
    names = {
        "real": real_name,
        "swap": f"{real_name}_{scene.donor:03d}_swap",
        "reenact": f"{real_name}_reenact",
    }
    person = make_person(scene.seed, scene.identity)
    take = make_take(scene.seed, scene.identity, scene.frames, scene.size)
    real = film(person, take)
    clips = {
        "real": real,
        "swap": swap(real, make_person(scene.seed, scene.donor), take, _rng(scene.seed, 3, scene.identity)),
        "reenact": reenact(real, person, take, _rng(scene.seed, 4, scene.identity)),
    }
    made = []
    for method, clip in clips.items():
        label = REAL if method == "real" else FAKE
        path = inside(scene.out, label, f"{names[method]}.mp4")
        write_video(path, clip, take.crf)
        made.append(DemoVideo(label, scene.split, names[method], path, real_name, method))
    return made


def _rng(*key):
    return np.random.default_rng(key)


# --- identities -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _original():
    """The portrait and its outlines: float32 H×W×3, and soft masks H×W of person, skin, hair and clothes."""
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
    """A closed outline, filled: float32 mask in 0..1 whose edge is ``softness`` pixels (sigma) soft."""
    import cv2

    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1.0)
    return cv2.GaussianBlur(mask, (0, 0), softness)


@lru_cache(maxsize=4)
def make_person(seed: int, identity: int) -> Person:
    """Draw an identity: tones of skin, hair and clothes, the shape of the face, mirrored or not."""
    import cv2

    rng = _rng(seed, 1, identity)
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
    """A tone between two neighbours of a list."""
    place = rng.uniform(0, len(tones) - 1)
    lower = min(int(place), len(tones) - 2)
    return (np.array(tones[lower]) * (lower + 1 - place) + np.array(tones[lower + 1]) * (place - lower)).astype(
        np.float32
    )


def _shape(rng, shape):
    """Where each pixel of an identity's portrait comes from: smooth shifts and swellings around the features."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    from_x, from_y = x.copy(), y.copy()
    for name, (centre, reach, shifts) in SHAPES.items():
        bump = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * reach**2))
        shift = rng.uniform(-1, 1, 2) * shifts
        swell = rng.uniform(-1, 1) * SWELLS.get(name, 0.0)
        from_x += bump * (shift[0] + swell * (x - centre[0]))
        from_y += bump * (shift[1] + swell * (y - centre[1]))
    narrow, long = rng.uniform(0.92, 1.08), rng.uniform(0.94, 1.06)
    from_x = CENTRE[0] + (from_x - CENTRE[0]) * narrow
    from_y = CENTRE[1] + (from_y - CENTRE[1]) * long
    return from_x.astype(np.float32), from_y.astype(np.float32)


def _mirror(layers):
    """Mirror left and right about the centre of the face, so that landmarks stay where they are."""
    width = layers.shape[1]
    columns = np.clip(np.round(2 * CENTRE[0] - np.arange(width)), 0, width - 1).astype(int)
    return np.ascontiguousarray(layers[:, columns])


# --- filming ----------------------------------------------------------------------------------------------------------


def make_take(seed: int, identity: int, frames: int, size: int) -> Take:
    """Draw how a video is shot: room, motion, speech, light, sensor noise and compression."""
    rng = _rng(seed, 2, identity)
    time = np.arange(frames) / 25
    waves = [_wave(rng, time) for _ in range(5)]
    zoom = size / 288 * rng.uniform(1.1, 1.3) * (1 + 0.05 * waves[0])
    angle = np.deg2rad(rng.uniform(-6, 6) + 5 * waves[1])
    middle = size * (np.array([0.5, 0.46]) + rng.uniform(-0.03, 0.03, 2))
    shift = middle + size * np.stack([0.04 * waves[2], 0.03 * waves[3]], axis=1)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    turn = turn * zoom[:, None, None]
    pose = np.concatenate([turn, (shift - turn @ CENTRE)[..., None]], axis=2)
    return Take(
        background=_room(rng, size),
        pose=pose,
        mouth=_speech(rng, time),
        light=rng.uniform(0.85, 1.1) * (1 + 0.06 * waves[4]),
        shade=_shade(rng, size),
        noise=_noise(rng, frames, size, sigma=rng.uniform(2.5, 4.0)),
        crf=int(rng.integers(22, 27)),
    )


def _wave(rng, time):
    """A smooth motion within −1..1: two sines."""
    slow, fast = rng.uniform(0.3, 0.7), rng.uniform(0.8, 1.6)
    start = rng.uniform(0, 2 * np.pi, 2)
    return 0.7 * np.sin(2 * np.pi * slow * time + start[0]) + 0.3 * np.sin(2 * np.pi * fast * time + start[1])


def _speech(rng, time):
    """How far the mouth is opened, in pixels, over time."""
    return 2.5 + 2.5 * np.sin(2 * np.pi * rng.uniform(1.5, 3.0) * time + rng.uniform(0, 2 * np.pi))


def _room(rng, size):
    """A blurred background: two colours, and a few soft shapes of others; float32 size×size×3."""
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
    """Light from one side, and its colour: a gain for every pixel, float32 size×size×3."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    side = rng.uniform(0, 2 * np.pi)
    slope = 1 + rng.uniform(0, 0.22) * (np.cos(side) * x + np.sin(side) * y)
    return (slope[..., None] * rng.uniform(0.93, 1.07, 3)).astype(np.float32)


def _noise(rng, frames, size, sigma):
    """Sensor noise, one field a frame, int8: drawn once, shifted and mirrored from frame to frame."""
    field = rng.normal(0, sigma, (size + 64, size + 64, 3)) + rng.normal(0, sigma, (size + 64, size + 64, 1))
    field = np.clip(np.round(field / np.sqrt(2)), -127, 127).astype(np.int8)
    noise = np.empty((frames, size, size, 3), np.int8)
    for frame in noise:
        top, left = rng.integers(0, 65, 2)
        steps = rng.choice([-1, 1], 2)
        frame[:] = field[top : top + size, left : left + size][:: steps[0], :: steps[1]]
    return noise


def film(person: Person, take: Take) -> np.ndarray:
    """Film a person: uint8 RGB, frames×size×size×3."""
    frames = []
    for pose, mouth, light, noise in zip(take.pose, take.mouth, take.light, take.noise, strict=True):
        layers = np.dstack([speak(person.portrait, mouth), person.alpha])
        layers = _place(layers, pose, len(noise))
        alpha = layers[..., 3:]
        clean = take.background + alpha * (layers[..., :3] - take.background)
        frames.append(_pixels(clean * take.shade * np.float32(light) + noise))
    return np.stack(frames)


def speak(portrait, opening: float) -> np.ndarray:
    """Lower the lower lip and the chin by ``opening`` pixels."""
    import cv2

    top, left = 118, 105
    y, x = np.mgrid[top:215, left:225].astype(np.float32)
    below = 1 / (1 + np.exp(-(y - MOUTH_Y - 1) / 2.0))
    bump = np.exp(-(((x - CHIN[0]) / 26) ** 2) - ((y - CHIN[1] + 12) / 24) ** 2)
    spoken = portrait.copy()
    spoken[top:215, left:225] = cv2.remap(
        portrait, x, (y - opening * bump * below).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return spoken


def _place(layers, pose, size):
    """Bring a portrait's pixels into the frame; its margins are repeated, so that shoulders reach the edge."""
    import cv2

    layers = np.ascontiguousarray(layers, dtype=np.float32)
    return cv2.warpAffine(layers, pose, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _pixels(values):
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


# --- forging ----------------------------------------------------------------------------------------------------------


def swap(real, donor: Person, take: Take, rng) -> np.ndarray:
    """Lay the donor's face over that of a real video: uint8, frames×size×size×3."""
    mask = outline(FACE, donor.portrait.shape[:2], rng.uniform(3.0, 5.0))
    return _forge(real, donor.portrait, mask, take.mouth, take, rng, coarse=rng.uniform(2.6, 3.4))


def reenact(real, person: Person, take: Take, rng) -> np.ndarray:
    """Let the mouth of a real video speak otherwise: uint8, frames×size×size×3."""
    import cv2

    mask = np.zeros(person.portrait.shape[:2], np.float32)
    cv2.ellipse(mask, (MOUTH_X, MOUTH_Y + 2), (40, 34), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(3.0, 5.0))
    mouth = _speech(rng, np.arange(len(real)) / 25) + 1.5
    return _forge(real, person.portrait, mask, mouth, take, rng, coarse=rng.uniform(2.8, 3.6))


def _forge(real, portrait, mask, mouth, take, rng, coarse):
    """Blend ``portrait`` under ``mask`` into every frame, out of a generator ``coarse`` times coarser than the video.

    The generator sees no sensor noise, its colours follow the frame's but not all the way, and its place trembles.
    """
    fakes, size = [], real.shape[1]
    carried, contrast, saturation = rng.uniform((0.75, 0.75, 0.65), (0.95, 0.85, 0.8))
    for index, frame in enumerate(real):
        pose = take.pose[index].copy()
        pose[:, 2] += rng.normal(0, 0.4, 2)
        layers = _place(np.dstack([speak(portrait, mouth[index]), mask]), pose, size)
        weight = layers[..., 3:]
        made = _coarsen(layers[..., :3] * take.shade * np.float32(take.light[index]), coarse)
        made = _pale(_carry_colours(made, frame, weight, carried), weight, contrast, saturation)
        fakes.append(_pixels(frame + weight * (made - frame)))
    return np.stack(fakes)


def _coarsen(image, factor):
    """Reduce and enlarge again: what a generator of lower resolution leaves of an image."""
    import cv2

    size = image.shape[1], image.shape[0]
    small = cv2.resize(image, (round(size[0] / factor), round(size[1] / factor)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)


def _carry_colours(made, frame, weight, share):
    """Move mean and spread of each channel under ``weight`` towards the frame's by ``share`` (Reinhard et al. 2001)."""
    total = weight.sum() + 1e-6
    means = [(weight * image).sum((0, 1)) / total for image in (made, frame)]
    spreads = [
        np.sqrt((weight * (image - mean) ** 2).sum((0, 1)) / total) + 1e-6
        for image, mean in zip((made, frame), means, strict=True)
    ]
    matched = (made - means[0]) * np.clip(spreads[1] / spreads[0], 0.5, 2) + means[1]
    return made + share * (matched - made)


def _pale(image, weight, contrast, saturation):
    """Draw pixels towards their mean and towards grey: a generator trained on averages paints paler than life."""
    mean = (weight * image).sum((0, 1)) / (weight.sum() + 1e-6)
    image = mean + contrast * (image - mean)
    grey = image.mean(axis=-1, keepdims=True)
    return grey + saturation * (image - grey)


# --- files ------------------------------------------------------------------------------------------------------------


def write_video(path, clip, crf: int, rate: int = 25):
    """Write uint8 RGB frames×H×W×3 as an mp4: H.264 where the encoder is there, else MPEG-4; whole or not at all."""
    import av

    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        if "libx264" in av.codecs_available:
            # Looking ahead, x264 was seen to write different bytes for the same pixels from run to run.
            no_lookahead = "rc-lookahead=0:mbtree=0:weightp=0"
            options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": no_lookahead}
            stream = container.add_stream("libx264", rate=rate, options=options)
        else:
            stream = container.add_stream("mpeg4", rate=rate, options={"q:v": str(max(2, (crf - 14) // 2))})
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
