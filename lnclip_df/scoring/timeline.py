"""Plot the probability of fake over time for every person, with the threshold and the means."""

from pathlib import Path

from lnclip_df.core.errors import printable
from lnclip_df.core.plots import new_figure
from lnclip_df.scoring.draw import FAKE, REAL, colour_of, continues, max_gap
from lnclip_df.scoring.results import Result

COLOURS = ("#222222", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d")  # of persons, unlike fake's and real's
MAX_NAME = 60  # characters of a file name


def draw_timeline(result: Result):
    """Draw the timeline of a result with at least one person.

    Returns:
        A matplotlib figure. The axis shows seconds, or frame indices where frames have no times.

    Raises:
        LNCLIPError: matplotlib is missing.
    """
    figure = new_figure(9, 3.6)
    axes = figure.subplots()
    axes.axhspan(result.threshold, 1.05, color=_hex(FAKE), alpha=0.08, linewidth=0)
    axes.axhspan(-0.05, result.threshold, color=_hex(REAL), alpha=0.08, linewidth=0)
    axes.axhline(result.threshold, color="0.3", linestyle="--", linewidth=1, label=f"threshold {result.threshold:.2f}")
    shown = result.persons[: len(COLOURS)]
    for person, colour in zip(shown, COLOURS, strict=False):
        _plot_person(axes, result, person, colour)
    if len(result.persons) > len(shown):
        axes.plot([], [], " ", label=_rest(result.persons[len(shown) :]))
    axes.set(ylim=(-0.03, 1.03), xlabel="seconds" if result.timed else "frame", ylabel="P(fake)")
    last = max(time for person in result.persons for time in person.times(result.timed))
    end = max(last, (result.seconds or 0) if result.timed else result.decoded - 1) or 1
    axes.set_xlim(-0.02 * end, 1.02 * end)
    axes.spines[["top", "right"]].set_visible(False)
    name = printable(Path(result.path).name)
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME // 2]}…{name[-MAX_NAME // 2 :]}"
    title = f"{name}: {result.decision}, P(fake) {result.score:.2f} over {result.used} of {result.frames} frames"
    axes.set_title(title, fontsize="medium", loc="left", parse_math=False)
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def _plot_person(axes, result, person, colour):
    """One person's probabilities, with a line between neighbouring searched frames, and their mean."""
    brief = " (brief)" if person.brief else ""
    label = f"person {person.number}{brief}" if len(result.persons) > 1 else "frames"
    x, y = person.times(result.timed), [frame.prob for frame in person.frames]
    for run in _runs(person.frames, max_gap(result)):
        axes.plot(x[run], y[run], color=colour, linewidth=1.3, label=label)
        label = None
    sides = [_hex(colour_of(prob, result.threshold)) for prob in y]
    axes.scatter(x, y, s=22, c=sides, edgecolors=colour, linewidths=0.8, zorder=3)
    axes.axhline(person.score, color=colour, linestyle=":", linewidth=1.3, label=f"   mean {person.score:.2f}")


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
    return "and " + ", ".join(f"{count} {text}" for count, text in kinds if count)


def _hex(colour):
    return "#{:02x}{:02x}{:02x}".format(*colour)
