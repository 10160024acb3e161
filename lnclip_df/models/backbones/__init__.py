"""Vision backbones by family, one file each. To add a family, register a function that builds a ``Backbone``."""

from collections.abc import Callable
from functools import lru_cache

from lnclip_df.config.schema import Backbone as BackboneSettings
from lnclip_df.config.schema import Config, Settings
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.models.backbones import clip
from lnclip_df.models.backbones.base import Backbone

BACKBONES: Registry[Callable[[Settings], Backbone]] = Registry("backbone family", {"clip": clip.build})


def build_backbone(config: Config) -> Backbone:
    """Build the backbone of a configuration; its weights are allocated but not set.

    ``lnclip.backbone.name`` chooses the family by a prefix (``family:name``); a name without one is CLIP's.

    Raises:
        LNCLIPError: there is no such backbone, or ``resolution`` is not its image size and the detector does not
            resize (``lnclip.resize``).
    """
    backbone = BACKBONES.choose(_family(config.lnclip.backbone))(config.lnclip)
    if config.lnclip.resize != "clip" and config.resolution != backbone.image_size:
        raise LNCLIPError(
            f"resolution: {config.resolution} differs from the {backbone.image_size} px of "
            f"{config.lnclip.backbone.name}; set resolution: {backbone.image_size}, or lnclip.resize: clip"
        )
    return backbone


@lru_cache(maxsize=8)
def image_size(backbone: BackboneSettings) -> int:
    """Return height and width of the images that ``lnclip.backbone`` takes; errors as for ``build_backbone``."""
    if _family(backbone) == "clip":  # without building it
        return clip.spec_of(backbone).image_size
    return BACKBONES.choose(_family(backbone))(Settings(backbone=backbone)).image_size


def _family(backbone):
    return backbone.name.partition(":")[0] if ":" in backbone.name else "clip"
