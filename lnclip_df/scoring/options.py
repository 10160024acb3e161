"""The options of scoring, checked when they are made."""

from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.recipes import crop_settings, without_its_files
from lnclip_df.faces.settings import CropSettings, check_number

if TYPE_CHECKING:
    from lnclip_df.weights.zoo import ReleasedModel  # imports torch, which processes that find faces do not need

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


def score_options(model: "ReleasedModel | None" = None, recipe: str | None = None, **given) -> ScoreOptions:
    """The options of scoring whose crops begin with a named recipe.

    Args:
        model: whose recipe is taken where none is named. Where that needs a file that ``given`` does not name,
            RetinaFace finds the faces.
        recipe: see :func:`~lnclip_df.faces.recipes.crop_settings`; by default the model's, else ``paper``.
        **given: fields of :class:`ScoreOptions`, which replace those of the recipe.

    Raises:
        LNCLIPError: an option is out of range, or the named recipe needs a file.
    """
    crops = {field.name for field in fields(CropSettings)}
    changes = {"face": "largest"} | {key: value for key, value in given.items() if key in crops}
    if recipe is None:
        make = crop_settings if "detector" in changes else without_its_files
        settings = make(model.recipe if model else "paper", **changes)
    else:
        settings = crop_settings(recipe, **changes)
    return ScoreOptions(**settings.to_dict(), **{key: value for key, value in given.items() if key not in crops})
