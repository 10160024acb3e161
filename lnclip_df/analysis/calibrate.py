"""Calibration of a run: a temperature and a threshold from the validation set, and what they give on the test sets."""

import logging
from pathlib import Path

import numpy as np

from lnclip_df.analysis.report import (
    chosen,
    markdown_table,
    percent,
    study_folder,
    wilson,
    write_csv,
)  # fmt: skip
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, write_json, write_text
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.evaluation import calibration
from lnclip_df.evaluation.aggregation import video_scores
from lnclip_df.evaluation.runs import Run, Scores, read_run

COLOURS = ("#d55e00", "#0072b2")
HEADER = [
    "data set", "of", "n", "fakes", "ECE", "ECE scaled", "NLL", "NLL scaled", "Brier", "Brier scaled", "FPR", "FNR",
]  # fmt: skip

logger = logging.getLogger(__name__)


def calibrate(
    run, *, weights=None, validation=None, datasets=(), fpr: float = 0.05, bins: int = calibration.BINS, config=None,
    out=None, device=None, progress: bool = True,
) -> dict:  # fmt: skip
    """Fit a temperature on the validation set, and say how well calibrated the test sets' predictions are.

    Args:
        run: folder of a run with ``predictions/``, or a CSV of predictions.
        weights: of the detector, to predict the validation set with; ``best.safetensors`` of the run by default.
        validation: predictions of the validation set (a run's folder or a CSV) instead of predicting them.
        datasets: test sets; all of the run by default.
        fpr: the false positive rate over validation videos that the threshold is for.
        bins: of the ECE and the diagram.
        config: of the detector, as ``lnclip_df.weights.restore.config_for`` finds it by default. Its
            ``lnclip.val_dataset`` is predicted.
        out: folder for ``reliability.png``, ``calibration.md`` and ``.csv``; ``<run>/studies/calibration`` by default.
        device: as for ``lnclip_df.evaluation.test.test``.
        progress: show a progress bar.

    Returns:
        What ``calibration.json`` beside the weights holds (in ``out`` where the run is a CSV or its weights are not on
        disk).

    Raises:
        LNCLIPError: predictions are missing, unfit, or of other weights than the validation's; an option is unfit.
    """
    if not 0 <= fpr < 1:
        raise LNCLIPError(f"--fpr {fpr}: accepted is 0 or more and less than 1")
    if bins < 1:
        raise LNCLIPError(f"--bins {bins}: at least 1 is needed")
    tested = read_run(run)
    sets = chosen(tested, datasets)
    folder = study_folder(run, out, "calibration")
    weights = Path(weights or (Path(run) / "best.safetensors"))
    if validation is None:
        validation = _predict(weights, config, folder / "validation", device, progress)
    validated = read_run(validation)
    digest = _same_weights(tested, validated)
    found = _fit(validated, fpr, bins) | {"weights_sha256": digest}
    beside = weights.parent if weights.is_file() else folder
    write_json(beside / calibration.FILE, found)
    shown = {f"{name} (val)": scores for name, scores in validated.sets.items()} | sets
    _write(folder, shown, found, bins)
    return found


def read_calibration(path, run: Run) -> dict:
    """Read a ``calibration.json`` for a run.

    Raises:
        LNCLIPError: it is absent, damaged, or of other weights than the run's predictions.
    """
    found = read_json(path)
    threshold = found.get("threshold", {}).get("score") if isinstance(found, dict) else None
    if not isinstance(threshold, float | int) or not 0 <= threshold <= 1:
        raise LNCLIPError(f"{path} holds no threshold within 0..1; write it with lnclip-df calibrate")
    _check_weights(found.get("weights_sha256"), _digest_of(run), path, run.name)
    return found


def _predict(weights, config, out, device, progress):
    """Predict the validation set; returns a folder that reads as a run."""
    from lnclip_df.analysis.predict import identity, load, predict
    from lnclip_df.datasets.dataset_json import read_videos
    from lnclip_df.datasets.frame_dataset import FrameDataset
    from lnclip_df.weights.restore import config_for

    if not weights.is_file():
        raise LNCLIPError(f"no weights {weights}: name them with --weights, or predictions with --validation")
    config = config or config_for(weights)
    names = config["lnclip"]["val_dataset"]
    if not names:
        raise LNCLIPError("lnclip.val_dataset names no validation set; set it, or name predictions with --validation")
    loaded = load(config, weights, device)
    for name in names:
        videos = read_videos(config, [name], "val")
        frames = FrameDataset(config, videos, frames_per_video=config["frame_num"]["test"])
        facts = identity(loaded, frames) | {"dataset": name, "split": "val"}
        path = out / "predictions" / f"{name}.parquet"
        predict(loaded, frames, path, facts, title=f"{name} (val)", progress=progress)
    for path in (out / "predictions").glob("*.parquet"):
        if path.stem not in names:  # left by another configuration
            path.unlink()
    return out


def _digest_of(run):
    for facts in run.facts.values():
        weights = facts.get("weights")
        if isinstance(weights, dict) and weights.get("sha256"):
            return weights["sha256"]
    return None


def _same_weights(tested, validated):
    a, b = _digest_of(tested), _digest_of(validated)
    _check_weights(b, a, "the validation set", tested.name)
    return a or b


def _check_weights(known, of_run, what, run):
    if known and of_run and known != of_run:
        raise LNCLIPError(
            f"{what} is of the weights {known[:10]} and the predictions of {run} of {of_run[:10]}; test again with one"
        )


def _fit(run, fpr, bins):
    """Temperature over the frames and threshold over the videos of all validation sets together."""
    parts = list(run.sets.values())
    label, prob = _joined(part.frame_label for part in parts), _joined(part.frame_prob for part in parts)
    video, score = _joined(part.label for part in parts), _joined(part.score for part in parts)
    temperature = calibration.fit_temperature(label, prob)
    if not 1.01 * calibration.RANGE[0] < temperature < 0.99 * calibration.RANGE[1]:
        logger.warning(
            "the validation set has no best temperature: %s; %.2f is the end of the range",
            "its frames are separated without an error" if temperature < 1 else "its logits say nothing", temperature,
        )  # fmt: skip
    threshold = calibration.threshold_at_fpr(video, score, fpr)
    after = calibration.scaled(prob, temperature)
    return {
        "temperature": temperature,
        "threshold": {
            "score": threshold,
            "of": "a video's mean probability of fake, before scaling; fake is what is above it",
            "asked_fpr": fpr,
            "fpr": float(np.mean(score[video == 0] > threshold)),
            "fnr": float(np.mean(score[video == 1] <= threshold)),
        },
        "validation": {
            "datasets": sorted(run.sets),
            "frames": len(label),
            "videos": len(video),
            "reals": int((video == 0).sum()),
            "fakes": int(video.sum()),
            "nll": [calibration.nll(label, prob), calibration.nll(label, after)],
            "ece": [calibration.ece(label, prob, bins), calibration.ece(label, after, bins)],
            "bins": bins,
        },
    }


def _joined(arrays):
    return np.concatenate(list(arrays))


def _levels(scores: Scores, temperature: float) -> dict:
    """``{frames, videos: (label, probability, scaled probability)}``; a scaled video averages its scaled frames."""
    scaled = calibration.scaled(scores.frame_prob, temperature)
    videos = video_scores(scores.frame_video, scaled)
    return {
        "frames": (scores.frame_label, scores.frame_prob, scaled),
        "videos": (scores.label, scores.score, videos),
    }


def _write(folder, sets, found, bins):
    temperature, threshold = found["temperature"], found["threshold"]["score"]
    rows, shown = [HEADER], [HEADER]
    for name, scores in sets.items():
        for level, (label, prob, after) in _levels(scores, temperature).items():
            pairs = [
                function(label, values)
                for function in (lambda a, b: calibration.ece(a, b, bins), calibration.nll, calibration.brier)
                for values in (prob, after)
            ]
            rates = [None, None]
            if level == "videos":
                above = prob > threshold
                rates = [float(above[label == 0].mean()), float((~above[label == 1]).mean())]
            rows.append([name, level, len(label), int(label.sum()), *pairs, *rates])
            texts = [*map(percent, pairs[:2]), *(f"{value:.3f}" for value in pairs[2:]), *map(percent, rates)]
            shown.append([name, level, len(label), int(label.sum()), *texts])
    write_csv(folder / "calibration.csv", rows)
    write_text(folder / "calibration.md", markdown_table(shown) + _notes(found, bins))
    _plot(folder / "reliability.png", sets, temperature, bins)


def _notes(found, bins):
    fit, threshold = found["validation"], found["threshold"]
    return (
        f"\nTemperature {found['temperature']:.3f}, fitted on the {fit['frames']} frames of {fit['videos']} validation "
        f"videos ({', '.join(fit['datasets'])}).\n"
        f"ECE in %, {bins} equal bins of the probability of fake; few samples a bin raise it. NLL in nats.\n"
        f"FPR and FNR in %, of videos at the threshold {threshold['score']:.4f}, which is that of "
        f"{percent(threshold['asked_fpr'])} % false positives on the validation set.\n"
    )


def _plot(path, sets, temperature, bins):
    figure = new_figure(9, 4.2 * len(sets))
    panels = figure.subplots(len(sets), 2, squeeze=False)
    for row, (name, scores) in zip(panels, sets.items(), strict=True):
        for panel, (level, (label, *probs)) in zip(row, _levels(scores, temperature).items(), strict=True):
            _panel(panel, label, probs, bins, level == "videos")
            panel.set_title(f"{name}: {len(label)} {level}", fontsize="medium")
    save_figure(figure, path)


def _panel(panel, label, probs, bins, intervals):
    panel.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    for prob, name, hue in zip(probs, ("as predicted", "scaled"), COLOURS, strict=True):
        count, mean, fakes = calibration.reliability(label, prob, bins)
        full = count > 0
        share = fakes[full] / count[full]
        text = f"{name}, ECE {percent(calibration.ece(label, prob, bins))} %"
        panel.plot(mean[full], share, color=hue, linewidth=1.2, label=text)
        panel.scatter(mean[full], share, s=8 + 150 * count[full] / count.sum(), color=hue, alpha=0.8, linewidths=0)
        if intervals:  # frames of a video are not independent
            bounds = [wilson(int(k), int(n)) for k, n in zip(fakes[full], count[full], strict=True)]
            panel.vlines(
                mean[full], [b.low for b in bounds], [b.high for b in bounds], color=hue, alpha=0.35, linewidth=1.5
            )
    panel.set(xlabel="mean probability of fake", ylabel="share of fakes", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    panel.legend(loc="lower right", fontsize="small")
