"""The command that goes the whole way, from the data sets on disk to the leaderboard: reproduce."""

from pathlib import Path
from typing import Annotated

import typer

from lnclip_df.cli import options as opt
from lnclip_df.cli.output import say

RECIPES = {"lnclip": "lnclip.yaml", "gend": "gend/clip.yaml"}


def reproduce(
    root: opt.Root,
    out: Annotated[Path, opt.results("Folder of the run.")],
    recipe: Annotated[
        str, opt.detector("Recipe to train: lnclip (the paper), gend (its later release), or any detector YAML.")
    ] = "lnclip",
    overrides: opt.Set = opt.NONE,
    weights: Annotated[
        str | None, opt.detector("Weights to test, of any kind that test reads. Without them, a detector is trained.")
    ] = None,
    datasets: opt.TestSets = opt.NONE,
    crops: Annotated[
        str | None,
        opt.faces(
            "Recipe of the crops: paper, gend or deepfakebench. By default a released model's own, gend where the YAML "
            "has lnclip.augmentation: gend, else paper."
        ),
    ] = None,
    detector: Annotated[str | None, opt.faces("Face detector, which the crops of gend need: det_10g.onnx.")] = None,
    predictor: opt.Predictor = None,
    faces: opt.FacesRoot = None,
    folder: opt.Map = opt.NONE,
    stages: Annotated[
        list[str], opt.names("Stages: preprocess, rearrange, audit, train, test, leaderboard.", opt.running)
    ] = opt.NONE,
    against: Annotated[
        str | None,
        opt.results(
            "Published row to compare with. By default that of the recipe or released model, else LNCLIP-DF. The later "
            "release (gend) has no published row here."
        ),
    ] = None,
    dry_run: Annotated[
        bool, opt.running("Show the plan, with its time and disk space, and stop.", "--dry-run")
    ] = False,
    workers: opt.Workers = None,
    shard: opt.Shard = None,
    accelerator: opt.Accelerator = "auto",
    devices: opt.Devices = "auto",
    strategy: opt.Strategy = "auto",
    quiet: opt.Quiet = False,
):
    """Reproduce the table: preprocess, rearrange, audit, train, test and compare whatever data sets are on disk.

    Example: lnclip-df reproduce --root datasets/rgb --out runs/table --dry-run

    Example: lnclip-df reproduce --root datasets/rgb --out runs/table --weights runs/first/best.safetensors --datasets
    Celeb-DF-v2,UADFV

    A data set that is absent or invalid leaves its column empty; the report names it, and where to ask for it. The same
    command continues an interrupted run. A finished stage is repeated only if what it was made from has changed. --out
    gets report.md and .json, leaderboard/, the detector's folder, dataset_json/, audit/, and the records in
    stages.json. Face crops go beside the videos, or below --faces. Exit status 1: a stage has failed.
    """
    from lnclip_df.config.loading import load_config
    from lnclip_df.preprocess import RunOptions, crop_settings
    from lnclip_df.reproduce.job import Detector, make_job, row_of
    from lnclip_df.reproduce.plan import KINDS
    from lnclip_df.reproduce.report import make_report, text
    from lnclip_df.reproduce.run import plan_of, read_records, reproduce
    from lnclip_df.weights import Checkpoint

    yaml, cut = RECIPES.get(recipe, recipe), None
    if weights is None:
        row, made = "trained", Detector(load_config(yaml, overrides))
    else:
        checkpoint = Checkpoint.open(weights)
        row, made = _row(Path(weights)), Detector(checkpoint.config_for(None, overrides), checkpoint)
        if checkpoint.model:
            yaml, cut = checkpoint.model.yaml, checkpoint.model.recipe
    cut = cut or ("gend" if made.config.lnclip.augmentation == "gend" else "paper")
    frames = {"frames": max(made.config.frame_num.train, made.config.frame_num.test)}
    files = {key: value for key, value in (("detector", detector), ("predictor", predictor)) if value is not None}
    settings = crop_settings(crops or cut, **frames, **files)
    job = make_job(
        {row: made}, root, out, datasets=datasets, faces=faces, crops=settings, folders=opt.folders(folder),
        against=against or row_of(yaml),
    )  # fmt: skip
    kinds = stages or KINDS
    if dry_run:
        say(text(make_report(job, plan_of(job, kinds), read_records(job), {})))
        return
    trainer = {"accelerator": accelerator, "devices": devices, "strategy": strategy}
    report = reproduce(job, kinds, RunOptions(workers, shard=shard, progress=not quiet), trainer)
    say(f"{text(report)}\nReport: {out / 'report.md'}")
    raise typer.Exit(1 if report["failures"] else 0)


def _row(weights: Path) -> str:
    """The leaderboard's name for weights: the file's, or its folder's where many files have that name."""
    from lnclip_df.weights.hub import NAMES

    path = weights.resolve()
    return path.parent.name if path.name in NAMES else path.stem if path.is_file() else path.name
