"""A detector's weights, from every format that they come in."""

import logging

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.weights.compatibility import check_activation, check_shape, fitting
from lnclip_df.weights.delta import delta_names, frozen_sha256
from lnclip_df.weights.formats import Recognised, recognise
from lnclip_df.weights.hub import find_weights
from lnclip_df.weights.read import read_weights
from lnclip_df.weights.test_vectors import check_vectors

logger = logging.getLogger(__name__)


def load_weights(detector, path_or_hub_id, *, verify: bool = True) -> dict:
    """Load a detector's weights; the format is recognised.

    Known are ours (full, and the delta of LayerNorms and head, for a detector whose backbone holds its frozen weights),
    DeepfakeBench's ``ckpt_best.pth``, and GenD, the authors' released models: transformers' layout, Lightning's
    checkpoint, and the older one with PEFT's LayerNorms.

    Args:
        detector: an ``LNCLIPDetector`` of the same configuration.
        path_or_hub_id: a file, a folder, or a Hub repository such as ``yermandy/GenD_CLIP_L_14``.
        verify: run the test vectors that an exported file carries (a forward pass of one image).

    Returns:
        The facts saved with the weights (empty for a format that has none), and under ``load`` what was done:
        ``format`` in words, ``path``, ``loaded`` (how many tensors), ``missing`` (names that the file has not: a delta
        leaves the frozen ones to the backbone), ``unused`` (names in the file that the format is known to carry), and
        ``verified`` (the largest difference from the test vectors; None without any).

    Raises:
        LNCLIPError: truncated, hostile, of another architecture, backbone or activation, incomplete, or with a tensor
            too many; nothing is loaded then.
    """
    path = find_weights(path_or_hub_id)
    found = recognise(read_weights(path))
    own = detector.state_dict()
    _check_identity(found, detector, path)
    _check_claims(found, detector, path)
    if found.is_delta:
        own = {name: own[name] for name in delta_names(detector)}
        _check_frozen(found.facts.get("frozen", {}), detector, path)
    elif found.claims or not found.facts:
        _check_shape(found, detector, path)
    state = fitting(own, found.state, path)
    vectors = found.facts.get("vectors")
    verified = check_vectors(detector, state, vectors, path) if verify and vectors else None
    unsaid = detector.load_state_dict(state, strict=False).missing_keys
    report = {
        "format": found.format,
        "path": str(path),
        "loaded": len(state),
        "missing": unsaid,
        "unused": found.unused,
        "verified": verified,
    }
    _log(report)
    return found.facts | {"load": report}


def _log(report):
    parts = [f"{report['path']}: {report['format']}; {report['loaded']} tensors loaded"]
    if report["missing"]:
        parts.append(f"{len(report['missing'])} left as the backbone has them")
    if report["unused"]:
        parts.append(f"{len(report['unused'])} not used, such as {report['unused'][0]}")
    if report["verified"] is not None:
        parts.append(f"test vectors met to {report['verified']:.0e}")
    logger.info("%s", ", ".join(parts))


def _check_identity(found, detector, path):
    saved, own = found.facts.get("backbone"), detector.backbone_identity()
    if saved is not None and saved != own:
        differ = ", ".join(f"{k} {saved.get(k)} instead of {own[k]}" for k in own if saved.get(k) != own[k])
        raise LNCLIPError(f"the weights {path} are of another backbone: {differ}; use the YAML they were trained with")


def _check_claims(found: Recognised, detector, path):
    """Refuse weights whose ``config.json`` or hyper-parameters contradict the detector."""
    if not found.format.startswith("GenD"):
        return
    name, spec = detector.settings.backbone.name, detector.backbone.spec
    check_activation(name, spec, path, found.claims.get("quick_gelu"))
    own = detector.backbone_identity()
    for key, value in found.claims.items():
        if value != own[key] or isinstance(value, bool) != isinstance(own[key], bool):
            where = "lnclip.normalize" if key == "normalize" else "lnclip.backbone"
            raise LNCLIPError(
                f"{where}: {found.source} says {key} {value!r}, and this detector has {own[key]!r}; "
                "change the one that is wrong"
            )
    if "normalize" not in found.claims:
        logger.warning("%s does not record whether features are normalised: %s is taken", path, own["normalize"])


def _check_shape(found, detector, path):
    """Refuse weights of another architecture by a name that a user knows."""
    prefix = "backbone."
    tower = {name.removeprefix(prefix): t for name, t in found.state.items() if name.startswith(prefix)}
    check_shape(detector.settings.backbone.name, detector.backbone.spec, path, tower)


def _check_frozen(frozen, detector, path):
    """Refuse a delta that belongs on another backbone than the detector's; ``frozen`` is what it says of its own."""
    own = frozen_sha256(detector)
    if frozen.get("sha256") == own:
        return
    backbone = detector.settings.backbone
    keys = ["name", "pretrained"] + (["seed"] if frozen.get("pretrained") == "none" else [])
    other = [f"lnclip.backbone.{k}: {frozen.get(k)}" for k in keys if frozen.get(k) != getattr(backbone, k)]
    mend = f"set {', '.join(other)}"
    if not other:
        mend = "those weights were other ones in training; export the full weights where the delta was made"
    raise LNCLIPError(
        f"{path} is a delta for {frozen.get('name')} ({frozen.get('pretrained')}) with frozen weights of SHA-256 "
        f"{str(frozen.get('sha256'))[:12]}…; this backbone is {backbone.name} ({backbone.pretrained}), {own[:12]}…: "
        f"{mend}"
    )
