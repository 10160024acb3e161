"""What lnclip-df saves beside a detector's weights: a JSON object in the file's metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import lnclip_df
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import parse_json
from lnclip_df.core.provenance import METADATA_KEY
from lnclip_df.weights.delta import frozen_sha256

FORMATS = ("full", "delta", "transformers")  # those that can be loaded; ONNX carries facts too


@dataclass(frozen=True)
class Facts:
    """What lnclip-df saved with weights; None or empty if not recorded.

    Attributes:
        lnclip_df: the version that wrote the file.
        format: ``full``, ``delta``, ``transformers`` or ``onnx``.
        backbone: see ``LNCLIPDetector.backbone_identity``.
        config: the configuration as JSON, not validated; see ``Checkpoint.config_for``.
        frozen: the backbone of a delta: ``name``, ``pretrained``, ``seed``, ``sha256``.
        vectors: see ``lnclip_df.weights.test_vectors``.
        crops: number of training videos by the recipe of their crops.
        recipes: what these recipes say, by fingerprint.
        epoch: the epoch, from 0, whose weights these are.
        selection: how the epoch was chosen, in words.
        metric: metrics of the epoch on the validation set.
        origin: the format of the weights that were exported, in words.
    """

    lnclip_df: str | None = None
    format: str | None = None
    backbone: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    frozen: dict[str, Any] = field(default_factory=dict)
    vectors: dict[str, Any] = field(default_factory=dict)
    crops: dict[str, int] | None = None
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    epoch: Any = None
    seed: Any = None
    selection: Any = None
    metric: Any = None
    origin: Any = None

    def __bool__(self) -> bool:
        return self != Facts()

    @property
    def train_dataset(self) -> list[str]:
        """The training sets that the configuration names."""
        names = self.config.get("train_dataset")
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    @property
    def is_delta(self) -> bool:
        return self.format == "delta"

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Facts":
        """Return the facts in a mapping, without keys of other versions."""
        known = {each.name: facts[each.name] for each in fields(cls) if each.name in facts}
        for section in ("crops", "recipes"):
            if not isinstance(known.get(section), dict):
                known.pop(section, None)
        if "recipes" in known:
            known["recipes"] = {name: said for name, said in known["recipes"].items() if isinstance(said, dict)}
        ours = (known.get("config") or {}).get("lnclip")
        if isinstance(ours, dict) and ours.get("resize") == "clip":  # the earlier name, which ``Config`` takes too
            known["config"] = known["config"] | {"lnclip": ours | {"resize": "backbone"}}
        return cls(**known)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path) -> "Facts":
        """Return the facts in a file's metadata; LNCLIPError if they are damaged or of an unknown format."""
        try:
            facts = parse_json(metadata.get(METADATA_KEY, "{}"))
        except ValueError as error:
            raise LNCLIPError(f"{path}: the metadata are damaged: {one_line(error)[:200]}") from error
        if not isinstance(facts, dict):
            raise LNCLIPError(f"{path}: the metadata are damaged: {METADATA_KEY} is not a JSON object")
        for section in ("backbone", "config", "frozen", "vectors"):
            if not isinstance(facts.get(section, {}), dict):
                raise LNCLIPError(f"{path}: the metadata are damaged: {section} is not a JSON object")
        if facts.get("format", "full") not in FORMATS:
            raise LNCLIPError(
                f"{path}: unknown weight format {facts['format']!r}; accepted: {', '.join(FORMATS)}. A newer lnclip-df "
                "may have written it: update"
            )
        return cls.from_dict(facts)


def facts_of(detector, format: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON to save with a detector's weights: ``metadata`` and what identifies the backbone."""
    version = lnclip_df.__version__
    facts = {"lnclip_df": version, "format": format, "backbone": detector.backbone_identity(), **(metadata or {})}
    if format == "delta":
        frozen = detector.settings.backbone.model_dump(mode="json", include={"name", "pretrained", "seed"})
        facts["frozen"] = frozen | {"sha256": frozen_sha256(detector)}
    return facts
