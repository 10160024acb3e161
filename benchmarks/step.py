"""ViT-L/14: a training step and inference against transformers' CLIP, with the same LayerNorms trained.

    python benchmarks/step.py [--batch 4] [--device cuda] [--compile] [--out benchmarks/results/step.md]

Both sides have random weights and run in turn; the fastest of the repeats counts. A training step is the forward
pass, the cross-entropy of a linear head over the normalised feature, the backward pass and Adam.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from common import machine, write_table
from transformers import CLIPVisionConfig, CLIPVisionModel

from lnclip_df.models.backbones.clip import build_tower, open_clip_spec


def ours(device):
    """Our tower with trainable LayerNorms, and its forward function."""
    tower = build_tower(open_clip_spec("ViT-L-14-quickgelu"))
    tower.init_weights()
    tower.requires_grad_(False).to(device)
    for norm in tower.layer_norms():
        norm.requires_grad_(True)
    return tower, tower


def theirs(device):
    """CLIP of transformers with the same trainable parameters, and its forward function to the CLS token."""
    config = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224,
        patch_size=14, hidden_act="quick_gelu",
    )  # fmt: skip
    model = CLIPVisionModel(config).to(device)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("norm" in name or "layrnorm" in name)
    return model, lambda x: model(pixel_values=x).pooler_output


class Side:
    """One side: a backbone, a head, an optimizer."""

    def __init__(self, build, device, compiled):
        self.module, self.forward = build(device)
        if compiled:
            self.forward = torch.compile(self.forward)
        self.head = torch.nn.Linear(1024, 2, device=device)
        self.trained = [p for p in self.module.parameters() if p.requires_grad] + list(self.head.parameters())
        self.optimizer = torch.optim.Adam(self.trained, lr=1e-5)

    def run(self, x, y, bf16, train):
        """One training step, or one inference."""
        with torch.set_grad_enabled(train):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                feature = self.forward(x)
            logits = self.head(F.normalize(feature.float(), dim=1))
            if train:
                self.optimizer.zero_grad()
                F.cross_entropy(logits, y).backward()
                self.optimizer.step()
        if x.is_cuda:
            torch.cuda.synchronize()

    def timed(self, *arguments):
        """Seconds of one run, and its peak memory in GB on a GPU."""
        if arguments[0].is_cuda:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        self.run(*arguments)
        elapsed = time.perf_counter() - start
        return elapsed, torch.cuda.max_memory_allocated() / 1e9 if arguments[0].is_cuda else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="Use torch.compile on both sides.")
    parser.add_argument("--out", default="benchmarks/results/step.md")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    builds = {"lnclip-df": ours, "transformers": theirs}
    sides = {name: Side(build, device, arguments.compile) for name, build in builds.items()}
    sizes = {sum(p.numel() for p in side.trained) for side in sides.values()}
    if sizes != {104_450}:
        raise SystemExit(f"the two sides train {sizes} parameters, not 104,450 each")
    x = torch.randn(arguments.batch, 3, 224, 224, device=device)
    y = torch.arange(arguments.batch, device=device) % 2
    rows = []
    for bf16 in (False, True):
        for train in (True, False):
            times, memory = {name: [] for name in sides}, {}
            for repeat in range(arguments.repeats + 1):
                for name, side in sides.items():
                    elapsed, memory[name] = side.timed(x, y, bf16, train)
                    if repeat:  # the first one warms up
                        times[name].append(elapsed)
            fast = {name: min(values) for name, values in times.items()}
            row = {"what": "training step" if train else "inference", "precision": "bf16" if bf16 else "fp32"}
            row |= {f"{name}, s": f"{value:.3f}" for name, value in fast.items()}
            row["ratio"] = f"{fast['lnclip-df'] / fast['transformers']:.2f}"
            if device.type == "cuda":
                row |= {f"{name}, GB": f"{value:.1f}" for name, value in memory.items()}
            rows.append(row)
    title = f"ViT-L/14, batch {arguments.batch}{', torch.compile' if arguments.compile else ''}"
    write_table(arguments.out, title, machine(device), rows)


if __name__ == "__main__":
    main()
