"""Subgroups: whether a detector errs more often on some videos than on others."""

from pathlib import Path

import numpy as np

from lnclip_df.analysis import report
from lnclip_df.analysis.calibrate import read_calibration
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.evaluation import calibration
from lnclip_df.evaluation.runs import Scores, read_run
from lnclip_df.evaluation.statistics import combined_interval

UNKNOWN = "not known"
LEAST = 10  # videos of a class that a group's figure needs to take part in the gap
FIGURES = ("AUROC", "FPR", "FNR")
COLOURS = ("#0072b2", "#d55e00", "#009e73")


def subgroups(
    run, attributes, by, *, datasets=(), calibrated=None, validation=None, fpr: float = 0.05, threshold=None,
    least: int = LEAST, resamples: int = report.RESAMPLES, seed: int = 0, out=None,
) -> str:  # fmt: skip
    """Compare AUROC, false positive and false negative rate between groups of videos.

    Args:
        run: folder of a run, or a CSV of predictions.
        attributes: a CSV with the column ``video``, the key that predictions have, and one for each attribute; a
            video that it has not, or an empty cell, is of the group ``not known``.
        by: names of the attributes to group by, each for itself.
        datasets: those of the run to look at; all by default.
        calibrated: a ``calibration.json``, whose threshold is taken; the run's own by default.
        validation: instead, predictions of the validation set (a run's folder or a CSV) to fix the threshold on.
        fpr: with ``validation``, its false positive rate.
        threshold: instead, a number 0..1.
        least: videos of a class that a group needs for its figures to count in the largest gap.
        resamples, seed: of the bootstrap.
        out: folder for ``subgroups.md``, ``.csv`` and ``.png``; ``<run>/studies/subgroups`` by default.

    Returns:
        The Markdown.

    Raises:
        LNCLIPError: a file or option is unfit, or the attributes name no video of the run.
    """
    read = read_run(run)
    sets = report.chosen(read, datasets)
    limit, source = _threshold(run, read, calibrated, validation, fpr, threshold)
    groups = read_attributes(attributes, by)
    if not any(video in groups for scores in sets.values() for video in scores.video):
        example = next(iter(sets.values())).video[0]
        raise LNCLIPError(f"{attributes} names no video of {read.name}; a key there is such as {example}")
    folder = report.study_folder(run, out, "subgroups")
    found = {
        (name, attribute): group_figures(scores, [groups.get(v, {}).get(attribute, UNKNOWN) for v in scores.video],
                                         limit, resamples=resamples, seed=report.seed_of(seed, name, attribute))
        for name, scores in sets.items() for attribute in by
    }  # fmt: skip
    gaps = {key: [gap(parts, figure, least) for figure in FIGURES] for key, parts in found.items()}
    text = _text(found, gaps, limit, source, least)
    report.write_csv(folder / "subgroups.csv", _rows(found))
    write_text(folder / "subgroups.md", text)
    _plot(folder / "subgroups.png", found)
    return text


def read_attributes(path, by) -> dict[str, dict[str, str]]:
    """``{video: {attribute: value}}`` of a CSV; a video in several rows must say the same in each.

    Raises:
        LNCLIPError: a column is missing, or two rows of a video differ.
    """
    if not by:
        raise LNCLIPError("name at least one attribute with --by")
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(report.read_csv(path, ("video", *by)), 2):
        values = {name: row[name] or UNKNOWN for name in by}
        if found.setdefault(row["video"], values) != values:
            raise LNCLIPError(f"{path}: line {number}: the video {row['video']} is there with other values before")
    return found


def group_figures(scores: Scores, groups, threshold: float, *, resamples: int, seed) -> dict:
    """A group's counts and figures.

    Args:
        scores: the videos of a dataset.
        groups: the group of each video.
        threshold: fake is a score above it.
        resamples, seed: of the AUROC's bootstrap.

    Returns:
        ``{group: {"reals", "fakes", "errors" (false positives, false negatives), "AUROC", "FPR", "FNR"}}``, sorted,
        videos of which nothing is known last. Figures are ``Estimate``s: the rates with Wilson's interval, the AUROC
        with the bootstrap's.
    """
    groups = np.asarray(groups, dtype=object)
    found = {}
    for name in sorted(set(groups), key=lambda group: (group == UNKNOWN, group)):
        inside = groups == name
        label, score = scores.label[inside], scores.score[inside]
        reals, fakes = score[label == 0], score[label == 1]
        errors = int((reals > threshold).sum()), int((fakes <= threshold).sum())
        found[name] = {
            "reals": len(reals),
            "fakes": len(fakes),
            "errors": errors,
            "AUROC": report.auroc(label, score, resamples=resamples, seed=[*seed, *report.seed_of(0, name)]),
            "FPR": report.wilson(errors[0], len(reals)),
            "FNR": report.wilson(errors[1], len(fakes)),
        }
    return found


def gap(parts: dict, figure: str, least: int = LEAST):
    """The largest difference of a figure between two groups, and its interval.

    Groups of which nothing is known, and those with fewer than ``least`` videos of a class that the figure is made of,
    stay out. The interval is that of the difference of these two groups, as if they had been chosen beforehand, from
    their own intervals (``combined_interval``; for rates this is Newcombe's hybrid score interval,
    *Interval Estimation for the Difference between Independent Proportions*, Statistics in Medicine 17, 1998, method
    10).

    Returns:
        ``(group with the higher figure, the one with the lower, Estimate of the difference)``, or None with fewer than
        two groups.
    """
    needed = {"AUROC": ("reals", "fakes"), "FPR": ("reals",), "FNR": ("fakes",)}[figure]
    fit = {
        name: part
        for name, part in parts.items()
        if name != UNKNOWN and part[figure].value is not None and all(part[kind] >= least for kind in needed)
    }
    if len(fit) < 2:
        return None
    high, low = max(fit, key=lambda name: fit[name][figure].value), min(fit, key=lambda name: fit[name][figure].value)
    a, b = fit[high][figure], fit[low][figure]
    difference = a.value - b.value
    if high == low:  # all are equal
        high, low = list(fit)[:2]
        a, b = fit[high][figure], fit[low][figure]
    bounds = (None, None) if a.low is None else combined_interval([a.value, b.value], [a[1:], b[1:]], [1, -1])
    return high, low, report.Estimate(difference, *bounds)


def _threshold(run, read, calibrated, validation, fpr, threshold):
    """The threshold, and in words where it is from."""
    if sum(value is not None for value in (calibrated, validation, threshold)) > 1:
        raise LNCLIPError("name one of --calibration, --validation and --threshold")
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise LNCLIPError(f"--threshold {threshold}: accepted is 0 to 1")
        return threshold, "given"
    if validation is not None:
        parts = read_run(validation).sets.values()
        label, score = (np.concatenate([getattr(p, name) for p in parts]) for name in ("label", "score"))
        if not 0 <= fpr < 1:
            raise LNCLIPError(f"--fpr {fpr}: accepted is 0 or more and less than 1")
        value = calibration.threshold_at_fpr(label, score, fpr)
        return value, f"{report.percent(fpr)} % false positives in {validation}"
    path = Path(calibrated or Path(run) / calibration.FILE)
    if not path.is_file():
        raise LNCLIPError(
            f"no threshold: {path} is absent; write it with lnclip-df calibrate, or name --validation or --threshold"
        )
    found = read_calibration(path, read)["threshold"]
    return found["score"], f"{report.percent(found.get('asked_fpr'))} % false positives on the validation set"


def _rows(found):
    rows = [["dataset", "attribute", "group", "reals", "fakes", "false_positives", "false_negatives",
             *(f"{figure.lower()}{end}" for figure in FIGURES for end in ("", "_low", "_high"))]]  # fmt: skip
    for (dataset, attribute), parts in found.items():
        for name, part in parts.items():
            counts = [part["reals"], part["fakes"], *part["errors"]]
            rows.append([dataset, attribute, name, *counts, *(x for figure in FIGURES for x in part[figure])])
    return rows


def _text(found, gaps, limit, source, least):
    parts = []
    for (dataset, attribute), groups in found.items():
        table = [["group", "reals", "fakes", *FIGURES]]
        table += [[name, p["reals"], p["fakes"], *(p[figure] for figure in FIGURES)] for name, p in groups.items()]
        gaps_table = [["largest gap", "higher", "lower", "difference"]]
        for figure, largest in zip(FIGURES, gaps[dataset, attribute], strict=True):
            gaps_table.append([figure, *(largest or (None, None, None))])
        parts.append(
            f"## {dataset} by {attribute}\n\n{report.markdown_table(table)}\n{report.markdown_table(gaps_table)}"
        )
    notes = (
        f"All in %, over videos. FPR and FNR at the threshold {limit:.4f} ({source}). Intervals of 95 %: AUROC by "
        "bootstrap, rates by Wilson, differences from these two (Zou and Donner; of rates, Newcombe).\n"
        f"The gap is between the groups with at least {least} videos of each class that the figure is made of; its "
        "interval is that of two groups chosen beforehand, and the largest of many gaps is large by chance too.\n"
    )
    return "\n".join([*parts, notes])


def _plot(path, found):
    figure = new_figure(11, sum(1.3 + 0.35 * len(parts) for parts in found.values()))
    heights = [1 + 0.35 * len(parts) for parts in found.values()]
    panels = figure.subplots(len(found), 3, squeeze=False, sharex="col", height_ratios=heights)
    for row, ((dataset, attribute), parts) in zip(panels, found.items(), strict=True):
        for panel, name, hue in zip(row, FIGURES, COLOURS, strict=True):
            for at, part in enumerate(parts.values()):
                value, low, high = part[name]
                if value is not None:
                    panel.plot([100 * value], [at], color=hue, marker="o")
                    if low is not None:
                        panel.hlines(at, 100 * low, 100 * high, color=hue)
            panel.set_yticks(range(len(parts)), list(parts) if name == FIGURES[0] else [""] * len(parts))
            panel.set(ylim=(len(parts) - 0.5, -0.5), xlabel=f"{name}, %")
            panel.grid(axis="x", color="0.9")
        row[0].set_title(f"{dataset} by {attribute}", loc="left", fontsize="medium")
    save_figure(figure, path)
