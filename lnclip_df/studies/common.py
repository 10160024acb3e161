"""What the protocol studies share: trials that are trained and tested once, their figures over seeds, tables, plots."""

import csv
import io
import json
import logging
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, sha256, write_json, write_text
from lnclip_df.core.names import split_names
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.core.tables import markdown_table

MEASURES = ("auroc", "ap", "eer", "accuracy")
PARTS = {
    "FaceForensics++": {"FF-DF", "FF-F2F", "FF-FS", "FF-NT"},
    "LNCLIP-demo": {"LNCLIP-demo-swap", "LNCLIP-demo-reenact"},
}
DEMO_NOTE = (
    "Made with --demo: synthetic videos of one photograph, and a small backbone of random weights. These figures show "
    "that the study works. They say nothing about real deepfakes, and nothing about what the paper found."
)

logger = logging.getLogger(__name__)


class DemoData(Protocol):
    """Data on which a study runs in minutes, instead of those of its YAMLs: ``lnclip_df.demo.for_studies`` makes them.

    ``config`` is a YAML, ``whole`` a data set with two kinds of fakes, and ``by_method`` are two with one kind each.
    ``overrides`` name the training and the validation data in ``config``, with a short training.
    """

    @property
    def config(self) -> str: ...
    @property
    def whole(self) -> str: ...
    @property
    def by_method(self) -> tuple[str, ...]: ...
    def overrides(self, train: str, val: str) -> list[str]: ...


@dataclass(frozen=True)
class Trial:
    """One training and its tests: the row of the study's table that it belongs to, its seed, and what is tested.

    ``before`` are the data sets that the weights it starts from were trained on.
    """

    group: str
    seed: int
    config: Config
    tests: tuple[str, ...]
    before: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its folder below the study's."""
        return f"{self.group}/seed-{self.seed}"


def run_trials(
    trials: list[Trial], out, report: Callable[[list[dict]], dict], *, accelerator="auto", progress=True
) -> dict:
    """Train and test every trial that is not finished, in order, and report after each.

    Args:
        trials: the whole study; what each needs of the data is checked before the first is trained.
        out: the study's folder; a trial's is ``group/seed-N`` below it, with all that ``train`` and ``test`` leave.
        report: makes the summary of the results so far, and writes it.
        accelerator: Lightning's; a trial uses one device.
        progress: show progress bars.

    Returns:
        What ``report`` returned for all results.

    Raises:
        LNCLIPError: data or packages are unfit (before the first training), or a trial of the same name was made with
            another configuration, other data or other starting weights.
    """
    new_figure(1, 1)  # without matplotlib, say so before anything is trained
    _check_data(trials)
    results, spent = [], []
    for place, trial in enumerate(trials, start=1):
        started = time.monotonic()
        result, fresh = run_trial(trial, out, f"{place}/{len(trials)}", accelerator=accelerator, progress=progress)
        results.append(result)
        if fresh:
            spent.append(time.monotonic() - started)
            left = statistics.mean(spent) * (len(trials) - place)
            logger.info("%d/%d done in %.0f s; at most %s left", place, len(trials), spent[-1], _duration(left))
        summary = report(results)
    return summary


def run_trial(trial: Trial, out, place: str = "", *, accelerator="auto", progress=True) -> tuple[dict, bool]:
    """Train and test one trial, or take what it left.

    Returns:
        The result, and whether anything was computed. A result has ``group``, ``seed``, ``trained`` (data sets),
        ``history`` (see ``lnclip_df.training.module``), ``best`` (its row), ``steps_per_epoch``,
        ``tests`` (``{dataset: {auroc, ap, eer, accuracy}}`` of videos) and ``seconds``.
    """
    from lnclip_df.evaluation.test import test
    from lnclip_df.training.outputs import read_last
    from lnclip_df.training.train import train

    folder, file = Path(out) / trial.folder, Path(out) / trial.folder / "trial.json"
    stored = read_json(file) if file.is_file() else {"made_from": made_from(trial)}
    _check_same(stored["made_from"], made_from(trial), folder)
    state = read_last(folder, trial.config)
    epochs, result = trial.config.nEpochs, stored.get("result")
    if state is not None and state["epoch"] > epochs:
        raise LNCLIPError(f"{folder}: trained to epoch {state['epoch']}, above nEpochs {epochs}; give another --out")
    tested = {name: sha256(dataset_json(trial.config, name)) for name in trial.tests}
    weights = folder / "best.safetensors"
    trained = result and state and state["epoch"] == epochs and _is(weights, stored["weights"])
    if trained and tested.items() <= stored["tested"].items():
        logger.info("%s %s, seed %d: finished before", place, trial.group, trial.seed)
        return result | {"tests": {name: result["tests"][name] for name in trial.tests}}, False
    logger.info("%s %s, seed %d: training and testing …", place, trial.group, trial.seed)
    started = time.monotonic()
    write_json(file, {"made_from": stored["made_from"]})
    options = {"accelerator": accelerator, "devices": 1, "progress": progress}
    with _only_warnings():
        made = train(trial.config, folder, resume=True, **options)
        device = "cpu" if accelerator == "cpu" else None
        metrics = test(trial.config, weights, folder, datasets=trial.tests, device=device, progress=progress)
    before = 0.0 if result is None else result["seconds"]
    result = {
        "group": trial.group,
        "seed": trial.seed,
        "trained": [*trial.before, *trial.config.train_dataset],
        "history": made["history"],
        "best": made["best"],
        "steps_per_epoch": read_last(folder, trial.config)["steps_per_epoch"],
        "tests": {name: {key: metrics[name]["video"][key] for key in MEASURES} for name in trial.tests},
        "seconds": round(before + time.monotonic() - started, 1),
    }
    facts = {"weights": sha256(weights), "tested": tested, "result": result}
    write_json(file, {"made_from": stored["made_from"], **facts})
    return result, True


def made_from(trial: Trial) -> dict:
    """SHA-256 of the files that a training is made from: its data sets' JSONs and the weights that it starts from."""
    ours = trial.config.lnclip
    names = [*trial.config.train_dataset, *ours.replay.datasets, *ours.val_dataset]
    files = {f"{name}.json": sha256(dataset_json(trial.config, name)) for name in dict.fromkeys(names)}
    return files | ({} if ours.start_from is None else {"lnclip.start_from": sha256(ours.start_from)})


def dataset_json(config: Config, name: str) -> Path:
    """Where a data set's JSON lies."""
    return Path(config.lnclip.data_root) / config.dataset_json_folder / f"{name}.json"


def _is(path, digest):
    return path.is_file() and sha256(path) == digest


def _check_same(before, now, folder):
    for name in [*before, *now]:
        if before.get(name) != now.get(name):
            raise LNCLIPError(f"{folder} was made from another {name}; put it back, or give another --out")


def _check_data(trials):
    """Read every split once that a trial needs."""
    from lnclip_df.datasets.dataset_json import read_videos

    needed = {}
    for trial in trials:
        config, ours = trial.config, trial.config.lnclip
        if not trial.tests:
            raise LNCLIPError("no data set to test on: name them with --datasets or lnclip.benchmarks")
        splits = {"train": [*config.train_dataset, *ours.replay.datasets], "val": ours.val_dataset}
        for split, names in (splits | {"test": trial.tests}).items():
            needed |= {(name, split): config for name in names}
    absent = {name for (name, _), config in needed.items() if not dataset_json(config, name).is_file()}
    if absent:
        folder = dataset_json(trials[0].config, "x").parent
        raise LNCLIPError(
            f"no {', '.join(f'{name}.json' for name in sorted(absent))} in {folder}; write what is missing with "
            "lnclip-df rearrange, or name with --datasets, and lnclip.val_dataset, what is there"
        )
    for (name, split), config in needed.items():
        read_videos(config, [name], split)


@contextmanager
def _only_warnings():
    """Leave a training's own lines out: a study has many."""
    loggers = [logging.getLogger(f"lnclip_df.{name}") for name in ("runner", "checkpoints")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _duration(seconds):
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


# --- what a study is asked for ----------------------------------------------------------------------------------------


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds of a list such as ``0,1,2``.

    Raises:
        LNCLIPError: one is no whole number from 0 on, or is named twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < 2**32 for part in parts):
        raise LNCLIPError(f"--seeds {text!r}: accepted are whole numbers from 0 on, with commas: 0,1,2")
    seeds = [int(part) for part in parts]
    if len(set(seeds)) < len(seeds):
        raise LNCLIPError(f"--seeds {text!r} names a seed twice")
    return tuple(seeds)


def parse_shares(text: str) -> tuple[float, ...]:
    """Shares of a list such as ``0,0.1``.

    Raises:
        LNCLIPError: one is no number.
    """
    try:
        return tuple(float(part) for part in split_names([text]))
    except ValueError as error:
        raise LNCLIPError(f"--shares {text!r}: accepted are numbers from 0 to 1, with commas: 0,0.1") from error


def quoted(path) -> str:
    """A path as YAML reads it back, whatever characters it has."""
    return json.dumps(str(path))


def sets_to_test(config: Config, datasets: Iterable[str]) -> tuple[str, ...]:
    """What is tested: the data sets named, else ``lnclip.benchmarks``, else ``test_dataset``."""
    return tuple(split_names(datasets) or config.lnclip.benchmarks or config.test_dataset)


def is_cross(trained: Iterable[str], tested: str) -> bool:
    """Whether a data set is another than all that was trained on, which neither holds it nor is a part of it.

    >>> is_cross(["FaceForensics++-paired"], "FF-DF"), is_cross(["FF-DF"], "FF-NT"), is_cross(["FFIW"], "DFDC")
    (False, True, True)
    """
    return all(_unrelated(_whole(name), _whole(tested)) for name in trained)


def _unrelated(a, b):
    return a != b and b not in PARTS.get(a, ()) and a not in PARTS.get(b, ())


def _whole(name):
    for suffix in ("-paired", "-unpaired", "_c40"):
        name = name.removesuffix(suffix)
    return name


# --- figures over seeds -----------------------------------------------------------------------------------------------


def spread(values: Iterable[float | None]) -> dict | None:
    """Mean, sample standard deviation (None of one value) and number of the values that are there; None without any.

    >>> spread([0.5, None, 0.75])
    {'mean': 0.625, 'std': 0.1767766952966369, 'n': 2}
    """
    values = [value for value in values if value is not None]
    if not values:
        return None
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": std, "n": len(values)}


def cross_mean(result: dict) -> float | None:
    """Mean AUROC of a trial over the tested data sets that it was not trained on; None where there is none."""
    values = [figures["auroc"] for name, figures in result["tests"].items() if is_cross(result["trained"], name)]
    return statistics.fmean(values) if values and None not in values else None


def by_group(results: list[dict]) -> dict[str, list[dict]]:
    """The results of each group, in order."""
    groups = {}
    for result in results:
        groups.setdefault(result["group"], []).append(result)
    return groups


def group_rows(results: list[dict]) -> list[dict]:
    """A row a group: ``auroc`` by data set, ``cross_mean`` and ``val`` (at the best epoch), each a ``spread``."""
    rows = []
    for group, members in by_group(results).items():
        names = dict.fromkeys(name for result in members for name in result["tests"])
        auroc = {name: spread(r["tests"].get(name, {}).get("auroc") for r in members) for name in names}
        rows.append(
            {
                "group": group,
                "seeds": [result["seed"] for result in members],
                "auroc": auroc,
                "cross_mean": spread(map(cross_mean, members)),
                "val": spread(result["best"]["val"]["auroc"] for result in members),
            }
        )
    return rows


def percent(value: dict | None, digits: int = 1) -> str:
    """A ``spread`` of AUROCs as text.

    >>> percent({"mean": 0.9, "std": 0.0123, "n": 3}), percent({"mean": 0.9, "std": None, "n": 1}), percent(None)
    ('90.0 ± 1.2', '90.0', '–')
    """
    if value is None:
        return "–"
    std = "" if value["std"] is None else f" ± {100 * value['std']:.{digits}f}"
    return f"{100 * value['mean']:.{digits}f}{std}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is flush left, the others right."""
    return markdown_table([head, *rows]).rstrip("\n")


def write_summary(out, document: dict, markdown: str, results: list[dict]):
    """Write ``summary.json``, ``summary.md`` and ``summary.csv`` (a row a trial and tested data set)."""
    write_rows(Path(out) / "summary.csv", _rows(results))
    write_text(Path(out) / "summary.md", markdown)
    write_json(Path(out) / "summary.json", document)


def _rows(results):
    yield ["group", "seed", "dataset", "cross", *MEASURES, "best_epoch", "epochs", "seconds"]
    for result in results:
        for name, figures in result["tests"].items():
            facts = [result["best"]["epoch"], len(result["history"]), result["seconds"]]
            cross = int(is_cross(result["trained"], name))
            yield [result["group"], result["seed"], name, cross, *map(figures.get, MEASURES), *facts]


def write_rows(path, rows: Iterable[list]):
    """Write rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def document(study: str, results: list[dict], total: int, demo: bool, **facts) -> dict:
    """What ``summary.json`` holds: what the study is, how much of it is there, its own facts, and its trials."""
    note = DEMO_NOTE if demo else None
    return {"study": study, "note": note, "finished": len(results), "of": total, **facts, "trials": results}


def headline(title: str, results: list[dict], total: int, demo: bool) -> str:
    """The first lines of a summary: what it is, how much of it is there, and what it does not say."""
    seeds = sorted({result["seed"] for result in results})
    lines = [
        f"# {title}",
        "",
        f"Video AUROC, %; mean ± standard deviation over the seeds {', '.join(map(str, seeds))}.",
    ]
    if len(results) < total:
        lines.append(f"**{len(results)} of {total} trainings are finished.**")
    return "\n".join([*lines, "", *([f"**{DEMO_NOTE}**", ""] if demo else []), ""])


# --- plots ------------------------------------------------------------------------------------------------------------


def save_plot(figure, path, demo: bool):
    """Write a PNG; one of the demo says so in the picture."""
    if demo:
        figure.supxlabel("demo: synthetic videos, says nothing about real deepfakes", fontsize=7, color="0.4")
    save_figure(figure, path)


def draw_matrix(panel, cells: list[list[dict | None]], rows: list[str], columns: list[str], framed=(), low=None):
    """A heat map of ``spread`` of AUROCs with its figures, in per cent.

    ``framed`` are the (row, column) to draw a frame around, ``low`` is where the colours begin (50 or the lowest value
    by default).
    """
    import numpy as np
    from matplotlib.patches import Rectangle

    values = np.array([[np.nan if c is None else 100 * c["mean"] for c in row] for row in cells], dtype=float)
    image = panel.imshow(
        values, cmap="viridis", vmin=np.nanmin([50.0, low or 50.0, *values.flat]), vmax=100.0, aspect="auto"
    )
    for (row, column), value in np.ndenumerate(values):
        light, dark = "white", "black"
        text = percent(cells[row][column]).replace(" ± ", "\n± ")
        color = dark if np.isnan(value) or image.norm(value) > 0.6 else light
        panel.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    for row, column in framed:
        panel.add_patch(
            Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor="crimson", linewidth=2)
        )
    panel.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    panel.set_yticks(range(len(rows)), rows)
    return image
