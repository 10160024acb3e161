"""Preprocessing against DeepfakeBench's own preprocess.py: whole commands on one video and on eight; how ours scales.

Needs a DeepfakeBench checkout, its environment (constraints/deepfakebench.txt, dlib-bin, imutils) and a dlib predictor:
  python benchmarks/preprocessing.py --checkout ~/DeepfakeBench --predictor shape_predictor_81_face_landmarks.dat
Without --checkout the scaling of ours is measured instead.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from common import machine, write_table
from skimage.data import astronaut

HEIGHTS = (1080, 512)  # of the videos that both sides preprocess; eight of the last one, too
RESULTS = Path(__file__).parent / "results"
THEIRS = """
import logging, sys
from pathlib import Path
from typing import NamedTuple
import preprocess
preprocess.logger = logging.getLogger()
preprocess.preprocess(Path(sys.argv[1]), None, "fixed_num_frames", 32, 10, preprocess.logger)
"""


def make_video(path, frames, height):
    """A face that moves over a noisy 16:9 background, H.264 at crf 23."""
    width, rng = height * 16 // 9 // 2 * 2, np.random.default_rng(0)
    face = cv2.resize(astronaut(), None, fx=2 * height / 1080, fy=2 * height / 1080)[:height]
    coarse = rng.integers(0, 255, (height // 20, width // 20, 3), dtype=np.uint8)
    behind = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, "yuv420p", {"crf": "23"}
        for at in range(frames):
            image, left = behind.copy(), int(width * (0.2 + 0.2 * at / frames))
            image[: face.shape[0], left : left + face.shape[1]] = face[:, : width - left]
            image = cv2.add(image, rng.integers(0, 6, (height, width, 1), dtype=np.uint8).repeat(3, axis=2))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


class Took(NamedTuple):
    """What a command took: wall time, and CPU time of it and its processes, both in seconds."""

    seconds: float
    cpu: float


def took(command, **options) -> Took:
    """Run a command. Its CPU time hardly depends on what else the machine does."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(time.perf_counter() - started, cpu)


def ours(source, out, *options) -> Took:
    """Run our command."""
    return took([sys.executable, "-m", "lnclip_df", "preprocess", source, "--out", out, "--quiet", *options])


def theirs(checkout, predictor, videos, folder) -> Took:
    """Run their unchanged script, in a folder with its predictor; the crops are written beside the videos."""
    (folder / "dlib_tools").mkdir(parents=True)
    (folder / "dlib_tools" / "shape_predictor_81_face_landmarks.dat").symlink_to(predictor.resolve())
    (folder / "videos").mkdir()
    for video in videos:
        (folder / "videos" / video.name).symlink_to(video)
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve() / "preprocessing")}
    return took([sys.executable, "-c", THEIRS, folder / "videos"], cwd=folder, env=environment)


def difference(one, other):
    """Mean absolute difference of the crops in both folders, in grey levels, and whether both have the same frames."""
    names = [{path.relative_to(folder) for path in crops(folder)} for folder in (one, other)]
    pairs = [[cv2.imread(str(folder / name)).astype(float) for folder in (one, other)] for name in names[0] & names[1]]
    return np.mean([np.abs(a - b).mean() for a, b in pairs]), names[0] == names[1]


def crops(folder):
    """The files of the crops below a folder."""
    return list((folder / "frames").rglob("*.png"))


def eight(folder, video):
    """A folder of eight names of a video."""
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.mp4").symlink_to(video)
    return folder


def compare(arguments, folder):
    """Run both sides on each source in turn, and write the table."""
    first = make_video(folder / "first.mp4", 32, HEIGHTS[-1])
    theirs(arguments.checkout, arguments.predictor, [first], folder / "first")  # a first run compiles what is imported,
    ours(first, folder / "first" / "ours")  # as an installation does
    videos = {f"{height}p": make_video(folder / f"{height}.mp4", arguments.frames, height) for height in HEIGHTS}
    sources = videos | {f"eight, {HEIGHTS[-1]}p": eight(folder / "eight", videos[f"{HEIGHTS[-1]}p"])}
    rows = []
    for number, (name, run) in enumerate((name, run) for name in sources for run in range(arguments.repeat)):
        source, out = sources[name], folder / str(number)
        files = sorted(source.iterdir()) if source.is_dir() else [source]
        base = theirs(arguments.checkout, arguments.predictor, files, out / "theirs")
        dlib = ["--detector", "dlib", "--predictor", arguments.predictor, "--second-detection"]
        sides = {
            "DeepfakeBench (dlib)": (base, out / "theirs" / "videos"),
            "ours, RetinaFace": (ours(source, out / "retinaface"), out / "retinaface"),
            "ours, dlib with the second detection": (ours(source, out / "dlib", *dlib), out / "dlib"),
        }
        grey, same = difference(*(root for what, (_, root) in sides.items() if "dlib" in what))
        for what, (side, root) in sides.items():
            rows.append(
                {
                    "video": name,
                    "run": run,
                    "what": what,
                    "seconds": f"{side.seconds:.2f}",
                    "times faster": f"{base.seconds / side.seconds:.1f}",
                    "CPU seconds": f"{side.cpu:.2f}",
                    "times less CPU": f"{base.cpu / side.cpu:.1f}",
                    "faces": f"{len(crops(root))} of {32 * len(files)}",
                    "crops": f"differ by {grey:.4f}/255, same frames: {same}" if "ours, dlib" in what else "",
                }
            )
    title = f"Preprocessing a video of {arguments.frames} frames, whole commands"
    busy = f"{os.getloadavg()[2]:.0f} processes ran at a time on average"
    write_table(RESULTS / "preprocessing.md", title, f"{machine('cpu')}; {busy}", rows)


def grow(folder):
    """Measure ours over length, resolution and workers, and write the table."""
    rows = []

    def add(what, side, videos=1):
        each = side.seconds / videos
        rows.append({"what": what, "seconds": f"{side.seconds:.2f}", "seconds per video": f"{each:.2f}"})

    for frames, height in [(100, 1080), (300, 1080), (1000, 1080), (300, 360), (300, 720), (300, 2160), (20000, 180)]:
        video = make_video(folder / f"{height}-{frames}.mp4", frames, height)
        add(f"1 video, {frames} frames, {height}p", ours(video, folder / video.stem))
    source = eight(folder / "eight", folder / "720-300.mp4")
    for workers in (1, 2):
        side = ours(source, folder / f"workers{workers}", "--workers", str(workers))
        add(f"8 videos, 300 frames, 720p, {workers} worker{'s' if workers > 1 else ''}", side, 8)
    write_table(
        RESULTS / "preprocessing-growth.md", "Preprocessing with RetinaFace, whole commands", machine("cpu"), rows
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, help="Root of a DeepfakeBench checkout, to compare with.")
    parser.add_argument("--predictor", type=Path, help="dlib's landmark predictor, for both sides.")
    parser.add_argument("--frames", type=int, default=300, help="Frames of the video (%(default)s).")
    parser.add_argument("--repeat", type=int, default=3, help="Number of runs of each side, in turn (%(default)s).")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.checkout:
            compare(arguments, Path(folder))
        else:
            grow(Path(folder))


if __name__ == "__main__":
    main()
