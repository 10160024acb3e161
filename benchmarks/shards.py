"""A test of many synthetic videos: in one process, in two shards, on two processes, and killed and continued.

    python benchmarks/shards.py [--videos 5000] [--out benchmarks/results/shards.md]

Crops of 32 pixels, 4 per video, and a small vision transformer with random weights. Every side runs the command
``lnclip-df test``, with one thread of PyTorch per process: sums of more threads differ in the last bits. The script
ends with an error where predictions, features or metrics are not equal to the last bit. The last row joins the parts
of 68,000 videos with 32 frames, without a prediction.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FRAMES = 4
LARGE = {"videos": 68_000, "frames": 32, "parts": 700}
SETTINGS = [
    "lnclip.backbone={name: tiny, pretrained: none, vision: "
    "{image_size: 32, patch_size: 8, width: 64, layers: 3, head_width: 32}}",
    "lnclip.precision=fp32", "lnclip.benchmarks=[many]", "train_dataset=[many]", "resolution=32", "test_batchSize=64",
    "lnclip.missing_frames=skip", f"frame_num={{train: {FRAMES}, test: {FRAMES}}}", "workers=1",
]  # fmt: skip
COMMAND = "from lnclip_df.evaluation import shards; shards.SECONDS = {}; from lnclip_df.cli import main; main()"


def make_data(folder: Path, count: int):
    """Write crops, of which one is missing, a dataset JSON, and the weights of an untrained detector."""
    import cv2
    import torch

    from lnclip_df.config.loading import load_config
    from lnclip_df.models.detector import LNCLIPDetector
    from lnclip_df.weights import save_weights

    rng, classes = np.random.default_rng(0), {"demo_real": {"test": {}}, "demo_fake": {"test": {}}}
    for number in range(count):
        label = ("demo_real", "demo_fake")[number % 2]
        (folder / label / str(number)).mkdir(parents=True)
        paths = [f"{label}/{number}/{frame:03}.png" for frame in range(FRAMES)]
        for path in paths:
            image = rng.integers(100, 150, 3) + rng.normal(0, 8 + 2 * (number % 2), (32, 32, 3))
            cv2.imwrite(str(folder / path), image.clip(0, 255).astype(np.uint8))
        classes[label]["test"][str(number)] = {"label": label, "frames": [f"./{path}" for path in paths]}
    (folder / paths[-1]).unlink()
    (folder / "many.json").write_text(json.dumps({"many": classes}))
    where = [f"lnclip.data_root={folder}", f"dataset_json_folder={folder}"]
    config = load_config("lnclip.yaml", [*SETTINGS, *where])
    torch.manual_seed(0)
    save_weights(LNCLIPDetector(config), folder / "mine.safetensors", {"config": config.to_dict()})


def start(folder: Path, out: str, *options: str, every: float = 30) -> subprocess.Popen:
    """Start ``lnclip-df test``."""
    command = [sys.executable, "-c", COMMAND.format(every), "test", "--weights", folder / "mine.safetensors"]
    command += ["--out", folder / out, "--device", "cpu", "--save-features", "--quiet", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env=environment)


def ended(process: subprocess.Popen) -> tuple[float, float]:
    """Wait for a process that may not fail; return its CPU seconds, with those of its own, and its peak in MB."""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the test failed with status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def one_process(folder: Path):
    """The undivided test."""
    return [ended(start(folder, "one"))]


def two_shards(folder: Path):
    """Both at the same time, as on two machines."""
    shards = [start(folder, "shards", "--shard", f"{number}/2") for number in (1, 2)]
    return list(map(ended, shards))


def two_processes(folder: Path):
    """One command that starts both."""
    return [ended(start(folder, "processes", "--devices", "2"))]


def killed(folder: Path):
    """Shard 1 is killed with its second part, which is not counted, then continued; parts are written every 0.5 s."""
    shard = start(folder, "killed", "--shard", "1/2", every=0.5)
    while len(list((folder / "killed" / "parts" / "many").glob("[0-9]*"))) < 2:
        time.sleep(0.01)
        if shard.poll() is not None:
            raise SystemExit("the shard ended before it was killed: take more videos")
    shard.kill()
    shard.wait()
    return [ended(start(folder, "killed", "--shard", f"{number}/2")) for number in (1, 2)]


def content(folder: Path) -> dict:
    """All that a test has written, without its seconds."""
    from lnclip_df.evaluation.predictions import read_predictions

    table, metadata = read_predictions(folder / "predictions" / "many.parquet")
    metrics = json.loads((folder / "metrics" / "many.json").read_text())
    metrics.pop("seconds")
    features = (folder / "features" / "many.safetensors").read_bytes()
    return {name: list(column) for name, column in table.items()} | metadata | metrics | {"features": features}


def join_many(folder: Path):
    """Write the parts of a large test, join them, and print the seconds, CPU seconds and peak of memory in MB."""
    from lnclip_df.config.loading import load_config
    from lnclip_df.core.provenance import Provenance
    from lnclip_df.datasets.dataset_json import Video
    from lnclip_df.datasets.frame_dataset import FrameDataset
    from lnclip_df.evaluation.parts import Parts
    from lnclip_df.evaluation.test import write_result

    count, size = LARGE["frames"], 64
    videos = [
        Video("large", "real" if n % 2 else "fake", 1 - n % 2, "test", None, str(n),
              tuple(f"./large/{n}/{frame:03}.png" for frame in range(count)))
        for n in range(LARGE["videos"])
    ]  # fmt: skip
    frames = FrameDataset(load_config("lnclip.yaml"), videos, frames_per_video=count)
    parts, rng = (
        Parts(folder / "large", Provenance(dataset="large", split="test"), size, False),
        np.random.default_rng(0),
    )
    for batches in np.array_split(np.arange(len(frames) // size), LARGE["parts"]):
        index = range(batches[0] * size, (batches[-1] + 1) * size)
        parts.write(batches.tolist(), [{"index": list(index), "prob": rng.random(len(index)).tolist()}], 30.0)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, (time.monotonic(), time.process_time())
    table, _ = parts.join(frames)
    write_result(folder / "large", parts.provenance, table, videos)
    seconds, cpu = time.monotonic() - started[0], time.process_time() - started[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:.0f} ({before:.0f} before)"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=5000)
    parser.add_argument("--out", default="benchmarks/results/shards.md")
    parser.add_argument("--join", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.join:
        return join_many(Path(arguments.join))

    from common import machine, write_table

    sides = {
        "one process": one_process,
        "two shards at the same time": two_shards,
        "`--devices 2 --device cpu`": two_processes,
        "shard 1 killed and continued, then shard 2": killed,
    }
    where, rows = f"{machine('cpu')}, load of other processes {os.getloadavg()[0]:.0f}", []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, arguments.videos)
        for title, run in sides.items():
            started = time.monotonic()
            cpu, peaks = zip(*run(folder), strict=True)
            seconds = {"seconds": f"{time.monotonic() - started:.1f}", "CPU seconds": f"{sum(cpu):.1f}"}
            rows.append({"test": title} | seconds | {"MB": f"{max(peaks):.0f}"})
        expected = content(folder / "one")
        for row, out in zip(rows, ("one", "shards", "processes", "killed"), strict=True):
            if different := [name for name, value in content(folder / out).items() if value != expected[name]]:
                raise SystemExit(f"{row['test']}: not equal to the test in one process: {', '.join(different)}")
            row["equal"] = "to the bit"
        command = [sys.executable, __file__, "--join", name]
        seconds, cpu, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        title = f"join {LARGE['videos']} × {LARGE['frames']} frames of {LARGE['parts']} parts"
        rows.append({"test": title, "seconds": seconds, "CPU seconds": cpu, "MB": peak, "equal": ""})
    title = f"A test of {arguments.videos} videos with {FRAMES} frames of 32 pixels, small backbone"
    write_table(arguments.out, title, where, rows)


if __name__ == "__main__":
    main()
