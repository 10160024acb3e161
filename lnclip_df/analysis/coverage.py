"""Coverage: the AUROC of a run when videos and frames without a face count too."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lnclip_df.analysis.report import select_datasets, study_folder, write_report
from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.escapes import markdown
from lnclip_df.core.plots import LIGHT, legend_outside, new_panels
from lnclip_df.core.tables import aligned_markdown, numbered_rows, percent, read_csv, refuse_repeated, write_csv
from lnclip_df.evaluation.estimates import Bootstrap, Estimate
from lnclip_df.evaluation.reference import dataset_of
from lnclip_df.evaluation.runs import Scores, read_run
from lnclip_df.preprocess.records import WAITING

COLUMNS = ("dataset", "video", "label", "frames_asked", "frames_found")
TREATMENTS = {
    "excluded": "videos without a face are left out, as most tables of AUROCs do",
    "0.5": "a video without a face scores 0.5",
    "0.5 a frame": "each frame without a face counts 0.5 in its video's mean",
    "missing": "a video without a face is in the right order with no video of the other class",
}
GROUPS = {"no face": (0, 0), "under half": (0, 0.5), "half or more": (0.5, 1), "all frames": (1, 1)}


class FaceCounts(NamedTuple):
    """Arrays with one entry per video: key, label, frames asked for, and frames with a face."""

    video: np.ndarray
    label: np.ndarray
    asked: np.ndarray
    found: np.ndarray


Covered = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # label, score (NaN without a face), asked, found


def treated(label, score, asked, found) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels and scores of the videos under each of ``TREATMENTS``.

    Args:
        label: N labels, 0 real or 1 fake.
        score: N scores 0..1; those where ``found`` is 0 are ignored.
        asked: N numbers of frames that were asked for, at least 1.
        found: N numbers of frames that had a face, at most ``asked``.

    Returns:
        ``{treatment: (label, score)}``. Those of ``missing`` are s/2 + 1/4, and 0 and 1 for a fake and a real without
        a face: their AUROC is that of ``excluded`` times the shares of fakes and of reals that have a face.

    >>> treated([0, 1, 1], [0.2, 0.8, 0.0], [4, 4, 4], [2, 4, 0])["0.5 a frame"][1].tolist()
    [0.35, 0.8, 0.5]
    """
    label, score, asked, found = (np.asarray(values) for values in (label, score, asked, found))
    covered = found > 0
    half = np.where(covered, score, 0.5)
    return {
        "excluded": (label[covered], half[covered]),
        "0.5": (label, half),
        "0.5 a frame": (label, (found * half + (asked - found) * 0.5) / asked),
        "missing": (label, np.where(covered, half / 2 + 0.25, 1.0 - label)),
    }


def coverage(
    run, counts=None, *, datasets: Iterable[str] = (), resamples: int = 10_000, seed: int = 0, out=None
) -> str:
    """Show how a run's AUROC depends on the frames in which a face was found.

    Args:
        run: folder of a run, or a CSV of predictions.
        counts: a CSV with the columns ``dataset, video, label, frames_asked, frames_found``, one row per video, those
            without a face included; ``video`` is the key that predictions have. ``write_counts`` makes it from
            manifests.
        datasets: those of the run to analyse; by default all that the CSV has rows of.
        out: folder for ``coverage.md``, ``.csv`` and ``.png``; ``<run>/studies/coverage`` by default.

    Returns:
        The Markdown.

    Raises:
        LNCLIPError: the CSV or the predictions are invalid, or contradict each other.
    """
    read = read_run(run)
    tables = read_counts(counts)
    known = [name for name in read.sets if name in tables]
    if not known:
        raise LNCLIPError(
            f"{counts} has no rows of a dataset of {read.name} ({', '.join(read.sets)}); it has {', '.join(tables)}"
        )
    sets = select_datasets(read, datasets or known)
    if absent := [name for name in sets if name not in tables]:
        raise LNCLIPError(f"{counts} has no rows of {', '.join(absent)}")
    folder = study_folder(run, out, "coverage", counts)
    joined = {name: _joined(counts, name, scores, tables[name]) for name, scores in sets.items()}
    rows, text = _tables(joined, Bootstrap(resamples, seed))
    write_report(folder, "coverage", rows, text, _plot(joined))
    return text


def read_counts(path) -> dict[str, FaceCounts]:
    """Read the CSV of frames with a face, by dataset.

    Raises:
        LNCLIPError: a column is missing, a value is invalid, or a video has two rows; the message names the line.
    """
    tables: dict[str, dict] = {}
    for number, row in numbered_rows(path, COLUMNS):
        try:
            label, asked, found = (int(row[name]) for name in COLUMNS[2:])
        except ValueError as error:
            raise LNCLIPError(f"{path}: line {number}: {error}; label and frames are whole numbers") from error
        if label not in (0, 1) or not 0 <= found <= asked or asked < 1:
            raise LNCLIPError(
                f"{path}: line {number}: label {label}, {found} of {asked} frames; "
                "expected the label 0 or 1, at least 1 frame asked for, and at most as many found"
            )
        videos = tables.setdefault(dataset_of(row["dataset"]), {})
        if row["video"] in videos:
            raise LNCLIPError(f"{path}: line {number}: the video {row['video']} has two rows; remove one")
        videos[row["video"]] = (label, asked, found)
    return {
        name: FaceCounts(np.array(list(videos), dtype=object), *np.array(list(videos.values())).T)
        for name, videos in tables.items()
    }


def write_counts(path, manifests, dataset, root=None, *, level=None, folders=None) -> Path:
    """Write the CSV of frames with a face of a test split, from the manifests of preprocessing.

    Args:
        path: the CSV.
        manifests: ``manifests/<name>.csv`` files that together have all videos of the split.
        dataset, root, level, folders: as for ``lnclip_df.datasets.scan.scan_videos``.

    Raises:
        LNCLIPError: a video of the split is in no manifest, or as ``scan_videos``.
    """
    from lnclip_df.datasets.scan import scan_videos
    from lnclip_df.datasets.schema import load_dataset

    spec = load_dataset(dataset)
    items = [item for item in scan_videos(spec, root, level=level, folders=folders) if "test" in item.splits]
    if not items:
        raise LNCLIPError(f"{spec.name}: no video is in the split test")
    counts: dict[str, tuple[int, int]] = {}
    for manifest in manifests:
        rows = read_csv(manifest, ("video", "asked", "saved"))
        refuse_repeated(manifest, "video", (row["video"] for row in rows))
        for row in rows:
            if row.get("outcome") != WAITING:  # for another shard, whose manifest counts
                found = _asked_and_saved(manifest, row)
                if counts.setdefault(row["video"], found) != found:
                    raise LNCLIPError(f"{manifest}: the video {row['video']} has other frames in another manifest")
    table: list[list] = [list(COLUMNS)]
    for item in items:
        if (shown := printable(item.path)) not in counts:
            raise LNCLIPError(
                f"{spec.name}: the video {item.path} is in no manifest; preprocess it, or add its manifest"
            )
        key = "/".join(part for part in (spec.name, item.label, item.level, item.name) if part is not None)
        table.append([spec.name, key, int(item.fake), *counts[shown]])
    write_csv(path, table)
    return Path(path)


def _asked_and_saved(manifest, row):
    """A video that cannot be opened has no frames asked for: it counts as one frame."""
    try:
        asked, saved = int(row["asked"] or 0), int(row["saved"] or 0)
    except ValueError as error:
        raise LNCLIPError(f"{manifest}: the row of {row['video']}: {error}") from error
    return max(asked, saved, 1), saved


def _joined(path, name, scores: Scores, counts: FaceCounts) -> Covered:
    """The videos of the CSV with their scores."""
    index = {printable(video): at for at, video in enumerate(scores.video)}
    score = np.full(len(counts.video), np.nan)
    for at, (video, label, _, frames) in enumerate(zip(*counts, strict=True)):
        predicted = index.pop(video, None)
        if predicted is None:
            if frames:
                raise LNCLIPError(
                    f"{path}: the video {video} has {frames} frames with a face and no prediction; test {name} again, "
                    "or remove the row"
                )
            continue
        if not frames or label != scores.label[predicted]:
            problem = "no face" if not frames else f"the label {label}"
            raise LNCLIPError(f"{path}: the video {video} has {problem}, which its predictions contradict")
        score[at] = scores.score[predicted]
    if index:
        raise LNCLIPError(
            f"{path}: {len(index)} predicted videos of {name} have no row; the first is {next(iter(index))}"
        )
    return counts.label, score, counts.asked, counts.found


def _tables(joined: dict[str, Covered], bootstrap):
    rows = [["dataset", "part", "reals", "fakes", "auroc", "low", "high"]]
    parts = []
    for name, (label, score, asked, found) in joined.items():
        share = found / asked

        def cells(part, labels, estimate, name=name):
            counts = int((labels == 0).sum()), int(labels.sum())
            rows.append([name, part, *counts, *estimate])
            return [part, *counts, f"{estimate}{enough.mark(*counts) if estimate.value is not None else ''}"]

        treatments = [["scored as", "reals", "fakes", "AUROC"]]
        for treatment, (labels, scores) in treated(label, score, asked, found).items():
            treatments.append(cells(treatment, labels, bootstrap.auroc(labels, scores, name)))
        groups = [["frames with a face", "reals", "fakes", "AUROC"]]
        for group, (low, high) in GROUPS.items():
            inside = (share == low) if low == high else (share >= low) & (share < high) & (share > 0)
            known = bool(low or high)  # without a face there is no score
            estimate = bootstrap.auroc(label[inside], score[inside], name, group) if known else Estimate(None)
            groups.append(cells(group, label[inside], estimate))
        lost = [f"{int((found[label == kind] == 0).sum())} of {int((label == kind).sum())}" for kind in (0, 1)]
        parts.append(
            f"## {markdown(name)}\n\n{aligned_markdown(treatments)}\n{aligned_markdown(groups)}\n"
            f"Without a face: {lost[0]} reals, {lost[1]} fakes. Frames with a face: "
            f"{percent(found.sum() / asked.sum())} % of those asked for.\n"
        )
    notes = "".join(f"* {name}: {meaning}\n" for name, meaning in TREATMENTS.items())
    text = "\n".join(parts)
    return rows, f"{text}\nAUROC over videos in %, with 95 % bootstrap intervals.\n{enough.note(text)}\n{notes}"


def _plot(joined: dict[str, Covered]):
    """Above, the AUROC of the videos with at least a share of their frames; below, how many of each class those are."""
    figure, panels = new_panels(2 * len(joined), 4.8, 3.6, len(joined))
    auroc = Bootstrap(resamples=0).auroc
    for above, below, (name, (label, score, asked, found)) in zip(
        panels[: len(joined)], panels[len(joined) :], joined.items(), strict=True
    ):
        share = found / asked
        kept = {100 * step: share >= step for step in np.unique(share) if step > 0}
        both = {step: keep for step, keep in kept.items() if len(set(label[keep])) == 2}
        values = [100 * (auroc(label[keep], score[keep]).value or 0) for keep in both.values()]
        above.plot(list(both), values, color=LIGHT.series[0], marker="o", markersize=4, label="these videos")
        worst = auroc(*treated(label, score, asked, found)["missing"]).value
        if worst is not None:
            text = "all, no face is an error"
            above.axhline(100 * worst, color=LIGHT.series[1], linewidth=1.2, linestyle="--", label=text)
        above.axhline(50, color="0.8", linewidth=1, linestyle=":")
        above.set(title=name, ylabel="video AUROC, %", ylim=(min([45, *(v - 3 for v in values)]), 101))
        for kind, colour in enumerate((LIGHT.real, LIGHT.fake)):
            shares = [100 * keep[label == kind].mean() for keep in kept.values()]
            below.plot(list(kept), shares, color=colour, marker="s", markersize=3, label=("reals", "fakes")[kind])
        below.set(ylabel="share of the videos, %", ylim=(-2, 103))
        for panel in (above, below):
            panel.set(xlim=(-2, 102), xlabel="frames with a face, at least, %")
            legend_outside(panel, columns=2)
    return figure
