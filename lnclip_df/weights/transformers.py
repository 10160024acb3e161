"""Export to a folder in transformers' layout, as the authors' released code (GenD) loads it."""

import logging
from contextlib import contextmanager
from pathlib import Path

from lnclip_df.config.schema import Backbone
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import atomic_path, write_json, write_text
from lnclip_df.models.backbones import family_of
from lnclip_df.models.backbones.clip import VisionTower
from lnclip_df.weights.formats import HEADS, VISION_CONFIG
from lnclip_df.weights.hub_names import hub_name
from lnclip_df.weights.save import write_safetensors
from lnclip_df.weights.tensor_names import LAYOUTS

logger = logging.getLogger(__name__)


def export_transformers(detector, out, facts: dict, card: str):
    """Write ``model.safetensors``, ``config.json`` and ``README.md`` into a new folder, all or none.

    Tensors are named ``feature_extractor.vision_model.…`` (CLIP) or ``feature_extractor.backbone.…``, and
    ``model.linear.…``. ``config.json`` is the authors' (``backbone``, ``head``), with a ``vision_config`` for
    ``transformers.CLIPVisionModel``.

    Args:
        detector: an ``LNCLIPDetector``; a CLIP without layer scale.
        out: the folder, absent or empty.
        facts: see ``lnclip_df.weights.facts.facts_of``; saved in the metadata.
        card: text of the model card.

    Raises:
        LNCLIPError: the folder is not empty or cannot be written, or the authors' code has no such backbone.
    """
    backbone, layout = detector.settings.backbone, LAYOUTS.choose(family_of(detector.settings.backbone))
    if isinstance(detector.backbone, VisionTower) and (
        detector.backbone.spec.layer_scale or not detector.backbone.spec.ln_pre
    ):
        raise LNCLIPError(
            f"{backbone.name} has layer scale or no ln_pre, unlike transformers' CLIP; export the format full"
        )
    published = layout.to_published(detector.backbone.state_dict())
    tower = {f"feature_extractor.{layout.tower}{name}": tensor for name, tensor in published.items()}
    head = {f"model.linear.{name}": tensor for name, tensor in detector.head.state_dict().items()}
    with _whole_folder(Path(out)) as folder:
        write_safetensors(folder / "model.safetensors", tower | head, facts, format="pt")
        write_json(folder / "config.json", _config(detector))
        write_text(folder / "README.md", card)


def _config(detector):
    config = {
        "model_type": "GenD",
        "architectures": ["GenD"],
        "backbone": authors_name(detector.settings.backbone),
        "head": next(name for name, normalize in HEADS.items() if normalize == detector.settings.normalize),
    }
    if not isinstance(detector.backbone, VisionTower):
        return config
    spec = detector.backbone.spec
    vision = {theirs: getattr(spec, ours) for theirs, ours in VISION_CONFIG.items()}
    act = {"hidden_act": "quick_gelu" if spec.quick_gelu else "gelu", "layer_norm_eps": detector.backbone.ln_post.eps}
    return config | {"vision_config": vision | act}


def authors_name(backbone: Backbone) -> str:
    """Return the name of a backbone that the authors' code builds before it loads weights.

    If none is known, warn and return the family and the name.
    """
    if (name := hub_name(backbone)) is not None:
        return name
    name = f"{family_of(backbone)}/{backbone.name.rpartition(':')[2]}"
    logger.warning(
        "the authors' code knows no backbone of this shape, so config.json names %r; before their code loads it, set "
        "backbone there to a model of that shape that it can build", name
    )  # fmt: skip
    return name


@contextmanager
def _whole_folder(out):
    """Yield a temporary folder beside ``out``, and move it there on success; leave nothing on any failure."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LNCLIPError(f"{out} exists and is not an empty folder; give another folder")
    with atomic_path(out) as temporary:
        temporary.mkdir()
        try:
            yield temporary
        except LNCLIPError as error:
            raise LNCLIPError(str(error).replace(str(temporary), str(out))) from error
