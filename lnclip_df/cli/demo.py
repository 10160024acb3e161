"""The command that shows everything on synthetic videos: demo."""

from pathlib import Path
from typing import Annotated

from lnclip_df.cli import options as opt
from lnclip_df.cli.output import say


def demo(
    out: Annotated[Path, opt.results("Folder of the run.")] = Path("runs/demo"),
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
):
    """Run everything on small synthetic videos, offline on the CPU: preprocess, train, test, compare.

    Example: lnclip-df demo --out runs/demo

    The figures, in summary.json, show that the method works. They say nothing about real deepfakes.
    """
    from lnclip_df.demo.run import NOTE, run_demo

    summary = run_demo(out, seed=seed, progress=not quiet)
    say((out / "leaderboard" / "leaderboard.md").read_text(encoding="utf-8"))
    say(
        f"held-out video AUROC {100 * summary['video_auroc']:.1f} % (frames {100 * summary['frame_auroc']:.1f} %), "
        f"untrained {100 * summary['untrained_video_auroc']:.1f} %, {summary['seconds']:.0f} s\n\n{NOTE}"
    )
