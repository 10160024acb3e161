"""The options of scoring, checked when they are made."""

from dataclasses import dataclass
from numbers import Integral

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.settings import CropSettings, check_number

FACES = ("largest", "track")  # the other choices need a manipulation mask


@dataclass(frozen=True)
class ScoreOptions(CropSettings):
    """How videos and images are scored; the settings of finding and cutting faces are those of preprocessing.

    Attributes:
        face: ``largest`` or ``track`` (one person through the video).
        all_faces: score every person, instead of the one that ``face`` chooses.
        aligned: the frames are aligned faces already.
        max_seconds: a longer video is not scored; None accepts any length.
        batch_size: number of faces in one forward pass. A score depends on it by rounding only.

    Raises:
        LNCLIPError: an option is out of range.
    """

    face: str | None = "largest"
    all_faces: bool = False
    aligned: bool = False
    max_seconds: float | None = None
    batch_size: int = 32

    def __post_init__(self):
        check_number("batch_size", self.batch_size, Integral, 1)
        if self.face not in FACES:
            raise LNCLIPError(f"face: {self.face!r} received; accepted are {' and '.join(FACES)}")
        super().__post_init__()
