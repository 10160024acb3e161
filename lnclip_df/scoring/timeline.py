"""Plot the probability of fake over time for every person, each in a panel, with the threshold and the mean."""

from pathlib import Path

import numpy as np

from lnclip_df.core.errors import printable, shorten
from lnclip_df.core.plots import LIGHT, new_panels
from lnclip_df.scoring.draw import continues, max_gap
from lnclip_df.scoring.results import Result

MAX_NAME = 60  # characters of a file name
MAX_PERSONS = 8


def draw_timeline(result: Result):
    """Draw the timeline of a result with at least one person: a panel for each of the first ``MAX_PERSONS``.

    Returns:
        A matplotlib figure. The axis shows seconds, or frame indices where frames have no times.

    Raises:
        LNCLIPError: matplotlib is missing.
    """
    persons = result.persons[:MAX_PERSONS]
    several = len(result.persons) > 1
    width, height = (4.4, 2.2) if several else (9, 3.6)
    figure, panels = new_panels(len(persons), width, height, 2, sharey=True)
    last = max(time for person in result.persons for time in person.times(result.timed))
    end = max(last, (result.seconds or 0) if result.timed else result.decoded - 1) or 1
    for panel, person in zip(panels, persons, strict=True):
        _plot_person(panel, result, person)
        panel.set(ylim=(-0.03, 1.03), xlim=(-0.02 * end, 1.02 * end))
        panel.spines[["top", "right"]].set_visible(False)
        if several:
            brief = ", brief" if person.brief else ""
            seen = f"in {len(person.frames)} of {result.frames} frames{brief}"
            panel.set_title(f"person {person.number}: {person.score:.2f} {seen}", fontsize="small", loc="left")
    for lowest in panels[-2:]:
        lowest.set_xlabel("seconds" if result.timed else "frame", fontsize="medium")
    figure.supylabel("P(fake)", fontsize="medium")
    figure.suptitle(_title(result), fontsize="medium", x=0.01, ha="left")
    handles, labels = panels[0].get_legend_handles_labels()
    rest = _rest(result.persons[len(persons) :])
    columns = len(labels) if several else 1
    figure.legend(
        handles, labels, title=rest, ncols=columns, fontsize="small", frameon=False,
        loc="outside lower center" if several else "outside right upper",
    )  # fmt: skip
    return figure


def _title(result):
    name = shorten(printable(Path(result.path).name), MAX_NAME)
    return f"{name}: {result.decision}, P(fake) {result.score:.2f} over {result.used} of {result.frames} frames"


def _plot_person(axes, result, person):
    """One person's probabilities, with a line where the face was followed, their mean, and the threshold."""
    axes.axhspan(result.threshold, 1.05, color=LIGHT.fake, alpha=0.08, linewidth=0)
    axes.axhspan(-0.05, result.threshold, color=LIGHT.real, alpha=0.08, linewidth=0)
    x, y = np.array(person.times(result.timed)), np.array([frame.prob for frame in person.frames])
    for run in _runs(person.frames, max_gap(result)):
        axes.plot(x[run], y[run], color="0.2", linewidth=1.3)
    fake = y > result.threshold
    for side, colour, label in (
        (fake, LIGHT.fake, "frame above the threshold"),
        (~fake, LIGHT.real, "frame up to the threshold"),
    ):
        axes.scatter(x[side], y[side], s=22, c=colour, edgecolors="0.2", linewidths=0.8, zorder=3, label=label)
    axes.axhline(person.score, color="0.2", linestyle=":", linewidth=1.3, label="mean over the frames")
    axes.axhline(result.threshold, color="0.3", linestyle="--", linewidth=1, label=f"threshold {result.threshold:.2f}")


def _runs(frames, gap):
    """Slices of frames that :func:`continues` joins."""
    start = 0
    for end in range(1, len(frames) + 1):
        if end == len(frames) or not continues(frames[end - 1], frames[end], gap):
            yield slice(start, end)
            start = end


def _rest(persons):
    """What the legend says of the people who are not drawn."""
    brief = sum(person.brief for person in persons)
    kinds = [(len(persons) - brief, "with a lower score"), (brief, "seen too briefly")]
    rest = ", ".join(f"{count} {text}" for count, text in kinds if count)
    return f"not shown: {rest}" if rest else None
