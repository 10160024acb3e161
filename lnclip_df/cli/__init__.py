"""The command line: each command parses its options, calls one function and prints its result."""

import inspect
import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lnclip_df import __version__
from lnclip_df.cli import compare, data, deepfakebench, demo, own_files, reproduce, studies, train_test
from lnclip_df.cli.ending import collect_seldom, end_on_signals, one_line_and_a_status, prepare_streams
from lnclip_df.core.errors import printable

PREPARE, ANALYSE = "Prepare data, your own or a benchmark's", "Compare and analyse"
COMMANDS: dict[str, list[Callable[..., Any]]] = {
    "Try it": [demo.demo],
    "Score files": [own_files.predict, own_files.app, own_files.bank],
    PREPARE: [data.datasets, data.preprocess, data.rearrange, data.audit, data.pairs, data.lmdb, data.pack],
    "Train and evaluate": [reproduce.reproduce, train_test.train, train_test.test, train_test.configs],
    ANALYSE: [
        compare.leaderboard,
        compare.compare,
        compare.calibrate,
        compare.coverage,
        compare.subgroups,
        compare.aggregate,
        compare.robustness,
    ],
    "DeepfakeBench": [
        deepfakebench.install,
        deepfakebench.uninstall,
        deepfakebench.doctor,
        deepfakebench.bench_run,
        deepfakebench.bench_test,
        deepfakebench.export_plugin,
    ],
    "Weights": [train_test.models, train_test.export],
}
SETTINGS: dict[Callable[..., Any], dict[str, Any]] = {
    deepfakebench.bench_run: {"ignore_unknown_options": True},
    # Options are spelt as in DeepfakeBench or as here: --weights_path, --weights-path.
    deepfakebench.bench_test: {"token_normalize_func": lambda name: name.replace("-", "_")},
}


class _Group(typer.core.TyperGroup):
    """Ends every command as ``lnclip_df.cli.ending`` says, whether its arguments, its help or its work end it."""

    def main(self, *args, **kwargs):
        try:
            with one_line_and_a_status():
                return super().main(*args, **kwargs)
        except typer.Exit as ended:
            sys.exit(ended.exit_code)

    def invoke(self, ctx):
        with one_line_and_a_status(ctx):
            return super().invoke(ctx)


class _AboveBars(logging.Handler):
    """Writes log lines to stderr, above any progress bar."""

    def emit(self, record):
        from tqdm import tqdm

        tqdm.write(printable(self.format(record)), file=sys.stderr)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
study = typer.Typer(no_args_is_help=True)
dataset = typer.Typer(no_args_is_help=True)


def _help(of: Any) -> str:
    """A docstring whose paragraphs are one line each, so that the help fits the terminal's width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (inspect.getdoc(of) or "").split("\n\n"))


def _add(group: typer.Typer, function: Callable[..., Any], panel: str | None = None):
    settings = SETTINGS.get(function)
    group.command(help=_help(function), rich_help_panel=panel, context_settings=settings)(function)


for _panel, _functions in COMMANDS.items():
    for _function in _functions:
        _add(app, _function, _panel)
for _function in (studies.ablation, studies.pairing, studies.training_set, studies.continual):
    _add(study, _function)
_add(dataset, data.new)
app.add_typer(dataset, name="dataset", help="Make a data set of your own.", rich_help_panel=PREPARE)
app.add_typer(study, name="study", help=_help(studies), rich_help_panel=ANALYSE)


def main():
    """Entry point of ``lnclip-df`` and ``python -m lnclip_df``."""
    prepare_streams()
    collect_seldom()
    with end_on_signals():
        app()


def _print_version(wanted: bool):
    if wanted:
        typer.echo(f"lnclip-df {__version__}")
        raise typer.Exit


def _set_up(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
):
    """Deepfake detection with LNCLIP-DF (arXiv 2508.06248), alone or inside DeepfakeBench.

    The usual order: preprocess videos into face crops, rearrange these into dataset JSONs, audit them, train, test, and
    compare runs in a leaderboard. lnclip-df reproduce does all of it, for whatever data sets are on disk;
    lnclip-df demo shows it on a CPU. For a DeepfakeBench checkout: install, doctor, bench-run, bench-test.
    """
    os.environ["MPLBACKEND"] = "agg"  # charts are written to files; a backend that is not installed would stop them
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads of torch would spin on the loader's cores
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # and NumPy's, from its import on: 2⁴ cycles, not 2²⁶
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # it would read what every installed package offers
    logger = logging.getLogger("lnclip_df")
    logger.handlers = [_AboveBars()]
    logger.setLevel(logging.INFO if os.environ.get("LOCAL_RANK", "0") == "0" else logging.WARNING)
    logger.propagate = False


app.callback(help=_help(_set_up))(_set_up)
