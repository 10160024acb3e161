"""Continual training on new forgeries: data set after data set, with and without replay of the old."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.names import split_names
from lnclip_df.core.plots import new_figure
from lnclip_df.core.tables import markdown_table
from lnclip_df.studies.over_seeds import spread, spread_text
from lnclip_df.studies.plots import draw_matrix
from lnclip_df.studies.protocol import YAMLS, Report, Study
from lnclip_df.studies.trials import Result, Trial

MEASURES = {"average": "average AUROC", "forgetting": "forgetting", "backward_transfer": "backward transfer"}


@dataclass(frozen=True)
class Continual(Study):
    """Trains on the first YAML's data, continues with the next one's, and so on; after each step tests on all of them.

    Every step begins with the best weights of the step before (``lnclip.start_from``) and replays a share of each data
    set of the steps before (``lnclip.replay``). The trials are ``STEP/seed-N/`` for the first step and
    ``SHARE/STEP/seed-N/`` for the others. ``summary.json`` has ``steps``, ``tests``, and ``rows``, one per share, with
    ``matrix`` (``matrix[k][j]``: AUROC on the test set ``tests[j]`` after step k) and the measures of ``measures``,
    each a ``spread``.

    Attributes:
        configs: the YAMLs in the order of the steps, two or more, each with data of its own.
        shares: of replay, 0 to 1; 0 trains on the new data alone.
        datasets: further test sets; those of the steps are always tested.
    """

    name = "continual"
    title = "Training that goes on: old and new data after each step"

    configs: Sequence[str] = YAMLS
    shares: Sequence[float] = (0.0, 0.1)

    @cached_property
    def steps(self) -> list[list[str]]:
        """The data sets of each step.

        Raises:
            LNCLIPError: there are fewer than two steps, or a data set is in two.
        """
        steps = [list(self._load(source, 0).train_dataset) for source in self._sources]
        names = [name for step in steps for name in step]
        if len(steps) < 2 or len(set(names)) < len(names) or not all(steps):
            shown = "; ".join(", ".join(step) or "none" for step in steps)
            raise LNCLIPError(f"configs: expected two or more steps, each with data of its own; received {shown}")
        return steps

    def trials(self) -> Iterator[Trial]:
        if not self.shares:
            raise LNCLIPError("shares is empty; 0 trains without replay, 0.1 replays a tenth")
        for share in self.shares:
            if not 0 <= share <= 1:
                raise LNCLIPError(f"shares: {share} is not within 0 to 1, the share of the old videos to replay")
        names = [name for step in self.steps for name in step]
        tests = tuple(dict.fromkeys([*names, *split_names(self.datasets)]))
        for seed in self.seeds:
            first = Trial(self.group(0), seed, self._load(self._sources[0], seed), tests)
            yield first
            for share in dict.fromkeys(self.shares):
                before = first
                for index, source in enumerate(self._sources[1:], start=1):
                    old = [name for step in self.steps[:index] for name in step]
                    last: dict[str, Any] = {"lnclip.start_from": before.weights(self.out)}
                    if share:
                        last["lnclip.replay"] = {"datasets": old, "share": share}
                    before = Trial(self.group(index, share), seed, self._load(source, seed, last), tests, tuple(old))
                    yield before

    @property
    def _sources(self):
        """What each step trains on: a YAML, or one of the demo's data sets."""
        return self.demo.by_method if self.demo else list(self.configs)

    def _load(self, source, seed, last=None):
        settings = self.demo.settings(train=source, val=source) if self.demo else None
        return self.load(source, seed, demo=settings, last=last)

    def group(self, index: int, share: float = 0.0) -> str:
        """The group of a step's trials; the first step is the same for all shares."""
        step = f"{index + 1}-{'+'.join(self.steps[index])}"
        return step if index == 0 else f"replay-{share:g}/{step}"

    def matrix(self, results: list[Result], share: float, seed: int) -> list[list[float | None]] | None:
        """AUROC after each step on each test set, of one seed and share; None before all its steps are finished."""
        known = {(result.group, result.seed): result.tests for result in results}
        found = [known.get((self.group(index, share), seed)) for index in range(len(self.steps))]
        matrix = [[tests[name]["auroc"] for name in results[0].tests] for tests in found if tests is not None]
        return matrix if len(matrix) == len(self.steps) else None

    def report(self, results: list[Result]) -> Report:
        tests = list(results[0].tests)
        rows = [self._row(results, share, tests) for share in dict.fromkeys(self.shares)]
        lines = [["replay", *MEASURES.values()]]
        lines += [[_percent(row["share"]), *(spread_text(row[key]) for key in MEASURES)] for row in rows]
        parts = [markdown_table(lines)]
        complete = [row for row in rows if row["matrix"]]
        steps = [f"{number}: {' + '.join(step)}" for number, step in enumerate(self.steps, start=1)]
        for row in complete:
            body = [[step, *map(spread_text, cells)] for step, cells in zip(steps, row["matrix"], strict=True)]
            parts.append(f"## Replay {_percent(row['share'])}\n\n" + markdown_table([["after step", *tests], *body]))
        facts = {"steps": self.steps, "tests": tests, "rows": rows}
        own = [(index, tests.index(name)) for index, step in enumerate(self.steps) for name in step]
        return Report(facts, "\n".join(parts), _plot(complete, steps, tests, own) if complete else None)

    def _row(self, results, share, tests):
        seeds = dict.fromkeys(result.seed for result in results)
        matrices = [m for m in (self.matrix(results, share, seed) for seed in seeds) if m is not None]
        cells = [[spread(values) for values in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]
        own = [_by_step(matrix, self.steps, tests) for matrix in matrices]
        figures = [measures(matrix) for matrix in own if not any(None in row for row in matrix)]
        return {"share": share, "matrix": cells, **{key: spread(f[key] for f in figures) for key in MEASURES}}


def measures(matrix: list[list[float]]) -> dict[str, float]:
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


def parse_shares(text: str) -> tuple[float, ...]:
    """Shares of a list, for example ``0,0.1``."""
    try:
        return tuple(float(part) for part in split_names([text]))
    except ValueError as error:
        raise LNCLIPError(f"shares {text!r}: expected numbers from 0 to 1, with commas: 0,0.1") from error


def _by_step(matrix, steps, tests):
    """The matrix with one column per step: the mean over a step's data sets."""

    def mean(values):
        return None if None in values else statistics.fmean(values)

    return [[mean([row[tests.index(name)] for name in step]) for step in steps] for row in matrix]


def _percent(share):
    return f"{100 * share:g} %" if share else "none"


def _plot(rows, steps, tests, own):
    figure = new_figure(2.2 + len(rows) * (1.6 + 0.95 * len(tests)), 2 + 0.8 * len(steps))
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    low = min(100 * cell["mean"] for row in rows for cells in row["matrix"] for cell in cells if cell)
    for panel, row in zip(panels, rows, strict=True):
        image = draw_matrix(panel, row["matrix"], steps, tests, framed=own, low=low)
        panel.set(xlabel="tested on", title=f"replay: {_percent(row['share'])}")
        if panel is not panels[0]:
            panel.set_yticklabels([])
    panels[0].set_ylabel("after step")
    figure.colorbar(image, ax=panels, label="video AUROC, %")
    return figure
