"""Export to a folder in transformers' layout, as the authors' released code (GenD) loads it."""

import logging
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import temporary_beside, write_json, write_text
from lnclip_df.models.backbones.clip import VisionSpec, open_clip_spec
from lnclip_df.weights.formats import HEADS, HUB_BACKBONES, VISION_CONFIG, spec_claims
from lnclip_df.weights.save import write_safetensors
from lnclip_df.weights.tensor_names import to_transformers

logger = logging.getLogger(__name__)


def export_transformers(detector, out, facts: dict, card: str):
    """Write ``model.safetensors``, ``config.json`` and ``README.md`` into a new folder, all or none.

    Tensors are named ``feature_extractor.vision_model.…`` and ``model.linear.…``. ``config.json`` is the authors'
    (``backbone``, ``head``), with a ``vision_config`` for ``transformers.CLIPVisionModel``.

    Args:
        detector: an ``LNCLIPDetector`` whose backbone has no layer scale.
        out: the folder, absent or empty.
        facts: see ``lnclip_df.weights.facts.facts_of``; saved in the metadata.
        card: text of the model card.

    Raises:
        LNCLIPError: the folder is not empty or cannot be written, or transformers' CLIP has no such tower.
    """
    spec = detector.backbone.spec
    if spec.layer_scale or not spec.ln_pre:
        name = detector.settings.backbone.name
        raise LNCLIPError(f"{name} has layer scale or no ln_pre, unlike transformers' CLIP; export the format full")
    tower = {
        f"feature_extractor.vision_model.{name}": tensor
        for name, tensor in to_transformers(detector.backbone.state_dict()).items()
    }
    head = {f"model.linear.{name}": tensor for name, tensor in detector.head.state_dict().items()}
    with _whole_folder(Path(out)) as folder:
        write_safetensors(folder / "model.safetensors", tower | head, facts, format="pt")
        write_json(folder / "config.json", _config(detector))
        write_text(folder / "README.md", card)


def _config(detector):
    spec = detector.backbone.spec
    vision = {theirs: getattr(spec, ours) for theirs, ours in VISION_CONFIG.items()}
    return {
        "model_type": "GenD",
        "architectures": ["GenD"],
        "backbone": hub_name(spec, detector.settings.backbone.name),
        "head": next(name for name, normalize in HEADS.items() if normalize == detector.settings.normalize),
        "vision_config": vision
        | {"hidden_act": "quick_gelu" if spec.quick_gelu else "gelu", "layer_norm_eps": detector.backbone.ln_post.eps},
    }


def hub_name(spec: VisionSpec, name: str) -> str:
    """Return the Hub's model of this shape and activation, which the authors' code builds before it loads weights.

    If none is known, warn and return ``clip/`` and ``name``.
    """
    for hub, ours in HUB_BACKBONES.items():
        if spec_claims(open_clip_spec(ours)) == spec_claims(spec):
            return hub
    name = f"clip/{name}"
    logger.warning(
        "no known Hub model has this backbone's shape, so config.json names %r; before the authors' code loads it, set "
        "backbone there to a folder with a CLIPModel of that shape, whose path contains the word clip", name
    )  # fmt: skip
    return name


@contextmanager
def _whole_folder(out):
    """Yield a temporary folder beside ``out``, and move it there on success; leave nothing on any failure."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LNCLIPError(f"{out} exists and is not an empty folder; give another folder")
    temporary = out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(out)
        temporary.mkdir()
        yield temporary
        os.replace(temporary, out)
    except OSError as error:
        raise LNCLIPError(f"cannot write {out}: {error.strerror or error}") from error
    except LNCLIPError as error:
        raise LNCLIPError(str(error).replace(str(temporary), str(out))) from error
    finally:
        if temporary != out:
            shutil.rmtree(temporary, ignore_errors=True)
