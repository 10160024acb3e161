"""A video's timeline: the probability of fake over time, of every person, beside the threshold and the means."""

from pathlib import Path

from lnclip_df.core.errors import printable
from lnclip_df.core.plots import new_figure, save_figure
from lnclip_df.scoring.draw import FAKE, REAL, colour_of, reach
from lnclip_df.scoring.results import Result

COLOURS = ("#222222", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d")  # beside those of fake and real
LONGEST = 60  # characters of a file's name


def write_timeline(path, result: Result):
    """Write the timeline of a result as PNG, whole or not at all; see :func:`draw_timeline`.

    Raises:
        LNCLIPError: matplotlib is absent, or the file cannot be written.
    """
    save_figure(draw_timeline(result), path)


def draw_timeline(result: Result):
    """Draw the timeline of a result with at least one person.

    Args:
        result: by the seconds of its frames, or where they have none, by their indices.

    Returns:
        A matplotlib figure.

    Raises:
        LNCLIPError: matplotlib is absent.
    """
    figure = new_figure(9, 3.6)
    axes = figure.subplots()
    axes.axhspan(result.threshold, 1.05, color=_hex(FAKE), alpha=0.08, linewidth=0)
    axes.axhspan(-0.05, result.threshold, color=_hex(REAL), alpha=0.08, linewidth=0)
    axes.axhline(result.threshold, color="0.3", linestyle="--", linewidth=1, label=f"threshold {result.threshold:.2f}")
    shown = result.persons[: len(COLOURS)]
    timed = all(frame.seconds is not None for person in result.persons for frame in person.frames)
    for person, colour in zip(shown, COLOURS, strict=False):
        _line(axes, result, person, colour, timed)
    if len(result.persons) > len(shown):
        axes.plot([], [], " ", label=f"and {len(result.persons) - len(shown)} more, less suspicious")
    axes.set(ylim=(-0.03, 1.03), xlabel="seconds" if timed else "frame", ylabel="probability of fake")
    last = max((frame.seconds if timed else frame.index) for person in result.persons for frame in person.frames)
    end = max(last, (result.seconds or 0) if timed else result.decoded - 1) or 1
    axes.set_xlim(-0.02 * end, 1.02 * end)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(result), fontsize="medium", loc="left", parse_math=False)
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def _line(axes, result, person, colour, timed):
    """One person's frames, joined where nothing was missed between them, and the mean."""
    name = f"person {person.number}" if len(result.persons) > 1 else "frames"
    x = [frame.seconds if timed else frame.index for frame in person.frames]
    y = [frame.prob for frame in person.frames]
    label = name
    for run in _runs(person.frames, reach(result)):
        axes.plot(x[run], y[run], color=colour, linewidth=1.3, label=label)
        label = None
    faces = [_hex(colour_of(prob, result.threshold)) for prob in y]
    axes.scatter(x, y, s=22, c=faces, edgecolors=colour, linewidths=0.8, zorder=3)
    axes.axhline(person.score, color=colour, linestyle=":", linewidth=1.3, label=f"   mean {person.score:.2f}")


def _runs(frames, reach):
    """Slices of frames that follow each other without one that was looked at between them."""
    start = 0
    for place in range(1, len(frames) + 1):
        if place == len(frames) or frames[place].index - frames[place - 1].index > reach:
            yield slice(start, place)
            start = place


def _title(result):
    name = printable(Path(result.path).name)
    if len(name) > LONGEST:
        name = f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 :]}"
    return f"{name}: {result.decision}, {result.score:.2f}"


def _hex(colour):
    return "#{:02x}{:02x}{:02x}".format(*colour)
