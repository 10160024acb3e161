"""The leaderboard's plot."""

from collections.abc import Iterable, Mapping

from sklearn.metrics import auc, roc_curve

from lnclip_df.core.plots import LIGHT, legend_outside, legend_text, new_panels, save_figure, series_style
from lnclip_df.evaluation.runs import Scores

MAX_DRAWN = len(LIGHT.series)  # runs in colour in a panel: as many as there are colours; further ones are gray
MAX_NAME = 34  # characters in a legend


def write_roc(path, scores: Mapping[str, Mapping[str, Scores]], datasets: Iterable[str]):
    """Draw the video-level ROC curves as a PNG: one panel per dataset that a run has, one line per run.

    ``scores`` is ``{run: {dataset: its videos}}``. Of many runs, those with the highest AUROC of a panel are coloured.
    """
    datasets = [name for name in datasets if any(name in sets for sets in scores.values())]
    runs = min(len(scores), MAX_DRAWN + 1)
    figure, panels = new_panels(len(datasets), 4, 4.3 + 0.21 * runs, columns=4)
    for panel, dataset in zip(panels, datasets, strict=True):
        curves = [
            (auc(fpr, tpr), number, run, fpr, tpr)
            for number, (run, sets) in enumerate(scores.items())
            if dataset in sets
            for fpr, tpr, _ in [roc_curve(sets[dataset].label, sets[dataset].score)]
        ]
        marks = {run: sets[dataset].few for run, sets in scores.items() if dataset in sets}
        _draw(panel, sorted(curves, key=lambda curve: -curve[0]), marks, few=len(scores) <= MAX_DRAWN)
        panel.set(title=dataset, xlabel="false positive rate", ylabel="true positive rate", box_aspect=1)
        panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        legend_outside(panel)
    save_figure(figure, path)


def _draw(panel, curves, marks, few):
    """The curves, the best first; a run keeps its colour in all panels where there are few."""
    panel.plot([0, 1], [0, 1], color="0.8", linewidth=1, linestyle="--")
    for rank, (area, number, run, fpr, tpr) in enumerate(curves[:MAX_DRAWN]):
        name = run if len(run) <= MAX_NAME else f"{run[: MAX_NAME - 1]}…"
        style = series_style(number if few else rank)
        panel.plot(fpr, tpr, **style, zorder=3, label=legend_text(f"{100 * area:.1f} %{marks[run]}  {name}"))
    rest = curves[MAX_DRAWN:]
    for at, (*_, fpr, tpr) in enumerate(rest):
        label = f"{len(rest)} more, {100 * rest[-1][0]:.1f} to {100 * rest[0][0]:.1f} %" if at == 0 else None
        panel.plot(fpr, tpr, color="0.85", linewidth=0.7, zorder=1, label=label)
