"""Paired against unpaired training (the paper's Figure 3): the course of validation, and the tests at the end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.plots import LIGHT, new_figure
from lnclip_df.core.tables import markdown_table
from lnclip_df.datasets.dataset_json import json_of
from lnclip_df.datasets.schema import own_datasets
from lnclip_df.studies.over_seeds import by_group, group_rows, spread, spread_text, tested_names
from lnclip_df.studies.plots import draw_spreads
from lnclip_df.studies.protocol import Report, Study
from lnclip_df.studies.trials import Result, Trial

COLOURS = dict(zip(("paired", "unpaired"), LIGHT.series, strict=False))


@dataclass(frozen=True)
class Pairing(Study):
    """Trains on ``DATASET-paired`` and on ``DATASET-unpaired`` with every seed, and tests both.

    ``lnclip-df pairs`` writes the two data sets: the same fakes, with the reals that they were made from and with as
    many others. They are drawn once; the seeds are those of the trainings.

    ``summary.json`` has ``rows``, see ``group_rows``, each with ``curve`` (by epoch: ``epoch``, ``step``, ``val`` and
    ``ce``, the latter two a ``spread``), ``best_epoch``, ``last`` (validation after the last epoch) and ``drop`` (from
    the best epoch to the last). ``curves.csv`` has one row per epoch.

    Attributes:
        dataset: whose subsets; the YAML's one ``train_dataset`` by default.
    """

    name = "pairing"
    title = "Paired against unpaired training"

    yaml: str = "lnclip.yaml"
    dataset: str | None = None

    def trials(self) -> Iterator[Trial]:
        demo = self.demo
        settings = demo.settings(train=demo.whole, val=demo.whole) if demo else None
        demo_tests = (demo.whole, *demo.by_method) if demo else ()
        for seed in self.seeds:
            for kind in COLOURS:
                named = [self.dataset] if self.dataset else self.load(self.yaml, seed, demo=settings).train_dataset
                if len(named) != 1:
                    raise LNCLIPError(
                        f"{self.yaml} trains on {len(named)} data sets; set dataset to the one with the two subsets"
                    )
                subset = f"{named[0]}-{kind}"
                config = self.load(self.yaml, seed, demo=settings, last={"train_dataset": [subset]})
                path = json_of(config, subset)
                if not path.is_file():
                    raise LNCLIPError(f"no {path}; write it with: {_commands(named[0], config)}")
                yield Trial(kind, seed, config, self.tested(config, demo_tests))

    def report(self, results: list[Result]) -> Report:
        rows = group_rows(results)
        for row, members in zip(rows, by_group(results).values(), strict=True):
            last = [result.history[-1]["val"]["auroc"] for result in members]
            best = [result.best["val"]["auroc"] for result in members]
            row["curve"] = curve(members)
            row["best_epoch"] = spread(result.best["epoch"] for result in members)
            row["last"] = spread(last)
            row["drop"] = spread(a - b for a, b in zip(best, last, strict=True))
        names = tested_names(rows)
        lines = [["training", "best epoch", "validation, best", "last", "drop", *names, "cross-dataset mean"]]
        for row in rows:
            figures = [row["val"], row["last"], row["drop"], *map(row["auroc"].get, names), row["cross_mean"]]
            lines.append([row["group"], f"{row['best_epoch']['mean']:.1f}", *map(spread_text, figures)])
        text = f"{markdown_table(lines)}\n`drop` is from the best epoch to the last: what early stopping saved.\n"
        return Report({"rows": rows}, text, _plot(rows, names, results), {"curves": _curve_rows(results)})


def _commands(name, config):
    """The commands that write the two subsets of a data set; a user's may not have its JSON yet."""
    whole, own = json_of(config, name), name in own_datasets()
    first = f"lnclip-df rearrange {name} --out {whole.parent} && " if own and not whole.is_file() else ""
    return f"{first}lnclip-df pairs {whole}" + ("" if own else f" --root {config.rgb_dir}")


def curve(results: list[Result]) -> list[dict[str, Any]]:
    """Validation AUROC and training cross-entropy after each epoch, over the trials that have it."""
    points = []
    for index in range(max(len(result.history) for result in results)):
        known = [result for result in results if index < len(result.history)]
        epochs = [result.history[index] for result in known]
        points.append(
            {
                "epoch": epochs[0]["epoch"],
                "step": (index + 1) * known[0].steps_per_epoch,
                "val": spread(epoch["val"]["auroc"] for epoch in epochs),
                "ce": spread(epoch["train"]["ce"] for epoch in epochs),
            }
        )
    return points


def _curve_rows(results):
    yield ["group", "seed", "epoch", "step", "val_auroc", "train_ce", "lr"]
    for result in results:
        for number, row in enumerate(result.history, start=1):
            figures = [row["val"]["auroc"], row["train"]["ce"], row["lr"]]
            yield [result.group, result.seed, row["epoch"], number * result.steps_per_epoch, *figures]


def _plot(rows, names, results):
    figure = new_figure(11, 3.8)
    training, validation, final = figure.subplots(1, 3)
    for row in rows:
        _draw_curve(training, row, "ce", 1)
        _draw_curve(validation, row, "val", 100)
        for result in results:
            if result.group == row["group"]:
                steps = [(index + 1) * result.steps_per_epoch for index in range(len(result.history))]
                values = [100 * epoch["val"]["auroc"] for epoch in result.history]
                validation.plot(steps, values, color=COLOURS[row["group"]], alpha=0.25, linewidth=0.8)
    training.set(xlabel="step", ylabel="training cross-entropy", title="Training", ylim=(0, None))
    validation.set(xlabel="step", ylabel="validation video AUROC, %", title="Validation")
    _draw_tests(final, rows, names)
    for panel in (training, validation, final):
        panel.grid(axis="y", alpha=0.3)
    training.legend(fontsize="small")
    return figure


def _draw_curve(panel, row, key, scale):
    steps = [point["step"] for point in row["curve"]]
    mean = [scale * point[key]["mean"] for point in row["curve"]]
    std = [scale * (point[key]["std"] or 0) for point in row["curve"]]
    panel.plot(steps, mean, color=COLOURS[row["group"]], marker=".", label=row["group"])
    low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
    panel.fill_between(steps, low, high, color=COLOURS[row["group"]], alpha=0.15, linewidth=0)


def _draw_tests(panel, rows, names):
    for row in rows:
        shift = 0.1 if row["group"] == "unpaired" else -0.1
        values = [*map(row["auroc"].get, names), row["cross_mean"]]
        draw_spreads(panel, values, shift, fmt="o", color=COLOURS[row["group"]])
    ticks = [*names, "cross-dataset mean"] if any(row["cross_mean"] for row in rows) else names
    panel.set_xticks(range(len(ticks)), ticks, rotation=30, ha="right")
    panel.set(xlim=(-0.6, len(ticks) - 0.4), ylabel="video AUROC, %", title="Test, best epoch")
