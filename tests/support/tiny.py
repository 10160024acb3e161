"""A data set and a model small enough to train in seconds: smooth videos are real, chequered ones fake."""

import json

import cv2
import numpy as np
import yaml

from lnclip_df.config.loading import load_config
from lnclip_df.config.schema import Config

TINY = [
    "lnclip.backbone={name: tiny, pretrained: none, vision: "
    "{image_size: 32, patch_size: 8, width: 32, layers: 2, head_width: 16}}",
    "lnclip.slerp.batch_size=32",
    "lnclip.schedule={warmup_epochs: 1, decay_epochs: 9, lr_min: 1.0e-2, lr_max: 5.0e-2}",
    "lnclip.precision=fp32",
    "lnclip.augmentation=none",
    "lnclip.val_dataset=[toy]",
    "lnclip.benchmarks=[toy]",
    "train_dataset=[toy]",
    "frame_num={train: 2, test: 2}",
    "resolution=32",
    "train_batchSize=8",
    "test_batchSize=8",
    "workers=0",
    "nEpochs=2",
    "rec_iter=1",
]
SPLITS = {"train": range(12), "val": range(12, 18), "test": range(18, 24)}


def configured(root, *overrides) -> Config:
    """The tiny configuration on the data below ``root``."""
    return load_config("lnclip.yaml", [*TINY, f"lnclip.data_root={root}", *overrides])


def train_toy(root, out, *overrides, **options):
    """Train the tiny model on the data below ``root``, on the CPU; arguments as for ``train``."""
    from lnclip_df.training.train import train

    return train(configured(root, *overrides), out, accelerator="cpu", progress=False, **options)


def make_toy(root):
    """Write the data set ``toy``: two classes; 12, 6 and 6 videos of two frames a class."""
    classes = {
        label: {split: {str(n): _video(root, label, n) for n in numbers} for split, numbers in SPLITS.items()}
        for label in ("demo_real", "demo_fake")
    }
    write_dataset(root, "toy", classes)
    return root


def toy_with_weights(root, seed: int = 0):
    """``make_toy``, its configuration, and the path of the weights of an untrained detector."""
    import torch

    from lnclip_df.models.detector import LNCLIPDetector
    from lnclip_df.weights import save_weights

    config = configured(make_toy(root))
    torch.manual_seed(seed)
    weights = root / "run" / "best.safetensors"
    save_weights(LNCLIPDetector(config), weights, {"config": config.to_dict()})
    return config, weights


def toy_yaml(root, *overrides):
    """The tiny configuration on the data below ``root`` as a YAML, as a user would write it."""
    path = root / "toy.yaml"
    path.write_text(yaml.safe_dump(configured(root, *overrides).to_dict()))
    return path


def write_dataset(root, name, classes):
    """Write a dataset JSON where ``configured(root)`` looks for it, and return its path."""
    file = root / "preprocessing" / "dataset_json" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({name: classes}))
    return file


def _video(root, label, number):
    rng = np.random.default_rng(number)
    paths = []
    for frame in range(2):
        image = np.full((32, 32, 3), rng.integers(100, 150, 3)) + rng.normal(0, 8, (32, 32, 3))
        if label == "demo_fake":
            image += 14 * (np.indices((32, 32)).sum(axis=0) // 2 % 2 - 0.5)[..., None]
        path = root / "frames" / label / str(number) / f"{frame:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8))
        paths.append(f"./{path.relative_to(root)}")
    return {"label": label, "frames": paths}
