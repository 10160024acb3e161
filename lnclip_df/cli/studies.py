"""Studies: several trainings that answer one question, over seeds, with one table and plot.

Trainings run side by side, one on each of --devices. A finished one is not repeated: the same command continues where
it stopped. With --demo a study runs on the demo's data in minutes, to show how it works; its figures then say nothing
about real deepfakes.

Example: lnclip-df study ablation --demo --out runs/ablation-demo
"""

from pathlib import Path
from typing import Annotated

from lnclip_df.cli import options as opt
from lnclip_df.cli.output import say

DEMO = Path("runs/demo")


def ablation(
    out: opt.StudyOut = Path("runs/study-ablation"),
    seeds: opt.Seeds = "0,1,2",
    overrides: opt.Set = opt.NONE,
    datasets: opt.TestSets = opt.NONE,
    demo: opt.Demo = False,
    demo_data: opt.DemoFolder = DEMO,
    accelerator: opt.Accelerator = "auto",
    devices: opt.Devices = "auto",
    quiet: opt.Quiet = False,
):
    """Train the five steps from a linear probe to the whole method (the YAMLs of ablation/), and test each.

    Example: lnclip-df study ablation --seeds 0,1,2 --datasets Celeb-DF-v2,DFDC --out runs/ablation

    Example: lnclip-df study ablation --demo --out runs/ablation-demo

    --out gets summary.md, .json and .csv, ablation.png, and the run of each step and seed, which lnclip-df leaderboard
    and compare take.
    """
    from lnclip_df.studies.ablation import Ablation

    _run(Ablation, out, seeds, overrides, datasets, demo, demo_data, accelerator, devices, quiet)


def pairing(
    config: opt.ConfigFile = "lnclip.yaml",
    dataset: Annotated[str | None, opt.dataset("Data set whose subsets are used. By default train_dataset.")] = None,
    out: opt.StudyOut = Path("runs/study-pairing"),
    seeds: opt.Seeds = "0,1,2",
    overrides: opt.Set = opt.NONE,
    datasets: opt.TestSets = opt.NONE,
    demo: opt.Demo = False,
    demo_data: opt.DemoFolder = DEMO,
    accelerator: opt.Accelerator = "auto",
    devices: opt.Devices = "auto",
    quiet: opt.Quiet = False,
):
    """Train on paired and on unpaired data (the paper's Figure 3): validation over steps, and the final test.

    Example: lnclip-df pairs preprocessing/dataset_json/FaceForensics++.json --root datasets/rgb
    && lnclip-df study pairing --out runs/pairing

    Example: lnclip-df study pairing --demo --out runs/pairing-demo

    --out gets summary.md, .json and .csv, curves.csv, pairing.png, and the run of each kind and seed.
    """
    from lnclip_df.studies.pairing import Pairing

    _run(
        Pairing, out, seeds, overrides, datasets, demo, demo_data, accelerator, devices, quiet,
        yaml=config, dataset=dataset,
    )  # fmt: skip


def training_set(
    configs: opt.TrainingYamls = opt.NONE,
    out: opt.StudyOut = Path("runs/study-training-set"),
    seeds: opt.Seeds = "0,1,2",
    overrides: opt.Set = opt.NONE,
    datasets: opt.TestSets = opt.NONE,
    demo: opt.Demo = False,
    demo_data: opt.DemoFolder = DEMO,
    accelerator: opt.Accelerator = "auto",
    devices: opt.Devices = "auto",
    quiet: opt.Quiet = False,
):
    """Train on one data set after another, each time from the start, and test each on all (the paper's Figure 4).

    Example: lnclip-df study training-set --configs training/ffpp.yaml,training/ffiw.yaml --out runs/training-set

    Example: lnclip-df study training-set --demo --out runs/training-set-demo

    --out gets summary.md, .json and .csv, training-set.png (a heat map), and the run of each training set and seed.
    """
    from lnclip_df.studies.training_set import YAMLS, TrainingSet

    _run(
        TrainingSet, out, seeds, overrides, datasets, demo, demo_data, accelerator, devices, quiet,
        configs=configs or YAMLS,
    )  # fmt: skip


def continual(
    configs: opt.TrainingYamls = opt.NONE,
    shares: Annotated[str, opt.data("Shares of the old videos to replay, separated by commas.")] = "0,0.1",
    out: opt.StudyOut = Path("runs/study-continual"),
    seeds: opt.Seeds = "0,1,2",
    overrides: opt.Set = opt.NONE,
    datasets: Annotated[list[str], opt.datasets("Data sets to test on, besides those of the steps.")] = opt.NONE,
    demo: opt.Demo = False,
    demo_data: opt.DemoFolder = DEMO,
    accelerator: opt.Accelerator = "auto",
    devices: opt.Devices = "auto",
    quiet: opt.Quiet = False,
):
    """Train on one data set, then continue with the next, with and without replay of the old: what is forgotten?

    Example: lnclip-df study continual --configs training/ffpp.yaml,training/dsv2.yaml --shares 0,0.1 --out runs/new

    Example: lnclip-df study continual --demo --out runs/continual-demo

    --out gets summary.md, .json and .csv with the AUROC on every step's test set after each step, continual.png, and
    the run of each step and seed.
    """
    from lnclip_df.studies.continual import YAMLS, Continual, parse_shares

    chosen = {"configs": configs or YAMLS, "shares": parse_shares(shares)}
    _run(Continual, out, seeds, overrides, datasets, demo, demo_data, accelerator, devices, quiet, **chosen)


def _run(study, out, seeds, overrides, datasets, demo, demo_folder, accelerator, devices, quiet, **own):
    """Run a study with the options of every study and its own, and print its summary."""
    from lnclip_df.demo.for_studies import demo_data
    from lnclip_df.studies.protocol import parse_seeds

    study(
        out, seeds=parse_seeds(seeds), overrides=overrides, datasets=datasets,
        demo=demo_data(demo_folder, out, progress=not quiet) if demo else None, accelerator=accelerator,
        devices=devices, progress=not quiet, **own,
    ).run()  # fmt: skip
    say((out / "summary.md").read_text(encoding="utf-8") + f"\nResults: {out}")
