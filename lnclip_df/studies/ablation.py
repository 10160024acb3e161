"""The ablation: the five steps from a linear probe to the whole method."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

from lnclip_df.config.loading import load_config
from lnclip_df.core.plots import new_figure, series_style
from lnclip_df.core.tables import markdown_table
from lnclip_df.studies.over_seeds import group_rows, spread_text, tested_names
from lnclip_df.studies.plots import draw_spreads
from lnclip_df.studies.protocol import Report, Study
from lnclip_df.studies.trials import Result, Trial

STEPS = {
    "1-linear-probe": "linear probe",
    "2-layernorm": "+ LN",
    "3-l2": "+ L2",
    "4-unal": "+ UnAl",
    "5-slerp": "+ slerp",
}
ABLATED = ("lnclip.tune", "lnclip.normalize", "lnclip.loss", "lnclip.slerp.enabled")


@dataclass(frozen=True)
class Ablation(Study):
    """Trains and tests the five YAMLs of ``bench_configs/ablation`` with every seed.

    With the demo's data, its YAML takes the ablated settings from these YAMLs. ``summary.json`` has ``rows``, see
    ``group_rows``.
    """

    name = "ablation"
    title = "Ablation: each step adds one part to those above"

    def trials(self) -> Iterator[Trial]:
        demo = self.demo
        for seed in self.seeds:
            for step in STEPS:
                settings = _demo_settings(demo, step) if demo else None
                config = self.load(f"ablation/{step}.yaml", seed, demo=settings)
                yield Trial(step, seed, config, self.tested(config, demo.by_method if demo else ()))

    def report(self, results: list[Result]) -> Report:
        rows = group_rows(results)
        names = tested_names(rows)
        lines = [["step", *names, "cross-dataset mean", "validation"]]
        for row in rows:
            figures = [*map(row["auroc"].get, names), row["cross_mean"], row["val"]]
            lines.append([STEPS[row["group"]], *map(spread_text, figures)])
        return Report({"rows": rows}, markdown_table(lines), _plot(rows, names))


def _demo_settings(demo, step):
    swap = demo.by_method[0]
    whole = load_config(f"ablation/{step}.yaml").to_dict()
    ablated = {key: reduce(dict.__getitem__, key.split("."), whole) for key in ABLATED}
    return demo.settings(train=swap, val=swap) | ablated


def _plot(rows, names):
    figure = new_figure(8, 4.2)
    panel = figure.subplots()
    lines: list = [
        (name, [row["auroc"].get(name) for row in rows], series_style(number) | {"alpha": 0.8, "linewidth": 1.2})
        for number, name in enumerate(names)
    ]
    if len(names) > 2:  # of one or two data sets, the mean is a line that is there already
        mean = [row["cross_mean"] for row in rows]
        lines.append(("cross-dataset mean", mean, {"color": "black", "linewidth": 2.6, "zorder": 3}))
    shift = 0.16 / len(lines)
    for index, (label, values, style) in enumerate(lines):
        draw_spreads(panel, values, (index - (len(lines) - 1) / 2) * shift, marker="o", label=label, **style)
    panel.set_xticks(range(len(rows)), [STEPS[row["group"]] for row in rows])
    panel.set(ylabel="video AUROC, %", title="Ablation, mean ± standard deviation over seeds")
    panel.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure
