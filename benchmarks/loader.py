"""CPU time per image in the loader, from PNG files and from a pack; of this code and of an earlier checkout.

    python benchmarks/loader.py [--images 256] [--out benchmarks/results/loader.md]
    git worktree add ../before ffa9dc9~1 && python benchmarks/loader.py --before ../before

The images are crops of a photograph, 256 pixels, as PNG. The times are CPU times of a process of one thread, the
fastest of the repeats. The sides run in turn. The pixels of this code and of the earlier are compared by a hash of the
whole batch. With ``augment_on: device`` numbers are drawn, and the GPU changes the pixels later. A read from a pack
touches no pixel: what it costs shows in whole items, stacked.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ON_DEVICE = "now, `augment_on: device`"


def make_frames(folder: Path, count: int) -> None:
    """Write ``count`` crops of a photograph, and a dataset JSON of them."""
    import cv2
    import numpy as np
    from skimage.data import astronaut

    photo, rng = astronaut(), np.random.default_rng(0)
    photo = cv2.resize(photo, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    paths = [f"./{number:04}.png" for number in range(count)]
    for path, (y, x) in zip(paths, rng.integers(0, photo.shape[0] - 256, (count, 2)), strict=True):
        cv2.imwrite(str(folder / path), photo[y : y + 256, x : x + 256, ::-1])
    videos = {"train": {"0": {"label": "demo_real", "frames": paths}}, "val": {}, "test": {}}
    (folder / "photo.json").write_text(json.dumps({"photo": {"demo_real": videos}}))


def measure(folder: Path, repeats: int, settings: list[str]) -> dict:
    """Milliseconds per image of each part, and the hash of the pixels, in the checkout that is imported."""
    import cv2
    import numpy as np
    import torch

    from lnclip_df.config.loading import load_config
    from lnclip_df.datasets.dataset_json import read_videos
    from lnclip_df.datasets.frame_dataset import FrameDataset, collate
    from lnclip_df.training.augmentation import TrainTransform

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = load_config("lnclip.yaml", [f"lnclip.data_root={folder}", f"dataset_json_folder={folder}", *settings])
    videos = read_videos(config, ["photo"], "train")
    count = len(videos[0].frames)
    transform = TrainTransform(config)
    draw = {"draw": transform.draw} if settings else {}

    def training(config):
        return FrameDataset(config, videos, frames_per_video=count, transform=transform, seed=0, **draw)

    frames = training(config)
    others = {"a test image": FrameDataset(config, videos, frames_per_video=count)}
    if packed := with_pack(config, folder):
        others["all, from a pack"] = training(packed)
        others["a test image, from a pack"] = FrameDataset(packed, videos, frames_per_video=count)
    parts: dict[str, list] = {
        name: [] for name in ("read", "read, augment", "stack into shared memory", "all", *others)
    }
    for _ in range(repeats + 1):
        began = time.process_time()
        for _, frame in frames.items:
            frames.read(videos[0], frame)
        read = time.process_time()
        items = [frames[0, index] for index in range(count)]
        augmented = time.process_time()
        image = collate(items)["image"].share_memory_()
        ended = time.process_time()
        times = [read - began, augmented - read, ended - augmented, ended - read]
        for other in others.values():
            began = time.process_time()
            collate([other[0, index] for index in range(count)])["image"].share_memory_()
            times.append(time.process_time() - began)
        for name, seconds in zip(parts, times, strict=True):
            parts[name].append(1000 * seconds / count)
    if image.dtype != torch.uint8:  # normalised by the loader
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (config.mean, config.std))
        image = ((image * std + mean) * 255).round().to(torch.uint8)
    pixels = np.ascontiguousarray(image.permute(0, 2, 3, 1).numpy())
    return {name: min(times[1:]) for name, times in parts.items()} | {"sha256": hashlib.sha256(pixels).hexdigest()}


def with_pack(config, folder: Path):
    """The configuration by which the same frames are read from a pack; None in a checkout that has no packs."""
    try:
        from lnclip_df.datasets.pack import write_pack
    except ImportError:
        return None
    write_pack(folder / "photo.json", folder / "packs", data_root=folder, progress=False)
    return config.replace({"lnclip.pack_dir": "packs"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="A checkout of an earlier commit, to compare with.")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", default="benchmarks/results/loader.md")
    parser.add_argument("--frames", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.frames:
        print(json.dumps(measure(arguments.frames, arguments.repeats, arguments.set)))
        return
    from common import machine, write_table

    sides: dict[str, tuple] = {"now": (ROOT,), ON_DEVICE: (ROOT, "--set", "lnclip.augment_on=device")}
    if arguments.before:
        sides = {"before": (arguments.before.resolve(),), **sides}
    with tempfile.TemporaryDirectory() as folder:
        make_frames(Path(folder), arguments.images)
        found: dict[str, list] = {side: [] for side in sides}
        for _ in range(2):
            for side, (checkout, *settings) in sides.items():
                command = [sys.executable, __file__, "--frames", folder, "--repeats", str(arguments.repeats), *settings]
                env = os.environ | {"PYTHONPATH": str(checkout)}
                run = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
                found[side].append(json.loads(run.stdout.splitlines()[-1]))
    hashes = {side: {run.pop("sha256") for run in runs} for side, runs in found.items()}
    del hashes[ON_DEVICE]
    if len(set.union(*hashes.values())) != 1:
        raise SystemExit(f"the pixels differ: {hashes}")
    best = {side: {part: min(run[part] for run in runs) for part in runs[0]} for side, runs in found.items()}
    rows = []
    for part in best["now"]:
        found = {side: times.get(part) for side, times in best.items()}  # a checkout from before packs has none
        rows.append({"CPU ms per image": part} | {side: "–" if x is None else f"{x:.3g}" for side, x in found.items()})
        if arguments.before:
            before = found["before"]
            rows[-1] |= {"now ÷ before": "–" if before is None else f"{best['now'][part] / before:.2f}"}
    (digest,) = set.union(*hashes.values())
    title = f"An image in the loader, in training with `lnclip.augmentation: paper`; pixels {digest[:16]}"
    write_table(arguments.out, title, machine("cpu"), rows)


if __name__ == "__main__":
    main()
