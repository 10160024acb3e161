"""The commands that compare and analyse runs: leaderboard, compare, calibrate, coverage, subgroups, aggregate, …"""

from pathlib import Path
from typing import Annotated

import typer

from lnclip_df.cli import options as opt
from lnclip_df.cli.output import say
from lnclip_df.cli.train_test import folder_of
from lnclip_df.core.enough import MIN_VIDEOS
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable

RESAMPLES = 10_000


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or CSV files of other tools' predictions.")],
    out: Annotated[Path, opt.results("Folder for the tables, the page and the plot.")] = Path("leaderboard"),
    metrics: Annotated[
        list[str], opt.names("Metrics besides the video AUROC: frame_auroc, ap, eer, tpr1, tpr5, or all.", opt.results)
    ] = opt.NONE,
    against: Annotated[str, opt.results("Published row with which the cells are compared.")] = "LNCLIP-DF",
    crops: Annotated[
        Path | None,
        opt.data("Folder of the crops, lnclip.data_root of the tests: the page shows the worst videos from it."),
    ] = None,
    resamples: opt.Resamples = RESAMPLES,
    seed: opt.Seed = 0,
):
    """Compare runs by the video-level AUROC of their predictions.

    Example: lnclip-df leaderboard runs/first runs/second other.csv --out runs/leaderboard

    A CSV file has the columns dataset, video, label, prob and, where known, frame, method and train_dataset. --out gets
    leaderboard.md, .csv, .tex and .html, details.md (by method, comparisons, records), figures.csv and roc.png.
    """
    from lnclip_df.leaderboard import make_board, write_board
    from lnclip_df.leaderboard.text import terminal

    check_writable(out, folder=True)
    board = make_board(runs, metrics=metrics, against=against, resamples=resamples, seed=seed)
    write_board(board, out, crops)
    say(f"{terminal(board)}\nPage: {out / 'leaderboard.html'}")


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a run, or a CSV file of another tool's predictions.")],
    second: Annotated[str, typer.Argument(help="Another one, or the name of a published row, for example LNCLIP-DF.")],
):
    """Show the first field in which two runs differ, then the others, and their figures side by side.

    Example: lnclip-df compare runs/first runs/second

    Example: lnclip-df compare runs/first LNCLIP-DF
    """
    from lnclip_df.leaderboard import compare

    say(compare(first, second))


def calibrate(
    run: opt.Run,
    datasets: opt.RunSets = opt.NONE,
    weights: Annotated[Path | None, opt.detector("Weights. By default best.safetensors of the run.")] = None,
    validation: opt.Validation = None,
    fpr: opt.FalsePositiveRate = 0.05,
    bins: Annotated[int, opt.results("Number of bins of the ECE and of the reliability diagram.")] = 15,
    config: opt.ConfigOfWeights = None,
    overrides: opt.Set = opt.NONE,
    out: opt.AnalysisOut = None,
    device: opt.Device = None,
    quiet: opt.Quiet = False,
):
    """Fit a temperature and a threshold on the validation set, and show how well calibrated the probabilities are.

    Example: lnclip-df calibrate runs/first --datasets Celeb-DF-v2 --fpr 0.05

    Predicts the YAML's lnclip.val_dataset once, unless --validation is given. Writes calibration.json beside the
    weights: the temperature, the threshold, counts, and the hash of the weights. --out gets reliability.png,
    calibration.md and calibration.csv.
    """
    from lnclip_df.analysis.calibrate_run import calibrate_run
    from lnclip_df.weights import Checkpoint

    loaded = None
    if validation is None and (config or overrides):
        loaded = Checkpoint.open(weights or run / "best.safetensors").config_for(config, overrides)
    calibrate_run(
        run, datasets=datasets, weights=weights, validation=validation, fpr=fpr, bins=bins, config=loaded, out=out,
        device=device, progress=not quiet,
    )  # fmt: skip
    _show(run, out, "calibration", "reliability.png")


def coverage(
    run: opt.Run,
    found: Annotated[
        Path | None, opt.data("CSV file of dataset, video, label, frames_asked and frames_found, with failures.")
    ] = None,
    manifest: Annotated[
        list[str],
        opt.data("Instead of --found: manifests/NAME.csv of preprocess, with --dataset and --root. May be repeated."),
    ] = opt.NONE,
    dataset: Annotated[str | None, opt.dataset("With --manifest: name or YAML of the data set.")] = None,
    root: opt.RootOrNone = None,
    level: opt.Level = None,
    folder: opt.Map = opt.NONE,
    datasets: opt.RunSets = opt.NONE,
    resamples: opt.Resamples = RESAMPLES,
    seed: opt.Seed = 0,
    out: opt.AnalysisOut = None,
):
    """Show the AUROC if videos in which no face was found count too.

    Example: lnclip-df coverage runs/first --manifest faces/manifests/Celeb-DF-v2.csv --dataset Celeb-DF-v2 --root rgb

    Example: lnclip-df coverage runs/first --found frames-found.csv

    Failures are left out, get the score 0.5 (per video, and per frame), or count as missing: in the wrong order with
    every video of the other class.
    """
    from lnclip_df.analysis.coverage import coverage, write_counts
    from lnclip_df.analysis.report import study_folder

    if (found is None) == (not manifest):
        raise LNCLIPError("name either --found FILE.csv, or --manifest FILE.csv with --dataset NAME")
    if manifest:
        if dataset is None:
            raise LNCLIPError("--manifest needs --dataset NAME")
        found = study_folder(run, out, "coverage") / "frames-found.csv"
        write_counts(found, manifest, dataset, root, level=level, folders=opt.folders(folder))
    coverage(run, found, datasets=datasets, resamples=resamples, seed=seed, out=out)
    _show(run, out, "coverage", "coverage.png")


def subgroups(
    run: opt.Run,
    attributes: Annotated[Path, opt.data("CSV file with the column video and one column per attribute.")],
    by: Annotated[list[str], opt.names("Attributes to group by.")],
    datasets: opt.RunSets = opt.NONE,
    calibration: Annotated[
        Path | None, opt.detector("File calibration.json to use. By default that of the run.")
    ] = None,
    validation: opt.Validation = None,
    fpr: opt.FalsePositiveRate = 0.05,
    threshold: Annotated[float | None, opt.detector("The threshold itself, instead of --calibration.")] = None,
    least: Annotated[
        int, opt.running("Number of videos per class that a group needs to be compared.", min=1)
    ] = MIN_VIDEOS,
    resamples: opt.Resamples = RESAMPLES,
    seed: opt.Seed = 0,
    out: opt.AnalysisOut = None,
):
    """Compare AUROC, FPR and FNR between groups of videos, and name the largest gap.

    Example: lnclip-df subgroups runs/first --attributes people.csv --by sex,compression

    The threshold is the one that lnclip-df calibrate chose on the validation set. The column video has the keys of the
    predictions, for example Celeb-DF-v2/CelebDFv2_fake/id0_id1_0000.
    """
    from lnclip_df.analysis.subgroups import subgroups

    subgroups(
        run, attributes, by, datasets=datasets, calibration=calibration, validation=validation, fpr=fpr,
        threshold=threshold, min_videos=least, resamples=resamples, seed=seed, out=out,
    )  # fmt: skip
    _show(run, out, "subgroups", "subgroups.png")


def aggregate(
    run: opt.Run,
    datasets: opt.RunSets = opt.NONE,
    resamples: opt.Resamples = RESAMPLES,
    seed: opt.Seed = 0,
    out: opt.AnalysisOut = None,
):
    """Compare ways to turn the scores of a video's frames into one score, from saved predictions.

    Example: lnclip-df aggregate runs/first --datasets Celeb-DF-v2

    The ways are mean probability, mean logit, median, highest quarter and trimmed mean; after lnclip-df test
    --save-features also the distance that the feature moves on the sphere from frame to frame.
    """
    from lnclip_df.analysis.compare_aggregations import compare_aggregations

    compare_aggregations(run, datasets=datasets, resamples=resamples, seed=seed, out=out)
    _show(run, out, "aggregate", "aggregate.png")


def robustness(
    weights: opt.Weights,
    datasets: Annotated[list[str], opt.datasets("Data sets to test on.")],
    corruptions: Annotated[
        list[str], opt.names("Corruptions: jpeg, blur, scale, noise, light, h264, occlusion, or none. By default all.")
    ] = opt.NONE,
    attacks: Annotated[list[str], opt.names("Attacks: fgsm, pgd, or none. By default both.")] = opt.NONE,
    frames: Annotated[int | None, opt.data("Number of frames per video. By default as many as in a test.")] = None,
    videos: Annotated[int | None, opt.data("Number of videos per class, evenly spaced. By default all.")] = None,
    config: opt.ConfigOfWeights = None,
    overrides: opt.Set = opt.NONE,
    out: Annotated[Path | None, opt.results("Folder. By default studies/robustness beside the weights.")] = None,
    resamples: opt.Resamples = RESAMPLES,
    seed: opt.Seed = 0,
    device: opt.Device = None,
    quiet: opt.Quiet = False,
):
    """Test a detector on the same frames, degraded in seven ways at five levels, and under FGSM and PGD.

    Example: lnclip-df robustness --weights runs/first/best.safetensors --datasets Celeb-DF-v2 --frames 8

    A finished level is not predicted again: the same command continues. --out gets robustness.md (AUROC, drops, mean
    corruption degradation), .csv, .png and the predictions of each level.
    """
    from lnclip_df.analysis.attacks import ATTACKS
    from lnclip_df.analysis.corruptions import CORRUPTIONS
    from lnclip_df.analysis.robustness import robustness
    from lnclip_df.weights import Checkpoint

    checkpoint = Checkpoint.open(weights)
    loaded = checkpoint.config_for(config, overrides)
    out = out or folder_of(weights) / "studies" / "robustness"
    text = robustness(
        loaded, checkpoint, out, datasets=datasets, corruptions=_chosen(corruptions, CORRUPTIONS),
        attacks=_chosen(attacks, ATTACKS), frames=frames, videos=videos, resamples=resamples, seed=seed, device=device,
        progress=not quiet,
    )  # fmt: skip
    say(f"{text}\nPlot: {out / 'robustness.png'}")


def _chosen(names, known):
    return [] if names == ["none"] else names or list(known)


def _show(run, out, name, plot):
    """Print the table of an analysis, and the path of its plot."""
    from lnclip_df.analysis.report import study_folder

    folder = study_folder(run, out, name)
    say((folder / f"{name}.md").read_text(encoding="utf-8") + f"\nPlot: {folder / plot}")
