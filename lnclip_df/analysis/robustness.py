"""Robustness: a detector's AUROC on the same frames, corrupted and attacked, level by level."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lnclip_df.analysis.attacks import ATTACKS, Attack, attacked_score, require_toolbox
from lnclip_df.analysis.corruptions import CORRUPTIONS, Corruption, corrupt
from lnclip_df.analysis.report import write_report
from lnclip_df.config.schema import Config
from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.escapes import markdown
from lnclip_df.core.files import check_writable
from lnclip_df.core.plots import legend_text, new_figure, new_panels, series_style
from lnclip_df.core.tables import aligned_markdown, percent
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.evaluation.estimates import Bootstrap, Estimate
from lnclip_df.evaluation.predict import are_finished, load_detector, predict_frames, provenance_of_frames, write_table
from lnclip_df.evaluation.runs import Scores, read_scores
from lnclip_df.evaluation.statistics import delong
from lnclip_df.media.sampling import evenly_spaced_round

CLEAN = "clean"
NOTES = (
    "\nAUROC over videos in %. Drops in points, with 95 % intervals of DeLong's test on the same videos.\n"
    "Mean corruption degradation: the mean over the corruptions of the mean drop over their levels, without attacks.\n"
)

logger = logging.getLogger(__name__)


class Level(NamedTuple):
    """What is done to the frames: a name in ``CORRUPTIONS`` or ``ATTACKS`` and its level, or ``clean``."""

    kind: str
    level: float | None = None

    @property
    def folder(self) -> str:
        """Its folder below ``levels``."""
        return self.kind if self.level is None else f"{self.kind}-{self.level:g}"

    @property
    def text(self) -> str:
        """The level as tables and plots show it."""
        hundredfold = self.kind in CORRUPTIONS and CORRUPTIONS[self.kind].unit.startswith("%")
        return CLEAN if self.level is None else f"{100 * self.level if hundredfold else self.level:g}"

    @property
    def facts(self) -> dict:
        """What was done to the frames, as it is stored with their predictions."""
        if self.kind in ATTACKS:
            return {"attack": self.kind, "epsilon": self.level, "steps": ATTACKS[self.kind].steps}
        return {"kind": self.kind, "level": self.level}


class Drop(NamedTuple):
    """The AUROC at a level, its drop from the clean AUROC, the bounds of the drop, and DeLong's p-value."""

    auroc: float
    drop: float
    low: float | None
    high: float | None
    p: float | None


class CorruptedFrames(FrameDataset):
    """``FrameDataset`` whose videos are corrupted at one level, before they are resized.

    A video is corrupted as a whole, from those of its tested frames that can be read. An attack or ``clean`` as
    ``level`` leave the frames as they are.
    """

    def __init__(self, config, videos, *, frames_per_video: int, level: Level, corruption_seed: int):
        super().__init__(config, videos, frames_per_video=frames_per_video)
        self.level, self.corruption_seed, self.max_frames = level, corruption_seed, frames_per_video
        self._last: tuple[str | None, dict] = None, {}

    def read(self, video, frame):
        if self.level.kind not in CORRUPTIONS:
            return super().read(video, frame)
        if self._last[0] != video.key:
            self._last = video.key, self._corrupted(video)
        image = self._last[1][frame]
        if isinstance(image, LNCLIPError):
            raise image
        return image

    def _corrupted(self, video):
        """The tested frames of a video, corrupted; instead of a frame that cannot be read, the error."""
        found = {frame: self._or_error(video, frame) for frame in evenly_spaced_round(video.frames, self.max_frames)}
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


def levels_of(corruptions: Iterable[str], attacks: Iterable[str]) -> list[Level]:
    """Every level to be tested, the clean frames first.

    Raises:
        LNCLIPError: a name is unknown.
    """
    levels = [Level(CLEAN)]
    for registry, names in ((CORRUPTIONS, set(corruptions)), (ATTACKS, set(attacks))):
        for name in names:
            registry.choose(name)
        levels += [Level(name, level) for name, kind in registry.items() if name in names for level in kind.levels]
    return levels


def robustness(
    config: Config, weights, out, *, datasets: Iterable[str], corruptions: Iterable[str] = tuple(CORRUPTIONS),
    attacks: Iterable[str] = tuple(ATTACKS), frames: int | None = None, videos: int | None = None,
    resamples: int = 10_000, seed: int = 0, device: str | None = None, progress: bool = True,
) -> str:  # fmt: skip
    """Test a detector on corrupted and attacked frames of test sets.

    Args:
        config: see ``lnclip_df.config.loading.load_config``.
        weights: the detector's, as ``lnclip_df.weights.load_weights`` takes them.
        out: folder for ``levels/<level>/predictions/<dataset>.parquet``, ``robustness.md``, ``.csv`` and ``.png``.
            Levels that are finished there, of the same weights, settings, frames and seed, are not predicted again.
        datasets: names of test sets.
        corruptions, attacks: names in ``CORRUPTIONS`` and ``ATTACKS``.
        frames: frames per video; as many as in a test by default.
        videos: videos per class, evenly spaced over the set; all by default.
        resamples: number of bootstrap resamples for the clean AUROC.
        seed: of the corruptions, PGD's random start, and the bootstrap.
        device: as for ``lnclip_df.evaluation.test.test``.

    Returns:
        The Markdown.

    Raises:
        LNCLIPError: a name, the weights or frames are invalid, or the attacks' package is absent. Levels finished
            before stay finished.
    """
    out = Path(out)
    if not datasets:
        raise LNCLIPError("datasets is empty: name at least one test set")
    levels = levels_of(corruptions, attacks)
    if attacks:
        require_toolbox()
    new_figure(1, 1)  # fail before the work where matplotlib is absent
    for name, value in (("frames", frames), ("videos", videos)):
        if value is not None and value < 1:
            raise LNCLIPError(f"{name} is {value}; expected at least 1")
    check_writable(out, folder=True)
    chosen = {name: _evenly_per_class(read_videos(config, [name], "test"), videos) for name in datasets}
    loaded = load_detector(config, weights, device)
    scores = {}
    for name, of_set in chosen.items():
        files = _predict_levels(loaded, name, of_set, levels, out, frames, seed, progress)
        scores[name] = {level: read_scores(file)[0] for level, file in files.items()}
    rows, text = tables(scores, Bootstrap(resamples, seed))
    write_report(out, "robustness", rows, text, _plot(rows, resamples))
    return text


def _predict_levels(loaded, name, videos, levels, out, frames, seed, progress):
    """Predict a dataset at every level that is not finished yet, and return the files of all levels."""
    from tqdm import tqdm

    max_frames = frames or loaded.config.frame_num.test
    make = partial(CorruptedFrames, loaded.config, videos, frames_per_video=max_frames, corruption_seed=seed)
    common = provenance_of_frames(loaded, make(level=levels[0]), name, "test")
    paths = {level: out / "levels" / level.folder / "predictions" / f"{name}.parquet" for level in levels}
    made = {level: replace(common, seed=seed, corruption=level.facts) for level in levels}
    left = [level for level in levels if not are_finished(paths[level], made[level])]
    if len(left) < len(levels):
        logger.info("%s: %d of %d levels were finished before", name, len(levels) - len(left), len(levels))
    for level in tqdm(left, desc=name, unit="level", disable=not progress):
        attack = attacked_score(level.kind, level.level, loaded.config, seed) if level.kind in ATTACKS else None
        table = predict_frames(loaded, make(level=level), title=level.folder, progress=progress, scoring=attack)
        write_table(paths[level], table, videos, made[level])
    return paths


def _evenly_per_class(videos, max_videos):
    """At most ``max_videos`` videos of each class, evenly spaced."""
    if max_videos is None:
        return videos
    kept = {
        video for kind in (0, 1) for video in evenly_spaced_round([v for v in videos if v.label == kind], max_videos)
    }
    return [video for video in videos if video in kept]


def tables(scores: dict[str, dict[Level, Scores]], bootstrap: Bootstrap) -> tuple[list[list], str]:
    """The figures of every level against the clean frames, as rows of a CSV and as Markdown.

    ``scores`` are by dataset and level, ``clean`` among them.

    Raises:
        LNCLIPError: a level has other videos or frames than the clean ones.
    """
    bounded = [f"{name}{end}" for name in ("auroc", "drop") for end in ("", "_low", "_high")]
    rows: list[list] = [["dataset", "kind", "level", *bounded, "p", "videos", "frames"]]
    parts: list[str] = []
    for name, levels in scores.items():
        clean = levels[Level(CLEAN)]
        base = bootstrap.auroc(clean.label, clean.score, name)
        counts = [len(clean.label), clean.frames]
        rows.append([name, CLEAN, None, *base, 0.0, None, None, None, *counts])
        drops = {}
        for level, corrupted in levels.items():
            if level.kind == CLEAN:
                continue
            if clean.frames != corrupted.frames or not np.array_equal(clean.video, corrupted.video):
                raise LNCLIPError(
                    f"{name}: {level.folder} has other frames than clean; give another output folder (out)"
                )
            drops[level] = drop_between(clean, corrupted)
            there = bootstrap.auroc(corrupted.label, corrupted.score, name)
            rows.append([name, *level, *there, *drops[level][1:], *counts])
        parts.append(_text_of_dataset(name, base, drops, counts, clean.few))
    text = "\n".join(parts)
    return rows, text + NOTES + enough.note(text)


def drop_between(clean: Scores, corrupted: Scores) -> Drop:
    """The drop of the AUROC, with its 95 % interval by DeLong's test on the same videos."""
    test = delong(clean.label, clean.score, corrupted.score)
    if test.error is None:
        return Drop(test.b, test.difference, None, None, test.p)
    half = 1.959964 * test.error
    return Drop(test.b, test.difference, test.difference - half, test.difference + half, test.p)


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


def _text_of_dataset(name, base: Estimate, drops: dict[Level, Drop], counts, few: str):
    means, overall = degradation({level: drop.drop for level, drop in drops.items()})
    by_kind: dict[str, dict[str, Drop]] = {}
    for level, drop in drops.items():
        by_kind.setdefault(level.kind, {})[level.text] = drop
    parts = [f"## {markdown(name)}\n\nClean: {base} %{few}, {counts[0]} videos, {counts[1]} frames.\n"]
    if means:
        table = [[f"corruption (level: AUROC, drop){few}", "1", "2", "3", "4", "5", "mean drop"]]
        for kind, mean in means.items():
            shown = [f"{level}: {_drop_text(drop)}" for level, drop in by_kind[kind].items()]
            table.append([f"{CORRUPTIONS[kind].title} ({CORRUPTIONS[kind].unit})", *shown, _points(mean)])
        parts.append(aligned_markdown(table))
        parts.append(
            f"Mean corruption degradation: **{_points(overall)}** points over {len(means)} corruptions{few}.\n"
        )
    attacked = [kind for kind in by_kind if kind in ATTACKS]
    if attacked:
        table = [[f"attack{few}", *(f"ε = {level}/255" for level in by_kind[attacked[0]])]]
        for kind in attacked:
            steps = f", {ATTACKS[kind].steps} steps" if ATTACKS[kind].steps > 1 else ""
            table.append([ATTACKS[kind].title + steps, *map(_drop_text, by_kind[kind].values())])
        parts.append(aligned_markdown(table))
    return "\n".join(parts)


def _drop_text(drop: Drop):
    bounds = "" if drop.low is None else f" [{_points(drop.low)}, {_points(drop.high)}]"
    return f"{percent(drop.auroc)}, {_points(drop.drop)}{bounds}"


def _points(value):
    """In percentage points with one decimal, without a minus before 0.0."""
    return f"{round(100 * value, 1) + 0.0:.1f}"


def _plot(rows, resamples):
    """One panel per corruption and attack; None without any."""
    kinds: dict[str, Corruption | Attack] = {
        name: kind for name, kind in {**CORRUPTIONS, **ATTACKS}.items() if any(row[1] == name for row in rows)
    }
    if not kinds:
        return None
    figure, panels = new_panels(len(kinds), 4.2, 3.2, columns=3, sharey=True)
    datasets = list(dict.fromkeys(row[0] for row in rows[1:]))
    low = min(100 * row[3] for row in rows[1:])
    for panel, (kind, known) in zip(panels, kinds.items(), strict=True):
        for index, name in enumerate(datasets):
            curve = [row for row in rows if row[0] == name and row[1] in (CLEAN, kind)]
            style, at = series_style(index), range(len(curve))
            panel.plot(at, [100 * row[3] for row in curve], **style, marker="o", markersize=4, label=legend_text(name))
            if all(row[4] is not None for row in curve):
                ends = ([100 * row[column] for row in curve] for column in (4, 5))
                panel.fill_between(at, *ends, color=style["color"], alpha=0.15, linewidth=0)
            panel.set_xticks(at, [Level(*row[1:3]).text for row in curve])
        panel.axhline(50, color="0.8", linewidth=1, linestyle="--")
        panel.set(title=known.title, xlabel=known.unit, ylim=(min(45, low - 3), 101))
    for panel in panels[::3]:
        panel.set_ylabel("video AUROC, %")
    handles, labels = panels[0].get_legend_handles_labels()
    title = "band: 95 % interval of the AUROC" if resamples else None
    style: dict = {"loc": "outside upper left", "ncols": 4, "fontsize": "small", "frameon": False, "alignment": "left"}
    figure.legend(handles, labels, title=title, **style)
    return figure
