"""Shared by the benchmarks: describe the machine, write a table."""

import os
import platform
from datetime import date
from pathlib import Path

import torch

from lnclip_df.core.devices import usable_cores

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # commands start as installed packages do, from their bytecode

# Operations per image of ViT-L/14 at 224 pixels with frozen matrices, by torch's FlopCounterMode.
FORWARD, BACKWARD = 156.4e9, 165.4e9


def machine(device) -> str:
    """Processor, threads and PyTorch version, in one line."""
    if torch.device(device).type == "cuda":
        return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
    model = platform.processor() or "CPU"
    if Path("/proc/cpuinfo").is_file():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    return f"{model}, {usable_cores()} cores, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"


def write_table(path, title, where, rows):
    """Write and print rows (dicts of the same keys) as a Markdown table."""
    header = list(rows[0])
    lines = [f"# {title}", "", f"{where}, {date.today():%Y-%m-%d}", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(str(row[key]) for key in header) + " |" for row in rows]
    text = "\n".join(lines) + "\n"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    print(text)
