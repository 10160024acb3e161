"""What made a figure, field by field from cause to effect."""

from lnclip_df.config.roles import STAGES
from lnclip_df.config.schema import role_of
from lnclip_df.core.nested import flatten
from lnclip_df.core.tables import MISSING, show
from lnclip_df.evaluation.runs import Run

SAID_ABOVE = {"train_dataset", "manualSeed"}  # of a training's YAML: they have fields of their own
OF_DATASET = ("crops", "video list", "videos", "frames", "unreadable frames", "faces missing")


def record(run: Run, dataset: str) -> dict:
    """What made a run's figure on a dataset, as far as recorded: ``{field: value}``, from cause to effect."""
    facts, scores = run.facts[dataset], run.sets[dataset]
    trained = facts.get("trained") or {}
    fields = {
        "train_dataset": facts.get("train_dataset"),
        "train crops": sorted(facts.get("train_crops") or {}) or None,
    }
    fields |= _training(trained.get("config") or {})
    fields |= {key: trained.get(key) for key in ("seed", "selection")}
    weights = facts.get("weights") or {}
    fields |= {"epoch": weights.get("epoch"), "weights": weights.get("sha256")}
    tested = _recorded(facts.get("predicted") or {})
    fields |= {f"test.{key}": value for key, value in tested if not role_of(key).location}
    fields |= {
        "test settings": facts.get("config_sha256"),
        "crops": sorted(facts.get("crops") or {}) or None,
        "video list": facts.get("videos_sha256"),
        "videos": len(scores.label),
        "frames": scores.frames,
        "unreadable frames": len(facts["skipped_frames"]) if "skipped_frames" in facts else None,
        "faces missing": facts.get("faces_missing"),
        "predictions": (facts.get("predictions") or {}).get("sha256"),
        "metric": facts.get("metric"),
    }
    fields |= {f"version of {name}": value for name, value in (facts.get("versions") or {}).items()}
    fields["device"] = facts.get("device")
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
