"""The leaderboard's plot."""

from collections.abc import Iterable, Mapping

from sklearn.metrics import auc, roc_curve

from lnclip_df.core.plots import legend_text, new_panels, save_figure
from lnclip_df.evaluation.runs import Scores


def write_roc(path, scores: Mapping[str, Mapping[str, Scores]], datasets: Iterable[str]):
    """Draw the video-level ROC curves as a PNG: one panel per dataset that a run has, one line per run.

    ``scores`` is ``{run: {dataset: its videos}}``.
    """
    datasets = [name for name in datasets if any(name in sets for sets in scores.values())]
    figure, panels = new_panels(len(datasets), 4, 4, columns=4)
    for panel, dataset in zip(panels, datasets, strict=True):
        panel.plot([0, 1], [0, 1], color="0.8", linewidth=1, linestyle="--")
        for number, (run, sets) in enumerate(scores.items()):
            if dataset in sets:
                fpr, tpr, _ = roc_curve(sets[dataset].label, sets[dataset].score)
                panel.plot(fpr, tpr, color=f"C{number % 10}", label=legend_text(f"{run} {100 * auc(fpr, tpr):.1f}"))
        panel.set(title=dataset, xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        panel.legend(loc="lower right", fontsize="small", title="AUROC, %", title_fontsize="small")
    save_figure(figure, path)
