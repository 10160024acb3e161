"""What made the figures of two runs, compared: the first field in which they differ, then the others."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.tables import MISSING, aligned_lines, p_text, percent, show
from lnclip_df.evaluation.estimates import Bootstrap
from lnclip_df.evaluation.metrics import auroc
from lnclip_df.evaluation.reference import MEAN, PublishedRow, column_of, dataset_of, recipe, reference
from lnclip_df.evaluation.runs import Run, columns_of, read_run
from lnclip_df.leaderboard.figures import (
    CROSS_DATASET,
    FRAME_AUROC,
    compare_two,
    frame_auroc,
    frame_mean,
    make_row,
    ordered,
    published,
    published_mean,
)
from lnclip_df.leaderboard.record import COUNTED, OF_DATASET, record, short
from lnclip_df.media.recipe import departure


@dataclass(frozen=True)
class Difference:
    """A field in which two runs differ: both values, and the datasets where they do (none named: everywhere).

    ``detail`` says of crops which of their settings differ.
    """

    field: str
    a: object
    b: object
    datasets: tuple[str, ...] = ()
    detail: str = ""

    def __str__(self):
        where = f" ({', '.join(self.datasets)})" if self.datasets else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.field}{where}: {short(self.a)} | {short(self.b)}{detail}"


@dataclass(frozen=True)
class Report:
    """What ``compare`` found.

    Attributes:
        a, b: the names of the two.
        differences: in the order from cause to effect.
        unrecorded: by name, the fields that this one has no record of.
        silent: a line on each that recorded nothing, or its training set alone.
        words: what a published row states in words only, by field.
        figures: a table of both one's figures, the first row its header.
    """

    a: str
    b: str
    differences: list[Difference]
    unrecorded: dict[str, list[str]]
    silent: list[str]
    words: dict[str, str]
    figures: list[list[str]]

    def __str__(self):
        return "\n".join(map(printable, [*self._causes(), "", *aligned_lines(self.figures)])) + enough.note(
            str(self.figures)
        )

    def _causes(self) -> Iterator[str]:
        if self.differences:
            yield f"first difference, {self.a} | {self.b}:"
            yield f"  {self.differences[0]}"
        elif not self.silent:
            yield f"no recorded field differs between {self.a} and {self.b}"
        if self.differences[1:]:
            yield "then:"
            yield from (f"  {difference}" for difference in self.differences[1:])
        yield from self.silent
        for name, fields in self.unrecorded.items():
            yield f"not recorded by {name}: {', '.join(fields)}"
        for field, words in self.words.items():
            yield f"published in words, to be compared by hand – {field}: {words}"


def compare(a: str | Path, b: str | Path) -> Report:
    """Compare what made the figures of two runs, or of a run and a published row.

    Args:
        a: a run's folder, or a CSV of predictions.
        b: another, or the name of a row in ``bench_configs/reference.yaml``.

    Raises:
        LNCLIPError: no such run or row, or as ``read_run``.
    """
    run = read_run(a)
    if Path(b).exists():
        return _compare_runs(run, read_run(b))
    rows = reference().all_rows
    if str(b) not in rows:
        raise LNCLIPError(f"{b} is neither a run nor a published row; published rows: {', '.join(rows)}")
    return _compare_published(run, str(b), reference().row(str(b)))


def _compare_runs(a: Run, b: Run) -> Report:
    shared = ordered(set(a.sets) & set(b.sets))
    pairs = {name: (record(a, name), record(b, name)) for name in shared}
    if not shared:  # what does not depend on the dataset can be compared all the same
        fields = [record(run, next(iter(run.sets))) for run in (a, b)]
        ours, theirs = ({key: each[key] for key in each if key not in OF_DATASET} for each in fields)
        pairs = {"": (ours, theirs)}
    names = (a.name, b.name) if a.name != b.name else (f"{a.name} (first)", f"{b.name} (second)")
    differences, unrecorded = _differences(pairs, names)
    differences = [_in_settings(found, a.recipes | b.recipes) for found in differences]
    silent = _silent({names[0]: a, names[1]: b}, unrecorded)
    return Report(*names, differences, unrecorded, silent, {}, list(_figures_of_runs(a, b, names)))


def _in_settings(found: Difference, recipes: dict[str, dict]) -> Difference:
    """A difference of crops with the settings in which they differ."""
    if found.field not in ("crops", "train crops") or not (isinstance(found.a, list) and isinstance(found.b, list)):
        return found
    return replace(found, detail=departure(found.b, found.a, recipes, sampling=True))


def _compare_published(run: Run, name: str, row: PublishedRow) -> Report:
    figures = list(_figures_of_row(run, name, row))
    stated = recipe(row)
    if stated is None:
        return Report(run.name, name, [], {name: ["its recipe (none is known)"]}, _silent({run.name: run}), {}, figures)
    theirs = stated["train"] | {f"test.{key}": value for key, value in stated["test"].items()}
    pairs = {
        dataset: ({key: value for key, value in record(run, dataset).items() if key in theirs}, theirs)
        for dataset in ordered(run.sets)
    }
    differences, unrecorded = _differences(pairs, (run.name, name))
    silent = _silent({run.name: run}, unrecorded)
    return Report(run.name, name, differences, unrecorded, silent, reference().stated.words, figures)


def _silent(runs: dict[str, Run], unrecorded: dict[str, list[str]] | None = None) -> list[str]:
    """Lines on the runs that recorded nothing about themselves, which replace their list of what is not recorded."""
    lines = []
    for name, run in runs.items():
        known = {field for dataset in run.sets for field in record(run, dataset)} - COUNTED
        if known <= {"train_dataset"}:
            (unrecorded or {}).pop(name, None)
            recorded = "its training set alone" if known else "nothing of how it was trained and tested"
            lines.append(f"{name} recorded {recorded}{': it is a CSV file' * run.is_csv}")
    return lines


def _differences(
    pairs: dict[str, tuple[dict, dict]], names: tuple[str, str]
) -> tuple[list[Difference], dict[str, list[str]]]:
    """Fields that differ, once where they differ alike in every dataset; and the fields that one side lacks."""
    found: list[Difference] = []
    unrecorded: dict[str, list[str]] = {}
    longest_first = sorted((fields for pair in pairs.values() for fields in pair), key=len, reverse=True)
    for field in dict.fromkeys(field for fields in longest_first for field in fields if field != "predictions"):
        for side, name in enumerate(names):
            if any(field not in pair[side] for pair in pairs.values()):
                unrecorded.setdefault(name, []).append(field)
        differ = {
            dataset: (a[field], b[field])
            for dataset, (a, b) in pairs.items()
            if field in a and field in b and a[field] != b[field]
        }
        values = list(differ.values())
        if len(differ) == len(pairs) and all(value == values[0] for value in values) and field not in OF_DATASET:
            found.append(Difference(field, *values[0]))
        else:
            found += [Difference(field, *value, (dataset,)) for dataset, value in differ.items()]
    return found, unrecorded


def _figures_of_runs(a: Run, b: Run, names: tuple[str, str]) -> Iterator[list[str]]:
    columns = columns_of(a), columns_of(b)
    yield ["column", *names, "difference", "p (DeLong)", "videos of both"]
    for name in ordered(columns[0].keys() | columns[1].keys()):
        ours, theirs = (found.get(name) for found in columns)
        row = [column_of(name)]
        row += [percent(auroc(each.label, each.score), 2) + each.few if each else MISSING for each in (ours, theirs)]
        for found in compare_two(*names, name, ours, theirs) if ours and theirs else []:
            row += [f"{100 * found.test.difference:+.2f}", p_text(found.test.p) + found.few, str(found.videos)]
        yield row + [MISSING] * (6 - len(row))


def _figures_of_row(run: Run, name: str, row: PublishedRow) -> Iterator[list[str]]:
    """A run's figures beside a published row's, both over videos or both over frames."""
    ours = make_row(run, Bootstrap(resamples=0), [FRAME_AUROC])
    over_frames, table = row.metric == FRAME_AUROC, reference().frames
    yield ["column (frame AUROC)" if over_frames else "column", run.name, name, "difference", "source"]
    columns = map(dataset_of, (*table.in_dataset, *table.cross_dataset))
    for dataset in ordered({*ours.cells, *(columns if over_frames else (c.dataset for c in reference().columns))}):
        column, cell = column_of(dataset), ours.cells.get(dataset)
        value = frame_auroc(cell) if over_frames else None if cell is None else cell.auroc.value
        if value is not None or row.figure(column):
            yield [
                column,
                percent(value, 2) + (cell.few if cell else ""),
                *_beside(row, column, published(row, column, value)[1]),
            ]
    mean = frame_mean(ours) if over_frames else ours.cross_dataset
    if row.figure(MEAN) and run.train_datasets:
        shown = percent(mean.auroc.value, 2) + mean.counted + mean.few
        yield [CROSS_DATASET, shown, *_beside(row, MEAN, published_mean(row, run, mean)[1])]


def _beside(row: PublishedRow, column: str, difference: float | None) -> list[str]:
    figure, digits = row.figure(column), 2 if row.metric else 1
    value, source = (f"{figure.value:.{digits}f}", figure.source) if figure else (MISSING, MISSING)
    return [value, show(difference, "+.2f"), source]
