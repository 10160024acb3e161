"""Paired against unpaired training (the paper's Figure 3): how validation goes, and what comes out on other data."""

from collections.abc import Iterable
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.plots import new_figure
from lnclip_df.studies import common
from lnclip_df.studies.common import DemoData, Trial

KINDS = ("paired", "unpaired")
COLOURS = {"paired": "C0", "unpaired": "C3"}


def study_pairing(
    out,
    *,
    config: str = "lnclip.yaml",
    dataset: str | None = None,
    seeds: Iterable[int] = (0, 1, 2),
    overrides: Iterable[str] = (),
    datasets: Iterable[str] = (),
    demo: DemoData | None = None,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict:
    """Train on ``DATASET-paired`` and on ``DATASET-unpaired`` with every seed, and test both.

    The two files are what ``lnclip-df pairs`` writes: the same fakes, with the reals that they were made from and with
    as many others. They are drawn once; the seeds are those of the trainings.

    Args:
        out: folder; gets ``KIND/seed-N/`` (see ``common.run_trials``), ``summary.json``, ``.md`` and ``.csv``,
            ``curves.csv`` (a row an epoch) and ``pairing.png``. A trial that is finished there is not repeated.
        config: the YAML.
        dataset: whose subsets; the YAML's one ``train_dataset`` by default.
        seeds, overrides, datasets, demo, accelerator, progress: as for ``study_ablation``.

    Returns:
        What ``summary.json`` holds: ``rows`` as ``common.group_rows`` makes them, each with ``curve`` (by epoch:
        ``epoch``, ``step``, ``val`` and ``ce``, the latter two ``common.spread``), ``best_epoch``, ``last`` (validation
        after the last epoch) and ``drop`` (from the best epoch to the last); ``trials`` and ``note``.

    Raises:
        LNCLIPError: a subset is missing, or see ``common.run_trials``.
    """
    trials = []
    for seed in tuple(seeds):
        for kind in KINDS:
            loaded = _config(config, dataset, kind, seed, overrides, demo)
            default = (demo.whole, *demo.by_method) if demo else ()
            trials.append(Trial(kind, seed, loaded, common.sets_to_test(loaded, datasets or default)))
    _check_subsets(trials)

    def report(results):
        return _report(out, results, len(trials), demo is not None)

    return common.run_trials(trials, out, report, accelerator="cpu" if demo else accelerator, progress=progress)


def _config(yaml, dataset, kind, seed, overrides, demo):
    from lnclip_df.config.loading import load_config

    if demo is not None:
        yaml = demo.config
        overrides = [*demo.overrides(train=demo.whole, val=demo.whole), *overrides]
    named = load_config(yaml, overrides)["train_dataset"] if dataset is None else [dataset]
    if len(named) != 1:
        raise LNCLIPError(f"{yaml} trains on {len(named)} data sets; name with --dataset the one with the two subsets")
    return load_config(yaml, [*overrides, f"train_dataset=[{named[0]}-{kind}]", f"manualSeed={seed}"])


def _check_subsets(trials):
    for trial in trials:
        path = common.dataset_json(trial.config, trial.config.train_dataset[0])
        if not path.is_file():
            whole = path.with_name(path.name.removesuffix(f"-{trial.group}.json") + ".json")
            raise LNCLIPError(f"no {path}; write it with: lnclip-df pairs {whole} --root {trial.config.rgb_dir}")


def _report(out, results, total, demo):
    rows = common.group_rows(results)
    for row, members in zip(rows, common.by_group(results).values(), strict=True):
        row["curve"] = curve(members)
        row["best_epoch"] = common.spread(result["best"]["epoch"] for result in members)
        row["last"] = common.spread(result["history"][-1]["val"]["auroc"] for result in members)
        row["drop"] = common.spread(
            result["best"]["val"]["auroc"] - result["history"][-1]["val"]["auroc"] for result in members
        )
    document = common.document("pairing", results, total, demo, rows=rows)
    names = list(dict.fromkeys(name for row in rows for name in row["auroc"]))
    head = ["training", "best epoch", "validation, best", "last", "drop", *names, "cross-dataset mean"]
    lines = [
        [
            row["group"],
            f"{row['best_epoch']['mean']:.1f}",
            common.percent(row["val"]),
            common.percent(row["last"]),
            common.percent(row["drop"]),
            *(common.percent(row["auroc"].get(name)) for name in names),
            common.percent(row["cross_mean"]),
        ]
        for row in rows
    ]
    text = common.headline("Paired against unpaired training", results, total, demo)
    text += f"{common.table(head, lines)}\n\n`drop` is from the best epoch to the last: what early stopping saved.\n\n"
    common.write_summary(out, document, f"{text}![curves](pairing.png)\n", results)
    common.write_rows(Path(out) / "curves.csv", _curve_rows(results))
    _plot(Path(out) / "pairing.png", rows, names, results, demo)
    return document


def curve(results: list[dict]) -> list[dict]:
    """Validation AUROC and training cross-entropy after each epoch, over the trials that have it."""
    longest = max(len(result["history"]) for result in results)
    points = []
    for place in range(longest):
        there = [result for result in results if place < len(result["history"])]
        points.append(
            {
                "epoch": there[0]["history"][place]["epoch"],
                "step": (place + 1) * there[0]["steps_per_epoch"],
                "val": common.spread(result["history"][place]["val"]["auroc"] for result in there),
                "ce": common.spread(result["history"][place]["train"]["ce"] for result in there),
            }
        )
    return points


def _curve_rows(results):
    yield ["group", "seed", "epoch", "step", "val_auroc", "train_ce", "lr"]
    for result in results:
        for place, row in enumerate(result["history"], start=1):
            figures = [row["val"]["auroc"], row["train"]["ce"], row["lr"]]
            yield [result["group"], result["seed"], row["epoch"], place * result["steps_per_epoch"], *figures]


def _plot(path, rows, names, results, demo):
    figure = new_figure(11, 3.8)
    training, validation, final = figure.subplots(1, 3)
    for row in rows:
        _line(training, row, "ce", 1)
        _line(validation, row, "val", 100)
        for result in results:
            if result["group"] == row["group"]:
                steps = [(at + 1) * result["steps_per_epoch"] for at in range(len(result["history"]))]
                values = [100 * epoch["val"]["auroc"] for epoch in result["history"]]
                validation.plot(steps, values, color=COLOURS[row["group"]], alpha=0.25, linewidth=0.8)
    training.set(xlabel="step", ylabel="training cross-entropy", title="Training", ylim=(0, None))
    validation.set(xlabel="step", ylabel="validation video AUROC, %", title="Validation")
    _final(final, rows, names)
    for panel in (training, validation, final):
        panel.grid(axis="y", alpha=0.3)
    training.legend(fontsize="small")
    common.save_plot(figure, path, demo)


def _line(panel, row, key, scale):
    steps = [point["step"] for point in row["curve"]]
    mean = [scale * point[key]["mean"] for point in row["curve"]]
    std = [scale * (point[key]["std"] or 0) for point in row["curve"]]
    panel.plot(steps, mean, color=COLOURS[row["group"]], marker=".", label=row["group"])
    low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
    panel.fill_between(steps, low, high, color=COLOURS[row["group"]], alpha=0.15, linewidth=0)


def _final(panel, rows, names):
    for row in rows:
        values = [row["auroc"].get(name) for name in names] + [row["cross_mean"]]
        shift = 0.1 if row["group"] == "unpaired" else -0.1
        points = [(at + shift, value) for at, value in enumerate(values) if value is not None]
        panel.errorbar(
            [at for at, _ in points],
            [100 * value["mean"] for _, value in points],
            [100 * (value["std"] or 0) for _, value in points],
            fmt="o", capsize=3, color=COLOURS[row["group"]],
        )  # fmt: skip
    ticks = [*names, "cross-dataset mean"] if any(row["cross_mean"] for row in rows) else names
    panel.set_xticks(range(len(ticks)), ticks, rotation=30, ha="right")
    panel.set(xlim=(-0.6, len(ticks) - 0.4), ylabel="video AUROC, %", title="Test, best epoch")
