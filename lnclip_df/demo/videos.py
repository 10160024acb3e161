"""The demo's videos: short clips of synthetic people, and forgeries of them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import atomic_path, inside
from lnclip_df.core.processes import worker_pool
from lnclip_df.demo.forgeries import reenact, swap
from lnclip_df.demo.people import make_person
from lnclip_df.demo.scenes import film, make_scene
from lnclip_df.media.opencv import one_thread

IDENTITIES = {"train": 40, "val": 16, "test": 24}
METHODS = ("swap", "reenact")
RATE = 25  # frames per second
SIZE = 288  # side of a video, in pixels
REAL, FAKE = "demo_real", "demo_fake"


class DemoVideo(NamedTuple):
    """One video of the demo.

    ``label`` is ``demo_real`` or ``demo_fake``, ``split`` is ``train``, ``val`` or ``test``, ``source`` is the name of
    the real video (of a real one, its own), and ``method`` is ``real`` or one of :data:`METHODS`.
    """

    label: str
    split: str
    name: str
    path: Path
    source: str
    method: str


@dataclass(frozen=True)
class Job:
    """The videos of one identity: a real one, and the forgeries made from it."""

    seed: int
    split: str
    identity: int
    donor: int
    out: str
    frames: int


def make_videos(out, *, seed=0, identities=None, frames=24, workers=None, progress=False) -> list[DemoVideo]:
    """Make one real video of every identity, and from each a forgery by every method.

    ``swap`` blends in the face of another identity of the same split, ``reenact`` another movement of the mouth. Both
    have a lower resolution than the video, as forgeries often do. The same arguments make the same videos, whatever
    the number of workers.

    Args:
        out: folder; videos go to ``out/demo_real`` and ``out/demo_fake``.
        seed: seed of everything random.
        identities: ``{split: number of identities}``, 0 or at least 2 (a swap needs another); :data:`IDENTITIES` by
            default. No identity is in two splits.
        frames: number of frames per video, at 25 per second.
        workers: number of processes; the number of cores by default. 1 works in this process.

    Returns:
        The :class:`DemoVideo` entries: by identity, the real video first.

    Raises:
        LNCLIPError: a setting is out of range, or the folder cannot be written.
    """
    identities = IDENTITIES if identities is None else identities
    _check(identities, frames, workers)
    jobs, first = [], 0
    for split, count in identities.items():
        for position in range(count):
            donor = first + (position + 1) % count
            jobs.append(Job(seed, split, first + position, donor, str(out), frames))
        first += count
    workers = min(workers or usable_cores(), len(jobs))
    bar = partial(tqdm, total=len(jobs), desc="identities", unit="identity", disable=not progress, leave=False)
    if workers <= 1:
        made = list(bar(map(make_videos_of, jobs)))
    else:
        with worker_pool(workers) as pool:
            made = list(bar(pool.map(make_videos_of, jobs, chunksize=2)))
    return [video for videos in made for video in videos]


def _check(identities, frames, workers):
    for split, count in identities.items():
        if split not in IDENTITIES:
            raise LNCLIPError(f"identities: split {split!r} is not one of {', '.join(IDENTITIES)}")
        if count < 0 or count == 1:
            raise LNCLIPError(
                f"identities: {count} in {split}; expected 2 or more, because a swap needs two, or 0 for no videos"
            )
    for name, value, minimum in (("frames", frames, 1), ("workers", workers, 1)):
        if value is not None and value < minimum:
            raise LNCLIPError(f"{name}: {value!r} is below {minimum}")


@one_thread()
def make_videos_of(job: Job) -> list[DemoVideo]:
    """Make the real video of one identity and its forgeries."""
    seed, identity = job.seed, job.identity
    person, scene = make_person(seed, identity), make_scene(seed, identity, job.frames, SIZE)
    source, real = f"{identity:03d}", film(person, scene)
    swapped = swap(real, make_person(seed, job.donor), scene, np.random.default_rng((seed, 3, identity)))
    reenacted = reenact(real, person, scene, np.random.default_rng((seed, 4, identity)))
    made = []
    for method, label, name, clip in (
        ("real", REAL, source, real),
        ("swap", FAKE, f"{source}_{job.donor:03d}_swap", swapped),
        ("reenact", FAKE, f"{source}_reenact", reenacted),
    ):
        path = inside(job.out, label, f"{name}.mp4")
        write_video(path, clip, scene.crf)
        made.append(DemoVideo(label, job.split, name, path, source, method))
    return made


def write_video(path, clip, crf: int):
    """Write uint8 RGB frames×H×W×3 as a whole mp4 file: H.264 if PyAV has its encoder, else MPEG-4."""
    import av

    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        if "libx264" in av.codecs_available:
            # With lookahead, x264 was seen to write different bytes for the same pixels from run to run.
            no_lookahead = "rc-lookahead=0:mbtree=0:weightp=0"
            options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": no_lookahead}
            stream = container.add_stream("libx264", rate=RATE, options=options)
        else:
            stream = container.add_stream("mpeg4", rate=RATE, options={"q:v": str(max(2, (crf - 14) // 2))})
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
