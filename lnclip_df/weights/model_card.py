"""The model card of exported weights, from recorded facts and metrics alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lnclip_df.config.schema import Config
from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.escapes import markdown
from lnclip_df.core.files import read_json
from lnclip_df.core.tables import show
from lnclip_df.models.backbones import family_of
from lnclip_df.weights.checkpoint import Checkpoint
from lnclip_df.weights.facts import Facts
from lnclip_df.weights.hub_names import hub_name

TEMPLATE = Path(__file__).with_name("templates") / "model_card.md.j2"
# Names of the figures: ours, the Hub's, and those in the card's table.
FIGURES = {
    "auroc": ("roc_auc", "AUROC"),
    "ap": ("average_precision", "average precision"),
    "eer": ("equal_error_rate", "equal error rate"),
    "accuracy": ("accuracy", "accuracy at 0.5"),
}
FAMILIES = {"clip": "a CLIP vision transformer", "pe": "a Perception Encoder", "dino": "a DINO vision transformer"}
UNKNOWN = "not recorded in the weights"
SHOWN = (  # of the keys under ``lnclip``
    "backbone", "tune", "loss", "slerp", "schedule", "precision", "residual", "train_frames", "drop_last",
    "augmentation", "augment_on", "resize",
)  # fmt: skip


@dataclass(frozen=True)
class _Result:
    """Figures of one dataset, by the names in ``FIGURES``: 0..1, or None."""

    dataset: str
    split: str
    figures: dict[str, float | None]
    test: dict[str, Any] | None = None  # what it was computed on and with, None for the validation of training

    @property
    def measured(self) -> dict[str, float]:
        return {key: value for key, value in self.figures.items() if value is not None}

    @property
    def few(self) -> str:
        """A mark where there are too few videos; see ``lnclip_df.core.enough``."""
        return enough.mark(self.count("reals"), self.count("fakes"))

    def count(self, key: str) -> int | None:
        value = (self.test or {}).get(key)
        return value if isinstance(value, int) else None


def read_metrics(paths: Iterable, weights) -> list[dict[str, Any]]:
    """Return the contents of metrics files that ``lnclip-df test`` wrote, in the order given, a folder's by name.

    Args:
        paths: files ``metrics/*.json`` of a run, or folders of them.
        weights: the weights that were tested; see ``Checkpoint.open``.

    Raises:
        LNCLIPError: a file is missing, not from ``lnclip-df test``, or of other weights; or a folder has none.
    """
    tests, checkpoint = [], Checkpoint.open(weights)
    for path in _metrics_files(paths):
        test = read_json(path)
        tested = test.get("weights") if isinstance(test, dict) else None
        if not isinstance(tested, dict) or not isinstance(test.get("video"), dict) or not test.get("dataset"):
            raise LNCLIPError(f"{path} is not a metrics file of lnclip-df test")
        if tested.get("sha256") != checkpoint.sha256:
            raise LNCLIPError(
                f"{path} is of other weights (SHA-256 {str(tested.get('sha256'))[:12]}…) than {checkpoint} "
                f"({checkpoint.sha256[:12]}…); test these, or leave the file out"
            )
        tests.append(test)
    return tests


def _metrics_files(paths):
    for path in map(Path, paths):
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise LNCLIPError(f"{path} contains no .json file; name the metrics/ of a run")
        yield from found


def model_card(name: str, facts: Facts, *, trained: Config | None = None, tests: Iterable[dict] = ()) -> str:
    """Return the model card of exported weights, for the Hub's README.md.

    It is Markdown, with YAML front matter whose ``model-index`` has the unrounded figures. All figures come from
    ``facts`` and ``tests``. It states no licence, which the publisher chooses.

    Args:
        name: of the model.
        facts: saved with the weights.
        trained: the configuration of the training; None if unknown.
        tests: see :func:`read_metrics`.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    tower = {"family": "clip", **(facts.backbone or {})}
    validation = _Result(
        ", ".join(trained.lnclip.val_dataset if trained else ["unknown"]), "val", _figures(facts.metric)
    )
    tested = [_Result(str(t["dataset"]), str(t.get("split", "test")), _figures(t["video"]), t) for t in tests]
    results = [result for result in (validation, *tested) if result.measured]
    index = [
        EvalResult(
            task_type="video-classification",
            task_name="Deepfake detection",
            dataset_type=printable(result.dataset),
            dataset_name=printable(result.dataset),
            dataset_split=printable(result.split),
            metric_type=FIGURES[key][0],
            metric_name=f"Video {FIGURES[key][1]}",
            metric_value=value,
        )
        for result in results
        for key, value in result.measured.items()
    ]
    data = ModelCardData(
        library_name="lnclip-df",
        tags=["deepfake-detection", "lnclip-df", tower["family"]],
        base_model=_base_model(trained),
        metrics=list(dict.fromkeys(entry.metric_type for entry in index)) or None,
        model_name=printable(name) if index else None,
        eval_results=index or None,
    )
    card = ModelCard.from_template(
        data,
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        facts=facts,
        tower=tower,
        recipe=[row for row in _recipe(facts, trained) if row[1]],
        results=results,
        titles=[title for _, title in FIGURES.values()],
        unknown=UNKNOWN,
        few_note=enough.FEW_NOTE,
        family=FAMILIES.get(tower["family"], "a vision transformer"),
        code=_code,
        plain=_plain,
        listed=_listed,
        mapping=_mapping,
        show=show,
        file_name=_file_name,
    )
    return f"{card}\n"


def _base_model(trained):
    """The Hub's name of the model that was fine-tuned, None if unknown."""
    if trained is None or trained.lnclip.backbone.pretrained == "none":
        return None
    backbone = trained.lnclip.backbone
    hub = hub_name(backbone)
    if family_of(backbone) == "pe":  # where timm has it from
        return hub and f"timm/{hub}.fb" if backbone.pretrained == "fb" else None
    return hub if backbone.pretrained in ("openai", hub) else None


def _figures(measured):
    measured = _mapping(measured)
    return {key: measured[key] if _is_share(measured.get(key)) else None for key in FIGURES}


def _is_share(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _mapping(value):
    """A recorded value that should be a mapping; an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def _recipe(facts, trained):
    if trained is None:
        return
    ours, config = trained.lnclip, trained.to_dict()
    yield "training data", _listed(trained.train_dataset)
    yield "compression", _code(trained.compression)
    if ours.replay.datasets:
        yield "replayed", f"{_listed(ours.replay.datasets)}, a share of {ours.replay.share}"
    yield "crops, by recipe", UNKNOWN if facts.crops is None else _listed(facts.crops)
    yield "started from", ours.start_from and _code(_file_name(ours.start_from))
    yield "epoch, from 0", _plain(facts.epoch)
    yield "chosen by", _plain(facts.selection)
    yield "seed", _plain(facts.seed)
    for key in SHOWN:
        yield f"`lnclip.{key}`", _code(_setting(config["lnclip"][key]))
    yield "`resolution`", _code(trained.resolution)
    yield "`train_batchSize`", _code(trained.train_batchSize)


def _setting(value):
    """A key's value as YAML in one line, without the folders of files."""
    if isinstance(value, dict):
        value = {name: _file_name(x) if name == "pretrained" else x for name, x in value.items() if x is not None}
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def _listed(names):
    return ", ".join(map(_code, names))


def _file_name(pretrained):
    """A tag, or the name of a file without its folders, which are private."""
    return Path(str(pretrained)).name


def _code(text):
    """Recorded text as Markdown code within a table."""
    return "" if text in (None, "") else f"`{printable(str(text)).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _plain(text):
    """Recorded text as Markdown's plain text; ``UNKNOWN`` for None."""
    return markdown(UNKNOWN if text is None else text)
