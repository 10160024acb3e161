"""What every source of frames shares: limits, and the two ways in which reading fails."""

from lnclip_df.core.errors import is_out_of_memory, not_enough_memory, one_line

MAX_RATE = 240  # frames per second beyond which the times of a file are not believed
MAX_ANIMATION = 1 << 33  # pixels of all frames of an animated picture
MAX_PIXELS = 1 << 27  # of a frame: 134 million, as 16,384 × 8,192


class UnreadableVideo(Exception):
    """A video of which no frame can be decoded; the message is the reason, in one line."""


class Miscounted(Exception):
    """Other frames decode than were counted: ``recount()``, then ask for the frames again."""


def check_pixels(width: int, height: int):
    """Raise :class:`UnreadableVideo` for a frame of more than ``MAX_PIXELS``."""
    if width * height > MAX_PIXELS:
        raise UnreadableVideo(f"a picture of {width} × {height} pixels, the limit is {MAX_PIXELS:,} pixels")


def reason_of(error: Exception) -> str:
    """Why a video cannot be read, in one line."""
    if is_out_of_memory(error):
        return str(not_enough_memory(error, "use fewer workers, or a machine with more"))
    return one_line(error) if isinstance(error, UnreadableVideo) else f"{type(error).__name__}: {one_line(error)}"
