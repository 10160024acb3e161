"""Vision backbones by family, one file each.

A backbone is a module that maps normalised images B×3×S×S to features B×D. It has ``width`` (D), ``image_size`` (S in
pixels), ``mean`` and ``std`` (of its normalisation, per RGB channel), ``layer_norms()`` (what ``tune: layernorm``
trains), ``identity()`` (what weights must agree with, JSON-able) and ``init_weights(seed)``. It has no buffers.
"""

from collections.abc import Callable

from torch import nn

from lnclip_df.config.schema import Config, Settings
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.models.backbones import clip

BACKBONES: Registry[Callable[[Settings], nn.Module]] = Registry("backbone family", {"clip": clip.build})


def build_backbone(config: Config) -> nn.Module:
    """Build the backbone of a configuration; its weights are allocated but not set.

    ``lnclip.backbone.name`` chooses the family by a prefix (``family:name``); a name without one is CLIP's.

    Raises:
        LNCLIPError: there is no such backbone, or ``resolution`` is not its image size.
    """
    ours = config.lnclip
    name = ours.backbone.name
    family = name.partition(":")[0] if ":" in name else "clip"
    backbone = BACKBONES.choose(family)(ours)
    if config.resolution != backbone.image_size:
        raise LNCLIPError(
            f"resolution: {config.resolution} differs from the {backbone.image_size} px of {name}; "
            f"set resolution: {backbone.image_size}"
        )
    return backbone
