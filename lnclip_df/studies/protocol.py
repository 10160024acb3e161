"""What the protocol studies share: their options, running their trials, and writing what comes out."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from lnclip_df.config.loading import load_config
from lnclip_df.config.schema import Config
from lnclip_df.core import enough
from lnclip_df.core.devices import device_name, device_names, named_device, settled_precision, usable_cores
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.escapes import markdown
from lnclip_df.core.files import check_writable, write_json, write_text
from lnclip_df.core.names import split_names
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.core.tables import Rows, write_csv
from lnclip_df.studies.over_seeds import is_cross
from lnclip_df.studies.side_by_side import run_trials
from lnclip_df.studies.trials import COUNTS, MEASURES, Result, Trial, check_data, finished_before

YAMLS = ("training/ffpp.yaml", "training/ffiw.yaml", "training/dsv2.yaml")
DEMO_PROCESSES = 4  # at most; each takes 0.8 GB of memory
DEMO_NOTE = (
    "Made of the demo's data: synthetic videos of one photograph, and a small backbone of random weights. These "
    "figures show that the study works. They say nothing about real deepfakes, and nothing about what the paper found."
)

logger = logging.getLogger(__name__)


class DemoData(Protocol):
    """Data on which a study runs in minutes, instead of those of its YAMLs: ``lnclip_df.demo.for_studies`` makes them.

    ``config`` is a YAML, ``whole`` a data set with two kinds of fakes, and ``by_method`` are two with one kind each.
    ``settings`` name the training and the validation data for ``config``, and make the training short.
    """

    @property
    def config(self) -> str: ...
    @property
    def whole(self) -> str: ...
    @property
    def by_method(self) -> tuple[str, ...]: ...
    def settings(self, train: str, val: str) -> dict[str, Any]: ...


@dataclass
class Report:
    """What a study says of the results so far.

    Attributes:
        facts: the study's own entries of ``summary.json``.
        text: the body of ``summary.md``, Markdown that ends in a line break.
        figure: the plot, or None.
        tables: further CSV files, by name.
    """

    facts: dict[str, Any]
    text: str
    figure: Any = None
    tables: dict[str, Rows] = field(default_factory=dict)


@dataclass(frozen=True)
class Study(ABC):
    """Several trainings that answer one question, over seeds.

    Attributes:
        out: folder of the study. It gets ``GROUP/seed-N/`` for every trial, ``summary.json``, ``.md`` and ``.csv``, and
            ``NAME.png``. A trial that is finished there is not repeated.
        seeds: of the trainings (``manualSeed``).
        overrides: of every configuration, as for ``load_config``.
        datasets: what is tested; ``lnclip.benchmarks`` by default.
        demo: the demo's data and backbone instead of real data; runs on the CPU.
        accelerator: Lightning's; a trial uses one device.
        devices: how many trials run side by side, or on which GPUs, see ``lnclip_df.core.devices.device_names``.
        progress: show progress bars, or with several devices a line for each epoch.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    out: Path
    _: KW_ONLY
    seeds: Sequence[int] = (0, 1, 2)
    overrides: Sequence[str] | Mapping[str, Any] = ()
    datasets: Sequence[str] = ()
    demo: DemoData | None = None
    accelerator: str = "auto"
    devices: int | str = "auto"
    progress: bool = True

    @abstractmethod
    def trials(self) -> Iterable[Trial]:
        """All trials of the study, in the order in which they run."""

    @abstractmethod
    def report(self, results: list[Result]) -> Report:
        """What the results so far say."""

    def run(self) -> dict[str, Any]:
        """Train and test every trial that is not finished, side by side, and write the summary after each.

        Returns:
            The content of ``summary.json``: ``study``, ``note`` (of the demo), ``finished``, ``of``, the study's own
            entries, and ``trials``.

        Raises:
            LNCLIPError: options, data or packages are invalid or absent, or a trial of the same name was made with
                another configuration, other data or other starting weights (before the first training); or trials
                failed (after all others).
        """
        new_figure(1, 1)  # fail before the work where matplotlib is absent
        check_writable(self.out, folder=True)
        accelerator = self.accelerator if self.demo is None else "cpu"
        devices = self._devices(accelerator)
        trials = _settled(self.trials(), named_device(devices[0]))
        digests = check_data(trials)
        found = finished_before(trials, self.out, digests)
        left = [trial for trial in trials if trial.folder not in found]
        devices = devices[: len(left)]
        _say_where(left, devices)
        failed: dict[str, str] = {}
        started, summary = time.monotonic(), self.write(list(found.values()), len(trials)) if found else {}
        rest = run_trials(left, self.out, digests, devices, accelerator=accelerator, progress=self.progress)
        with closing(rest):  # whatever stops this process stops the trainings
            for number, (trial, outcome) in enumerate(rest, start=1):
                if isinstance(outcome, str):
                    failed[trial.folder] = outcome
                    logger.warning("%s failed: %s", trial.folder, outcome)
                    continue
                found[trial.folder] = outcome
                to_come = (time.monotonic() - started) / number * (len(left) - number)
                logger.info(
                    "%s: finished in %.0f s; %d of %d are, about %s to come",
                    trial.folder, outcome.seconds, len(found), len(trials), _duration(to_come),
                )  # fmt: skip
                summary = self.write([found[each.folder] for each in trials if each.folder in found], len(trials))
        if failed:
            why = "; ".join(f"{folder}: {text}" for folder, text in failed.items())
            raise LNCLIPError(f"{len(failed)} of {len(trials)} trainings failed ({why}); repeat the command for them")
        return summary

    def _devices(self, accelerator):
        """The devices to train on; with ``auto`` every GPU, or the CPU, for the demo's small network core by core."""
        if self.demo is not None and self.devices == "auto":
            return device_names("cpu", min(usable_cores(), DEMO_PROCESSES))
        return device_names("cpu" if accelerator == "cpu" else None, self.devices)

    def write(self, results: list[Result], total: int) -> dict[str, Any]:
        """Write the summary of the results so far, of ``total`` trials; returns the content of ``summary.json``."""
        report, out = self.report(results), Path(self.out)
        note = None if self.demo is None else DEMO_NOTE
        document = {"study": self.name, "note": note, "finished": len(results), "of": total, **report.facts}
        document["trials"] = [asdict(result) for result in results]
        for name, rows in {"summary": _result_rows(results), **report.tables}.items():
            write_csv(out / f"{name}.csv", rows, digits=None)
        text = self._headline(results, total) + report.text
        if report.figure is not None:
            text += f"\n![{self.name}]({self.name}.png)\n"
            if self.demo is not None:
                label = "demo: synthetic videos, says nothing about real deepfakes"
                report.figure.supxlabel(label, fontsize=7, color="0.4")
            save_figure(report.figure, out / f"{self.name}.png")
        write_text(out / "summary.md", text)
        write_json(out / "summary.json", document)
        return document

    def load(
        self, yaml: str, seed: int, *, demo: Mapping[str, Any] | None, last: Mapping[str, Any] | None = None
    ) -> Config:
        """The configuration of a training: of ``yaml``, or with the demo's data of its YAML with the settings ``demo``.

        ``overrides`` cannot change the settings ``last``.
        """
        config = load_config(yaml) if self.demo is None else load_config(self.demo.config, demo or {})
        return config.replace(self.overrides).replace({**(last or {}), "manualSeed": seed})

    def tested(self, config: Config, demo: Iterable[str]) -> tuple[str, ...]:
        """What is tested: ``datasets``, else ``demo`` with the demo's data, else what the configuration tests on."""
        default = demo if self.demo is not None else config.lnclip.benchmarks or config.test_dataset
        return tuple(split_names(self.datasets) or default)

    def _headline(self, results, total):
        seeds = ", ".join(map(str, sorted({result.seed for result in results})))
        lines = [f"# {self.title}", "", f"Video AUROC, %; mean ± standard deviation over the seeds {seeds}."]
        if len(results) < total:
            lines.append(f"**{len(results)} of {total} trainings are finished.**")
        for name, figures in {name: figures for result in results for name, figures in result.tests.items()}.items():
            if few := enough.few_videos(figures.get("reals"), figures.get("fakes"), "its figures rank nothing"):
                lines.append(f"{markdown(name)} has {few}.")
        return "\n".join([*lines, "", *([f"**{DEMO_NOTE}**", ""] if self.demo else []), ""])


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds of a list, for example ``0,1,2``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < 2**32 for part in parts):
        raise LNCLIPError(f"seeds {text!r}: expected whole numbers from 0 on, with commas: 0,1,2")
    seeds = tuple(int(part) for part in parts)
    if len(set(seeds)) < len(seeds):
        raise LNCLIPError(f"seeds {text!r}: a seed occurs twice; remove one")
    return seeds


def _result_rows(results):
    yield ["group", "seed", "dataset", "cross", *MEASURES, *COUNTS, "best_epoch", "epochs", "seconds"]
    for result in results:
        for name, figures in result.tests.items():
            cross = int(is_cross(result.trained, name))
            facts = [result.best["epoch"], len(result.history), result.seconds]
            yield [result.group, result.seed, name, cross, *map(figures.get, (*MEASURES, *COUNTS)), *facts]


def _settled(trials, device):
    """The trials, in the precision that they will be trained in on a device."""
    settled = cache(partial(settled_precision, device=device))  # it says what it changes: once
    return [
        replace(trial, config=trial.config.replace({"lnclip.precision": settled(trial.config.lnclip.precision)}))
        for trial in trials
    ]


def _say_where(trials, devices):
    """Say where trainings compute, and in which precision; their own messages are left out.

    No GPU's memory is used: where their processes have them alone, this one must not.
    """
    chosen = [named_device(name) for name in dict.fromkeys(devices)]
    names = ", ".join(map(device_name, chosen))
    for precision in dict.fromkeys(trial.config.lnclip.precision for trial in trials):
        logger.info("computing on %s in %s", names, precision)


def _duration(seconds):
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
