"""The commands for DeepfakeBench: install, uninstall, doctor, bench-run, bench-test, export-plugin."""

from pathlib import Path
from typing import Annotated

import typer

from lnclip_df.cli import options as opt
from lnclip_df.cli.output import say


def install(checkout: opt.Checkout, dry_run: opt.DryRun = False, force: opt.Force = False):
    """Install the detector, its YAMLs and its labels into a DeepfakeBench checkout. A second run changes nothing.

    Example: lnclip-df install ~/DeepfakeBench --dry-run
    """
    from lnclip_df.bench.install import install

    say(install(checkout, dry_run=dry_run, force=force) or "nothing to do: it is installed")


def uninstall(checkout: opt.Checkout, dry_run: opt.DryRun = False, force: opt.Force = False):
    """Remove from a DeepfakeBench checkout what install added.

    Example: lnclip-df uninstall ~/DeepfakeBench
    """
    from lnclip_df.bench.install import uninstall

    say(uninstall(checkout, dry_run=dry_run, force=force) or "nothing to do: it is not installed")


def doctor(
    checkout: opt.Checkout,
    detector_path: Annotated[
        str | None, typer.Option(help="The YAML given to train.py. By default, lnclip.yaml.", metavar="YAML")
    ] = None,
):
    """Check an environment and a DeepfakeBench checkout; exit with 1 if a problem prevents training or testing.

    Two items of each data set pass through train.py and test.py, with the detector and its weights.

    Example: lnclip-df doctor ~/DeepfakeBench --detector-path training/config/detector/lnclip_ffiw.yaml
    """
    from lnclip_df.bench.doctor import doctor

    findings = doctor(checkout, detector_path=detector_path)
    for finding in findings:
        say(finding)
    raise typer.Exit(any(finding.status == "problem" for finding in findings))


def bench_run(
    checkout: opt.Checkout,
    argv: Annotated[list[str], typer.Argument(metavar="-- SCRIPT [ARGUMENT]...", help="A script and its arguments.")],
):
    """Run a script of a DeepfakeBench checkout unchanged, also without a GPU. Its exit status is passed on.

    Example: lnclip-df bench-run ~/bench -- training/train.py --detector_path training/config/detector/lnclip.yaml
    """
    from lnclip_df.bench.run_script import bench_run

    raise typer.Exit(bench_run(checkout, argv))


def bench_test(
    checkout: opt.Checkout,
    detector: Annotated[str, opt.detector("YAML of any detector, in the checkout or elsewhere.", "--detector_path")],
    weights: Annotated[
        str | None,
        opt.detector("Weights of the detector. Without them it is tested as its YAML builds it.", "--weights_path"),
    ] = None,
    datasets: Annotated[
        list[str], opt.datasets("Data sets to test on. By default test_dataset of the YAML.")
    ] = opt.NONE,
    overrides: opt.Set = opt.NONE,
    out: opt.RunOut = None,
    quiet: opt.Quiet = False,
):
    """Test any detector of a DeepfakeBench checkout, image or video, by this package's rules for video scores.

    Example: lnclip-df bench-test ~/DeepfakeBench --detector_path training/config/detector/xception.yaml
    --weights_path xception_best.pth --datasets Celeb-DF-v2 --out runs/xception

    The checkout's registry builds the detector, and its data set class reads the frames. The files are those of
    lnclip-df test, for leaderboard and compare. A frame that cannot be read ends the test.
    """
    from lnclip_df.bench.evaluate import BenchTest, bench_test

    def absolute(path: str) -> str:
        return str(Path(path).resolve()) if Path(path).exists() else path

    options = BenchTest(
        absolute(detector), str((out or Path("runs") / Path(detector).stem).resolve()),
        None if weights is None else absolute(weights), datasets, overrides, not quiet,
    )  # fmt: skip
    raise typer.Exit(bench_test(checkout, options))


def export_plugin(out: Annotated[Path, typer.Option(help="Folder for the files.", show_default=False)]):
    """Write the detector as one file without lnclip-df, with its YAML, for a pull request to DeepfakeBench.

    Example: lnclip-df export-plugin --out pull-request
    """
    from lnclip_df.bench.export_plugin import export_plugin

    for path in export_plugin(out):
        typer.echo(path)
