"""Coverage: what an AUROC is worth when the face detector's failures count too."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lnclip_df.analysis import report
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.evaluation.runs import Scores, read_run

COLUMNS = ("dataset", "video", "label", "frames_asked", "frames_found")
TREATMENTS = {
    "excluded": "videos without a face left out: what a table of AUROCs usually shows",
    "0.5": "a video without a face scores 0.5",
    "0.5 a frame": "every frame asked for without a face counts 0.5 in its video's mean",
    "missing": "a video without a face is in the right order with none of the other class",
}
GROUPS = {"no face": (0, 0), "under half": (0, 0.5), "half or more": (0.5, 1), "all frames": (1, 1)}


class Found(NamedTuple):
    """The videos of a dataset by key: label, frames asked for, and frames with a face."""

    video: np.ndarray
    label: np.ndarray
    asked: np.ndarray
    found: np.ndarray


def treated(label, score, asked, found) -> dict:
    """Scores of all videos under each of ``TREATMENTS``.

    Args:
        label: N labels, 0 real or 1 fake.
        score: N scores 0..1; whatever stands where ``found`` is 0 is not read.
        asked: N numbers of frames that were asked for, at least 1.
        found: N numbers of frames that had a face, at most ``asked``.

    Returns:
        ``{treatment: (label, score)}``. Those of ``missing`` are s/2 + 1/4, and 0 and 1 for a fake and a real without
        a face: their AUROC is that of ``excluded`` times the shares of fakes and of reals that have a face.

    >>> treated([0, 1, 1], [0.2, 0.8, 0.0], [4, 4, 4], [2, 4, 0])["0.5 a frame"][1].tolist()
    [0.35, 0.8, 0.5]
    """
    label, score, asked, found = (np.asarray(values) for values in (label, score, asked, found))
    seen = found > 0
    half = np.where(seen, score, 0.5)
    return {
        "excluded": (label[seen], half[seen]),
        "0.5": (label, half),
        "0.5 a frame": (label, (found * half + (asked - found) * 0.5) / asked),
        "missing": (label, np.where(seen, half / 2 + 0.25, 1.0 - label)),
    }


def coverage(run, found=None, *, datasets=(), resamples: int = report.RESAMPLES, seed: int = 0, out=None) -> str:
    """Show how a run's AUROC depends on the frames in which a face was found.

    Args:
        run: folder of a run, or a CSV of predictions.
        found: a CSV with the columns ``dataset, video, label, frames_asked, frames_found``, videos without a face
            among them; ``video`` is the key that predictions have. ``write_found`` makes it from a manifest.
        datasets: those of the run to look at; by default all that the CSV has rows of.
        resamples, seed: of the bootstrap.
        out: folder for ``coverage.md``, ``.csv`` and ``.png``; ``<run>/studies/coverage`` by default.

    Returns:
        The Markdown.

    Raises:
        LNCLIPError: the CSV and the predictions contradict each other, or one is unfit.
    """
    read = read_run(run)
    tables = read_found(found)
    known = [name for name in read.sets if name in tables]
    if not known:
        raise LNCLIPError(f"{found} has no rows of a dataset of {read.name} ({', '.join(read.sets)})")
    sets = report.chosen(read, datasets or known)
    absent = [name for name in sets if name not in tables]
    if absent:
        raise LNCLIPError(f"{found} has no rows of {', '.join(absent)}")
    folder = report.study_folder(run, out, "coverage")
    joined = {name: (*_joined(found, name, scores, tables[name]),) for name, scores in sets.items()}
    rows, text = _tables(joined, resamples, seed)
    report.write_csv(folder / "coverage.csv", rows)
    write_text(folder / "coverage.md", text)
    _plot(folder / "coverage.png", joined)
    return text


def read_found(path) -> dict[str, Found]:
    """Read the CSV of frames found, by dataset.

    Raises:
        LNCLIPError: a column is missing, a value unfit, or a video is there twice; the message names the line.
    """
    tables: dict[str, dict] = {}
    for number, row in enumerate(report.read_csv(path, COLUMNS), 2):
        try:
            label, asked, found = (int(row[name]) for name in COLUMNS[2:])
        except ValueError as error:
            raise LNCLIPError(f"{path}: line {number}: {error}; label and frames are whole numbers") from error
        if label not in (0, 1) or not 0 <= found <= asked or asked < 1:
            raise LNCLIPError(
                f"{path}: line {number}: label {label}, {found} of {asked} frames; "
                "accepted are the labels 0 and 1, and 0 to frames_asked frames found, of at least 1"
            )
        videos = tables.setdefault(row["dataset"], {})
        if row["video"] in videos:
            raise LNCLIPError(f"{path}: line {number}: the video {row['video']} is there twice")
        videos[row["video"]] = (label, asked, found)
    return {
        name: Found(np.array(list(videos), dtype=object), *np.array(list(videos.values())).T)
        for name, videos in tables.items()
    }


def write_found(path, manifests, dataset, root, *, level=None, folders=None, split: str = "test") -> Path:
    """Write the CSV of frames found from preprocessing's manifests.

    Args:
        path: the CSV.
        manifests: ``manifests/<name>.csv`` files, together of all videos of the split.
        dataset, root, level, folders: as for ``lnclip_df.datasets.scan.scan_videos``.
        split: whose videos.

    Raises:
        LNCLIPError: a video of the split stands in no manifest, or as ``scan_videos``.
    """
    from lnclip_df.datasets.scan import scan_videos
    from lnclip_df.datasets.schema import load_dataset

    spec = load_dataset(dataset)
    items = [item for item in scan_videos(spec, root, level=level, folders=folders) if split in item.splits]
    if not items:
        raise LNCLIPError(f"{spec.name}: no video below {root} is in {split}")
    rows = {}
    for manifest in manifests:
        for row in report.read_csv(manifest, ("video", "asked", "saved")):
            rows[row["video"]] = _asked(manifest, row)
    table = [list(COLUMNS)]
    for item in items:
        if item.path not in rows:
            raise LNCLIPError(
                f"{spec.name}: the video {item.path} is in no manifest; preprocess it, or name all manifests"
            )
        key = "/".join(part for part in (spec.name, item.label, item.level, item.name) if part is not None)
        table.append([spec.name, key, int(item.fake), *rows[item.path]])
    report.write_csv(path, table)
    return Path(path)


def _asked(manifest, row):
    """Frames asked for and saved; of a video that cannot be opened nothing was asked: it counts as one frame."""
    try:
        asked, saved = int(row["asked"] or 0), int(row["saved"] or 0)
    except ValueError as error:
        raise LNCLIPError(f"{manifest}: the row of {row['video']}: {error}") from error
    return max(asked, saved, 1), saved


def _joined(path, name, scores: Scores, found: Found):
    """Labels, scores, frames asked and found of the CSV's videos; NaN scores where no face was found."""
    place = {video: at for at, video in enumerate(scores.video)}
    score = np.full(len(found.video), np.nan)
    for at, (video, label, _, frames) in enumerate(zip(*found, strict=True)):
        here = place.pop(video, None)
        if here is None:
            if frames:
                raise LNCLIPError(
                    f"{path}: the video {video} has {frames} frames with a face and no prediction; test {name} again, "
                    "or leave out what was not to be tested"
                )
            continue
        if not frames or label != scores.label[here]:
            problem = "no face" if not frames else f"the label {label}"
            raise LNCLIPError(f"{path}: the video {video} has {problem}, which its predictions contradict")
        score[at] = scores.score[here]
    if place:
        raise LNCLIPError(f"{path}: {len(place)} predicted videos of {name} have no row, {next(iter(place))} the first")
    return found.label, score, found.asked, found.found


def _tables(joined, resamples, seed):
    rows = [["dataset", "part", "reals", "fakes", "auroc", "low", "high"]]
    parts = []
    for name, (label, score, asked, found) in joined.items():
        share = found / asked
        cells = [["scored as", "reals", "fakes", "AUROC"]]
        for treatment, (labels, scores) in treated(label, score, asked, found).items():
            estimate = report.auroc(labels, scores, resamples=resamples, seed=report.seed_of(seed, name))
            rows.append([name, treatment, int((labels == 0).sum()), int(labels.sum()), *estimate])
            cells.append([treatment, *rows[-1][2:4], estimate])
        groups = [["frames with a face", "reals", "fakes", "AUROC"]]
        for group, (low, high) in GROUPS.items():
            inside = (share == low) if low == high else (share >= low) & (share < high) & (share > 0)
            estimate = report.Estimate(None)
            if low or high:
                seeds = report.seed_of(seed, name, group)
                estimate = report.auroc(label[inside], score[inside], resamples=resamples, seed=seeds)
            rows.append([name, group, int((label[inside] == 0).sum()), int(label[inside].sum()), *estimate])
            groups.append([group, *rows[-1][2:4], estimate])
        lost = [f"{int((found[label == kind] == 0).sum())} of {int((label == kind).sum())}" for kind in (0, 1)]
        parts.append(
            f"## {name}\n\n{report.markdown_table(cells)}\n{report.markdown_table(groups)}\n"
            f"Without a face: {lost[0]} reals, {lost[1]} fakes. Frames with a face: "
            f"{report.percent(found.sum() / asked.sum())} % of those asked for.\n"
        )
    notes = "".join(f"* {name}: {what}\n" for name, what in TREATMENTS.items())
    return rows, "\n".join(parts) + f"\nAUROC over videos in %, with 95 % bootstrap intervals.\n\n{notes}"


def _plot(path, joined):
    """AUROC of the videos with at least a share of their frames, and how many those are."""
    figure = new_figure(5 * len(joined), 4)
    panels = figure.subplots(1, len(joined), squeeze=False)[0]
    for panel, (name, (label, score, asked, found)) in zip(panels, joined.items(), strict=True):
        share = found / asked
        steps = [step for step in np.unique(share) if step > 0]
        kept = [share >= step for step in steps]
        both = [(step, keep) for step, keep in zip(steps, kept, strict=True) if len(set(label[keep])) == 2]
        values = [report.auroc(label[keep], score[keep], resamples=0).value for _, keep in both]
        videos = [keep.mean() for keep in kept]
        panel.plot([step for step, _ in both], values, color="#0072b2", marker="o", markersize=4, label="AUROC")
        panel.plot(steps, videos, color="0.5", marker="s", markersize=3, linestyle="--", label="share of videos")
        missing = treated(label, score, asked, found)["missing"]
        worst = report.auroc(*missing, resamples=0).value
        if worst is not None:
            panel.axhline(worst, color="#d55e00", linewidth=1, label="AUROC, missing earn nothing")
        panel.set(title=name, xlabel="at least this share of frames has a face", xlim=(-0.02, 1.02), ylim=(0, 1.03))
        panel.legend(loc="lower left", fontsize="small")
    save_figure(figure, path)
