"""The command line: every command reads its options and calls one room; errors are one line, without a traceback."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lnclip_df import __version__
from lnclip_df.errors import LNCLIPError

Config = Annotated[str, typer.Option(help="A YAML file, or the name of a packaged one (see: lnclip-df configs).")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override one key: --set lnclip.slerp.enabled=false")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Checkout = Annotated[Path, typer.Argument(help="Root of a DeepfakeBench checkout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Also replace or remove files of ours that you have edited.")]


class _Group(typer.core.TyperGroup):
    """Turns the errors that a user can mend, Ctrl-C and a closed pipe into an exit status."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except LNCLIPError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None


class _Lines(logging.Handler):
    """Writes a line to stderr, above any progress bar."""

    def emit(self, record):
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


app = typer.Typer(cls=_Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main():
    """Entry point of ``lnclip-df`` and ``python -m lnclip_df``."""
    app()


def _print_version(wanted: bool):
    if wanted:
        typer.echo(f"lnclip-df {__version__}")
        raise typer.Exit


@app.callback()
def _setup(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
):
    """Deepfake detection with LNCLIP-DF (arXiv 2508.06248), alone or inside DeepfakeBench.

    In order: preprocess videos into faces, train, test, and compare runs in a leaderboard; lnclip-df demo goes through
    all of it on a CPU. For a DeepfakeBench checkout: install, doctor, bench-run.
    """
    logger = logging.getLogger("lnclip_df")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.INFO if os.environ.get("LOCAL_RANK", "0") == "0" else logging.WARNING)
    logger.propagate = False


@app.command()
def train(
    config: Config = "lnclip.yaml",
    overrides: Overrides = (),
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME_OF_THE_YAML by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch in --out.")] = False,
    accelerator: Annotated[str, typer.Option(help="Lightning's: auto, gpu, cpu, …")] = "auto",
    devices: Annotated[str, typer.Option(help="How many of each node's devices (2), or which (0,3).")] = "auto",
    num_nodes: Annotated[int, typer.Option(min=1, help="How many machines.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's: auto, ddp, …")] = "auto",
    quiet: Quiet = False,
):
    """Train a detector, validate it after every epoch, keep the best.

    Example: lnclip-df train --config lnclip.yaml --set train_batchSize=64 --out runs/first

    The run's folder gets best.safetensors (highest validation video AUROC), config.yaml, history.json, TensorBoard's
    events under tensorboard/, and checkpoints/last.ckpt to go on from: the same command with --resume.
    """
    from lnclip_df.config import load_config
    from lnclip_df.runner.train import train

    switches = {"accelerator": accelerator, "devices": _devices(devices), "num_nodes": num_nodes, "strategy": strategy}
    out = out or Path("runs") / Path(config).stem
    train(load_config(config, overrides), out, resume=resume, progress=not quiet, **switches)


@app.command()
def test(
    weights: Annotated[Path, typer.Option(help="best.safetensors of a run, or DeepfakeBench's ckpt_best.pth.")],
    config: Annotated[
        str | None, typer.Option(help="As for train; the config.yaml beside the weights by default.")
    ] = None,
    overrides: Overrides = (),
    datasets: Annotated[
        list[str], typer.Option(help="Names, with commas or repeated; lnclip.benchmarks of the YAML by default.")
    ] = (),
    out: Annotated[Path | None, typer.Option(help="Folder of the run; the weights' own by default.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda, cuda:1, cpu, …; a GPU by default where there is one.")
    ] = None,
    quiet: Quiet = False,
):
    """Test a detector on the test split of one or more data sets.

    Example: lnclip-df test --weights runs/first/best.safetensors --datasets Celeb-DF-v2,DFDC

    Each data set gives predictions/NAME.parquet, a row a frame, and metrics/NAME.json. Those finished before with the
    same weights, configuration and frames are not computed again.
    """
    from lnclip_df.config import load_config
    from lnclip_df.runner.test import test

    beside = weights.parent / "config.yaml"
    config = load_config(config or (beside if beside.is_file() else "lnclip.yaml"), overrides)
    names = [name.strip() for value in datasets for name in value.split(",") if name.strip()]
    results = test(config, weights, out or weights.parent, datasets=names, device=device, progress=not quiet)
    for line in _table(results):
        typer.echo(line)


@app.command()
def preprocess(
    source: Annotated[Path, typer.Argument(help="A video, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="Folder for frames/, landmarks/ and records/.")],
    frames: Annotated[int, typer.Option(help="Frames a video, evenly spaced.")] = 32,
    size: Annotated[int, typer.Option(help="Side of a face's image in pixels.")] = 256,
    scale: Annotated[float, typer.Option(help="Enlargement of the crop around the face.")] = 1.3,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as there are cores by default.")] = None,
    quiet: Quiet = False,
):
    """Cut aligned faces out of videos; videos that are finished are passed over.

    Example: lnclip-df preprocess videos/ --out datasets/rgb/mine
    """
    from lnclip_df.preprocessing import preprocess

    options = {"frames": frames, "size": size, "scale": scale, "workers": workers}
    summary = preprocess(source, out, **options, progress=not quiet)
    typer.echo(summary)
    raise typer.Exit(0 if summary.faces else 1)


@app.command()
def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, each with predictions/*.parquet.")],
    out: Annotated[Path, typer.Option(help="Folder for leaderboard.md, leaderboard.csv and roc.png.")],
):
    """Compare runs by the video-level AUROC of their predictions.

    Example: lnclip-df leaderboard runs/first runs/second --out runs/leaderboard
    """
    from lnclip_df.leaderboard import leaderboard

    leaderboard(runs, out)
    typer.echo((out / "leaderboard.md").read_text(encoding="utf-8"), nl=False)


@app.command()
def install(checkout: Checkout, dry_run: DryRun = False, force: Force = False):
    """Put the detector, its YAMLs and labels into a DeepfakeBench checkout; a second time changes nothing.

    Example: lnclip-df install ~/DeepfakeBench --dry-run
    """
    from lnclip_df.bench.install import install

    typer.echo(install(checkout, dry_run=dry_run, force=force) or "nothing to do: it is installed")


@app.command()
def uninstall(checkout: Checkout, dry_run: DryRun = False, force: Force = False):
    """Take out of a DeepfakeBench checkout what install put there.

    Example: lnclip-df uninstall ~/DeepfakeBench
    """
    from lnclip_df.bench.install import uninstall

    typer.echo(uninstall(checkout, dry_run=dry_run, force=force) or "nothing to do: it is not installed")


@app.command()
def doctor(checkout: Checkout):
    """Say what an environment and a DeepfakeBench checkout lack; exit with 1 if that stops training or testing.

    Example: lnclip-df doctor ~/DeepfakeBench
    """
    from lnclip_df.bench.doctor import doctor

    findings = doctor(checkout)
    for finding in findings:
        typer.echo(finding)
    raise typer.Exit(any(finding.status == "problem" for finding in findings))


@app.command(context_settings={"ignore_unknown_options": True})
def bench_run(
    checkout: Checkout,
    argv: Annotated[list[str], typer.Argument(metavar="-- SCRIPT [ARGUMENT]...", help="A script and its arguments.")],
):
    """Run a script of a DeepfakeBench checkout unchanged, on a machine without a GPU too; its exit status is ours.

    Example: lnclip-df bench-run ~/bench -- training/train.py --detector_path training/config/detector/lnclip.yaml
    """
    from lnclip_df.bench.run import bench_run

    raise typer.Exit(bench_run(checkout, argv))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic videos and the training.")] = 0,
    quiet: Quiet = False,
):
    """Go through everything on small synthetic videos, offline on the CPU: preprocess, train, test, compare.

    Example: lnclip-df demo --out runs/demo

    Its figures, in summary.json, show the machinery at work and nothing about real deepfakes.
    """
    from lnclip_df.demo.run import NOTE, run_demo

    summary = run_demo(out, seed=seed, progress=not quiet)
    typer.echo((out / "leaderboard" / "leaderboard.md").read_text(encoding="utf-8"))
    typer.echo(
        f"held-out video AUROC {100 * summary['video_auroc']:.1f} % (frames {100 * summary['frame_auroc']:.1f} %), "
        f"untrained {100 * summary['untrained_video_auroc']:.1f} %, {summary['seconds']:.0f} s\n\n{NOTE}"
    )


@app.command()
def configs():
    """List the packaged YAMLs that --config takes by name.

    Example: lnclip-df configs
    """
    from lnclip_df.config import bench_configs

    for path in sorted(bench_configs().rglob("*.yaml")):
        if path.name != "labels.yaml":
            typer.echo(path.relative_to(bench_configs()))


def _devices(text):
    return int(text) if text.lstrip("-").isdigit() else text


def _table(results):
    """A line a data set: counts, and the video metrics in percent."""
    yield f"{'data set':24} {'videos':>7} {'frames':>8} {'AUROC':>7} {'AP':>7} {'EER':>7} {'accuracy':>9}"
    for name, result in results.items():
        auroc, ap, eer, accuracy = (
            "–" if result["video"][key] is None else f"{100 * result['video'][key]:.1f}"
            for key in ("auroc", "ap", "eer", "accuracy")
        )
        skipped = f"  ({len(result['skipped_frames'])} frames skipped)" if result["skipped_frames"] else ""
        yield (
            f"{name:24} {result['videos']:7} {result['frames']:8} {auroc:>7} {ap:>7} {eer:>7} {accuracy:>9}{skipped}"
        )
