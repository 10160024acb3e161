"""The names by which the authors' code, and the Hub, know a backbone."""

from lnclip_df.config.schema import Backbone
from lnclip_df.models.backbones import dino, family_of

AUTHORS_SIZE = 224  # pixels, of the images that the authors' code gives to Perception Encoder
# The Hub's repositories of OpenAI's CLIP, and open_clip's names.
CLIP = {
    "openai/clip-vit-base-patch16": "ViT-B-16-quickgelu",
    "openai/clip-vit-base-patch32": "ViT-B-32-quickgelu",
    "openai/clip-vit-large-patch14": "ViT-L-14-quickgelu",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336-quickgelu",
}


def backbone_of(name, image_size=AUTHORS_SIZE) -> Backbone | None:
    """Return the backbone of a name in the authors' code, None if it is unknown.

    Args:
        name: a recorded value, ``facebook/dinov3-vitl16-pretrain-lvd1689m`` for example.
        image_size: the recorded one, which their code uses for Perception Encoder alone.
    """
    if not isinstance(name, str):
        return None
    if name.lower() in CLIP:
        return Backbone(name=CLIP[name.lower()])
    if name.startswith("vit_pe_core_") and isinstance(image_size, int) and image_size > 0:
        return Backbone(name=f"pe:{name}", image_size=image_size)
    return next((Backbone(name=f"dino:{ours}") for ours, hub in dino.HUB.items() if hub == name), None)


def hub_name(backbone: Backbone) -> str | None:
    """Return the name of a backbone in the authors' code, None for a shape of one's own."""
    if backbone.vision is not None:
        return None
    short = backbone.name.partition(":")[2]
    if family_of(backbone) == "pe":
        return short
    if family_of(backbone) == "dino":
        return dino.HUB[short]
    return next((hub for hub, ours in CLIP.items() if ours == backbone.name), None)
