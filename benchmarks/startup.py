"""How long the first video waits: imports, weights, face detector. The command predict does the same, in this order.

Each run is a process of its own; the smallest figures of all runs are written. CPU seconds count all threads of the
process, and depend little on what else the machine does. The weights are random ones of a small backbone: reading the
1.2 GB of ViT-L/14 comes on top.

python benchmarks/startup.py VIDEO [--runs 5] [--weights WEIGHTS] [--out benchmarks/results/startup.md]
"""

import argparse
import json
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
    times = [(time.perf_counter(), time.process_time())]
    taken = {"Python": (None, times[0][1])}

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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--weights")
    parser.add_argument("--out", default="benchmarks/results/startup.md")
    parser.add_argument("--once", action="store_true", help="Print one run as JSON; this is what each process does.")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(phases(options.video, options.weights)))
        return
    from common import machine, write_table

    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or Path(folder) / "small.safetensors"
        if options.weights is None:
            save_small_weights(weights)
        command = [sys.executable, __file__, options.video, "--weights", str(weights), "--once"]
        runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(options.runs)]
    best = {what: [min(run[what][at] or 0 for run in runs) for at in (0, 1)] for what in runs[0]}
    before = list(best)[: list(best).index("the first video")]
    own = [what for what in before if what not in ("Python", "import torch")]
    best["start-up without Python and import torch"] = [sum(best[what][at] for what in own) for at in (0, 1)]
    rows = [{"": what, "s": f"{wall:.2f}", "CPU s": f"{cpu:.2f}"} for what, (wall, cpu) in best.items()]
    write_table(options.out, "Start-up before the first video", machine("cpu"), rows)


if __name__ == "__main__":
    main()
