"""The named recipes of face crops, ``bench_configs/crops.yaml``: the paper's, GenD's and DeepfakeBench's."""

from functools import cache
from typing import Any

from pydantic import Field

from lnclip_df.config.files import bench_configs, read_yaml
from lnclip_df.config.validation import Section, validate
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.faces.align import ALIGNMENTS
from lnclip_df.faces.settings import CropSettings


class NamedRecipe(Section):
    """A recipe: fields of :class:`CropSettings`, and the files that it ``needs``, by the setting that names them.

    ``detector`` is its name in the recipe of a crop.
    """

    about: str
    source: str
    detector: str
    needs: dict[str, str] = Field({})
    settings: dict[str, Any] = Field({})

    def made(self, facts: dict) -> bool:
        """Whether crops are cut as this recipe says, by their own recipe: the detector, alignment, size and scale.

        Thresholds, the choice of frames and that of the face are left out.
        """
        chosen = {key: value for key, value in self.settings.items() if key in ("alignment", "size", "scale")}
        ours = CropSettings(**chosen)
        expected = {"alignment": ALIGNMENTS[ours.alignment].words, "size": ours.size, "scale": ours.scale}
        detector = facts.get("detector")
        same = isinstance(detector, dict) and detector.get("name") == self.detector
        return same and all(facts.get(key) == value for key, value in expected.items())


@cache
def named_recipes() -> Registry[NamedRecipe]:
    """The packaged recipes by name."""
    path = bench_configs() / "crops.yaml"
    raw = read_yaml(path).items()
    return Registry("recipe", {name: validate(NamedRecipe, recipe, str(path), name) for name, recipe in raw})


def crop_settings(recipe: str = "paper", **changes) -> CropSettings:
    """The settings of a named recipe, with some of them replaced.

    Where another detector replaces the recipe's, dlib has no score, and the others have no second detection.

    Args:
        recipe: a name in :func:`named_recipes`.
        **changes: fields of :class:`CropSettings`.

    Raises:
        LNCLIPError: there is no such recipe, a file that it needs is not named, or a setting is out of range.
    """
    chosen = named_recipes().choose(recipe)
    for key, what in chosen.needs.items():
        if changes.get(key) is None and "detector" not in changes:
            raise LNCLIPError(f"recipe {recipe}: {key} is missing; give {what}")
    cannot = {"score": None} if changes.get("detector") == "dlib" else {"second_detection": False}
    fitted = cannot if "detector" in changes else {}
    return CropSettings(**chosen.settings | fitted | changes | {"name": recipe})


def without_its_files(recipe: str, **changes) -> CropSettings:
    """As :func:`crop_settings`, but where a recipe needs files, RetinaFace finds the faces instead."""
    chosen = named_recipes().choose(recipe)
    missing = {"detector": "retinaface", "score": None} if chosen.needs else {}
    return crop_settings(recipe, **missing | changes)


def changed(settings: CropSettings) -> dict[str, Any]:
    """The settings that differ from those of the recipe that they are named by, besides its files."""
    recipe = named_recipes().choose(settings.name)
    whole = CropSettings(**recipe.settings, name=settings.name).to_dict()
    return {key: value for key, value in settings.to_dict().items() if value != whole[key] and key not in recipe.needs}
