"""What is known of one video or image after it was scored."""

from dataclasses import dataclass, field

import numpy as np

SCORED, NO_FACE, UNREADABLE = "scored", "no face", "unreadable"


@dataclass(frozen=True)
class FrameScore:
    """One face in one frame.

    Attributes:
        index: of the frame in the video, from 0.
        seconds: when the frame is shown, from the video's start; None for images.
        box: (left, top, right, bottom) of the face in pixels of the upright frame; None for crops that were given.
        prob: the probability of fake, 0..1.
        crop: the aligned face, uint8 S×S×3 RGB, where it was kept.
        feature: of the crop, float32 D, where it was kept.
    """

    index: int
    seconds: float | None
    box: tuple[float, float, float, float] | None
    prob: float
    crop: np.ndarray | None = field(default=None, repr=False, compare=False)
    feature: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Person:
    """One person's face through a video: ``number`` from 1, ``frames`` in order of time, at least one."""

    number: int
    frames: list[FrameScore]

    @property
    def score(self) -> float:
        """The mean probability of fake over the frames (spec: the video score)."""
        return float(np.mean([frame.prob for frame in self.frames]))


@dataclass(frozen=True)
class Result:
    """What was found in one video or image.

    Attributes:
        path: as it was given or found.
        outcome: ``scored``, ``no face`` or ``unreadable`` (which a file beyond a limit is too).
        reason: one line where it is not ``scored``.
        score: of the most suspicious of ``persons``, 0..1; None where nothing was scored.
        calibrated: the score after temperature scaling, where the weights have a ``calibration.json``.
        threshold: above which ``score`` is fake.
        frames: how many were looked at.
        found: how many of them show a face.
        faces: how many faces they show in all.
        decoded: how many frames there are.
        persons: one, or with all faces every one, the most suspicious first.
        recipe: of aligned crops that were given: fingerprint, or ``foreign``; else that of the crops made here.
        size: (width, height) of a frame in pixels.
        seconds: how long the video is; None where that is unknown, as for images.
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
