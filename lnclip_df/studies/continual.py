"""New forgeries that keep coming: training goes on, data set after data set, with and without replay of the old."""

import statistics
from collections.abc import Iterable
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.names import split_names
from lnclip_df.core.plots import new_figure
from lnclip_df.studies import common
from lnclip_df.studies.common import DemoData, Trial
from lnclip_df.studies.training_set import YAMLS

MEASURES = {"average": "average AUROC", "forgetting": "forgetting", "backward_transfer": "backward transfer"}


def study_continual(
    out,
    *,
    configs: Iterable[str] = YAMLS,
    shares: Iterable[float] = (0.0, 0.1),
    seeds: Iterable[int] = (0, 1, 2),
    overrides: Iterable[str] = (),
    datasets: Iterable[str] = (),
    demo: DemoData | None = None,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict:
    """Train on the first YAML's data, go on with the next one's, and so on; after each step test on all of them.

    Every step begins with the best weights of the step before (``lnclip.start_from``) and replays a share of each data
    set of the steps before (``lnclip.replay``).

    Args:
        out: folder; gets ``STEP/seed-N/`` for the first step and ``SHARE/STEP/seed-N/`` for the others (see
            ``common.run_trials``), ``summary.json``, ``.md`` and ``.csv``, and ``continual.png``. A trial that is
            finished there is not repeated.
        configs: the YAMLs in the order of the steps, two or more, each with data of its own.
        shares: of replay; 0 trains on the new data alone.
        datasets: further test sets; those of the steps are always tested.
        seeds, overrides, demo, accelerator, progress: as for ``study_ablation``.

    Returns:
        What ``summary.json`` holds: ``rows``, one a share, with ``matrix`` (``matrix[k][j]``: AUROC on the test set
        ``tests[j]`` after step k) and the measures of ``measures``, each a ``common.spread``; ``trials`` and ``note``.

    Raises:
        LNCLIPError: too few steps, data in two steps, a share outside 0 to 1, or see ``common.run_trials``.
    """
    shares = _checked(shares)
    trials, steps = [], []
    for seed in tuple(seeds):
        loaded = list(_configs(demo.by_method if demo else configs, seed, overrides, demo))
        steps = _steps([config for config, _ in loaded])
        tests = tuple(dict.fromkeys([*(name for step in steps for name in step), *split_names(datasets)]))
        trials += _trials(out, [load for _, load in loaded], steps, shares, seed, tests)

    def report(results):
        return _report(out, results, len(trials), steps, shares, demo is not None)

    return common.run_trials(trials, out, report, accelerator="cpu" if demo else accelerator, progress=progress)


def _checked(shares):
    shares = list(dict.fromkeys(shares))
    for share in shares:
        if not 0 <= share <= 1:
            raise LNCLIPError(f"--shares: {share} is not within 0 to 1, the share of the old videos that is replayed")
    if not shares:
        raise LNCLIPError("--shares is empty: 0 is training without replay, 0.1 replays a tenth")
    return shares


def _configs(steps, seed, overrides, demo):
    """A step's configuration, and the function that makes it with further overrides."""
    from lnclip_df.config.loading import load_config

    for step in steps:
        ours = [] if demo is None else demo.overrides(train=step, val=step)
        yaml = step if demo is None else demo.config

        def load(*further, yaml=yaml, ours=ours):
            return load_config(yaml, [*ours, *overrides, *further, f"manualSeed={seed}"])

        yield load(), load


def _steps(configs):
    steps = [config.train_dataset for config in configs]
    names = [name for step in steps for name in step]
    if len(steps) < 2 or len(set(names)) < len(names) or not all(steps):
        shown = "; ".join(", ".join(step) or "none" for step in steps)
        raise LNCLIPError(f"--configs: two or more steps are needed, each with data of its own; these have {shown}")
    return steps


def _trials(out, loads, steps, shares, seed, tests):
    first = Trial(_group(steps, 0), seed, loads[0](), tests)
    trials = [first]
    for share in shares:
        before = first
        for place in range(1, len(steps)):
            further = [f"lnclip.start_from={common.quoted(Path(out) / before.folder / 'best.safetensors')}"]
            old = [name for step in steps[:place] for name in step]
            if share:
                further.append(f"lnclip.replay={{datasets: [{', '.join(old)}], share: {share}}}")
            before = Trial(_group(steps, place, share), seed, loads[place](*further), tests, tuple(old))
            trials.append(before)
    return trials


def _group(steps, place, share=None):
    step = f"{place + 1}-{'+'.join(steps[place])}"
    return step if place == 0 else f"replay-{share:g}/{step}"


def matrix_of(results: list[dict], steps: list[list[str]], share: float, seed: int, tests) -> list[list] | None:
    """AUROC after each step on each test set, of one seed and share; None before all its steps are finished."""
    known = {(result["group"], result["seed"]): result["tests"] for result in results}
    found = [known.get((_group(steps, place, share), seed)) for place in range(len(steps))]
    if None in found:
        return None
    return [[figures[name]["auroc"] for name in tests] for figures in found]


def measures(matrix: list[list[float]]) -> dict:
    """What is left after the last step, of R with ``R[k][j]`` the AUROC on step j's test set after step k (K × K).

    ``average`` is the mean of the last row. ``forgetting`` is the mean over the old sets of the largest earlier AUROC
    less the last one (Chaudhry et al., *Riemannian Walk for Incremental Learning*, ECCV 2018). ``backward_transfer`` is
    the mean over the old sets of the last AUROC less that right after their own step (Lopez-Paz and Ranzato, *Gradient
    Episodic Memory for Continual Learning*, NeurIPS 2017).

    >>> measures([[0.75, 0.5], [0.5, 1.0]])
    {'average': 0.75, 'forgetting': 0.25, 'backward_transfer': -0.25}
    """
    last, old = matrix[-1], range(len(matrix) - 1)
    return {
        "average": statistics.fmean(last),
        "forgetting": statistics.fmean(max(row[j] for row in matrix[:-1]) - last[j] for j in old),
        "backward_transfer": statistics.fmean(last[j] - matrix[j][j] for j in old),
    }


def _report(out, results, total, steps, shares, demo):
    tests = list(results[0]["tests"])
    rows = [_row(results, steps, share, tests) for share in shares]
    document = common.document("continual", results, total, demo, steps=steps, tests=tests, rows=rows)
    text = common.headline("Training that goes on: old and new data after each step", results, total, demo)
    head = ["replay", *MEASURES.values()]
    lines = [[_percents(row["share"]), *(common.percent(row[key]) for key in MEASURES)] for row in rows]
    text += common.table(head, lines)
    for row in rows:
        if row["matrix"]:
            text += f"\n\n## Replay {_percents(row['share'])}\n\n"
            body = [
                [f"{place}: {' + '.join(step)}", *map(common.percent, cells)]
                for place, (step, cells) in enumerate(zip(steps, row["matrix"], strict=True), start=1)
            ]
            text += common.table(["after step", *tests], body)
    common.write_summary(out, document, f"{text}\n\n![forgetting](continual.png)\n", results)
    if any(row["matrix"] for row in rows):
        _plot(Path(out) / "continual.png", rows, steps, tests, demo)
    return document


def _row(results, steps, share, tests):
    seeds = dict.fromkeys(result["seed"] for result in results)
    found = [m for m in (matrix_of(results, steps, share, seed, tests) for seed in seeds) if m is not None]
    cells = [
        [common.spread(matrix[k][j] for matrix in found) for j in range(len(tests))]
        for k in range(len(steps) if found else 0)
    ]
    own = [_of_steps(matrix, steps, tests) for matrix in found]
    figures = [measures(matrix) for matrix in own if None not in (value for row in matrix for value in row)]
    return {"share": share, "matrix": cells, **{key: common.spread(f[key] for f in figures) for key in MEASURES}}


def _of_steps(matrix, steps, tests):
    """The columns as one a step: the mean over a step's data sets."""

    def mean(values):
        return None if None in values else statistics.fmean(values)

    return [[mean([row[tests.index(name)] for name in step]) for step in steps] for row in matrix]


def _percents(share):
    return f"{100 * share:g} %" if share else "none"


def _plot(path, rows, steps, tests, demo):
    rows = [row for row in rows if row["matrix"]]
    figure = new_figure(2.2 + len(rows) * (1.6 + 0.95 * len(tests)), 2 + 0.8 * len(steps))
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    names = [f"{place}: {' + '.join(step)}" for place, step in enumerate(steps, start=1)]
    own = [(k, tests.index(name)) for k, step in enumerate(steps) for name in step]
    low = min(100 * cell["mean"] for row in rows for cells in row["matrix"] for cell in cells if cell)
    for panel, row in zip(panels, rows, strict=True):
        image = common.draw_matrix(panel, row["matrix"], names, tests, framed=own, low=low)
        panel.set(xlabel="tested on", title=f"replay: {_percents(row['share'])}")
        if panel is not panels[0]:
            panel.set_yticklabels([])
    panels[0].set_ylabel("after step")
    figure.colorbar(image, ax=panels, label="video AUROC, %")
    common.save_plot(figure, path, demo)
