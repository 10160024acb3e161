"""A clone of the DeepfakeBench checkout that ``LNCLIP_DEEPFAKEBENCH`` names, with data that train in seconds."""

import subprocess

import numpy as np
import yaml
from host_modules import REAL
from PIL import Image
from tiny import write_dataset

from lnclip_df.bench.install import install

SCHEDULE = {"warmup_epochs": 0.5, "decay_epochs": 1.0, "lr_min": 1.0e-5, "lr_max": 3.0e-4}
TINY = {
    "backbone": {
        "name": "tiny",
        "pretrained": "none",
        "vision": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32},
    },
    "slerp": {"enabled": True, "batch_size": 32},
    "schedule": SCHEDULE,
    "precision": "fp32",
}
TRAIN_LENGTHS = {"FF-real": [5, 9, 3], "FF-DF": [4, 7], "FF-NT": [6]}  # frame_num 6: 5+6+3 + 4+6 + 6 = 30 frames
STEPS = 4  # of 8 frames


def clone(root):
    """A clone with the detector installed, a tiny model, a training set and a validation set."""
    subprocess.run(["git", "clone", "-q", REAL, root], check=True)
    install(root)
    change_host(root, lmdb=False)
    change_yaml(root, resolution=64, train_batchSize=8, test_batchSize=8, workers=2, nEpochs=1)
    change_yaml(root, frame_num={"train": 6, "test": 6}, lnclip=TINY)
    make_dataset(root, "FaceForensics++", "train", TRAIN_LENGTHS, "c23")
    make_dataset(root, "LNCLIP-val", "test", {"demo_real": [4, 4], "demo_fake": [4, 4]})
    return root


def change_yaml(root, name="lnclip.yaml", **values):
    """Change keys of a detector's YAML, those under ``lnclip`` one by one."""
    path = root / name
    config = yaml.safe_load(path.read_text())
    ours = {**config["lnclip"], **values.pop("lnclip", {})}
    path.write_text(yaml.safe_dump({**config, **values, "lnclip": ours}))


def change_host(root, scripts=("train", "test"), **values):
    """Change keys of DeepfakeBench's own configuration; comments and our marks stay."""
    for script in scripts:
        path = root / "training" / "config" / f"{script}_config.yaml"
        kept = [line for line in path.read_bytes().splitlines(True) if line.split(b":")[0].decode() not in values]
        new = "".join(f"{key}: {value}\r\n" for key, value in values.items())
        path.write_bytes(new.encode() + b"".join(kept))


def json_of(root, dataset):
    """The path of a dataset JSON."""
    return root / "preprocessing" / "dataset_json" / f"{dataset}.json"


def make_dataset(root, dataset, split, lengths, compression=None, size=64):
    """PNG faces, the fakes brighter than the real ones, and their JSON."""
    rng = np.random.default_rng(0)
    index = {}
    for label, counts in lengths.items():
        videos = {}
        for number, count in enumerate(counts):
            folder = root / "datasets" / "rgb" / dataset / label / "frames" / f"{label}_{number}"
            folder.mkdir(parents=True, exist_ok=True)
            low = 0 if label.endswith("real") else 90
            for k in range(count):
                pixels = rng.integers(low, low + 160, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{k:03d}.png")
            frames = [f"./{path.relative_to(root).as_posix()}" for path in sorted(folder.iterdir())]
            videos[folder.name] = {"label": label, "frames": frames}
        index[label] = {split: {compression: videos} if compression else videos}
    write_dataset(root, dataset, index)
