"""The commands for a DeepfakeBench checkout: install, uninstall, doctor, bench-run."""

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
