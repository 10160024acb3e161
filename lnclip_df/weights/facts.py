"""What lnclip-df saves beside a detector's weights: a JSON object in the file's metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import lnclip_df
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.weights.delta import frozen_sha256

KEY = "lnclip_df"  # the entry of the metadata; within the JSON, the version that wrote it
FORMATS = ("full", "delta", "transformers")  # those that can be loaded; ONNX carries facts too


@dataclass(frozen=True)
class Facts:
    """What was saved with weights; empty where another program saved them. Fields that are None were not recorded.

    Attributes:
        lnclip_df: the version that wrote the file.
        format: ``full``, ``delta``, ``transformers`` or ``onnx``.
        backbone: shape and activation of the backbone, and ``normalize`` (``LNCLIPDetector.backbone_identity``).
        config: the configuration, as JSON and not validated; see ``Checkpoint.config_for``.
        frozen: of a delta, the backbone that it belongs on: ``name``, ``pretrained``, ``seed``, ``sha256``.
        vectors: test vectors, see ``lnclip_df.weights.test_vectors``.
        crops: frames of the training set by the recipe of their crops.
        epoch: the epoch, from 0, whose weights these are.
        seed: of the training.
        selection: in words, how the epoch was chosen.
        metric: metrics of the epoch on the validation set.
        origin: in words, the format of the weights that were exported.
    """

    lnclip_df: str | None = None
    format: str | None = None
    backbone: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    frozen: dict[str, Any] = field(default_factory=dict)
    vectors: dict[str, Any] = field(default_factory=dict)
    crops: dict[str, int] | None = None
    epoch: Any = None
    seed: Any = None
    selection: Any = None
    metric: Any = None
    origin: Any = None

    def __bool__(self) -> bool:
        return self != Facts()

    @property
    def is_delta(self) -> bool:
        return self.format == "delta"

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Facts":
        """The facts in a mapping; keys of other versions are left out."""
        known = {each.name: facts[each.name] for each in fields(cls) if each.name in facts}
        if not isinstance(known.get("crops"), dict):
            known.pop("crops", None)
        return cls(**known)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path) -> "Facts":
        """The facts in the metadata of the safetensors file ``path``.

        Raises:
            LNCLIPError: they are damaged, or of a format that this version does not know.
        """
        try:
            facts = json.loads(metadata.get(KEY, "{}"))
        except (ValueError, RecursionError) as error:
            raise LNCLIPError(f"{path}: the metadata are damaged: {one_line(error)[:200]}") from error
        if not isinstance(facts, dict):
            raise LNCLIPError(f"{path}: the metadata are damaged: {KEY} is not a JSON object")
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
    """The JSON that is saved with a detector's weights: version, format, the backbone's identity, and ``metadata``.

    With a ``delta`` also the backbone's name and source, and the hash of its frozen weights.
    """
    facts = {
        KEY: lnclip_df.__version__,
        "format": format,
        "backbone": detector.backbone_identity(),
        **(metadata or {}),
    }
    if format == "delta":
        frozen = detector.settings.backbone.model_dump(mode="json", include={"name", "pretrained", "seed"})
        facts["frozen"] = frozen | {"sha256": frozen_sha256(detector)}
    return facts
