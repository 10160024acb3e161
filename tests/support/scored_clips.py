"""Videos of the demo's people to score: one person, two, none, late, after a cut, passing by, a broken file."""

from functools import cache

import cv2
import numpy as np
from clips import faceless, portrait, write_clip

from lnclip_df.demo import people, scenes

FRAMES, HIGH, WIDE = 8, 200, 240
NOBODY = [faceless(HIGH, WIDE)] * FRAMES


@cache
def person(identity):
    """Frames of one of the demo's people, HIGH × WIDE."""
    scene = scenes.make_scene(0, identity, FRAMES, 288)
    frames = scenes.film(people.make_person(0, identity), scene)
    return [cv2.resize(frame, (WIDE, WIDE))[:HIGH] for frame in frames]


def beside(left, right):
    return [np.hstack(pair) for pair in zip(left, right, strict=True)]


def write_clips(folder):
    """Write all videos and an image, and return their folder."""
    films = {
        "one": [portrait(2 * at, HIGH, WIDE) for at in range(FRAMES)],
        "two": beside(person(0), person(5)),
        "none": NOBODY,
        "late": NOBODY[:5] + person(0)[5:],
        "cut": beside(person(0)[:4], person(5)[:4]) + beside(person(5)[4:], person(0)[4:]),
        "passing": beside(person(0), NOBODY[:4] + person(5)[4:5] + NOBODY[5:]),
    }
    for name, frames in films.items():
        write_clip(folder / f"{name}.mp4", frames, options={"crf": "10"})
    (folder / "broken.mp4").write_bytes((folder / "one.mp4").read_bytes()[:300])
    cv2.imwrite(str(folder / "still.png"), portrait()[..., ::-1])
    return folder


def results_of(scorer, path, **options):
    return list(scorer.results(path, **{"frames": FRAMES, **options}))


def of(scorer, path, **options):
    (result,) = results_of(scorer, path, **options)
    return result
