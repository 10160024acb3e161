"""Plots of the leaderboard."""

import math

from sklearn.metrics import auc, roc_curve

from lnclip_df.core.plots import new_figure, save_figure

COLUMNS = 4


def write_roc(path, scores: dict, datasets: list[str]):
    """Draw the video-level ROC curves, a panel a dataset and a line a run.

    Args:
        path: the PNG.
        scores: ``{run: {dataset: (label, score)}}``, arrays of one entry a video.
        datasets: the panels, in order.

    Raises:
        LNCLIPError: matplotlib is absent.
    """
    columns = min(COLUMNS, len(datasets))
    rows = math.ceil(len(datasets) / columns)
    figure = new_figure(4 * columns, 4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, dataset in zip(panels, datasets, strict=False):
        _panel(panel, dataset, {run: sets[dataset] for run, sets in scores.items() if dataset in sets}, list(scores))
    for panel in panels[len(datasets) :]:
        panel.set_axis_off()
    save_figure(figure, path)


def _panel(panel, dataset, runs, order):
    panel.plot([0, 1], [0, 1], color="0.8", linewidth=1, linestyle="--")
    for run, (label, score) in runs.items():
        if 0 < label.sum() < len(label):
            fpr, tpr, _ = roc_curve(label, score)
            panel.plot(fpr, tpr, color=f"C{order.index(run) % 10}", label=f"{run} {100 * auc(fpr, tpr):.1f}")
    panel.set(title=dataset, xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    if panel.get_legend_handles_labels()[1]:
        panel.legend(loc="lower right", fontsize="small", title="AUROC, %", title_fontsize="small")
