"""What the analyses of a run share: which datasets, which folder, and the files with the results."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_not_read, check_writable, write_text
from lnclip_df.core.plots import save_figure
from lnclip_df.core.tables import Rows, write_csv
from lnclip_df.evaluation.estimates import Estimate
from lnclip_df.evaluation.reference import dataset_of
from lnclip_df.evaluation.runs import Run, Scores


def select_datasets(run: Run, names: Iterable[str]) -> dict[str, Scores]:
    """The datasets of a run in ``names``, or all where ``names`` is empty.

    Raises:
        LNCLIPError: the run has no predictions of one of them.
    """
    names = list(dict.fromkeys(name if name in run.sets else dataset_of(name) for name in names or run.sets))
    if missing := [name for name in names if name not in run.sets]:
        raise LNCLIPError(f"{run.name} has no predictions of {', '.join(missing)}; it has {', '.join(run.sets)}")
    return {name: run.sets[name] for name in names}


def study_folder(run, out, name: str, *read) -> Path:
    """The folder for an analysis of a run: ``out``, else ``<run>/studies/<name>``.

    Raises:
        LNCLIPError: the run is a file and ``out`` is None, the folder cannot be written, or ``<name>.csv`` in it is the
            run or another file that is ``read`` (None is none).
    """
    if out is None and not Path(run).is_dir():
        raise LNCLIPError(f"{run} is not a folder: give a folder for the results (out)")
    folder = Path(run) / "studies" / name if out is None else Path(out)
    check_writable(folder, folder=True)
    check_not_read([folder / f"{name}.csv"], (path for path in (run, *read) if path is not None))
    return folder


def write_report(folder, name: str, rows: Rows, text: str, figure, picture: str | None = None):
    """Write ``<name>.csv``, ``<name>.md`` and ``<picture or name>.png``, the last unless ``figure`` is None."""
    write_csv(Path(folder) / f"{name}.csv", rows)
    write_text(Path(folder) / f"{name}.md", text)
    if figure is not None:
        save_figure(figure, Path(folder) / f"{picture or name}.png")


def draw_estimates(panel, estimates: Mapping[str, Estimate], colours: Sequence[str]):
    """Draw estimates in %, one below the other: a dot each, and a line for the interval; undefined ones stay empty."""
    for row, (estimate, colour) in enumerate(zip(estimates.values(), colours, strict=True)):
        if estimate.value is not None:
            panel.plot([100 * estimate.value], [row], color=colour, marker="o")
        if estimate.low is not None and estimate.high is not None:
            panel.hlines(row, 100 * estimate.low, 100 * estimate.high, color=colour)
    panel.set_yticks(range(len(estimates)), list(estimates))
    panel.set_ylim(len(estimates) - 0.5, -0.5)
    panel.grid(axis="x", color="0.9")
