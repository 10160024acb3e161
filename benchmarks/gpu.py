"""On one GPU: does everything compute there what it computes on a CPU, and how fast is it?

    python benchmarks/gpu.py [--batch 128] [--budget 500] [--only NAME …] [--out benchmarks/results]
    python benchmarks/gpu.py --dry-run          # tiny sizes on the CPU: checks this script, not a GPU

Checks come first, then rates, then whole programs; one that does not fit into what is left of the budget (seconds) is
skipped. The rates are of ViT-L/14 at 224 pixels with random weights and trained LayerNorms. GenD-like is transformers'
CLIP as the authors' later release trains it, with its pairwise losses. The limit is that of bf16 matrix products,
measured in the same run. `epoch` is a whole `lnclip-df train` with its loader. Exit status 1: a check failed.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from common import BACKWARD, FORWARD, machine, write_table
from loader import make_frames
from torch import nn

from lnclip_df import LNCLIPDetector, load_config
from lnclip_df.core.devices import usable_cores
from lnclip_df.evaluation.loading import OnDevice
from lnclip_df.models.sphere import alignment, normalize, slerp_augment, uniformity

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

TINY = "{name: tiny, pretrained: none, vision: {image_size: 32, patch_size: 8, width: 64, layers: 3}}"
LARGE = "{name: ViT-L-14-quickgelu, pretrained: none}"


class Setup:
    """The device, the sizes, and the detector with random weights, drawn once."""

    def __init__(self, tiny: bool, batch: int):
        self.tiny, self.batch = tiny, 8 if tiny else batch
        self.size, self.grown = (32, 64) if tiny else (224, 1024)
        self.device = torch.device("cpu" if tiny else "cuda")
        self.model = LNCLIPDetector(self.config())

    def config(self, *overrides):
        backbone = f"lnclip.backbone={TINY if self.tiny else LARGE}"
        sizes = [f"resolution={self.size}", f"train_batchSize={self.batch}", f"lnclip.slerp.batch_size={self.grown}"]
        return load_config("lnclip.yaml", [backbone, *sizes, "lnclip.compile=false", *overrides])

    def detector(self, *overrides, device=None):
        model = copy.deepcopy(self.model)
        model.config = self.config(*overrides)
        model.settings = model.config.lnclip
        model.backbone.bf16_residual = model.settings.residual == "bf16"
        return model.to(device or self.device)

    def data(self, count, device=None):
        rng = torch.Generator().manual_seed(count)
        image = torch.randint(256, (count, 3, self.size, self.size), generator=rng, dtype=torch.uint8)
        return {
            "image": image.to(device or self.device),
            "label": torch.arange(count, device=device or self.device) % 2,
        }

    def measure(self, step, repeats=12):
        """Seconds of a step, queued and not waited for one by one, and the peak memory in GB; NaN on a CPU."""
        for _ in range(3):
            step()
        if self.tiny:
            start = time.perf_counter()
            step()
            return time.perf_counter() - start, float("nan")
        torch.cuda.reset_peak_memory_stats()
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
        marks[0].record()
        for mark in marks[1:]:
            step()
            mark.record()
        torch.cuda.synchronize()
        times = [start.elapsed_time(end) / 1e3 for start, end in pairwise(marks)]
        return float(np.median(times)), torch.cuda.max_memory_allocated() / 1e9


def far(found, expected):
    """Relative distance of two tensors."""
    found, expected = (each.detach().double().cpu() for each in (found, expected))
    return ((found - expected).norm() / expected.norm()).item()


def require(condition, message):
    """Raise AssertionError with a message unless a condition holds."""
    if not condition:
        raise AssertionError(message)


# ---- checks: each returns what it found, or raises AssertionError


def features(setup):
    """Features are those of the CPU in float64."""
    data, cpu = setup.data(4), setup.data(4, "cpu")
    reference = setup.detector("lnclip.precision=fp32", device="cpu").double().eval()
    with torch.inference_mode():
        expected = reference({"image": reference.backbone_input(cpu["image"]).double()})["feat"]
        found = {
            p: far(setup.detector(f"lnclip.precision={p}").eval()(data)["feat"], expected) for p in ("fp32", "bf16")
        }
        compiled = setup.detector(f"lnclip.compile={'false' if setup.tiny else 'true'}").eval()(data)["feat"]
        found["bf16, compiled"] = far(compiled, expected)
    require(found["fp32"] < 1e-3 and found["bf16"] < 3e-2 and found["bf16, compiled"] < 3e-2, found)
    return found


def gradients(setup):
    """Gradients of the trained parameters are those of the CPU, and the frozen ones have none."""

    def of(device, precision):
        model = setup.detector(f"lnclip.precision={precision}", "lnclip.slerp.enabled=false", device=device).train()
        data = setup.data(2, device)
        model.get_losses(data, model(data))["overall"].backward()
        require(all((p.grad is None) != p.requires_grad for p in model.parameters()), "wrong parameters have gradients")
        return torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.requires_grad])

    expected = of("cpu", "fp32")
    found = {p: far(of(setup.device, p), expected) for p in ("fp32", "bf16")}
    require(found["fp32"] < 1e-2, found)
    return found | {"trained": len(expected)}


def sphere(setup):
    """Slerp and the losses follow the seed and agree with the CPU in float64."""
    z = normalize(torch.randn(setup.batch, 64, device=setup.device)).requires_grad_()
    y = torch.arange(setup.batch, device=setup.device) % 2
    draws = [slerp_augment(z, y, 8 * setup.batch, torch.Generator(setup.device).manual_seed(3)) for _ in range(2)]
    require(torch.equal(draws[0][0], draws[1][0]), "one seed gives two draws")
    grown, labels = draws[0]
    value, exact = alignment(grown, labels) + uniformity(grown), grown.detach().double().cpu()
    value.backward()
    error = abs(value.item() - (alignment(exact, labels.cpu()) + uniformity(exact)).item())
    require(error < 1e-4 and torch.isfinite(z.grad).all(), f"the loss is off by {error}")
    return {"error": error}


def waits(setup):
    """No step waits for the GPU."""
    model, data = setup.detector().train(), setup.data(setup.batch)
    model.get_losses(data, model(data))["overall"].backward()
    if setup.tiny:
        return {"note": "on a GPU alone"}
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.get_losses(data, model(data))["overall"].backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = [f"{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message)]
    require(not places, places)
    return {"waits": 0}


def prefetching(setup):
    """Batches copied on a stream of their own arrive whole, while the device is busy."""
    pixels = torch.arange(40).repeat_interleave(1 << 20).view(40, -1).to(torch.uint8)
    pinned = pixels if setup.tiny else pixels.pin_memory()
    busy = torch.randn(2048, 2048, device=setup.device)
    for number, batch in enumerate(OnDevice([{"image": row} for row in pinned], setup.device)):
        busy = normalize(busy @ busy)
        require(bool((batch["image"] == number).all()), f"batch {number} is damaged")
    return {"batches": len(pixels)}


def programs(setup):
    """A training that resumes equals one in one go, and a test on the device equals one on the CPU."""
    from tiny import configured, make_toy

    from lnclip_df.evaluation.predictions import read_predictions
    from lnclip_df.evaluation.test import test
    from lnclip_df.training.train import train

    with tempfile.TemporaryDirectory() as folder:
        root, switches = make_toy(Path(folder)), {"accelerator": "cpu" if setup.tiny else "gpu", "progress": False}
        runs = [train(configured(root), root / "one", **switches)]
        train(configured(root, "nEpochs=1"), root / "two", **switches)
        runs.append(train(configured(root), root / "two", resume=True, **switches))
        losses = [[row["train"]["overall"] for row in run["history"]] for run in runs]
        gap = far(torch.tensor(losses[0]), torch.tensor(losses[1]))
        prob = []
        for device in ("cpu", setup.device.type):
            test(configured(root), root / "one" / "best.safetensors", root / device, device=device, progress=False)
            prob.append(np.array(read_predictions(root / device / "predictions" / "toy.parquet")[0]["prob"]))
    apart = float(np.abs(prob[0] - prob[1]).max())
    require(gap < 0.02 and apart < 1e-3, f"losses differ by {gap}, probabilities by {apart}")
    return {"losses": gap, "probabilities": apart}


def ddp(setup):
    """A training in one process under DDP (NCCL on a GPU) has the losses of one without."""
    from tiny import configured, make_toy

    with tempfile.TemporaryDirectory() as folder:
        root, found = make_toy(Path(folder)), {}
        (root / "toy.yaml").write_text(yaml.safe_dump(configured(root, "nEpochs=0").to_dict()))
        for strategy in ("auto", "ddp"):
            command = [sys.executable, "-m", "lnclip_df", "train", "--config", str(root / "toy.yaml"), "--devices", "1"]
            command += ["--out", str(root / strategy), "--strategy", strategy]
            command += ["--accelerator", "cpu" if setup.tiny else "gpu"]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            (row,) = json.loads((root / strategy / "history.json").read_text())["epochs"]
            found[strategy] = row["train"]["overall"]
    require(abs(found["auto"] - found["ddp"]) < 0.02 * abs(found["auto"]), found)
    return found


def epoch(setup):
    """Images per second of the loader alone, and of a training with it; a step waits for the GPU here."""
    from lnclip_df.datasets.dataset_json import read_videos
    from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
    from lnclip_df.evaluation.loading import make_loader
    from lnclip_df.training.augmentation import TrainTransform
    from lnclip_df.training.module import LNCLIPModule
    from lnclip_df.training.train import train

    count, repeats, workers = (24, 1, 0) if setup.tiny else (512, 12, usable_cores())
    marks, plain = [], LNCLIPModule.on_train_batch_start

    def marked(self, batch, batch_idx):
        if not setup.tiny:
            torch.cuda.synchronize()
        marks.append(time.perf_counter())
        plain(self, batch, batch_idx)

    with tempfile.TemporaryDirectory() as folder:
        make_frames(Path(folder), count)
        frames = [f"./{number:04}.png" for number in range(count)]
        videos = {"train": {str(n): frames[8:] for n in range(repeats)}, "val": {"v": frames[:8]}, "test": {}}
        classes = {label: {split: {name: {"label": label, "frames": paths} for name, paths in group.items()}
                           for split, group in videos.items()} for label in ("demo_real", "demo_fake")}  # fmt: skip
        (Path(folder) / "photo.json").write_text(json.dumps({"photo": classes}))
        config = setup.config().replace({
            "resolution": 256, "lnclip.data_root": folder, "dataset_json_folder": folder, "train_dataset": ["photo"],
            "lnclip.val_dataset": ["photo"], "frame_num": {"train": count, "test": 8}, "workers": workers, "nEpochs": 0,
            "lnclip.compile": None,
        })  # fmt: skip
        dataset = FrameDataset(
            config, read_videos(config, ["photo"], "train"), frames_per_video=count, transform=TrainTransform(config)
        )
        order = EpochSampler(len(dataset), seed=0, shuffle=True)
        loader = iter(
            make_loader(dataset, order, batch_size=setup.batch, workers=workers, device=setup.device, drop_last=True)
        )
        next(loader)
        began, batches = time.perf_counter(), sum(1 for _ in loader)
        alone = setup.batch * batches / (time.perf_counter() - began)
        LNCLIPModule.on_train_batch_start = marked
        try:
            train(config, Path(folder) / "run", accelerator="cpu" if setup.tiny else "gpu", devices=1, progress=False)
        finally:
            LNCLIPModule.on_train_batch_start = plain
    inner = marks[len(marks) // 4 :]  # the first ones compile
    trained = setup.batch * (len(inner) - 1) / (inner[-1] - inner[0])
    return {"workers": workers, "loader alone, images/s": round(alone), "training, images/s": round(trained)}


# ---- rates: each returns a training step and an inference


def ours(compiled, residual="fp32"):
    """This package: slerp to 1024, three losses, Adam."""

    def sides(setup):
        model = setup.detector(f"lnclip.compile={compiled}", f"lnclip.residual={residual}")
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-5)
        data = setup.data(setup.batch)

        def step():
            model.train()
            optimizer.zero_grad()
            model.get_losses(data, model(data))["overall"].backward()
            optimizer.step()

        def infer():
            with torch.inference_mode():
                model.eval()(data)

        return step, infer

    return sides


def gend_like(compiled):
    """transformers' CLIP: LayerNorms and head, AdamW, losses over all pairs of the batch, each read back."""

    def sides(setup):
        from transformers import CLIPVisionConfig, CLIPVisionModel

        width, layers, heads, patch = (64, 3, 1, 8) if setup.tiny else (1024, 24, 16, 14)
        shape = CLIPVisionConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads,
            image_size=setup.size, patch_size=patch, hidden_act="quick_gelu",
        )  # fmt: skip
        model, head = CLIPVisionModel(shape).to(setup.device), nn.Linear(width, 2).to(setup.device)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("norm" in name)
        trained = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
        optimizer, data = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0), setup.data(setup.batch)
        image, y = setup.model.backbone_input(data["image"]), data["label"]
        forward = torch.compile(model) if compiled == "true" else model

        def feature():
            with torch.autocast(setup.device.type, torch.bfloat16):
                return F.normalize(forward(pixel_values=image).pooler_output.float(), dim=1)

        def step():
            z = feature()
            pairs = (y[:, None] == y[None]).triu(1).nonzero()
            terms = [
                F.cross_entropy(head(z), y),
                0.1 * (z[pairs[:, 0]] - z[pairs[:, 1]]).norm(dim=1).pow(2).mean(),
                0.5 * torch.pdist(z).pow(2).mul(-2).exp().mean().clamp(min=1e-6).log(),
            ]
            for term in terms:
                term.item()
            optimizer.zero_grad()
            sum(terms).backward()
            optimizer.step()

        def infer():
            with torch.inference_mode():
                head(feature()).softmax(1)

        return step, infer

    return sides


CHECKS = {check.__name__: check for check in (features, gradients, sphere, waits, prefetching, programs, ddp, epoch)}
RATES = {
    "ours": ours("false"), "GenD-like": gend_like("false"), "ours, bf16 residual": ours("false", "bf16"),
    "ours, blocks compiled": ours("true"), "GenD-like, compiled": gend_like("true"),
    "ours, blocks compiled, bf16 residual": ours("true", "bf16"),
}  # fmt: skip
SECONDS = 60  # that a check or a side may take; compiled ones twice that


def limit(setup):
    """Operations per second of bf16 matrix products."""
    n = 256 if setup.tiny else 8192
    a, b = (torch.randn(n, n, device=setup.device).bfloat16() for _ in range(2))
    return 2 * n**3 / setup.measure(lambda: a @ b)[0]


def rate_rows(setup, name, sides, peak):
    """A row for the training step and one for inference."""
    torch._dynamo.reset()
    rows = []
    step, infer = sides(setup)
    for what, run, work in (("training step", step, FORWARD + BACKWARD), ("inference", infer, FORWARD)):
        seconds, memory = setup.measure(run)
        images = setup.batch / seconds
        rows.append({
            "what": what, "side": name, "ms": f"{1000 * seconds:.1f}", "images/s": f"{images:.0f}",
            "of the limit": "–" if setup.tiny else f"{images * work / peak:.2f}", "GB": f"{memory:.1f}",
        })  # fmt: skip
    return rows


def against_gend(rows):
    """Add to each row how many times faster it is than the fastest GenD-like one of its kind."""
    for row in rows:
        theirs = [float(each["ms"]) for each in rows if "GenD" in each["side"] and each["what"] == row["what"]]
        row["times GenD-like"] = f"{min(theirs) / float(row['ms']):.2f}" if theirs else "–"
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--budget", type=float, default=500)
    parser.add_argument("--only", nargs="*", default=[*CHECKS, *RATES], choices=[*CHECKS, *RATES])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    start, setup, checks, rates = time.monotonic(), Setup(arguments.dry_run, arguments.batch), [], []
    peak = limit(setup)
    for name in arguments.only:
        compiled = "compiled" in name
        if compiled and setup.tiny:  # takes minutes on a CPU
            continue
        needed = SECONDS * (2 if compiled else 1)
        if time.monotonic() - start + needed > arguments.budget:
            checks.append({"check": name, "result": "skipped", "found": f"needs {needed} s"})
            continue
        try:
            if name in RATES:
                rates += rate_rows(setup, name, RATES[name], peak)
            else:
                checks.append({"check": name, "result": "passed", "found": CHECKS[name](setup)})
        except Exception as error:
            traceback.print_exc()
            checks.append({"check": name, "result": "failed", "found": f"{type(error).__name__}: {str(error)[:200]}"})
    where = machine(setup.device)
    folder = Path(tempfile.mkdtemp()) if setup.tiny else arguments.out
    for file, title, rows in (
        ("gpu-checks", "Checks on one GPU", checks),
        ("gpu", "Rates on one GPU", against_gend(rates)),
    ):
        if rows:
            write_table(folder / f"{file}.md", f"{title}, batch {setup.batch}", where, rows)
    return int(any(row["result"] == "failed" for row in checks))


if __name__ == "__main__":
    sys.exit(main())
