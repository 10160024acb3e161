"""How long the first video waits: imports, weights, face detector. The command predict does the same, in this order.

Each run is a process of its own; the smallest figures of all runs are written. CPU seconds count all threads of the
process, and depend little on what else the machine does. The weights are random ones of a small backbone: reading the
1.2 GB of ViT-L/14 comes on top.

python benchmarks/startup.py VIDEO [--runs 5] [--weights WEIGHTS] [--before CHECKOUT]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMALL = (
    "lnclip.backbone={name: small, pretrained: none, vision: {image_size: 224, patch_size: 32, width: 64, layers: 2}}"
)


def phases(video, weights):
    """Seconds and CPU seconds of each step, in this process."""
    times, taken = [(time.perf_counter(), time.process_time())], {}

    def done(what):
        times.append((time.perf_counter(), time.process_time()))
        taken[what] = tuple(now - before for now, before in zip(times[-1], times[-2], strict=True))

    import lnclip_df.cli  # noqa: F401

    done("the command line")
    import torch  # noqa: F401

    done("import torch")
    from lnclip_df.core.devices import usable_cores
    from lnclip_df.faces.detectors import shared_detector
    from lnclip_df.scoring import load
    from lnclip_df.scoring.score_files import score_files  # noqa: F401

    done("import the package")
    scorer = load(weights, device="cpu")
    done("build the detector, read small weights")
    shared_detector(scorer.options().crops, usable_cores())
    done("load the face detector")
    for number in ("first", "second"):
        list(scorer.results(video))
        done(f"the {number} video")
    return taken


def save_small_weights(path):
    """Save random weights of a small detector."""
    from lnclip_df import build_detector, load_config
    from lnclip_df.weights import save_weights

    config = load_config("lnclip.yaml", [SMALL])
    save_weights(build_detector(config), path, {"config": config.to_dict()})


def measure(video, weights, path):
    """The figures of one run in a process of its own, with the package of another checkout where ``path`` names one."""
    command = [sys.executable, __file__, video, "--weights", str(weights), "--once"]
    environment = os.environ | ({"PYTHONPATH": str(Path(path).resolve())} if path else {})
    return json.loads(subprocess.check_output(command, text=True, env=environment))


def smallest(runs):
    """Of each step the smallest figures of some runs, and of what the package does before the first video their sum."""
    best = {what: [min(run[what][at] for run in runs) for at in (0, 1)] for what in runs[0]}
    own = [what for what in best if what != "import torch" and "video" not in what]
    return best | {"start-up without import torch": [sum(best[what][at] for what in own) for at in (0, 1)]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--weights")
    parser.add_argument("--before", help="Another checkout, whose figures are measured too.")
    parser.add_argument("--out", default="benchmarks/results/startup.md")
    parser.add_argument("--once", action="store_true", help="Print one run as JSON; this is what each process does.")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(phases(options.video, options.weights)))
        return
    from common import machine, write_table

    sides = {"": None} | ({"before: ": options.before} if options.before else {})
    runs = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or Path(folder) / "small.safetensors"
        if options.weights is None:
            save_small_weights(weights)
        for _ in range(options.runs):
            for side, path in sides.items():
                runs[side].append(measure(options.video, weights, path))
    best = {side: smallest(each) for side, each in runs.items()}
    rows = [
        {"step": what} | {
            side + unit: f"{best[side][what][at]:.2f}" for side in sides for at, unit in enumerate(("s", "CPU s"))
        } for what in best[""]
    ]  # fmt: skip
    write_table(options.out, "Start-up of predict before the first video", machine("cpu"), rows)


if __name__ == "__main__":
    main()
