"""The result of scoring one video or image."""

from dataclasses import dataclass, field

import numpy as np

from lnclip_df.evaluation.aggregation import mean

SCORED, NO_FACE, UNREADABLE = "scored", "no face", "unreadable"
FEW = 0.5  # a score that rests on less than this share of the frames is noted
DARK = 32  # mean grey level of a crop, 0..255, below which a face is dark


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
        level: mean grey level of the crop, 0..255; None where it is unknown.
    """

    index: int
    seconds: float | None
    box: tuple[float, float, float, float] | None
    prob: float
    crop: np.ndarray | None = field(default=None, repr=False, compare=False)
    feature: np.ndarray | None = field(default=None, repr=False, compare=False)
    level: float | None = None


@dataclass(frozen=True)
class Person:
    """One person's face through a video: ``number`` from 1; ``frames`` in order of time, at least one.

    ``brief``: seen in too few frames to decide the video's score.
    """

    number: int
    frames: list[FrameScore]
    brief: bool = False

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
        score: of the first of ``persons``, 0..1; None where nothing was scored.
        calibrated: the score after temperature scaling, where the weights have a ``calibration.json``.
        threshold: a score above it is fake.
        frames: number of frames that were searched for faces.
        found: number of these frames that show a face.
        faces: number of faces in these frames.
        decoded: number of frames in the file.
        persons: one, or with ``all_faces`` every person, the highest score first, and after them those who are brief.
        people: how many people the scored faces are of. More than ``persons`` if the largest face is not always the
            same person's; without the extra ``track``, at least as many.
        recipe: fingerprint of the crops; of aligned faces that carry no recipe, ``foreign``.
        changes: what was done to the frames before faces were searched, as in the recipe of crops: ``turned``,
            ``mirrored``, ``square_pixels``; empty for usual files.
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
    people: int = 0
    recipe: str = ""
    changes: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    seconds: float | None = None

    @property
    def decision(self) -> str | None:
        """``fake`` where the score is above the threshold, else ``real``; None where there is no score."""
        if self.score is None:
            return None
        return "fake" if self.score > self.threshold else "real"

    @property
    def used(self) -> int:
        """Number of frames that the score is the mean of."""
        return len(self.persons[0].frames) if self.persons else 0

    @property
    def notes(self) -> list[str]:
        """What weakens the score: few or dark frames, faces that lie, several people, a score that does not count."""
        if self.score is None:
            return []
        notes = []
        dark = sum(frame.level is not None and frame.level < DARK for frame in self.persons[0].frames)
        if self.used < FEW * self.frames or dark > FEW * self.used:
            rests = f"the score rests on {self.used} of {self.frames} frames"
            faces = f", {dark} of them with a dark face (mean level below {DARK} of 255)" if dark else ""
            notes.append(rests + faces)
        if "turned" in self.changes:
            notes.append(f"the faces lie on their side or head; they were cut as if turned by {self.changes['turned']}")
        if self.people > len(self.persons):
            notes.append(f"the largest face is not always the same person's; the score mixes {self.people} people")
        for person in self.persons:
            if person.brief and person.score > self.score:
                seen = f"is seen in only {len(person.frames)} of {self.frames} frames and does not count"
                notes.append(f"person {person.number} has a higher score ({person.score:.2f}), but {seen}")
        return notes

    @property
    def timed(self) -> bool:
        """Whether every scored frame has a time."""
        return all(frame.seconds is not None for person in self.persons for frame in person.frames)
