"""Load a detector's weights from every format, and build detectors with their weights."""

import logging
from dataclasses import dataclass

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.backbones import build_backbone, family_of, identity_of
from lnclip_df.models.backbones.clip import VisionTower
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.weights.checkpoint import Checkpoint
from lnclip_df.weights.compatibility import check_activation, check_shape, fitting
from lnclip_df.weights.delta import delta_names, frozen_sha256
from lnclip_df.weights.facts import Facts
from lnclip_df.weights.pretrained import pretrained_backbone
from lnclip_df.weights.test_vectors import check_vectors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    Attributes:
        format: in words.
        loaded: the number of tensors.
        missing: names that the file does not contain: those that a delta leaves to the backbone.
        unused: names in the file that belong to the format and that a detector does not need.
        verified: the largest difference from the test vectors; None without any.
    """

    path: str
    format: str
    facts: Facts
    loaded: int
    missing: list[str]
    unused: list[str]
    verified: float | None

    def __str__(self) -> str:
        parts = [f"{self.path}: {self.format}; {self.loaded} tensors loaded"]
        if self.missing:
            parts.append(f"{len(self.missing)} kept from the backbone")
        if self.unused:
            parts.append(f"{len(self.unused)} not used (first: {self.unused[0]})")
        if self.verified is not None:
            parts.append(f"test vectors met to {self.verified:.0e}")
        return ", ".join(parts)


def build_detector(config: Config, checkpoint=None) -> LNCLIPDetector:
    """Build a detector with its weights.

    Args:
        config: of the detector; for a checkpoint see ``Checkpoint.config_for``.
        checkpoint: see ``Checkpoint.open``. A delta also needs the weights of ``lnclip.backbone``; every other format
            contains them.

    Returns:
        The detector in evaluation mode; without a checkpoint in training mode, with the pretrained (or random)
        backbone and a random head.

    Raises:
        LNCLIPError: the weights do not fit, or those of the backbone cannot be loaded.
    """
    if checkpoint is None:
        return LNCLIPDetector(config, pretrained_backbone(config))
    checkpoint = Checkpoint.open(checkpoint)
    if not checkpoint.facts.is_delta:
        detector = LNCLIPDetector(config, build_backbone(config))
    else:
        try:
            detector = LNCLIPDetector(config, pretrained_backbone(config))
        except LNCLIPError as error:
            raise LNCLIPError(f"{checkpoint.path} is a delta and needs its backbone's weights: {error}") from error
    load_weights(detector, checkpoint)
    return detector.eval()


def load_weights(detector, weights, *, verify: bool = True) -> LoadReport:
    """Load a detector's weights; the format is recognised.

    Known are lnclip-df's formats (a delta needs a detector with its frozen weights), DeepfakeBench's ``ckpt_best.pth``,
    and GenD, the authors' released models: transformers' layout, and Lightning's checkpoint with or without PEFT.

    Args:
        detector: an ``LNCLIPDetector`` of the same configuration.
        weights: see ``Checkpoint.open``.
        verify: run the test vectors that an exported file contains (a forward pass of one image).

    Raises:
        LNCLIPError: the file is truncated, hostile, incomplete, or of another architecture, backbone or activation;
            nothing is loaded then.
    """
    checkpoint = Checkpoint.open(weights)
    path, facts, found = checkpoint.path, checkpoint.facts, checkpoint.read()
    own = dict(detector.named_parameters())
    _check_identity(facts, detector, path)
    _check_family(found, detector, path)
    if found.claims is not None:
        _check_claims(found, detector, path)
    if facts.is_delta:
        own = {name: own[name] for name in delta_names(detector)}
        _check_frozen(facts.frozen, detector, path)
    elif isinstance(detector.backbone, VisionTower) and (found.claims or not facts):
        tower = {n.removeprefix("backbone."): t for n, t in found.state.items() if n.startswith("backbone.")}
        check_shape(detector.settings.backbone.name, detector.backbone.spec, path, tower)
    state = fitting(own, found.state, path)
    verified = check_vectors(detector, state, facts.vectors, path) if verify and facts.vectors else None
    missing = detector.load_state_dict(state, strict=False).missing_keys
    report = LoadReport(str(path), found.format, facts, len(state), missing, found.unused, verified)
    logger.info("%s", report)
    return report


def load_start(detector) -> Checkpoint:
    """Load the weights with which a training begins, ``lnclip.start_from``; returns where they came from.

    Raises:
        LNCLIPError: as for ``load_weights``, or a part of the backbone that training leaves frozen differs.
    """
    settings = detector.settings
    checkpoint = Checkpoint.open(settings.start_from)
    if settings.tune == "all":
        load_weights(detector, checkpoint)
    elif not load_on_same_backbone(detector, checkpoint):
        raise LNCLIPError(
            f"lnclip.start_from: the frozen weights of {checkpoint.path} are not those of lnclip.backbone, and "
            f"lnclip.tune: {settings.tune} does not save them; name their backbone, or set lnclip.tune=all"
        )
    detector.train()
    return checkpoint


def load_on_same_backbone(detector, weights) -> bool:
    """Load a detector's weights; returns whether the weights that a delta leaves out stayed the same."""
    before = frozen_sha256(detector)
    load_weights(detector, weights)
    return frozen_sha256(detector) == before


def _check_identity(facts, detector, path):
    saved, own = facts.backbone, detector.backbone_identity()
    if saved is not None and saved != own:
        saved, own = ({"family": "clip", **identity} for identity in (saved, own))
        keys = ["family"] if saved["family"] != own["family"] else own
        differ = ", ".join(f"{k} {saved.get(k)} instead of {own[k]}" for k in keys if saved.get(k) != own[k])
        raise LNCLIPError(f"the weights {path} are of another backbone: {differ}; use the YAML they were trained with")


def _check_family(found, detector, path):
    """Refuse the authors' weights on a backbone of another family, with the name to set."""
    backbone = detector.settings.backbone
    if found.family not in (None, family_of(backbone)):
        theirs = found.backbone.name if found.backbone else f"one of the family {found.family}"
        raise LNCLIPError(f"lnclip.backbone.name: {path} is on {theirs}, the detector on {backbone.name}; set it")


def _check_claims(found, detector, path):
    """Refuse weights whose ``config.json`` or hyper-parameters contradict the detector."""
    own, claims = detector.backbone_identity(), found.claims
    if found.backbone is not None:
        claims = identity_of(found.backbone) | claims
    if isinstance(detector.backbone, VisionTower):
        check_activation(detector.settings.backbone.name, detector.backbone.spec, path, claims.get("quick_gelu"))
    for key, value in claims.items():
        mine = own.get(key)
        if value != mine or isinstance(value, bool) != isinstance(mine, bool):
            where = "lnclip.normalize" if key == "normalize" else "lnclip.backbone"
            raise LNCLIPError(
                f"{where}: {found.source} says {key} {value!r}, but this detector has {mine!r}; fix the wrong one"
            )
    if "normalize" not in found.claims:
        logger.warning("%s does not record whether features are normalised; assuming %s", path, own["normalize"])


def _check_frozen(frozen, detector, path):
    """Refuse a delta whose backbone, recorded in ``frozen``, is not the detector's."""
    own = frozen_sha256(detector)
    if frozen.get("sha256") == own:
        return
    backbone = detector.settings.backbone
    keys = ["name", "pretrained"] + (["seed"] if frozen.get("pretrained") == "none" else [])
    other = [f"lnclip.backbone.{k}: {frozen[k]}" for k in keys if k in frozen and frozen[k] != getattr(backbone, k)]
    if "name" not in frozen:  # a state dict records the hash alone
        other = ["lnclip.backbone to the one it was trained with"]
    fix = f"set {', '.join(other)}"
    if not other:
        fix = "those weights have changed since training; export the full weights where the delta was made"
    trained_on = f"{frozen['name']} ({frozen.get('pretrained')})" if "name" in frozen else "another backbone"
    raise LNCLIPError(
        f"{path} is a delta for {trained_on} with frozen weights of SHA-256 {str(frozen.get('sha256'))[:12]}…; this "
        f"backbone is {backbone.name} ({backbone.pretrained}), {own[:12]}…: {fix}"
    )
