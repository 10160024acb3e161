"""The released detectors by name, ``bench_configs/models.yaml``."""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from lnclip_df.config.files import bench_configs, read_yaml
from lnclip_df.config.loading import load_config
from lnclip_df.config.schema import Config
from lnclip_df.config.validation import Section, validate
from lnclip_df.core.registry import Registry
from lnclip_df.core.tables import aligned_lines, csv_text, markdown_table

UNKNOWN = "not known"


class PublishedFigure(Section):
    """A published figure: an AUROC in %, its column (see ``reference.yaml``) and its source."""

    column: str
    value: float = Field(ge=0, le=100)
    source: str = Field(min_length=1)


class ReleasedModel(Section):
    """A released detector; None where something is not known.

    Attributes:
        about: what it is.
        hub, file, revision: its file in a repository of the Hugging Face Hub.
        sha256, bytes: of the file.
        recipe: of the crops that it was trained on, see ``lnclip_df.faces.recipes``.
        yaml: the packaged detector YAML that it is tested with.
        licence: of the weights.
        paper: where it was published.
        source: where these facts are from.
        figures: those that were published of it.
    """

    about: str
    hub: str = Field(pattern=r"^\w[\w.-]*/\w[\w.-]*$")
    file: str = Field(pattern=r"^\w[\w.-]*$")
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    bytes: PositiveInt | None
    recipe: str
    yaml: str
    licence: str | None
    paper: str
    source: str
    figures: tuple[PublishedFigure, ...] | None

    def config(self, overrides=()) -> Config:
        """The configuration that it is tested with; for ``overrides`` see ``lnclip_df.load_config``."""
        return load_config(bench_configs() / self.yaml, overrides)


def read_models(path) -> Registry[ReleasedModel]:
    """The models in a YAML file by name; LNCLIPError where it is invalid."""
    raw = read_yaml(path).items()
    return Registry("released model", {name: validate(ReleasedModel, model, str(path), name) for name, model in raw})


@cache
def released_models() -> Registry[ReleasedModel]:
    """The packaged models by name."""
    return read_models(bench_configs() / "models.yaml")


def find_model(name: str) -> ReleasedModel | None:
    """The released model of this name, or of this repository of the Hub; None where there is none, or such a path."""
    if Path(name).expanduser().exists():
        return None
    models = released_models()
    return models.get(name) or next((model for model in models.values() if model.hub == name), None)


COLUMNS = ("name", "backbone", "recipe", "resize", "trained on", "Hub", "revision", "SHA-256", "licence", "figures")


def facts_of(name: str) -> dict[str, Any]:
    """All that is known of a released model, as JSON values; LNCLIPError where there is no such model."""
    model = released_models().choose(name)
    config = model.config()
    used = {
        "backbone": config.lnclip.backbone.name, "resize": config.lnclip.resize, "trained_on": config.train_dataset,
    }  # fmt: skip
    return {"name": name, **model.model_dump(mode="json"), **used}


def report(name: str | None = None, format: str = "table") -> str:
    """The released models, or all that is known of one, as ``table``, ``md``, ``csv`` or ``json``."""
    if format == "json":
        return json.dumps(facts_of(name) if name else [facts_of(each) for each in released_models()], indent=2) + "\n"
    rows = _one(name) if name else [COLUMNS, *map(_row, released_models())]
    if format == "csv":
        return csv_text(rows)
    if format == "md":
        return markdown_table(rows)
    shown = [[UNKNOWN if cell is None else str(cell) for cell in row] for row in rows]
    return "\n".join(aligned_lines(shown[1:] if name else shown))


def _one(name):
    facts = facts_of(name)
    figures = facts.pop("figures")
    facts |= {"trained_on": ", ".join(facts["trained_on"])} | ({} if figures else {"figures": None})
    published = [(each["column"], f"{each['value']:g}, {each['source']}") for each in figures or ()]
    return [("fact", "value"), *((key.replace("_", " "), value) for key, value in facts.items()), *published]


def _row(name):
    facts = facts_of(name)
    short = {key: facts[key] and facts[key][:12] for key in ("revision", "sha256")}
    figures = facts["figures"] and str(len(facts["figures"]))
    return (
        name, facts["backbone"], facts["recipe"], facts["resize"], ", ".join(facts["trained_on"]), facts["hub"],
        short["revision"], short["sha256"], facts["licence"], figures,
    )  # fmt: skip
