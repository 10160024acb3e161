"""What made a figure: weights, video list, crops, settings and versions; to and from JSON, comparable."""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args, get_type_hints

METADATA_KEY = "lnclip_df"  # the entry of a file's metadata, in all formats, with a JSON of what made the file


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of this package, PyTorch and Python."""
    import torch

    import lnclip_df

    return {"lnclip_df": lnclip_df.__version__, "torch": torch.__version__, "python": platform.python_version()}


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, by its name on the package index; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class WeightsRecord:
    """Which weights predicted: their file, its SHA-256, and the epoch at which training saved them."""

    path: str | None = None
    sha256: str | None = None
    epoch: int | None = None


@dataclass(frozen=True)
class TrainingRecord:
    """How the weights were trained: the configuration, the seed, and how the epoch was chosen."""

    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    selection: str | None = None


IDENTIFIES = {"identifies": True}  # metadata of a field that two equal sets of predictions share


@dataclass(frozen=True)
class Provenance:
    """What the predictions of one dataset depend on; None where that was not recorded.

    Attributes:
        weights: which weights predicted.
        train_dataset: the datasets that they were trained on.
        train_crops: recipes of the training crops, with the number of videos of each.
        config_sha256: digest of the settings that predictions depend on (``Config.predicting``).
        trained: how the weights were trained.
        predicted: the settings of this test, by key.
        metric: definition of the video score.
        versions: versions of the packages.
        device: PyTorch's name of the device.
        dataset, split: what was predicted.
        videos_sha256: digest of the video list with its labels and frames.
        crops: recipes of the crops, with the number of videos of each.
        recipes: what the recipes of ``crops`` and ``train_crops`` say, by fingerprint.
        faces_missing: number of frames in which no face was found.
        frames_sha256: digest of the frames, where single ones were chosen.
        seed: seed of a corruption.
        corruption: what was done to the frames before the prediction.
        predictions: the file that another tool's predictions came from.
        skipped_frames: the frames that could not be read.
    """

    weights: WeightsRecord = field(default=WeightsRecord(), metadata=IDENTIFIES)
    train_dataset: list[str] | None = None
    train_crops: dict[str, int] | None = None
    config_sha256: str | None = field(default=None, metadata=IDENTIFIES)
    trained: TrainingRecord | None = None
    predicted: dict[str, Any] | None = None
    metric: str | None = None
    versions: dict[str, str] | None = None
    device: str | None = None
    dataset: str | None = field(default=None, metadata=IDENTIFIES)
    split: str | None = field(default=None, metadata=IDENTIFIES)
    videos_sha256: str | None = field(default=None, metadata=IDENTIFIES)
    crops: dict[str, int] | None = field(default=None, metadata=IDENTIFIES)
    recipes: dict[str, dict[str, Any]] | None = None
    faces_missing: int | None = None
    frames_sha256: str | None = field(default=None, metadata=IDENTIFIES)
    seed: int | None = field(default=None, metadata=IDENTIFIES)
    corruption: dict[str, Any] | None = field(default=None, metadata=IDENTIFIES)
    predictions: dict[str, str] | None = None
    skipped_frames: list[str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, as JSON."""
        known = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            name: dataclasses.asdict(value) if isinstance(value, WeightsRecord | TrainingRecord) else value
            for name, value in known.items()
            if value is not None
        }

    @classmethod
    def from_json(cls, value: Any) -> "Provenance":
        """Read what :meth:`to_json` wrote; unknown entries, and those of another type, are left out."""
        return _read(cls, value)

    def same_predictions(self, other: "Provenance") -> bool:
        """Whether both describe the same predictions: weights, settings, videos, frames and what was done to them."""
        return not self.different_predictions(other)

    def different_predictions(self, other: "Provenance") -> list[str]:
        """The fields in which two descriptions of predictions differ; see :meth:`same_predictions`."""
        names = [entry.name for entry in fields(self) if entry.metadata.get("identifies") and entry.name != "weights"]
        weights = [] if self.weights.sha256 == other.weights.sha256 else ["weights"]
        return weights + [name for name in names if getattr(self, name) != getattr(other, name)]


def _read(record, value):
    """A dataclass of the entries of a mapping that have the type of their field, at every depth."""
    from pydantic import ValidationError

    value, found = value if isinstance(value, Mapping) else {}, {}
    for name, hint in get_type_hints(record).items():
        kind = get_args(hint)[0] if type(None) in get_args(hint) else hint
        if dataclasses.is_dataclass(kind):
            found |= {name: _read(kind, value[name])} if isinstance(value.get(name), Mapping) else {}
        elif name in value:
            with suppress(ValidationError):
                found[name] = _validator(hint).validate_python(value[name], strict=True)
    return record(**found)


@cache
def _validator(hint):
    from pydantic import TypeAdapter

    return TypeAdapter(hint)
