"""What made a figure, field by field from cause to effect."""

from typing import Any

from lnclip_df.config.roles import STAGES
from lnclip_df.config.schema import role_of
from lnclip_df.core.nested import flatten
from lnclip_df.core.provenance import TrainingRecord
from lnclip_df.core.tables import MISSING, show
from lnclip_df.evaluation.runs import Run

SAID_ABOVE = {"train_dataset", "manualSeed"}  # of a training's YAML: they have fields of their own
OF_DATASET = ("crops", "video list", "videos", "frames", "unreadable frames", "faces missing")
COUNTED = {"videos", "frames", "predictions", "metric"}  # known of any predictions, whoever made them


def record(run: Run, dataset: str) -> dict:
    """What made a run's figure on a dataset, as far as recorded: ``{field: value}``, from cause to effect."""
    made, scores = run.provenance[dataset], run.sets[dataset]
    trained = made.trained or TrainingRecord()
    tested = _recorded(made.predicted or {})
    fields: dict[str, Any] = {
        "train_dataset": made.train_dataset,
        "train crops": sorted(made.train_crops or {}) or None,
        **_training(trained.config),
        "seed": trained.seed,
        "selection": trained.selection,
        "epoch": made.weights.epoch,
        "weights": made.weights.sha256,
        **{f"test.{key}": value for key, value in tested if not role_of(key).location},
        "test settings": made.config_sha256,
        "crops": sorted(made.crops or {}) or None,
        "video list": made.videos_sha256,
        "videos": len(scores.label),
        "frames": scores.frames,
        "unreadable frames": None if made.skipped_frames is None else len(made.skipped_frames),
        "faces missing": made.faces_missing,
        "predictions": (made.predictions or {}).get("sha256"),
        "metric": made.metric,
        **{f"version of {name}": value for name, value in (made.versions or {}).items()},
        "device": made.device,
    }
    return {field: value for field, value in fields.items() if value is not None}


def summary(run: Run, dataset: str) -> dict[str, str]:
    """A record's most important fields in short, for a table; a dash for what is not known."""
    fields = record(run, dataset)
    named = {"trained on": "train_dataset", "metric definition": "metric"}
    shown = (
        "weights", "epoch", "selection", "trained on", "seed", "crops", "video list", "videos", "frames",
        "unreadable frames", "faces missing", "test settings", "metric definition",
    )  # fmt: skip
    versions = [f"{key.removeprefix('version of ')} {fields[key]}" for key in fields if key.startswith("version of ")]
    made = {name: short(fields.get(named.get(name, name))) for name in shown}
    return made | {"versions": ", ".join(versions) or MISSING}


def short(value: object) -> str:
    """A value as a table shows it; a hash in ten digits, a dash for None."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    text = show(value)
    is_hash = len(text) == 64 and not set(text) - set("0123456789abcdef")
    return text[:10] if is_hash else text


def _training(config):
    """The keys of a training's YAML that change what is learnt, in the order of the stages at which they act."""
    flat = {key: value for key, value in _recorded(config) if role_of(key).trains and key not in SAID_ABOVE}
    if flat.get("lnclip.augmentation") != "deepfakebench":
        flat = {key: value for key, value in flat.items() if not key.startswith("data_aug")}
    return dict(sorted(flat.items(), key=lambda item: STAGES.index(role_of(item[0]).stage)))


def _recorded(settings):
    """The dotted keys of nested settings and their values; None, which is a setting too, becomes a word."""
    return [(key, "none" if value is None else value) for key, value in flatten(settings).items()]
