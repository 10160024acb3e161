"""The detector's own resize (256 to 224 pixels): how exact it is, and its share of a step.

    python benchmarks/resize.py [--batch 4] [--device cuda] [--out benchmarks/results]

The first table compares ways to resize with Pillow's, over crops of a photograph and noise: the grey levels, and the
probabilities of a ViT-L/14 with random weights. The second one is of ViT-L/14, and of
the demo's transformer, whose input has 64 pixels.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from common import machine, write_table
from PIL import Image
from skimage.data import astronaut

from lnclip_df import load_config
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.models.pillow_resize import FRACTION, pillow_bicubic, pillow_weights
from lnclip_df.models.pixels import as_tensor, normalize, stack

OLD, NEW = 256, 224
MODELS = {"ViT-L/14": ("lnclip.yaml", ["lnclip.backbone.pretrained=none"]), "the demo's": ("demo.yaml", [])}


def crops():
    """Eight crops of a photograph and eight of noise, uint8 256×256×3."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 256, (8, 2))
    faces = [astronaut()[y : y + OLD, x : x + OLD] for y, x in corners]
    return [*faces, *rng.integers(0, 256, (8, OLD, OLD, 3), dtype=np.uint8)]


def with_pillow(image):
    """Resize a uint8 H×W×3 crop with Pillow: the reference."""
    return np.array(Image.fromarray(image).resize((NEW, NEW), Image.Resampling.BICUBIC))


def with_opencv(image):
    """Resize a uint8 H×W×3 crop with OpenCV, without antialiasing."""
    return cv2.resize(image, (NEW, NEW), interpolation=cv2.INTER_CUBIC)


def product(dtype, device):
    """A resize by plain products with Pillow's weights, in one precision."""
    weights = torch.from_numpy(pillow_weights(OLD, NEW)).to(device, dtype)

    def resized(image):
        for _ in range(2):  # along rows, then along columns
            image = ((image @ weights.T + 2 ** (FRACTION - 1)) * 2.0**-FRACTION).floor().clamp(0, 255).mT
        return image

    return lambda images: resized(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device, dtype))


def exactness(detector, device):
    """One row per way to resize."""
    images, config = crops(), detector.config
    expected = np.stack([with_pillow(image) for image in images])

    def ours(images):
        x = normalize(stack([as_tensor(image) for image in images]).to(device), config.mean, config.std)
        x = pillow_bicubic(x, NEW, config.mean, config.std)
        std, mean = (torch.tensor(each, device=device).view(3, 1, 1) for each in (config.std, config.mean))
        return ((x * std + mean) * 255).round()

    def probabilities(pixels):
        batch = normalize(stack([as_tensor(image) for image in pixels]).to(device), config.mean, config.std)
        with torch.inference_mode():
            return torch.cat([detector({"image": part})["prob"] for part in batch.split(4)]).cpu()

    ways = {
        "ours, float32 digits": ours,
        "plain products, float64": product(torch.float64, device),
        "plain products, float32": product(torch.float32, device),
        "OpenCV's bicubic (deepfakebench)": lambda images: np.stack([with_opencv(image) for image in images]),
    }
    reference, rows = probabilities(expected), []
    for name, way in ways.items():
        found = way(images)
        if isinstance(found, torch.Tensor):
            found = found.permute(0, 2, 3, 1).cpu().numpy()
        found = found.astype(np.uint8)
        apart = np.abs(found.astype(int) - expected)
        rows.append({
            "resize": name, "values that differ": f"{100 * (apart > 0).mean():.4f} %",
            "largest difference, grey levels": apart.max(),
            "largest difference in probability": f"{(probabilities(found) - reference).abs().max().item():.1e}",
        })  # fmt: skip
    return rows


def seconds(call, device, repeats=3):
    """The fastest of some calls, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def step_of(detector, batch):
    """A training step of a detector, as a call without arguments."""
    optimizer = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], lr=1e-5)

    def step():
        optimizer.zero_grad()
        detector.get_losses(batch, detector(batch))["overall"].backward()
        optimizer.step()

    return step


def costs(device, size):
    """One row per model and precision."""
    rows = []
    for name, (yaml, overrides) in MODELS.items():
        for precision in ("fp32", "bf16"):
            config = load_config(
                yaml, [*overrides, "resolution=256", "lnclip.resize=backbone", f"lnclip.precision={precision}"]
            )
            detector = LNCLIPDetector(config).to(device)
            count = size if name == "ViT-L/14" else 8 * size
            batch = {"image": torch.randn(count, 3, OLD, OLD, device=device)}
            batch["label"] = torch.arange(count, device=device) % 2
            resize = seconds(lambda x=batch["image"], d=detector: d.backbone_input(x), device)
            train = seconds(step_of(detector.train(), batch), device)
            detector.eval()
            with torch.inference_mode():
                infer = seconds(lambda b=batch, d=detector: d(b), device)
            rows.append({
                "model": name, "precision": precision, "batch": count, "resize, ms": f"{1000 * resize:.1f}",
                "training step, ms": f"{1000 * train:.0f}", "share of it": f"{100 * resize / train:.1f} %",
                "inference, ms": f"{1000 * infer:.0f}", "share of that": f"{100 * resize / infer:.1f} %",
            })  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    yaml, overrides = MODELS["ViT-L/14"]
    torch.manual_seed(0)
    detector = LNCLIPDetector(load_config(yaml, [*overrides, "lnclip.precision=fp32"])).to(device).eval()
    title = f"Resizing {OLD} to {NEW} pixels"
    write_table(
        arguments.out / "resize.md", f"{title}, compared with Pillow", machine(device), exactness(detector, device)
    )
    del detector
    write_table(
        arguments.out / "resize-cost.md",
        f"The resize of {OLD}-pixel crops: its share of a step",
        machine(device),
        costs(device, arguments.batch),
    )


if __name__ == "__main__":
    main()
