"""Vision backbones by family, one file each. To add a family, register a function that builds a ``Backbone``."""

from collections.abc import Callable

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
        LNCLIPError: there is no such backbone, or ``resolution`` is not its image size.
    """
    name = config.lnclip.backbone.name
    backbone = BACKBONES.choose(name.partition(":")[0] if ":" in name else "clip")(config.lnclip)
    if config.resolution != backbone.image_size:
        raise LNCLIPError(
            f"resolution: {config.resolution} differs from the {backbone.image_size} px of {name}; "
            f"set resolution: {backbone.image_size}"
        )
    return backbone
