"""Robustness: a detector's AUROC on the same frames, degraded and attacked, level by level."""

import logging
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lnclip_df.analysis import report
from lnclip_df.analysis.attacks import ATTACKS, EPSILONS, STEPS, attacked_score, require_attacks
from lnclip_df.analysis.corruptions import CORRUPTIONS, corrupt
from lnclip_df.analysis.predict import finished, identity, load, predict
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.datasets.dataset_json import evenly_spaced, read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.evaluation.runs import Scores, read_run
from lnclip_df.evaluation.statistics import delong

CLEAN = "clean"

logger = logging.getLogger(__name__)


class Level(NamedTuple):
    """What is done to the frames: a name of ``CORRUPTIONS`` or ``ATTACKS`` and its level, or ``clean``."""

    kind: str
    level: float | None = None

    @property
    def folder(self) -> str:
        """Its folder below the study's."""
        return self.kind if self.level is None else f"{self.kind}-{self.level:g}"


class CorruptedFrames(FrameDataset):
    """``FrameDataset`` whose videos went through a corruption at one level, before they are resized.

    A video is corrupted as a whole, from the frames of it that are tested and can be read.

    Args:
        config, videos, frames_per_video: as for ``FrameDataset``.
        level: the corruption, or an attack or ``clean``, which leave the frames as they are.
        seed: of the corruption.
    """

    def __init__(self, config, videos, *, frames_per_video: int, level: Level, corruption_seed: int):
        super().__init__(config, videos, frames_per_video=frames_per_video)
        self.level, self.corruption_seed, self.most = level, corruption_seed, frames_per_video
        self._last = None, {}

    def read(self, video, frame):
        if self.level.kind not in CORRUPTIONS:
            return super().read(video, frame)
        if self._last[0] != video.key:
            self._last = video.key, self._corrupted(video)
        found = self._last[1][frame]
        if isinstance(found, LNCLIPError):
            raise found
        return found

    def _corrupted(self, video):
        """The frames of a video that are tested, corrupted; in the place of one that cannot be read, the error."""
        found = {frame: self._or_error(video, frame) for frame in evenly_spaced(video.frames, self.most)}
        read = {frame: image for frame, image in found.items() if not isinstance(image, LNCLIPError)}
        images = corrupt(self.level.kind, self.level.level, list(read.values()), video.key, self.corruption_seed)
        return found | dict(zip(read, images, strict=True))

    def _or_error(self, video, frame):
        try:
            return super().read(video, frame)
        except LNCLIPError as error:
            return error

    def __getstate__(self):
        return {**self.__dict__, "_last": (None, {})}


def levels_of(corruptions, attacks) -> list[Level]:
    """Every level to be tested, the clean frames first.

    Raises:
        LNCLIPError: a name is unknown.
    """
    for names, known, option in ((corruptions, CORRUPTIONS, "--corruptions"), (attacks, ATTACKS, "--attacks")):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise LNCLIPError(f"{option}: unknown is {', '.join(unknown)}; accepted are {', '.join(known)} and none")
    found = [Level(CLEAN)]
    found += [Level(name, level) for name in CORRUPTIONS if name in corruptions for level in CORRUPTIONS[name].levels]
    return found + [Level(name, float(epsilon)) for name in ATTACKS if name in attacks for epsilon in EPSILONS]


def robustness(
    config: dict, weights, out, *, datasets, corruptions=tuple(CORRUPTIONS), attacks=tuple(ATTACKS), frames=None,
    videos=None, resamples: int = report.RESAMPLES, seed: int = 0, device=None, progress: bool = True,
) -> str:  # fmt: skip
    """Test a detector on degraded and attacked frames of test sets.

    Args:
        config: see ``lnclip_df.config.loading.load_config``.
        weights: the detector's, as ``lnclip_df.weights.load_weights`` takes them.
        out: folder for ``levels/<level>/predictions/<dataset>.parquet``, ``robustness.md``, ``.csv`` and ``.png``.
            Levels that it has, of the same weights, settings, frames and seed, are not predicted again.
        datasets: names of test sets.
        corruptions, attacks: names of ``CORRUPTIONS`` and ``ATTACKS``.
        frames: of a video; as many as in a test by default.
        videos: of a class, evenly spaced over the set; all by default.
        resamples: of the bootstrap of the clean AUROC.
        seed: of the corruptions, PGD's random start, and the bootstrap.
        device: as for ``lnclip_df.evaluation.test.test``.
        progress: show progress bars.

    Returns:
        The Markdown.

    Raises:
        LNCLIPError: a name, the weights or frames are unfit, or the attacks' package is absent. Levels finished before
            stay finished.
    """
    out = Path(out)
    if not datasets:
        raise LNCLIPError("no data set to test on: name one with --datasets")
    levels = levels_of(corruptions, attacks)
    if attacks:
        require_attacks()
    new_figure(1, 1)
    for name, value in (("--frames", frames), ("--videos", videos)):
        if value is not None and value < 1:
            raise LNCLIPError(f"{name} {value}: at least 1 is needed")
    chosen = {name: _some(read_videos(config, [name], "test"), videos) for name in datasets}
    loaded = load(config, weights, device)
    for name, of_set in chosen.items():
        _test_all(loaded, name, of_set, levels, out, frames, seed, progress)
    scores = {name: {level: _scores(out, level, name) for level in levels} for name in chosen}
    rows, text = tables(scores, resamples, seed)
    report.write_csv(out / "robustness.csv", rows)
    write_text(out / "robustness.md", text)
    _plot(out / "robustness.png", rows)
    return text


def _test_all(loaded, name, videos, levels, out, frames, seed, progress):
    """Predict a dataset at every level that is not there yet."""
    from tqdm import tqdm

    most = frames or loaded.config["frame_num"]["test"]
    make = partial(CorruptedFrames, loaded.config, videos, frames_per_video=most, corruption_seed=seed)
    facts = identity(loaded, make(level=levels[0])) | {"dataset": name, "split": "test", "seed": seed}
    paths = {level: _path(out, level, name) for level in levels}
    facts = {level: facts | {"corruption": _described(level)} for level in levels}
    left = [level for level in levels if not finished(paths[level], facts[level])]
    if len(left) < len(levels):
        logger.info("%s: %d of %d levels were finished before", name, len(levels) - len(left), len(levels))
    for level in tqdm(left, desc=name, unit="level", disable=not progress):
        scoring = {}
        if level.kind in ATTACKS:
            scoring = {"scoring": attacked_score(level.kind, level.level, loaded.config, seed)}
        predict(loaded, make(level=level), paths[level], facts[level], title=level.folder, progress=progress, **scoring)


def _described(level):
    """What was done to the frames, as kept beside their predictions."""
    if level.kind in ATTACKS:
        return {"attack": level.kind, "epsilon": level.level, "steps": STEPS if level.kind == "pgd" else 1}
    return {"kind": level.kind, "level": level.level}


def _path(out, level, name):
    return out / "levels" / level.folder / "predictions" / f"{name}.parquet"


def _scores(out, level, name) -> Scores:
    return read_run(out / "levels" / level.folder).sets[name]


def _some(videos, most):
    """At most ``most`` videos of each class, evenly spaced."""
    if most is None:
        return videos
    kept = {video for kind in (0, 1) for video in evenly_spaced([v for v in videos if v.label == kind], most)}
    return [video for video in videos if video in kept]


def tables(scores: dict, resamples: int, seed: int) -> tuple[list, str]:
    """The figures of every level against the clean frames, as rows of a CSV and as Markdown.

    Args:
        scores: ``{dataset: {Level: Scores}}``, the clean ones among them, all of the same frames.
        resamples, seed: of the bootstrap of the clean AUROC.

    Raises:
        LNCLIPError: a level has other videos or frames than the clean ones.
    """
    rows = [["dataset", "kind", "level", "auroc", "drop", "drop_low", "drop_high", "p", "videos", "frames"]]
    parts = []
    for name, levels in scores.items():
        clean = levels[Level(CLEAN)]
        base = report.auroc(clean.label, clean.score, resamples=resamples, seed=report.seed_of(seed, name))
        counts = [len(clean.label), clean.frames]
        rows.append([name, CLEAN, None, base.value, 0.0, None, None, None, *counts])
        found = {}
        for level, there in levels.items():
            if level.kind == CLEAN:
                continue
            if clean.frames != there.frames or not np.array_equal(clean.video, there.video):
                raise LNCLIPError(f"{name}: {level.folder} is of other frames than the clean ones; give another --out")
            found[level] = _drop(clean, there)
            rows.append([name, *level, *found[level], *counts])
        parts.append(_one_set(name, base, found, counts))
    return rows, "\n".join(parts) + NOTES


NOTES = (
    "\nAUROC over videos in %. Drops in points, with 95 % intervals of DeLong's test on the same videos.\n"
    "Mean corruption degradation: the mean over the corruptions of the mean drop over their levels; attacks stay out.\n"
)


def degradation(drops: dict[Level, float]) -> tuple[dict[str, float], float | None]:
    """The mean drop of every corruption over its levels, and the mean of these (None without any).

    As the mean corruption error of Hendrycks and Dietterich (*Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations*, ICLR 2019), without a baseline to divide by, and of AUROC instead of errors.

    >>> degradation({Level("jpeg", 50): 0.1, Level("jpeg", 10): 0.3, Level("blur", 1): 0.0, Level("pgd", 1): 0.9})[1]
    0.1
    """
    by_kind: dict[str, list] = {}
    for level, drop in drops.items():
        if level.kind in CORRUPTIONS:
            by_kind.setdefault(level.kind, []).append(drop)
    means = {kind: float(np.mean(values)) for kind, values in by_kind.items()}
    return means, float(np.mean(list(means.values()))) if means else None


def _drop(clean, there):
    """AUROC, its drop from the clean one, the bounds of the drop, and DeLong's p."""
    test = delong(clean.label, clean.score, there.score)
    bounds = (None, None)
    if test.error is not None:
        bounds = test.difference - 1.959964 * test.error, test.difference + 1.959964 * test.error
    return [test.b, test.difference, *bounds, test.p]


def _one_set(name, base, found, counts):
    means, overall = degradation({level: drop for level, (_, drop, *_) in found.items()})
    head = f"## {name}\n\nClean: {base} %, {counts[0]} videos, {counts[1]} frames.\n"
    parts = [head]
    kinds = list(dict.fromkeys(level.kind for level in found))
    degraded = [kind for kind in kinds if kind in CORRUPTIONS]
    if degraded:
        table = [["corruption (level: AUROC, drop)", "1", "2", "3", "4", "5", "mean drop"]]
        for kind in degraded:
            shown = [_shown(level, values) for level, values in found.items() if level.kind == kind]
            title = f"{CORRUPTIONS[kind].title} ({CORRUPTIONS[kind].unit})"
            table.append([title, *shown, _points(means[kind])])
        parts.append(report.markdown_table(table))
        parts.append(f"Mean corruption degradation: **{_points(overall)}** points over {len(degraded)} corruptions.\n")
    if len(kinds) > len(degraded):
        table = [["attack", *(f"ε = {epsilon}/255" for epsilon in EPSILONS)]]
        for kind in kinds[len(degraded) :]:
            shown = [f"{report.percent(values[0])}, {_interval(values)}" for level, values in found.items()
                     if level.kind == kind]  # fmt: skip
            table.append([ATTACKS[kind] + (f", {STEPS} steps" if kind == "pgd" else ""), *shown])
        parts.append(report.markdown_table(table))
    return "\n".join(parts)


def _shown(level, values):
    return f"{level.level:g}: {report.percent(values[0])}, {_interval(values)}"


def _interval(values):
    _, drop, low, high, _ = values
    bounds = "" if low is None else f" [{_points(low)}, {_points(high)}]"
    return _points(drop) + bounds


def _points(value):
    """In percentage points with one decimal, without a minus before 0.0."""
    return f"{round(100 * value, 1) + 0.0:.1f}"


def _plot(path, rows):
    kinds = [kind for kind in (*CORRUPTIONS, *ATTACKS) if any(row[1] == kind for row in rows)]
    if not kinds:
        return
    columns = min(3, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = new_figure(4.2 * columns, 3.2 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    datasets = list(dict.fromkeys(row[0] for row in rows[1:]))
    low = min(100 * row[3] for row in rows[1:])
    for panel, kind in zip(panels, kinds, strict=False):
        for at, name in enumerate(datasets):
            clean = next(row for row in rows if row[0] == name and row[1] == CLEAN)
            curve = [row for row in rows if row[0] == name and row[1] == kind]
            texts = ["clean", *(f"{row[2]:g}" for row in curve)]
            values = [100 * clean[3], *(100 * row[3] for row in curve)]
            panel.plot(range(len(values)), values, color=f"C{at}", marker="o", markersize=4, label=name)
            if curve[0][5] is not None:  # the bounds of the drop, taken from the clean AUROC
                panel.fill_between(
                    range(1, len(values)), [100 * (clean[3] - row[6]) for row in curve],
                    [100 * (clean[3] - row[5]) for row in curve], color=f"C{at}", alpha=0.15, linewidth=0,
                )  # fmt: skip
            panel.set_xticks(range(len(texts)), texts)
        panel.axhline(50, color="0.8", linewidth=1, linestyle="--")
        title, unit = (CORRUPTIONS[kind].title, CORRUPTIONS[kind].unit) if kind in CORRUPTIONS else (
            ATTACKS[kind], "ε of 255")  # fmt: skip
        panel.set(title=title, xlabel=unit, ylim=(min(45, low - 3), 101))
    for panel in panels[::columns]:
        panel.set_ylabel("video AUROC, %")
    for panel in panels[len(kinds) :]:
        panel.set_axis_off()
    panels[0].legend(loc="lower left", fontsize="small")
    save_figure(figure, path)
