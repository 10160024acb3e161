"""The result of scoring one video or image."""

from dataclasses import dataclass, field

import numpy as np

from lnclip_df.evaluation.aggregation import mean

SCORED, NO_FACE, UNREADABLE = "scored", "no face", "unreadable"


@dataclass(frozen=True)
class FrameScore:
    """One face in one frame.

    Attributes:
        index: of the frame in the video, from 0.
        seconds: time of the frame from the video's start; None for images.
        box: (left, top, right, bottom) of the face in pixels of the upright frame; None for aligned faces.
        prob: probability of fake, 0..1.
        crop: the aligned face, uint8 S×S×3 RGB, where crops are kept.
        feature: of the crop, float32 D, where crops are kept.
    """

    index: int
    seconds: float | None
    box: tuple[float, float, float, float] | None
    prob: float
    crop: np.ndarray | None = field(default=None, repr=False, compare=False)
    feature: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Person:
    """One person's face through a video: ``number`` from 1; ``frames`` in order of time, at least one."""

    number: int
    frames: list[FrameScore]

    @property
    def score(self) -> float:
        """Mean probability of fake over the frames."""
        return mean([frame.prob for frame in self.frames])

    def times(self, timed: bool) -> list[float]:
        """The position of each frame: seconds if ``timed``, else its index."""
        return [frame.seconds if timed and frame.seconds is not None else frame.index for frame in self.frames]


@dataclass(frozen=True)
class Result:
    """What was found in one video or image.

    Attributes:
        path: as it was given or found.
        outcome: ``scored``, ``no face`` or ``unreadable`` (also for a file that exceeds a limit).
        reason: one line where the outcome is not ``scored``.
        score: of the most suspicious of ``persons``, 0..1; None where nothing was scored.
        calibrated: the score after temperature scaling, where the weights have a ``calibration.json``.
        threshold: a score above it is fake.
        frames: number of frames that were searched for faces.
        found: number of these frames that show a face.
        faces: number of faces in these frames.
        decoded: number of frames in the file.
        persons: one, or with ``all_faces`` every person, the most suspicious first.
        recipe: fingerprint of the crops; of aligned faces that carry no recipe, ``foreign``.
        size: (width, height) of a frame in pixels.
        seconds: length of the video; None where it is unknown, and for images.
    """

    path: str
    outcome: str
    reason: str = ""
    score: float | None = None
    calibrated: float | None = None
    threshold: float = 0.5
    frames: int = 0
    found: int = 0
    faces: int = 0
    decoded: int = 0
    persons: list[Person] = field(default_factory=list)
    recipe: str = ""
    size: tuple[int, int] | None = None
    seconds: float | None = None

    @property
    def decision(self) -> str | None:
        """``fake`` where the score is above the threshold, else ``real``; None where there is no score."""
        if self.score is None:
            return None
        return "fake" if self.score > self.threshold else "real"

    @property
    def timed(self) -> bool:
        """Whether every scored frame has a time."""
        return all(frame.seconds is not None for person in self.persons for frame in person.frames)
