"""Subgroups: whether a detector errs more often on some videos than on others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lnclip_df.analysis.calibrate_run import check_fpr, check_weights, read_calibration, weights_of
from lnclip_df.analysis.report import draw_estimates, select_datasets, study_folder, write_report
from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.escapes import markdown
from lnclip_df.core.plots import LIGHT, new_figure
from lnclip_df.core.tables import aligned_markdown, numbered_rows, percent
from lnclip_df.evaluation import calibration as measures
from lnclip_df.evaluation.estimates import Bootstrap, Estimate, wilson
from lnclip_df.evaluation.reference import dataset_of
from lnclip_df.evaluation.runs import Run, Scores, read_run
from lnclip_df.evaluation.statistics import combined_interval

UNKNOWN = "not known"
NEEDED = {"AUROC": ("reals", "fakes"), "FPR": ("reals",), "FNR": ("fakes",)}  # the classes that a figure is made of
COLOURS = {"AUROC": LIGHT.series[0], "FPR": LIGHT.real, "FNR": LIGHT.fake}  # errors on reals, and on fakes


@dataclass(frozen=True)
class Group:
    """The videos of a group: how many, the errors (false positives, false negatives), and AUROC, FPR and FNR.

    The rates have Wilson's intervals, the AUROC has the bootstrap's.
    """

    reals: int = 0
    fakes: int = 0
    errors: tuple[int, int] = (0, 0)
    figures: dict[str, Estimate] = field(default_factory=dict)

    def shown(self, figure: str) -> str:
        """One of ``figures``, marked where there are too few videos for it."""
        known = self.figures[figure].value is not None
        few = enough.mark(*(getattr(self, kind) for kind in NEEDED[figure]))
        return f"{self.figures[figure]}{few if known else ''}"


def subgroups(
    run, attributes, by: Sequence[str], *, datasets: Iterable[str] = (), calibration=None, validation=None,
    fpr: float = 0.05, threshold: float | None = None, min_videos: int = enough.MIN_VIDEOS, resamples: int = 10_000,
    seed: int = 0, out=None,
) -> str:  # fmt: skip
    """Compare AUROC, false positive rate and false negative rate between groups of videos.

    Args:
        run: folder of a run, or a CSV of predictions.
        attributes: a CSV with the column ``video``, the key that predictions have, and one column per attribute; and
            ``dataset``, where one name is of other videos in other datasets. A video without a row, or with an empty
            cell, is in the group ``not known``.
        by: names of the attributes to group by, one at a time.
        datasets: those of the run to analyse; all by default.
        calibration: a ``calibration.json`` with the threshold; the run's own by default.
        validation: instead, predictions of the validation set (a run's folder or a CSV) to fix the threshold on.
        fpr: with ``validation``, its false positive rate.
        threshold: instead, a number 0..1.
        min_videos: number of videos of a class that a group needs to take part in the largest gap.
        out: folder for ``subgroups.md``, ``.csv`` and ``.png``; ``<run>/studies/subgroups`` by default.

    Returns:
        The Markdown.

    Raises:
        LNCLIPError: a file or option is invalid, the threshold is of other weights than the run, or the attributes
            name no video of the run.
    """
    read = read_run(run)
    sets = select_datasets(read, datasets)
    threshold, source = _threshold(run, read, calibration, validation, fpr, threshold)
    values = read_attributes(attributes, by)
    keys = {name: [(name, v) if (name, v) in values else ("", v) for v in sets[name].video] for name in sets}
    if not any(key in values for of_set in keys.values() for key in of_set):
        name, scores = next(iter(sets.items()))
        raise LNCLIPError(
            f"{attributes} names no video of {read.name}; expected keys like {scores.video[0]} (of {name})"
        )
    folder, bootstrap = study_folder(run, out, "subgroups", attributes, validation), Bootstrap(resamples, seed)
    groups = {}
    for name, scores in sets.items():
        for attribute in by:
            of_video = [values.get(key, {}).get(attribute, UNKNOWN) for key in keys[name]]
            groups[name, attribute] = group_figures(scores, of_video, threshold, bootstrap, name, attribute)
    text = _text(groups, threshold, source, min_videos)
    write_report(folder, "subgroups", _rows(groups), text, _plot(groups))
    return text


def read_attributes(path, by: Sequence[str]) -> dict[tuple[str, str], dict[str, str]]:
    """``{(dataset, video): {attribute: value}}`` of a CSV, ``""`` as its dataset where none is named.

    Several rows of one video must agree.

    Raises:
        LNCLIPError: a column is missing, or two rows of a video differ.
    """
    if not by:
        raise LNCLIPError("by is empty: name at least one attribute")
    found: dict[tuple[str, str], dict[str, str]] = {}
    for number, row in numbered_rows(path, ("video", *by)):
        values = {name: row[name] or UNKNOWN for name in by}
        if found.setdefault((dataset_of(row.get("dataset", "")), row["video"]), values) != values:
            raise LNCLIPError(f"{path}: line {number}: an earlier row of the video {row['video']} has other values")
    return found


def group_figures(
    scores: Scores, groups: Iterable[str], threshold: float, bootstrap: Bootstrap, *key: str
) -> dict[str, Group]:
    """Counts and figures of each group, sorted by name; ``not known`` is last.

    ``groups`` names the group of each video, and ``key`` dataset and attribute, for the bootstrap's seed. A video with
    a score above the ``threshold`` counts as fake.
    """
    groups = np.asarray(groups, dtype=object)
    found = {}
    for name in sorted(set(groups), key=lambda group: (group == UNKNOWN, group)):
        inside = groups == name
        label, score = scores.label[inside], scores.score[inside]
        reals, fakes = score[label == 0], score[label == 1]
        errors = int((reals > threshold).sum()), int((fakes <= threshold).sum())
        figures = {
            "AUROC": bootstrap.auroc(label, score, *key, 0, name),
            "FPR": wilson(errors[0], len(reals)),
            "FNR": wilson(errors[1], len(fakes)),
        }
        found[name] = Group(len(reals), len(fakes), errors, figures)
    return found


def gap(groups: dict[str, Group], figure: str, min_videos: int = enough.MIN_VIDEOS) -> tuple[str, str, Estimate] | None:
    """The largest difference of a figure between two groups, and its interval.

    The group ``not known``, and groups with fewer than ``min_videos`` videos of a class that the figure is made of, are
    left out. The interval is that of the difference of these two groups, as if they had been chosen beforehand, from
    their own intervals (``combined_interval``; for rates this is Newcombe's hybrid score interval,
    *Interval Estimation for the Difference between Independent Proportions*, Statistics in Medicine 17, 1998, method
    10).

    Returns:
        ``(group with the higher figure, the one with the lower, Estimate of the difference)``, or None with fewer than
        two groups.
    """
    known = {
        name: value
        for name, group in groups.items()
        if name != UNKNOWN
        and all(getattr(group, kind) >= min_videos for kind in NEEDED[figure])
        and (value := group.figures[figure].value) is not None
    }
    if len(known) < 2:
        return None
    high, low = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    if high == low:  # all are equal
        high, low = list(known)[:2]
    values, ends = [known[high], known[low]], [groups[name].figures[figure][1:] for name in (high, low)]
    bounds = (None, None) if None in ends[0] else combined_interval(values, np.array(ends), [1, -1])
    return high, low, Estimate(known[high] - known[low], *bounds)


def _threshold(run, read: Run, calibration, validation, fpr, threshold) -> tuple[float, str]:
    """The threshold, and in words where it comes from."""
    if sum(value is not None for value in (calibration, validation, threshold)) > 1:
        raise LNCLIPError("calibration, validation and threshold exclude each other; give one of them")
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise LNCLIPError(f"threshold is {threshold}; expected 0 to 1")
        return threshold, "given"
    if validation is not None:
        check_fpr(fpr)
        validated = read_run(validation)
        check_weights(weights_of(validated), weights_of(read), validation, read.name)
        label, score = map(validated.pooled, ("label", "score"))
        few = enough.mark((label == 0).sum())
        return measures.threshold_at_fpr(label, score, fpr), f"{percent(fpr)} % false positives in {validation}{few}"
    path = Path(calibration or Path(run) / measures.FILE)
    if not path.is_file():
        raise LNCLIPError(
            f"no threshold: {path} is absent; write it with lnclip-df calibrate, or give validation or threshold"
        )
    found = read_calibration(path, read)
    few = enough.mark(found.reals)
    return found.threshold, f"{percent(found.asked_fpr)} % false positives on the validation set{few}"


def _rows(found):
    bounds = [f"{figure.lower()}{end}" for figure in NEEDED for end in ("", "_low", "_high")]
    rows = [["dataset", "attribute", "group", "reals", "fakes", "false_positives", "false_negatives", *bounds]]
    for key, groups in found.items():
        for name, group in groups.items():
            figures = (value for figure in NEEDED for value in group.figures[figure])
            rows.append([*key, name, group.reals, group.fakes, *group.errors, *figures])
    return rows


def _gap_cells(groups, figure, min_videos):
    found = gap(groups, figure, min_videos)
    if found is None:
        return [None, None, None]
    few = enough.mark(*(getattr(groups[name], kind) for name in found[:2] for kind in NEEDED[figure]))
    return [*found[:2], f"{found[2]}{few}"]


def _text(found, threshold, source, min_videos):
    parts = []
    for (dataset, attribute), groups in found.items():
        table = [["group", "reals", "fakes", *NEEDED]]
        table += [[name, group.reals, group.fakes, *map(group.shown, NEEDED)] for name, group in groups.items()]
        gaps = [["largest gap", "higher", "lower", "difference"]]
        gaps += [[figure, *_gap_cells(groups, figure, min_videos)] for figure in NEEDED]
        title = markdown(f"{dataset} by {attribute}")
        parts.append(f"## {title}\n\n{aligned_markdown(table)}\n{aligned_markdown(gaps)}")
    notes = (
        f"All in %, over videos. FPR and FNR at the threshold {threshold:.4f} ({source}). Intervals of 95 %: AUROC by "
        "bootstrap, rates by Wilson, differences from these two (Zou and Donner; of rates, Newcombe).\n"
        f"The gap is between the groups with at least {min_videos} videos of each class that the figure is made of. "
        "Its interval is that of two groups chosen beforehand: the largest of many gaps is also large by chance.\n"
    )
    text = "\n".join([*parts, notes])
    return text + enough.note(text)


def _plot(found):
    heights = [1 + 0.35 * len(groups) for groups in found.values()]
    figure = new_figure(11, sum(height + 0.3 for height in heights))
    panels = figure.subplots(len(found), len(NEEDED), squeeze=False, sharex="col", height_ratios=heights)
    for row, ((dataset, attribute), groups) in zip(panels, found.items(), strict=True):
        for panel, (name, colour) in zip(row, COLOURS.items(), strict=True):
            draw_estimates(panel, {key: group.figures[name] for key, group in groups.items()}, [colour] * len(groups))
            panel.set_xlabel(f"{name}, %")
        for panel in row[1:]:
            panel.set_yticklabels([])
        row[0].set_title(f"{dataset} by {attribute}", loc="left", fontsize="medium")
    return figure
