"""ViT-L/14: a whole training step and inference, with this package's tower and with transformers' CLIP in its place.

    python benchmarks/step.py [--batch 4] [--rounds 5] [--device cuda] [--compile] [--out benchmarks/results/step.md]

A training step is the loader's next batch (PNG crops of 256 pixels, `lnclip.augmentation: paper`), the resize, the
backbone, slerp, the three losses, the backward pass and Adam; inference has neither augmentation nor losses. All but
the backbone is the same code on both sides, and both train the same LayerNorms of random weights.

Each side of each row lives in its own process, so that its peak memory is its own. The two sides take turns, one step
each, in an order that changes every round; the first round warms up. On a CPU the seconds are CPU time, of the threads
that compute and of the loader (waiting threads sleep): other processes of the machine change it far less than the wall
clock's. Shown are the fastest step of each side, the time that its matrix products would take at the rate of a single
one, and the median over the rounds of the ratio. A quiet CPU of 2 cores takes 5 minutes.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from itertools import cycle
from pathlib import Path

from loader import make_frames

SIDES = ("lnclip-df", "transformers")
MODES = [(precision, train) for precision in ("fp32", "bf16") for train in (True, False)]
VISION = {"image_size": 224, "patch_size": 14, "width": 1024, "layers": 24}  # ViT-L/14, of heads of 64 channels
TRAINED = 104_450  # parameters on either side


def transformers_backbone(settings):
    """CLIP of transformers up to the normalised CLS token, as a backbone of this package."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    from lnclip_df.models.backbones import processor_of
    from lnclip_df.models.backbones.base import Backbone

    class Theirs(Backbone):
        width = VISION["width"]

        def __init__(self):
            super().__init__()
            self.processor = processor_of(settings)
            shape = {key: VISION[key] for key in ("image_size", "patch_size")}
            shape |= {"hidden_size": self.width, "intermediate_size": 4 * self.width, "hidden_act": "quick_gelu"}
            heads, layers = self.width // 64, VISION["layers"]
            self.model = CLIPVisionModel(CLIPVisionConfig(**shape, num_attention_heads=heads, num_hidden_layers=layers))

        def forward(self, image):
            return self.model(pixel_values=image).pooler_output

    return Theirs()


class Side:
    """One side of a row in its own process: a detector, an optimizer, and a loader."""

    def __init__(self, name, precision, train, folder, arguments):
        import torch

        from lnclip_df import LNCLIPDetector, load_config
        from lnclip_df.datasets.dataset_json import read_videos
        from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
        from lnclip_df.evaluation.loading import OnDevice, make_loader
        from lnclip_df.training.augmentation import TrainTransform

        torch.manual_seed(0)
        self.device = torch.device(arguments.device)
        backbone = {"name": "ViT-L/14", "pretrained": "none", "vision": VISION}
        keys = {"lnclip.backbone": backbone, "lnclip.data_root": folder, "dataset_json_folder": folder}
        keys |= {"lnclip.precision": precision, "lnclip.compile": arguments.compile}
        config = load_config("lnclip.yaml", keys | {"train_batchSize": arguments.batch})
        backbone = None if name == SIDES[0] else transformers_backbone(config.lnclip.backbone)
        model = LNCLIPDetector(config, backbone).to(self.device).train(train)
        trained = [p for p in model.parameters() if p.requires_grad]
        if sum(p.numel() for p in trained) != TRAINED:
            raise SystemExit(f"{name} trains {sum(p.numel() for p in trained)} parameters, not {TRAINED}")
        self.precision, self.training = precision, train
        self.model, self.optimizer = model, torch.optim.Adam(trained, lr=1e-5)
        videos, transform = read_videos(config, ["photo"], "train"), TrainTransform(config) if train else None
        frames = FrameDataset(config, videos, frames_per_video=len(videos[0].frames), transform=transform)
        order = EpochSampler(len(frames), seed=0, shuffle=train)
        loader = make_loader(
            frames, order, batch_size=arguments.batch, workers=arguments.workers, drop_last=True, device=self.device
        )
        self.batches = cycle_anew(OnDevice(loader, self.device, ("image", "label")))

    def products(self):
        """Operations per second of a product of the MLP's size, the fastest of ten; packed as inference takes it."""
        import torch

        from lnclip_df.models.backbones.clip import Products

        dtype, holder = {"fp32": torch.float32, "bf16": torch.bfloat16}[self.precision], Products()
        weight, bias = (torch.randn(shape, device=self.device, dtype=dtype) for shape in ((4096, 1024), (4096,)))
        x, times = torch.randn(1024, 1024, device=self.device, dtype=dtype), []
        with torch.no_grad():
            for _ in range(11):  # the first one packs
                began = self.now()
                holder.linear("product", x, weight, bias)
                times.append(self.now() - began)
        return 2 * 1024 * 4096 * 1024 / min(times)

    def now(self):
        """Seconds: of the clock when a GPU has done its work, else of this process's CPU time."""
        import torch

        if self.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def step(self):
        """Seconds of one training step or inference, and the peak memory in GB."""
        import torch

        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        began = self.now()
        with torch.inference_mode(not self.training):
            batch = next(self.batches)
            predicted = self.model(batch)
            if self.training:
                self.optimizer.zero_grad()
                self.model.get_losses(batch, predicted)["overall"].backward()
                self.optimizer.step()
        elapsed = self.now() - began
        return elapsed, torch.cuda.max_memory_allocated() / 1e9 if cuda else peak_memory()


def cycle_anew(batches):
    """The batches of a loader without end."""
    for loader in cycle([batches]):
        yield from loader


def peak_memory():
    """The largest resident memory of this process since it was reset, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def serve(name, mode, folder, arguments, pipe):
    """A side's process: sends the rate of its products, then what ``Side.step`` returns whenever True comes."""
    side = Side(name, *mode, folder, arguments)
    pipe.send(side.products())
    while pipe.recv():
        pipe.send(side.step())


def take_turns(mode, folder, arguments):
    """Run both sides of a row; return {side: (seconds, GB) of each measured step} and the rate of a single product."""
    context, pipes, processes = multiprocessing.get_context("spawn"), {}, []
    found, rates = {name: [] for name in SIDES}, []
    for name in SIDES:
        pipes[name], other = context.Pipe()
        processes.append(context.Process(target=serve, args=(name, mode, folder, arguments, other)))
        processes[-1].start()
        other.close()  # so that the end of a side that fails is seen here
        rates.append(pipes[name].recv())
    for number in range(arguments.rounds + 1):
        for name in SIDES[:: 1 if number % 2 else -1]:
            pipes[name].send(True)
            found[name].append(pipes[name].recv())
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    return {name: steps[1:] for name, steps in found.items()}, max(rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="Measured steps of each kind and side.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="Processes of the loader. Only 0 counts its CPU time.")
    parser.add_argument("--compile", action="store_true", help="Use torch.compile on both sides.")
    parser.add_argument("--out", default="benchmarks/results/step.md")
    arguments = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"  # before torch starts its threads in the sides' processes
    with tempfile.TemporaryDirectory() as folder:
        make_frames(Path(folder), 8 * arguments.batch)
        measured = {mode: take_turns(mode, folder, arguments) for mode in MODES}

    from common import BACKWARD, FORWARD, machine, write_table

    rows = []
    for (precision, train), (found, rate) in measured.items():
        row = {"what": "training step" if train else "inference", "precision": precision}
        for name in SIDES:
            row[f"{name}, s"] = f"{min(seconds for seconds, _ in found[name]):.3f}"
        work = arguments.batch * (FORWARD + (BACKWARD if train else 0)) / rate
        row["products alone, s"] = f"{work:.3f}"
        pairs = zip(*found.values(), strict=True)
        row["ratio"] = f"{statistics.median(ours / theirs for (ours, _), (theirs, _) in pairs):.2f}"
        for name in SIDES:
            row[f"{name}, GB"] = f"{max(memory for _, memory in found[name]):.2f}"
        rows.append(row)
    seconds = "CPU seconds" if arguments.device == "cpu" else "seconds"
    compiled = ", torch.compile" if arguments.compile else ""
    title = f"ViT-L/14, batch {arguments.batch}, loader, slerp and losses included{compiled}; {seconds}"
    write_table(arguments.out, title, machine(arguments.device), rows)


if __name__ == "__main__":
    main()
