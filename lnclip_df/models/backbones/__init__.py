"""Vision backbones by family, one file each. To add a family, register how its ``Backbone`` is built."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from lnclip_df.config.schema import Backbone as BackboneSettings
from lnclip_df.config.schema import Config, Settings
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.models.backbones import clip, dino, pe
from lnclip_df.models.backbones.base import Backbone, Processor


class Family(NamedTuple):
    """How one family is built from ``lnclip``, and what its processor is for ``lnclip.backbone``, without building."""

    build: Callable[[Settings], Backbone]
    processor: Callable[[BackboneSettings], Processor]


BACKBONES: Registry[Family] = Registry(
    "backbone family",
    {
        "clip": Family(clip.build, clip.processor),
        "pe": Family(pe.PerceptionEncoder, pe.processor),
        "dino": Family(dino.DINO, dino.processor),
    },
)


def build_backbone(config: Config) -> Backbone:
    """Build the backbone of a configuration; its weights are allocated but not set.

    ``lnclip.backbone.name`` chooses the family by a prefix (``family:name``); a name without one is CLIP's.

    Raises:
        LNCLIPError: there is no such backbone, ``mean`` or ``std`` are not its own, it has no ``lnclip.residual``, or
            ``resolution`` is not its image size and the detector does not resize (``lnclip.resize``).
    """
    wanted = config.lnclip.backbone
    own = processor_of(wanted)
    if config.lnclip.resize == "deepfakebench" and config.resolution != own.size:
        raise LNCLIPError(
            f"resolution: {config.resolution} differs from the {own.size} px of {wanted.name}; set resolution: "
            f"{own.size}, or lnclip.resize: backbone"
        )
    for key in ("mean", "std"):
        if getattr(config, key) != getattr(own, key):
            raise LNCLIPError(
                f"{key}: {list(getattr(config, key))} is not the normalisation of {wanted.name}; set {key}: "
                f"{list(getattr(own, key))}"
            )
    family = family_of(wanted)
    if config.lnclip.residual == "bf16" and family != "clip":
        raise LNCLIPError(f"lnclip.residual: bf16 is for CLIP's transformers; with {wanted.name} set it to fp32")
    return BACKBONES.choose(family).build(config.lnclip)


@lru_cache(maxsize=8)
def processor_of(backbone: BackboneSettings) -> Processor:
    """Return what ``lnclip.backbone`` makes its input with, without building it; LNCLIPError if there is none."""
    return BACKBONES.choose(family_of(backbone)).processor(backbone)


def identity_of(backbone: BackboneSettings) -> dict[str, Any]:
    """Return what weights of ``lnclip.backbone`` must agree with; see ``Backbone.identity``."""
    return BACKBONES.choose(family_of(backbone)).build(Settings(backbone=backbone)).identity()


def family_of(backbone: BackboneSettings) -> str:
    """Return the family of ``lnclip.backbone``: the prefix of its name, else ``clip``."""
    return backbone.name.partition(":")[0] if ":" in backbone.name else "clip"
