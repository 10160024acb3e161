"""Time: other ways than the mean to make one score of a video's frames, compared on saved predictions."""

from pathlib import Path

import numpy as np

from lnclip_df.analysis import report
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.core.tables import p_text
from lnclip_df.evaluation.aggregation import AGGREGATIONS, MEAN, by_video, movement, video_scores
from lnclip_df.evaluation.features import features_file, read_features
from lnclip_df.evaluation.runs import Scores, read_run
from lnclip_df.evaluation.statistics import delong

MOVEMENT = "movement"


def all_scores(scores: Scores, features=None) -> dict[str, np.ndarray]:
    """The videos' scores by each of ``AGGREGATIONS`` and, where features are given, by ``movement`` (NaN of one frame).

    Args:
        scores: the videos of a dataset, each one's frames in order.
        features: one row per frame, as ``scores.frame_prob``.
    """
    found = {how: video_scores(scores.frame_video, scores.frame_prob, how) for how in AGGREGATIONS}
    if features is not None:
        moved = [movement(part) for part in by_video(scores.frame_video, features)]
        found[MOVEMENT] = np.array([np.nan if value is None else value for value in moved])
    return found


def compare_aggregations(run, *, datasets=(), resamples: int = report.RESAMPLES, seed: int = 0, out=None) -> str:
    """Compare the aggregations by AUROC, each with DeLong's test against the mean probability.

    Args:
        run: folder of a run, or a CSV of predictions with a row a frame, in the order of time.
        datasets: those of the run to look at; all by default.
        resamples, seed: of the bootstrap.
        out: folder for ``aggregate.md``, ``.csv`` and ``.png``; ``<run>/studies/aggregate`` by default.

    Returns:
        The Markdown.

    Raises:
        LNCLIPError: predictions are unfit, features are of another test, or every video has one frame.
    """
    read = read_run(run)
    sets = report.chosen(read, datasets)
    for name, scores in sets.items():
        if scores.frames == len(scores.video):
            raise LNCLIPError(f"{run}: {name} has one row a video: there are no frames to aggregate")
    folder = report.study_folder(run, out, "aggregate")
    rows = [["dataset", "aggregation", "reals", "fakes", "auroc", "low", "high", "difference", "p"]]
    parts = []
    for name, scores in sets.items():
        table = [["video score", "videos", "AUROC", "against the mean", "p"]]
        features = _features(run, name, read.facts[name], scores)
        for aggregation, values in all_scores(scores, features).items():
            row = _compared(scores, aggregation, values, resamples, report.seed_of(seed, name))
            rows.append([name, aggregation, *row])
            reals, fakes, *estimate, difference, p = row
            against = None if difference is None else f"{100 * difference:+.1f}"
            table.append([aggregation, reals + fakes, report.Estimate(*estimate), against, p_text(p)])
        parts.append(f"## {name}\n\n{report.markdown_table(table)}")
    text = "\n".join(parts) + _notes(rows)
    report.write_csv(folder / "aggregate.csv", rows)
    write_text(folder / "aggregate.md", text)
    _plot(folder / "aggregate.png", rows)
    return text


def _features(run, name, facts, scores):
    path = features_file(run, name)
    if not Path(run).is_dir() or not path.is_file():
        return None
    return read_features(path, facts, scores.frames)


def _compared(scores, aggregation, values, resamples, seed):
    """Counts, AUROC with bounds, difference from the mean on the same videos, and its p-value."""
    there = ~np.isnan(values)
    label, values, base = scores.label[there], values[there], scores.score[there]
    fakes = int(label.sum())
    estimate = report.auroc(label, values, resamples=resamples, seed=seed)
    if aggregation == MEAN or estimate.value is None:
        return [len(label) - fakes, fakes, *estimate, None, None]
    test = delong(label, values, base)
    return [len(label) - fakes, fakes, *estimate, test.difference, test.p]


def _notes(rows):
    text = (
        "\nAUROC over videos in %, with 95 % bootstrap intervals; the difference in points and DeLong's p, two-sided "
        "and not corrected for how many there are.\n"
    )
    if any(row[1] == MOVEMENT for row in rows):
        text += (
            "Movement is the mean angle between the features of neighbouring frames, more of it taken for fake: below "
            "50 % the fakes move less.\n"
        )
    return text


def _plot(path, rows):
    datasets = list(dict.fromkeys(row[0] for row in rows[1:]))
    most = max(sum(row[0] == name for row in rows) for name in datasets)
    figure = new_figure(4.2 * len(datasets) + 1, 1.2 + 0.4 * most)
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    for panel, name in zip(panels, datasets, strict=True):
        shown = [row for row in rows[1:] if row[0] == name and row[4] is not None]
        for at, (_, aggregation, _, _, value, low, high, *_) in enumerate(shown):
            hue = "0.3" if aggregation == MEAN else "#0072b2"
            panel.plot([100 * value], [at], color=hue, marker="o")
            if low is not None:
                panel.hlines(at, 100 * low, 100 * high, color=hue)
        panel.set_yticks(range(len(shown)), [row[1] for row in shown])
        panel.set(title=name, xlabel="video AUROC, %", ylim=(len(shown) - 0.5, -0.5))
        panel.grid(axis="x", color="0.9")
    save_figure(figure, path)
