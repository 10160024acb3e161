"""Which data to train on (the paper's Figure 4): every training set against every test set."""

from collections.abc import Iterable
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.plots import new_figure
from lnclip_df.studies import common
from lnclip_df.studies.common import DemoData, Trial

YAMLS = ("training/ffpp.yaml", "training/ffiw.yaml", "training/dsv2.yaml")


def study_training_set(
    out,
    *,
    configs: Iterable[str] = YAMLS,
    seeds: Iterable[int] = (0, 1, 2),
    overrides: Iterable[str] = (),
    datasets: Iterable[str] = (),
    demo: DemoData | None = None,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict:
    """Train the YAMLs, which differ in their ``train_dataset``, with every seed, and test each on every data set.

    Args:
        out: folder; gets ``TRAINING_SET/seed-N/`` (see ``common.run_trials``), ``summary.json``, ``.md`` and ``.csv``,
            and ``training-set.png``. A trial that is finished there is not repeated.
        configs: the YAMLs.
        seeds, overrides, datasets, demo, accelerator, progress: as for ``study_ablation``; the tests are those of the
            first YAML.

    Returns:
        What ``summary.json`` holds: ``rows`` as ``common.group_rows`` makes them, a row a training set; ``trials`` and
        ``note``.

    Raises:
        LNCLIPError: two YAMLs train on the same data, or see ``common.run_trials``.
    """
    trials = []
    for seed in tuple(seeds):
        loaded = list(_configs(configs, seed, overrides, demo))
        tests = common.sets_to_test(loaded[0], datasets or (_demo_sets(demo) if demo else ()))
        groups = [" + ".join(config.train_dataset) for config in loaded]
        if len(set(groups)) < len(groups):
            raise LNCLIPError(f"two YAMLs train on the same data: {', '.join(groups)}; leave one out of --configs")
        trials += [Trial(group, seed, config, tests) for group, config in zip(groups, loaded, strict=True)]

    def report(results):
        return _report(out, results, len(trials), demo is not None)

    return common.run_trials(trials, out, report, accelerator="cpu" if demo else accelerator, progress=progress)


def _configs(yamls, seed, overrides, demo):
    from lnclip_df.config.loading import load_config

    last = [*overrides, f"manualSeed={seed}"]
    if demo is None:
        yield from (load_config(yaml, last) for yaml in yamls)
    else:
        for name in _demo_sets(demo):
            yield load_config(demo.config, [*demo.overrides(train=name, val=demo.whole), *last])


def _demo_sets(demo):
    return *demo.by_method, demo.whole


def _report(out, results, total, demo):
    rows = common.group_rows(results)
    document = common.document("training-set", results, total, demo, rows=rows)
    names = list(dict.fromkeys(name for row in rows for name in row["auroc"]))
    head = ["trained on", *names, "cross-dataset mean", "validation"]
    lines = [
        [
            row["group"],
            *(_cell(row, name) for name in names),
            common.percent(row["cross_mean"]),
            common.percent(row["val"]),
        ]
        for row in rows
    ]
    text = common.headline("Training set × test set", results, total, demo)
    text += (
        "In italics: the test set holds, or is part of, what was trained on (its test split, never its training one).\n"
    )
    text += "The means of two rows are over different test sets where different ones are in italics.\n\n"
    common.write_summary(out, document, f"{text}{common.table(head, lines)}\n\n![matrix](training-set.png)\n", results)
    _plot(Path(out) / "training-set.png", rows, names, demo)
    return document


def _trained(row):
    return row["group"].split(" + ")


def _cell(row, name):
    text = common.percent(row["auroc"].get(name))
    return text if common.is_cross(_trained(row), name) else f"*{text}*"


def _plot(path, rows, names, demo):
    figure = new_figure(3 + 0.95 * len(names), 2 + 0.75 * len(rows))
    panel = figure.subplots()
    cells = [[row["auroc"].get(name) for name in names] for row in rows]
    known = [
        (at, column)
        for at, row in enumerate(rows)
        for column, name in enumerate(names)
        if not common.is_cross(_trained(row), name)
    ]
    image = common.draw_matrix(panel, cells, [row["group"] for row in rows], names, framed=known)
    panel.set(xlabel="tested on", ylabel="trained on", title="Video AUROC, %; framed: in-dataset")
    figure.colorbar(image, ax=panel, label="AUROC, %")
    common.save_plot(figure, path, demo)
