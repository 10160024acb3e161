"""Draw the most suspicious faces with their heat maps, and name the nearest training faces."""

from pathlib import Path

import numpy as np

from lnclip_df.core.errors import printable
from lnclip_df.core.files import inside
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.scoring.feature_bank import nearest
from lnclip_df.scoring.heatmaps import overlay, rollout
from lnclip_df.scoring.results import Result
from lnclip_df.scoring.scorer import Scorer

MAX_FACES = 4  # per person
MAX_PERSONS = 6
NEAREST = 5  # training videos per face


def explain(scorer: Scorer, result: Result, folder, *, name: str, bank=None) -> list[dict]:
    """Draw the most suspicious faces with their heat maps into ``folder/name.explained.png``.

    They are the ``MAX_FACES`` frames with the highest probability of each of the first ``MAX_PERSONS`` persons.

    Args:
        scorer: the one that scored them.
        result: scored with ``keep_crops``.
        folder, name: as for :func:`lnclip_df.scoring.annotate.annotate`.
        bank: see :func:`lnclip_df.scoring.feature_bank.read_bank`.

    Returns:
        For each face drawn: ``person``, ``index``, ``prob``, ``file``, and with a bank ``nearest``, the training
        examples and their angles. Empty, without a file, if no face was scored.

    Raises:
        LNCLIPError: matplotlib is missing, or the file cannot be written.
    """
    persons = result.persons[:MAX_PERSONS]
    if not persons:
        return []
    rows = [most_suspicious(person.frames) for person in persons]
    path = inside(folder, f"{name}.explained.png")
    _draw(scorer, path, result, persons, rows)
    shown = [(person, frame) for person, frames in zip(persons, rows, strict=True) for frame in frames]
    found = [{"person": person.number, "index": frame.index, "prob": frame.prob, "file": str(path)}
             for person, frame in shown]  # fmt: skip
    if bank is not None:
        nearest_examples = nearest(bank, np.stack([frame.feature for _, frame in shown]), k=NEAREST)
        found = [entry | {"nearest": examples} for entry, examples in zip(found, nearest_examples, strict=True)]
    return found


def most_suspicious(frames) -> list:
    """The ``MAX_FACES`` frames with the highest probability, in order of time."""
    chosen = sorted(frames, key=lambda frame: (-frame.prob, frame.index))[:MAX_FACES]
    return sorted(chosen, key=lambda frame: frame.index)


def heat_of(scorer: Scorer, frame) -> np.ndarray:
    """The heat map of a frame with its crop, float32 g×g."""
    return rollout(scorer.detector, scorer.tensor([frame.crop]).to(scorer.device))[0][0]


def _draw(scorer, path, result, persons, rows):
    figure = new_figure(1.9 * MAX_FACES, 4.4 * len(rows) + 0.4)
    figure.suptitle(printable(Path(result.path).name), fontsize=10)
    figure.supxlabel(
        "below each face: signs of a fake, the brighter the more, scaled by the map's own maximum", fontsize=8
    )
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, person, frames in zip(parts, persons, rows, strict=True):
        seen = f"{len(person.frames)} of {result.frames} frames"
        part.suptitle(f"person {person.number}: mean P(fake) {person.score:.3f}, {seen}", fontsize=9)
        axes = part.subplots(2, MAX_FACES, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for (above, below), frame in zip(axes.T[: len(frames)], frames, strict=True):
            when = f"frame {frame.index}" if frame.seconds is None else f"{frame.seconds:.2f} s"
            above.imshow(frame.crop)
            above.set_title(f"{when}, P(fake) {frame.prob:.3f}", fontsize=8)
            below.imshow(overlay(frame.crop, heat_of(scorer, frame)))
    save_figure(figure, path, dpi=100)
