"""The paper's columns and the published figures, read from ``bench_configs/reference.yaml``."""

from functools import cache, cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lnclip_df.config.files import bench_configs, read_yaml
from lnclip_df.config.loading import load_config
from lnclip_df.config.validation import Section, validate
from lnclip_df.core.nested import flatten
from lnclip_df.core.registry import Registry

MEAN = "mean"  # the cross-dataset mean, where a figure names it as its column
IN_MEAN = "in-dataset mean"  # likewise


class Column(Section):
    """A column of the big table: a dataset, else the reals of ``part_of`` and its ``fakes`` of one label or method."""

    column: str
    dataset: str
    in_dataset: bool = False
    part_of: str | None = None
    fakes: tuple[str, ...] = ()


class Figure(Section):
    """One published figure: an AUROC in %, and its source."""

    column: str
    value: float = Field(ge=0, le=100)
    source: str = Field(min_length=1)


class PublishedRow(Section):
    """A published detector.

    ``figures`` are video AUROCs, else of ``metric``, a name of ``lnclip_df.evaluation.metrics.METRICS``. ``mean_over``
    is the number of columns of its cross-dataset mean (None: unknown), ``yaml`` has its recipe.
    """

    figures: tuple[Figure, ...]
    mean_over: int | None = None
    yaml: str | None = None
    metric: Literal["frame_auroc"] | None = None

    def figure(self, column: str) -> Figure | None:
        """The figure of a column, or of ``MEAN``."""
        return next((figure for figure in self.figures if figure.column == column), None)


class FrameTable(Section):
    """A published table of frame AUROCs in %: each row has the figures of ``columns`` in their order."""

    source: str = Field(min_length=1)
    in_dataset: tuple[str, ...]
    cross_dataset: tuple[str, ...]
    rows: dict[str, tuple[Annotated[float, Field(ge=0, le=100)], ...]]

    @model_validator(mode="after")
    def _whole_rows(self):
        for name, values in self.rows.items():
            if len(values) != len(self.columns):
                raise ValueError(f"rows.{name}: {len(values)} figures; expected {len(self.columns)}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row, among them the two means."""
        return *self.in_dataset, IN_MEAN, *self.cross_dataset, MEAN

    @cached_property
    def published(self) -> dict[str, PublishedRow]:
        """The rows as those of video AUROCs are."""
        return {name: self._row(values) for name, values in self.rows.items()}

    def _row(self, values) -> PublishedRow:
        pairs = zip(self.columns, values, strict=True)
        figures = tuple(Figure(column=column, value=value, source=self.source) for column, value in pairs)
        return PublishedRow(figures=figures, mean_over=len(self.cross_dataset), metric="frame_auroc")


class Stated(Section):
    """What the paper states of a recipe: keys of the YAML for training and for testing, and the rest in words."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    words: dict[str, str]


class Reference(Section):
    """``reference.yaml``."""

    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    further: tuple[Column, ...] = ()
    rows: dict[str, PublishedRow]
    frames: FrameTable
    stated: Stated

    @model_validator(mode="after")
    def _figures_have_columns(self):
        known = {column.column for column in self.all_columns} | {MEAN, IN_MEAN}
        for name, row in self.all_rows.items():
            if unknown := {figure.column for figure in row.figures} - known:
                raise ValueError(f"rows.{name}: no column {', '.join(sorted(unknown))}")
        return self

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The paper's columns, then those in ``further``."""
        return self.columns + self.further

    @property
    def benchmarks(self) -> list[str]:
        """Datasets of the cross-dataset mean."""
        return [column.dataset for column in self.columns if not column.in_dataset]

    @property
    def all_rows(self) -> dict[str, PublishedRow]:
        """The published rows: of video AUROCs, then of frame AUROCs."""
        return self.rows | self.frames.published

    def row(self, name: str) -> PublishedRow:
        """A published row by its name; an ``LNCLIPError`` where there is none."""
        return Registry("published row", self.all_rows).choose(name)


@cache
def reference() -> Reference:
    """The packaged ``reference.yaml``, validated."""
    path = bench_configs() / "reference.yaml"
    return validate(Reference, read_yaml(path), str(path))


def dataset_of(name: str) -> str:
    """The name of a dataset that may be given by its column: ``CDFv2`` is ``Celeb-DF-v2``; other names stay.

    >>> dataset_of("CDFv2"), dataset_of("mine")
    ('Celeb-DF-v2', 'mine')
    """
    return next((column.dataset for column in reference().all_columns if column.column == name), name)


def column_of(dataset: str) -> str:
    """The short name of a dataset's column, or the dataset's own.

    >>> column_of("FaceForensics++"), column_of("mine")
    ('FF', 'mine')
    """
    return next((column.column for column in reference().all_columns if column.dataset == dataset), dataset)


def recipe(row: PublishedRow) -> dict | None:
    """Of a published row's YAML, if any, the settings that the paper states: ``{"train": {…}, "test": {…}}``."""
    if row.yaml is None:
        return None
    config, stated = flatten(load_config(row.yaml).to_dict()), reference().stated
    tested = config | {"frame_num": config["frame_num.test"]}
    return {"train": {key: config[key] for key in stated.train}, "test": {key: tested[key] for key in stated.test}}
