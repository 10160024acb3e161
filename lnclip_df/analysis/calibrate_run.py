"""Calibrate a run: a temperature and a threshold from the validation set, and what they give on the test sets."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lnclip_df.analysis.report import select_datasets, study_folder, write_report
from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_json
from lnclip_df.core.plots import LIGHT, legend_outside, new_panels
from lnclip_df.core.tables import aligned_markdown, percent, show
from lnclip_df.evaluation import calibration as measures
from lnclip_df.evaluation.aggregation import video_scores
from lnclip_df.evaluation.estimates import wilson
from lnclip_df.evaluation.runs import Run, Scores, read_run

HEADER = [
    "data set", "of", "n", "fakes", "ECE", "ECE scaled", "NLL", "NLL scaled", "Brier", "Brier scaled", "FPR", "FNR",
]  # fmt: skip

MIN_IN_BIN = 10  # videos, or frames, of a bin that the diagram's line goes through

logger = logging.getLogger(__name__)


def calibrate_run(
    run, *, weights=None, validation=None, datasets: Iterable[str] = (), fpr: float = 0.05, bins: int = measures.BINS,
    config=None, out=None, device: str | None = None, progress: bool = True,
) -> dict:  # fmt: skip
    """Fit a temperature and a threshold on the validation set, and measure the calibration of the test sets.

    With fewer than ``lnclip_df.core.enough.MIN_VIDEOS`` validation videos of a class no temperature is fitted: it is
    None. In simulations with 10 videos a class, temperatures for a true one of 2 were 0.6 to 3.7 (90 %), with 5 they
    reached the end of the range. The threshold says itself how far its rate can be trusted.

    Args:
        run: folder of a run with ``predictions/``, or a CSV of predictions.
        weights: of the detector, to predict the validation set with; ``best.safetensors`` of the run by default.
        validation: predictions of the validation set (a run's folder or a CSV) instead of predicting them.
        datasets: test sets; all of the run by default.
        fpr: false positive rate over validation videos that the threshold is for.
        bins: number of bins of the ECE and the diagram.
        config: of the detector; by default as ``Checkpoint.config_for`` finds it. Its
            ``lnclip.val_dataset`` is predicted.
        out: folder for ``reliability.png``, ``calibration.md`` and ``.csv``; ``<run>/studies/calibration`` by default.
        device: as for ``lnclip_df.evaluation.test.test``.

    Returns:
        The content of ``calibration.json``, which is written beside the weights (in ``out`` where the run is a CSV or
        the weights are not on disk).

    Raises:
        LNCLIPError: predictions are missing, invalid, or of other weights than the validation's; an option is invalid.
    """
    check_fpr(fpr)
    if bins < 1:
        raise LNCLIPError(f"bins is {bins}; expected at least 1")
    tested = read_run(run)
    sets = select_datasets(tested, datasets)
    folder = study_folder(run, out, "calibration")
    named = Path(weights or (Path(run) / "best.safetensors"))
    if validation is None:
        if weights is None and not named.is_file():
            raise LNCLIPError(f"no weights {named}; name the weights, or predictions of the validation set")
        validation = _predict(named, config, folder / "validation", device, progress)
    validated = read_run(validation)
    of_test, of_validation = weights_of(tested), weights_of(validated)
    check_weights(of_validation, of_test, "the validation set", tested.name)
    found = _fit(validated, fpr, bins) | {"weights_sha256": of_test or of_validation}
    beside = named if named.is_dir() else named.parent
    write_json((beside if named.exists() else folder) / measures.FILE, found)
    shown = {f"{name} (val)": scores for name, scores in validated.sets.items()} | sets
    rows, text = _tables(shown, found, bins)
    figure = _plot(shown, found["temperature"], bins)
    write_report(folder, "calibration", rows, text, figure, picture="reliability")
    return found


def check_fpr(fpr: float):
    """Raise LNCLIPError unless it is a false positive rate that a threshold can be set for."""
    if not 0 <= fpr < 1:
        raise LNCLIPError(f"fpr is {fpr}; expected 0 or more and less than 1")


def read_calibration(path, run: Run) -> measures.Calibration:
    """Read a ``calibration.json`` for a run.

    Raises:
        LNCLIPError: it is absent, damaged, or of other weights than the run's predictions.
    """
    found = measures.read_calibration(path)
    check_weights(found.weights_sha256, weights_of(run), path, run.name)
    return found


def weights_of(run: Run) -> str | None:
    """The SHA-256 of the weights that a run was predicted with; None where it is not recorded."""
    return next((made.weights.sha256 for made in run.provenance.values() if made.weights.sha256), None)


def check_weights(known: str | None, of_run: str | None, what, run: str):
    """Raise LNCLIPError if ``what`` is of other weights, by their SHA-256, than the predictions of a run."""
    if known and of_run and known != of_run:
        raise LNCLIPError(
            f"{what} is of the weights {known[:10]}, and the predictions of {run} are of {of_run[:10]}; "
            "test again with the same weights"
        )


def _predict(weights, config, out, device, progress):
    """Predict the validation set into a folder that reads as a run."""
    from lnclip_df.datasets.dataset_json import read_videos
    from lnclip_df.datasets.frame_dataset import FrameDataset
    from lnclip_df.evaluation import predict
    from lnclip_df.weights import Checkpoint

    weights = Checkpoint.open(weights)
    config = config or weights.config_for()
    names = config.lnclip.val_dataset
    if not names:
        raise LNCLIPError("lnclip.val_dataset is empty; name a validation set there, or give predictions of one")
    loaded = predict.load_detector(config, weights, device)
    for name in names:
        videos = read_videos(config, [name], "val")
        frames = FrameDataset(config, videos, frames_per_video=config.frame_num.test)
        provenance = predict.provenance_of_frames(loaded, frames, name, "val")
        path = out / "predictions" / f"{name}.parquet"
        if not predict.are_finished(path, provenance):
            table = predict.predict_frames(loaded, frames, title=f"{name} (val)", progress=progress)
            predict.write_table(path, table, frames.videos, provenance)
    for path in (out / "predictions").glob("*.parquet"):
        if path.stem not in names:  # left by another configuration
            path.unlink()
    return out


def _fit(run, fpr, bins):
    """Temperature over the frames and threshold over the videos of all validation sets together."""
    label, prob, video, score = map(run.pooled, ("frame_label", "frame_prob", "label", "score"))
    reals, fakes = int((video == 0).sum()), int(video.sum())
    largest = measures.largest_fpr(reals, fpr)
    consequence = f"no temperature is fitted, and the true false positive rate may be {percent(largest)} %"
    few = enough.few_videos(reals, fakes, consequence)
    if few:
        logger.warning("the validation set has %s", few)
    temperature = None if few else measures.fit_temperature(label, prob)
    if temperature is not None and not 1.01 * measures.RANGE[0] < temperature < 0.99 * measures.RANGE[1]:
        logger.warning(
            "the validation set has no best temperature: %s; %.2f is the end of the range",
            "its frames are separated without an error" if temperature < 1 else "its logits carry no information",
            temperature,
        )
    threshold = measures.threshold_at_fpr(video, score, fpr)
    both = [prob] if temperature is None else [prob, measures.scaled(prob, temperature)]
    return {
        "temperature": temperature,
        "threshold": {
            "score": threshold,
            "of": "a video's mean probability of fake, before scaling; fake is what is above it",
            "asked_fpr": fpr,
            "fpr": float(np.mean(score[video == 0] > threshold)),
            "largest_fpr": largest,
            "fnr": float(np.mean(score[video == 1] <= threshold)),
        },
        "validation": {
            "datasets": sorted(run.sets),
            "frames": len(label),
            "videos": len(video),
            "reals": reals,
            "fakes": fakes,
            "nll": [measures.nll(label, values) for values in both],
            "ece": [measures.ece(label, values, bins) for values in both],
            "bins": bins,
        },
    }


def _levels(scores: Scores, temperature: float | None) -> dict:
    """``{frames, videos: (label, [probability, scaled probability])}``; a scaled video averages its scaled frames.

    Without a temperature there is no scaled probability.
    """
    frames, videos = [scores.frame_prob], [scores.score]
    if temperature is not None:
        frames.append(measures.scaled(scores.frame_prob, temperature))
        videos.append(video_scores(scores.frame_video, frames[1]))
    return {"frames": (scores.frame_label, frames), "videos": (scores.label, videos)}


def _tables(sets, found, bins):
    threshold, fit = found["threshold"], found["validation"]
    rows, shown = [HEADER], [HEADER]
    for name, scores in sets.items():
        for level, (label, probs) in _levels(scores, found["temperature"]).items():
            pairs = [
                None if values is None else function(label, values)
                for function in (lambda a, b: measures.ece(a, b, bins), measures.nll, measures.brier)
                for values in [*probs, None][:2]
            ]
            rates = [None, None]
            if level == "videos":
                above = probs[0] > threshold["score"]
                rates = [float(above[label == 0].mean()), float((~above[label == 1]).mean())]
            first = [name, level, len(label), int(label.sum())]
            rows.append([*first, *pairs, *rates])
            texts = [*map(percent, pairs[:2]), *(show(value, ".3f") for value in pairs[2:]), *map(percent, rates)]
            shown.append([f"{name}{scores.few}", *first[1:], *texts])
    fitted = f"the {fit['frames']} frames of {fit['videos']} validation videos ({', '.join(fit['datasets'])})"
    temperature = (
        f"Temperature {found['temperature']:.3f}, fitted on {fitted}."
        if found["temperature"] is not None
        else f"No temperature: {fit['reals']} real and {fit['fakes']} fake validation videos, "
        f"{enough.MIN_VIDEOS} of each are needed."
    )
    notes = (
        f"\n{temperature}\n"
        f"ECE in %, over {bins} equal bins of the probability of fake; few samples per bin raise it. NLL in nats.\n"
        f"FPR and FNR in %, over videos at the threshold {threshold['score']:.4f}: at most "
        f"{percent(threshold['asked_fpr'])} % of the validation set's reals lie above. The true rate on such videos is "
        f"below {percent(threshold['largest_fpr'])} % with 95 % confidence.\n"
    )
    table = aligned_markdown(shown)
    return rows, table + notes + enough.note(table)


def _plot(sets, temperature, bins):
    figure, panels = new_panels(2 * len(sets), 4.5, 4.8, columns=2)
    levels = [(name, *level) for name, scores in sets.items() for level in _levels(scores, temperature).items()]
    for panel, (name, level, (label, probs)) in zip(panels, levels, strict=True):
        _draw_reliability(panel, label, probs, bins, level == "videos")
        panel.set_title(f"{name}: {len(label)} {level}", fontsize="medium")
    return figure


def _draw_reliability(panel, label, probs, bins, intervals):
    """Share of fakes over mean probability, bin by bin; bins of few samples are faint, and beside the line."""
    panel.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    for prob, name, colour in zip(probs, ("as predicted", "scaled"), LIGHT.series, strict=False):
        count, mean, fakes = measures.reliability(label, prob, bins)
        full, plenty = count > 0, count >= MIN_IN_BIN
        share = fakes / np.maximum(count, 1)
        text = f"{name}, ECE {percent(measures.ece(label, prob, bins))} %"
        panel.plot(mean[plenty], share[plenty], color=colour, linewidth=1.4, marker="o", markersize=5, label=text)
        few = full & ~plenty
        panel.scatter(mean[few], share[few], s=14, facecolors="none", edgecolors=colour, alpha=0.45, linewidths=0.8)
        if intervals:  # frames of a video are not independent
            for at in np.flatnonzero(full):
                bounds = wilson(int(fakes[at]), int(count[at]))
                faint = 0.45 if plenty[at] else 0.12
                panel.vlines(mean[at], bounds.low, bounds.high, color=colour, alpha=faint, linewidth=1.5)
    panel.scatter([], [], s=14, facecolors="none", edgecolors="0.5", label=f"fewer than {MIN_IN_BIN} in the bin")
    panel.set(xlabel="mean probability of fake", ylabel="share of fakes", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    legend_outside(panel)
