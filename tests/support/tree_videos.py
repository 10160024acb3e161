"""Raw videos for the miniature trees of ``trees``: every video shows one face."""

import zlib

import numpy as np
import trees
from clips import write_clip
from skimage.data import astronaut

FRAMES = 3


def write_videos(root, tree):
    """The tree's videos and lists: each video shows one face, in a light of its own; masks cover it."""
    face = astronaut()[:240, 60:380].astype(np.int16)
    for path in tree.videos:
        light = [byte % 61 - 30 for byte in zlib.crc32(path.encode()).to_bytes(4, "big")[:3]]
        images = [np.clip(np.roll(face, shift, axis=1) + light, 0, 255).astype(np.uint8) for shift in range(FRAMES)]
        write_clip(root / path, images, options={"preset": "ultrafast"})
    white = np.zeros((240, 320, 3), np.uint8)
    white[40:180, 100:220] = 255
    for path in tree.masks:
        write_clip(root / path, [white] * FRAMES, options={"preset": "ultrafast"})
    return trees.build_lists(root, tree)
