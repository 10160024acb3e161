"""The ablation: the five steps from a linear probe to the whole method, over seeds."""

from collections.abc import Iterable
from pathlib import Path

from lnclip_df.core.plots import new_figure
from lnclip_df.studies import common
from lnclip_df.studies.common import DemoData, Trial

STEPS = {
    "1-linear-probe": "linear probe",
    "2-layernorm": "+ LN",
    "3-l2": "+ L2",
    "4-unal": "+ UnAl",
    "5-slerp": "+ slerp",
}
ABLATED = ("tune", "normalize", "loss", "slerp.enabled")  # below lnclip: what the demo's steps take from the YAMLs


def study_ablation(
    out,
    *,
    seeds: Iterable[int] = (0, 1, 2),
    overrides: Iterable[str] = (),
    datasets: Iterable[str] = (),
    demo: DemoData | None = None,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict:
    """Train and test the five YAMLs of ``bench_configs/ablation`` with every seed.

    Args:
        out: folder; gets ``STEP/seed-N/`` (see ``common.run_trials``), ``summary.json``, ``.md`` and ``.csv``, and
            ``ablation.png``. A trial that is finished there is not repeated.
        seeds: of the trainings (``manualSeed``).
        overrides: as for ``load_config``, of every step.
        datasets: what is tested; ``lnclip.benchmarks`` by default.
        demo: the demo's data and backbone instead of real data, with the ablated keys of the same YAMLs.
        accelerator: Lightning's.
        progress: show progress bars.

    Returns:
        What ``summary.json`` holds: ``rows`` as ``common.group_rows`` makes them, ``trials`` and ``note``.

    Raises:
        LNCLIPError: see ``common.run_trials``.
    """
    trials = []
    for seed in tuple(seeds):
        for step in STEPS:
            config = _config(step, seed, overrides, demo)
            default = demo.by_method if demo else ()
            trials.append(Trial(step, seed, config, common.sets_to_test(config, datasets or default)))

    def report(results):
        return _report(out, results, len(trials), demo is not None)

    return common.run_trials(trials, out, report, accelerator="cpu" if demo else accelerator, progress=progress)


def _config(step, seed, overrides, demo):
    from lnclip_df.config.loading import load_config

    yaml = f"ablation/{step}.yaml"
    last = [*overrides, f"manualSeed={seed}"]
    if demo is None:
        return load_config(yaml, last)
    ours = load_config(yaml).to_dict()["lnclip"]
    ablated = [f"lnclip.{key}={_at(ours, key)}" for key in ABLATED]
    swap = demo.by_method[0]
    return load_config(demo.config, [*demo.overrides(train=swap, val=swap), *ablated, *last])


def _at(section, key):
    for part in key.split("."):
        section = section[part]
    return section


def _report(out, results, total, demo):
    rows = common.group_rows(results)
    document = common.document("ablation", results, total, demo, rows=rows)
    names = list(dict.fromkeys(name for row in rows for name in row["auroc"]))
    head = ["step", *names, "cross-dataset mean", "validation"]
    lines = [
        [
            STEPS[row["group"]],
            *(common.percent(row["auroc"].get(name)) for name in names),
            common.percent(row["cross_mean"]),
            common.percent(row["val"]),
        ]
        for row in rows
    ]
    text = common.headline("Ablation: each step adds one part to those above", results, total, demo)
    common.write_summary(out, document, f"{text}{common.table(head, lines)}\n\n![ladder](ablation.png)\n", results)
    _plot(Path(out) / "ablation.png", rows, names, demo)
    return document


def _plot(path, rows, names, demo):
    figure = new_figure(6.4, 4.2)
    panel = figure.subplots()
    lines = [(name, [row["auroc"].get(name) for row in rows], {"alpha": 0.75, "linewidth": 1.2}) for name in names]
    if len(names) > 2:  # of one or two, the mean is a line that is there already
        mean = [row["cross_mean"] for row in rows]
        lines.append(("cross-dataset mean", mean, {"color": "black", "linewidth": 2.2, "zorder": 3}))
    shift = 0.16 / len(lines)
    for place, (label, values, style) in enumerate(lines):
        at = [x + (place - (len(lines) - 1) / 2) * shift for x, value in enumerate(values) if value is not None]
        there = [value for value in values if value is not None]
        if there:
            errors = [100 * (value["std"] or 0) for value in there]
            panel.errorbar(at, [100 * v["mean"] for v in there], errors, marker="o", capsize=3, label=label, **style)
    panel.set_xticks(range(len(rows)), [STEPS[row["group"]] for row in rows])
    panel.set(ylabel="video AUROC, %", title="Ablation, mean ± standard deviation over seeds")
    panel.grid(axis="y", alpha=0.3)
    panel.legend(fontsize="small", ncols=1 if len(lines) < 6 else 2)
    common.save_plot(figure, path, demo)
