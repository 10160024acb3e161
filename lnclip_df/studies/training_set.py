"""Which data to train on (the paper's Figure 4): every training set against every test set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.escapes import Markdown
from lnclip_df.core.plots import new_figure
from lnclip_df.core.tables import markdown_table
from lnclip_df.studies.over_seeds import group_rows, is_cross, spread_text, tested_names
from lnclip_df.studies.plots import draw_matrix
from lnclip_df.studies.protocol import YAMLS, Report, Study
from lnclip_df.studies.trials import Result, Trial


@dataclass(frozen=True)
class TrainingSet(Study):
    """Trains YAMLs that differ in their ``train_dataset`` with every seed, and tests each on every data set.

    The tests are those of the first YAML. ``summary.json`` has ``rows``, one per training set, see ``group_rows``.
    """

    name = "training-set"
    title = "Training set × test set"

    configs: Sequence[str] = YAMLS

    def trials(self) -> Iterator[Trial]:
        demo = self.demo
        demo_sets = (*demo.by_method, demo.whole) if demo else ()
        for seed in self.seeds:
            if demo:
                settings = (demo.settings(train=name, val=demo.whole) for name in demo_sets)
                configs = [self.load(demo.config, seed, demo=each) for each in settings]
            else:
                configs = [self.load(yaml, seed, demo=None) for yaml in self.configs]
            tests = self.tested(configs[0], demo_sets)
            groups = [" + ".join(config.train_dataset) for config in configs]
            if len(set(groups)) < len(groups):
                raise LNCLIPError(f"two YAMLs train on the same data: {', '.join(groups)}; remove one from configs")
            for group, config in zip(groups, configs, strict=True):
                yield Trial(group, seed, config, tests)

    def report(self, results: list[Result]) -> Report:
        rows = group_rows(results)
        names = tested_names(rows)
        related = [
            (index, column)
            for index, row in enumerate(rows)
            for column, name in enumerate(names)
            if not is_cross(row["group"].split(" + "), name)
        ]
        lines = [["trained on", *names, "cross-dataset mean", "validation"]]
        for index, row in enumerate(rows):
            cells = [spread_text(row["auroc"].get(name)) for name in names]
            cells = [Markdown(f"*{cell}*") if (index, column) in related else cell for column, cell in enumerate(cells)]
            lines.append([row["group"], *cells, spread_text(row["cross_mean"]), spread_text(row["val"])])
        text = (
            "In italics: the test set has, or is part of, what was trained on (its test split, never its training "
            "split).\n"
            "The means of two rows are over different test sets where different ones are in italics.\n\n"
        )
        return Report({"rows": rows}, text + markdown_table(lines), _plot(rows, names, related))


def _plot(rows, names, related):
    figure = new_figure(3 + 0.95 * len(names), 2 + 0.75 * len(rows))
    panel = figure.subplots()
    cells = [[row["auroc"].get(name) for name in names] for row in rows]
    image = draw_matrix(panel, cells, [row["group"] for row in rows], names, framed=related)
    panel.set(xlabel="tested on", ylabel="trained on", title="Video AUROC, %; framed: in-dataset")
    figure.colorbar(image, ax=panel, label="AUROC, %")
    return figure
