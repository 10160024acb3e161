"""Compare ways to make one score of a video's frames, on saved predictions."""

from collections.abc import Iterable

import numpy as np

from lnclip_df.analysis.report import draw_estimates, select_datasets, study_folder, write_report
from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.escapes import markdown
from lnclip_df.core.plots import LIGHT, new_figure
from lnclip_df.core.tables import aligned_markdown, p_text
from lnclip_df.evaluation.aggregation import AGGREGATIONS, MEAN, by_video, movement, video_scores
from lnclip_df.evaluation.estimates import Bootstrap, Estimate
from lnclip_df.evaluation.features import features_file, read_features
from lnclip_df.evaluation.runs import Scores, read_run
from lnclip_df.evaluation.statistics import delong

MOVEMENT = "movement"


def compare_aggregations(run, *, datasets: Iterable[str] = (), resamples: int = 10_000, seed: int = 0, out=None) -> str:
    """Compare the aggregations by AUROC, each with DeLong's test against the mean probability.

    Args:
        run: folder of a run, or a CSV of predictions with one row per frame, in the order of time.
        datasets: those of the run to analyse; all by default.
        out: folder for ``aggregate.md``, ``.csv`` and ``.png``; ``<run>/studies/aggregate`` by default.

    Returns:
        The Markdown.

    Raises:
        LNCLIPError: predictions are invalid, features are of another test, or every video has one frame.
    """
    read = read_run(run)
    sets = select_datasets(read, datasets)
    for name, scores in sets.items():
        if scores.frames == len(scores.video):
            raise LNCLIPError(f"{run}: {name} has one row per video; expected several frames per video to aggregate")
    folder, bootstrap = study_folder(run, out, "aggregate"), Bootstrap(resamples, seed)
    rows: list[list] = [["dataset", "aggregation", "reals", "fakes", "auroc", "low", "high", "difference", "p"]]
    parts: list[str] = []
    estimates: dict[str, dict[str, Estimate]] = {}
    for name, scores in sets.items():
        table: list[list] = [["video score", "videos", "AUROC", "against the mean", "p"]]
        estimates[name] = {}
        path = features_file(run, name)
        features = read_features(path, read.provenance[name], scores.frames) if path.is_file() else None
        for aggregation, values in all_scores(scores, features).items():
            known = ~np.isnan(values)
            label, values = scores.label[known], values[known]
            reals, fakes = int((label == 0).sum()), int(label.sum())
            estimate = estimates[name][aggregation] = bootstrap.auroc(label, values, name)
            difference = p = None
            if aggregation != MEAN and estimate.value is not None:
                test = delong(label, values, scores.score[known])
                difference, p = test.difference, test.p
            rows.append([name, aggregation, reals, fakes, *estimate, difference, p])
            against = None if difference is None else f"{100 * difference:+.1f}"
            few = "" if estimate.value is None else enough.mark(reals, fakes)
            table.append([aggregation, reals + fakes, f"{estimate}{few}", against, p_text(p) + few * (p is not None)])
        parts.append(f"## {markdown(name)}\n\n{aligned_markdown(table)}")
    text = "\n".join(parts) + _notes(rows)
    text += enough.note(text)
    write_report(folder, "aggregate", rows, text, _plot(estimates))
    return text


def all_scores(scores: Scores, features: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The videos' scores by each of ``AGGREGATIONS`` and, with features, by ``movement`` (NaN for one frame).

    The frames of a video are in order; ``features`` has one row per frame, as ``scores.frame_prob``.
    """
    found = {how: video_scores(scores.frame_video, scores.frame_prob, how) for how in AGGREGATIONS}
    if features is not None:
        found[MOVEMENT] = np.array([movement(part) for part in by_video(scores.frame_video, features)], dtype=float)
    return found


def _notes(rows):
    text = (
        "\nAUROC over videos in %, with 95 % bootstrap intervals; the difference in points and DeLong's p, two-sided "
        "and not corrected for the number of tests.\n"
    )
    if any(row[1] == MOVEMENT for row in rows):
        text += (
            "Movement is the mean angle between the features of neighbouring frames. More of it counts as fake: below "
            "50 % the fakes move less.\n"
        )
    return text


def _plot(estimates: dict[str, dict[str, Estimate]]):
    figure = new_figure(4.2 * len(estimates) + 1, 1.2 + 0.4 * max(map(len, estimates.values())))
    panels = figure.subplots(1, len(estimates), squeeze=False)[0]
    for panel, (name, of_set) in zip(panels, estimates.items(), strict=True):
        defined = {how: estimate for how, estimate in of_set.items() if estimate.value is not None}
        draw_estimates(panel, defined, ["0.3" if how == MEAN else LIGHT.series[0] for how in defined])
        panel.set(title=name, xlabel="video AUROC, %")
    return figure
