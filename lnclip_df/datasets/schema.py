"""The schema of a dataset's YAML: which videos the dataset has, and what each is. No dataset is named in code."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from lnclip_df.config.loading import bench_configs, read_yaml
from lnclip_df.config.validation import validate
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.table_formats import TABLE_FORMATS

UNUSED = "none"  # the split of videos that belong to the dataset and to none of its splits
FIELD = re.compile(r"\{([^{}]+)\}")
GIVEN = ("path", "base", "rest", "stem")  # fields that every video has, beside the groups of its pattern


def fill(template: str, values: dict) -> str | None:
    """Replace every ``{field}`` by its value; None if one has no value.

    >>> fill("{base}Celeb-real/{target}", {"base": "set/", "target": "id0"})
    'set/Celeb-real/id0'
    >>> fill("{absent}", {}) is None
    True
    """
    fields = FIELD.findall(template)
    if any(values.get(field) is None for field in fields):
        return None
    return FIELD.sub(lambda match: values[match[1]], template) if fields else template


def first(templates: Sequence[str], values: dict) -> str | None:
    """The first of some templates that can be filled, or None."""
    return next((text for text in (fill(template, values) for template in templates) if text is not None), None)


def _pattern(text):
    try:
        re.compile(text)
    except (re.error, RecursionError) as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return text


def _listed(value):
    return value if isinstance(value, list) else [value]


def _table_format(name):
    try:
        TABLE_FORMATS.choose(name)
    except LNCLIPError as error:
        raise ValueError(str(error)) from error
    return name


Pattern = Annotated[str, AfterValidator(_pattern)]
Name = Annotated[str, Field(pattern=r"^\w[\w.+ -]{0,99}$")]  # it becomes a file name
Templates = Annotated[list[str], BeforeValidator(_listed)]  # the first that can be filled is taken
Split = Literal["train", "val", "test"]
Counts = dict[str, int]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Folder(_Section):
    """A folder below the root: its name in paths, other names that it may have on disk, whether it must be there."""

    name: Name
    aliases: list[Name] = []
    required: bool = False


class Table(_Section):
    """A list, CSV or JSON that describes videos, as rows of named columns.

    ``file`` is a pattern of paths below a folder of the dataset; its named groups become columns, and so does ``add``.
    ``format`` is a name of :data:`~lnclip_df.datasets.table_formats.TABLE_FORMATS`: ``lines`` needs the pattern
    ``line``, and ``json`` may name the part of the document with ``rows``. A row is found by ``key``.
    ``videos: false`` says that its rows are not videos.
    """

    file: Pattern
    format: Annotated[str, AfterValidator(_table_format)]
    line: Pattern | None = None
    rows: str | None = None
    key: Templates
    add: dict[str, str] = {}
    required: bool = False
    videos: bool = True
    repeated: Literal["error", "first"] = "error"

    @model_validator(mode="after")
    def _line(self):
        if (self.format == "lines") != (self.line is not None):
            raise ValueError("format: lines needs the key line, and no other format accepts it")
        return self


class Join(_Section):
    """A video's row in a table: the one whose key equals ``key``."""

    table: str
    key: Templates


class Pair(_Section):
    """The real video that a fake was made from: by its path, by its stem wherever it lies, or alone in a folder."""

    path: Templates = []
    stem: Templates = []
    folder: Templates = []


class Rule(_Section):
    """Videos of one kind, and what they are. The first rule that matches a video applies.

    ``path`` is matched against the end of a video's path: ``{base}`` is the part before it (the dataset's folder and
    any further level), ``{rest}`` the match, ``{stem}`` its last name, and every named group a field. ``join`` adds a
    row's columns as ``{table.column}``. All other values are templates of these fields, mostly lists of which the first
    that can be filled is taken. ``when`` has patterns that fields must match, otherwise the rule does not apply;
    ``agree`` has values that known fields must have, otherwise the folders and lists contradict each other.
    ``masks: true`` writes mask images to the dataset JSON; ``masks_from`` are other videos' paths to find them at.
    """

    path: Pattern
    join: dict[str, Join] = {}
    when: dict[str, Pattern] = {}
    agree: dict[str, str] = {}
    refuse: str | None = None
    label: str = ""
    fake: bool = False
    method: Templates = []
    split: Templates = []
    pair: Pair = Pair()
    name: str = "{stem}"
    ids: Templates = []
    mask: Templates = []
    masks: bool = False
    masks_from: Templates = []

    @field_validator("join", mode="before")
    @classmethod
    def _short_join(cls, value):
        """``{table: key}`` is short for ``{table: {table: table, key: key}}``."""
        if not isinstance(value, dict):
            return value
        return {name: join if isinstance(join, dict) else {"table": name, "key": join} for name, join in value.items()}

    @model_validator(mode="after")
    def _known_fields(self):
        if self.refuse is None and not self.label:
            raise ValueError("label: a name in the dataset JSON is needed")
        groups = set(re.compile(self.path).groupindex)
        if groups & set(GIVEN):
            raise ValueError(f"path: the group names {', '.join(GIVEN)} are taken; use others")
        known = groups | set(GIVEN)
        for text in self._templates():
            for field in FIELD.findall(text):
                if field not in known and field.split(".")[0] not in self.join:
                    raise ValueError(f"{text!r}: no field {field}; there is {', '.join(sorted(known))}")
        return self

    def _templates(self):
        pair, joins = self.pair, [key for join in self.join.values() for key in join.key]
        lists = self.method, self.split, pair.path, pair.stem, pair.folder, self.ids, self.mask, self.masks_from, joins
        whens = [f"{{{field}}}" for field in (*self.when, *self.agree)]
        return [self.name, *self.agree.values(), *whens, *(text for texts in lists for text in texts)]


class Levels(_Section):
    """Compression levels, the group ``level`` of a pattern: ``names`` and other names (``aliases``) of them.

    ``in_json: true`` writes all levels that are on disk, each under its name in the dataset JSON. Otherwise only the
    level ``use`` is taken.
    """

    names: list[str] = Field(min_length=1)
    aliases: dict[str, str] = {}
    in_json: bool = False
    use: str | None = None

    @model_validator(mode="after")
    def _one_or_all(self):
        if self.in_json == (self.use is not None):
            raise ValueError("set either in_json: true (all levels are written) or use: LEVEL (one is written)")
        unknown = {*self.aliases.values(), *([self.use] if self.use else [])} - set(self.names)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} is none of the names {', '.join(self.names)}")
        return self


class Expected(_Section):
    """Numbers of videos (of one level) in the release, and their source; the split ``all`` is the whole dataset."""

    source: str
    labels: dict[Literal["all", "train", "val", "test"], Counts] = {}
    methods: dict[Literal["all", "train", "val", "test"], Counts] = {}


class Part(_Section):
    """A dataset's share in a combination: a number of videos of each class, from some of its splits."""

    dataset: str
    splits: list[Split]
    videos: int = Field(gt=0)


class Combine(_Section):
    """Videos drawn from other datasets, written to ``splits``; videos of the splits ``never`` are not drawn."""

    seed: int
    splits: list[Split]
    never: list[Split] = []
    parts: list[Part] = Field(min_length=1)


class Dataset(_Section):
    """One dataset's YAML.

    ``layout`` names the source of the layout, ``layout_checked`` says whether it was run on the real release, and
    ``checked`` what of it was run on real files.
    ``overlaps`` states what the published splits share, or may share: facts of the dataset, not faults of the disk.
    ``videos`` has the rules, in order; ``ignore`` patterns of paths that are not videos of this dataset; ``methods``
    and ``split_names`` translate the spelling of a method or split; ``subsets`` are further dataset JSONs, each with
    some of the labels; ``face`` is the default choice of the face in preprocessing.
    """

    name: Name
    title: str = ""
    citation: list[str] = []
    access: str = ""
    licence: str = ""
    layout: str = ""
    layout_checked: bool = False
    checked: str = ""
    notes: list[str] = []
    overlaps: list[str] = []
    face: Literal["largest", "mask"] = "largest"
    folders: list[Folder] = []
    levels: Levels | None = None
    tables: dict[str, Table] = {}
    videos: list[Rule] = []
    ignore: list[Pattern] = []
    methods: dict[str, str] = {}
    split_names: dict[str, Split | Literal["none"]] = {}
    subsets: dict[Name, list[str]] = {}
    expected: Expected | None = None
    combine: Combine | None = None

    @field_validator("folders", mode="before")
    @classmethod
    def _short_folder(cls, value):
        return [{"name": name} if isinstance(name, str) else name for name in _listed(value)]

    @model_validator(mode="after")
    def _whole(self):
        if (self.combine is None) != bool(self.videos and self.folders):
            raise ValueError("set either folders and videos, or combine")
        for rule in self.videos:
            for table in {join.table for join in rule.join.values()} - set(self.tables):
                raise ValueError(f"videos: join: no table {table}; there is {', '.join(self.tables) or 'none'}")
        return self

    @property
    def labels(self) -> dict[str, int]:
        """``{label: 0 real | 1 fake}`` of the dataset JSON; of a combination, those of its parts."""
        if self.combine:
            return {k: v for part in self.combine.parts for k, v in load_dataset(part.dataset).labels.items()}
        return {rule.label: int(rule.fake) for rule in self.videos if rule.label}


def dataset_names() -> list[str]:
    """Names of the datasets that the package comes with."""
    return sorted(path.stem for path in (bench_configs() / "datasets").glob("*.yaml"))


@lru_cache
def _read(path) -> Dataset:
    return validate(Dataset, read_yaml(path), str(path))


def load_dataset(name) -> Dataset:
    """Read a dataset's YAML.

    Args:
        name: the name of a packaged one (``Celeb-DF-v2``), the path of a file that ends in ``.yaml`` or ``.yml``, or a
            ``Dataset``, which is returned.

    Raises:
        LNCLIPError: there is no dataset of that name, or its YAML has an invalid key or value.
    """
    if isinstance(name, Dataset):
        return name
    if str(name) in dataset_names():
        return _read(bench_configs() / "datasets" / f"{name}.yaml")
    if Path(name).suffix in (".yaml", ".yml"):
        return validate(Dataset, read_yaml(name), str(name))
    raise LNCLIPError(f"no dataset {name}; give a YAML file or one of: {', '.join(dataset_names())}")
