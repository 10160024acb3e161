"""The schema of a dataset's YAML: which videos the dataset has, and what each is. No dataset is named in code."""

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from lnclip_df.config.files import bench_configs, read_yaml
from lnclip_df.config.loading import labels
from lnclip_df.config.validation import Section, validate
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.table_formats import TABLE_FORMATS

UNUSED = "none"  # the split of videos that belong to the dataset and to none of its splits
FIELD = re.compile(r"\{([^{}]+)\}")
OWN_FOLDER = "LNCLIP_DATASETS"  # the variable that names a folder of dataset YAMLs
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
    model_config = ConfigDict(**Section.model_config, use_attribute_docstrings=True)


class Folder(_Section):
    """A folder of the dataset."""

    name: Name
    """Its name in paths, and on disk below the root."""
    path: str | None = None
    """Where it lies, if not below the root: absolute, or relative to the YAML's folder."""
    aliases: list[Name] = []
    """Other names that it may have on disk."""
    required: bool = False
    """Whether it must be there."""
    crops: bool = False
    """Its folders of numbered images (`000.png`, …) are face crops, with or without a level `frames`."""


class Table(_Section):
    """A list, CSV or JSON that describes videos, as rows of named columns. A row is found by `key`."""

    file: Pattern
    """Pattern of paths below a folder of the dataset. Its named groups become columns."""
    format: Annotated[str, AfterValidator(_table_format)]
    """`lines` (with the pattern `line`), `csv`, `json`, or `pairs` (a JSON list of pairs of names)."""
    line: Pattern | None = None
    """For `lines`: the pattern of a line. Its named groups are the columns."""
    rows: str | None = None
    """For `json`: the key of the part of the document that contains the rows."""
    key: Templates
    """What a row is found by: a template of its columns."""
    paths: list[str] = []
    """Columns with paths of videos, which are read without suffix and without the levels `videos` and `frames`."""
    add: dict[str, str] = {}
    """Further columns, with one value for all rows."""
    required: bool = False
    """Whether a file must be there."""
    videos: bool = True
    """Whether its rows are videos, so that those which are not on disk are named."""
    repeated: Literal["error", "first"] = "error"
    """What to do with a second row of a key that has other values: refuse it, or take the first."""

    @model_validator(mode="after")
    def _line(self):
        if (self.format == "lines") != (self.line is not None):
            raise ValueError("format: lines needs the key line, and no other format accepts it")
        return self


class Join(_Section):
    """A video's row in a table. `{table: key}` is short for `{table: {table: table, key: key}}`."""

    table: str
    """Name of the table."""
    key: Templates
    """The row is the one whose key equals this."""


class Pair(_Section):
    """The real video that a fake was made from. What is found first applies."""

    path: Templates = []
    """By its path."""
    stem: Templates = []
    """By its name without suffix, wherever it lies, if no other real video has that name."""
    folder: Templates = []
    """By a folder in which it is alone."""
    prefix: Templates = []
    """By the longest beginning of a path, cut at `_`, `-`, `.` or a blank, that is the path or name of a real video."""


class Identity(_Section):
    """Persons or clips that a name contains. A pattern alone is short for `{pattern: …}`."""

    pattern: Pattern
    """Every match is an id of the video; with groups, each group is one."""
    text: str = "{rest}"
    """A template of the text to search."""


class Rule(_Section):
    """Videos of one kind, and what they are. The first rule that matches a video applies.

    Values are templates of fields, mostly lists of which the first that can be filled is taken. Fields are: the named
    groups of `path`; `{path}`, the whole path, which begins with the folder's name; `{base}`, the part before the
    match; `{rest}`, the match; `{stem}`, its last name; `{table.column}` of each joined table.
    """

    path: Pattern
    """A pattern that matches the end of a video's path, without suffix and without the levels `videos` and `frames`."""
    join: dict[str, Join] = {}
    """Tables whose columns become fields."""
    when: dict[str, Pattern] = {}
    """Patterns that fields must match. Otherwise the rule does not apply."""
    agree: dict[str, str] = {}
    """Values that known fields must have. Otherwise the folders and lists contradict each other, an error."""
    refuse: Templates = []
    """Raise this error for a video that matches."""
    label: str = ""
    """The label in the dataset JSON."""
    fake: bool = False
    """Whether the label is that of fakes."""
    method: Templates = []
    """The forgery method."""
    split: Templates = []
    """`train`, `val`, `test`, or `none`: in no split. Without a value, the dataset's `split` applies."""
    pair: Pair = Pair()
    """The real video that a fake was made from."""
    name: str = "{stem}"
    """The video's key in the dataset JSON."""
    ids: Templates = []
    """Source ids (persons, clips). Videos that share one are not independent."""
    identity: Identity | None = None
    """Further source ids, found in a text by a pattern."""
    mask: Templates = []
    """The path of its mask video."""
    masks: bool = False
    """Whether mask images are written to the dataset JSON."""
    masks_from: Templates = []
    """Paths of other videos to find mask images at."""

    @field_validator("join", mode="before")
    @classmethod
    def _short_join(cls, value):
        if not isinstance(value, dict):
            return value
        return {name: join if isinstance(join, dict) else {"table": name, "key": join} for name, join in value.items()}

    @field_validator("identity", mode="before")
    @classmethod
    def _short_identity(cls, value):
        return {"pattern": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known_fields(self):
        if not self.refuse and not self.label:
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
        pairs = pair.path, pair.stem, pair.folder, pair.prefix
        lists = self.method, self.split, *pairs, self.ids, self.mask, self.masks_from, joins
        whens = [f"{{{field}}}" for field in (*self.when, *self.agree)]
        searched = [self.identity.text] if self.identity else []
        return [
            self.name,
            *self.refuse,
            *self.agree.values(),
            *whens,
            *searched,
            *(text for texts in lists for text in texts),
        ]


class Levels(_Section):
    """Compression levels, the group `level` of a pattern."""

    names: list[str] = Field(min_length=1)
    """Their names."""
    aliases: dict[str, str] = {}
    """Other names of them."""
    in_json: bool = False
    """Write all levels that are on disk, each under its name in the dataset JSON."""
    use: str | None = None
    """Otherwise: the one level to take."""

    @model_validator(mode="after")
    def _one_or_all(self):
        if self.in_json == (self.use is not None):
            raise ValueError("set either in_json: true (all levels are written) or use: LEVEL (one is written)")
        unknown = {*self.aliases.values(), *([self.use] if self.use else [])} - set(self.names)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} is none of the names {', '.join(self.names)}")
        return self


class Ratios(_Section):
    """Shares of the splits in %, for videos whose rule gives no split.

    Videos that share a source id, and a fake and its real video, come into one split. Each split with a share gets
    every class. The same videos, shares and seed give the same splits.
    """

    train: Annotated[float, Field(ge=0)] = 0
    """Share of the training split."""
    val: Annotated[float, Field(ge=0)] = 0
    """Share of the validation split."""
    test: Annotated[float, Field(ge=0)] = 0
    """Share of the test split."""
    seed: int = 0
    """Seed of the draw."""

    @model_validator(mode="after")
    def _whole(self):
        total = self.train + self.val + self.test
        if abs(total - 100) > 1e-6:
            raise ValueError(f"the shares of train, val and test add up to {total:g}; expected 100")
        return self


class Expected(_Section):
    """Numbers of videos (of one level) in the release. The split `all` is the whole dataset."""

    source: str
    """Where the numbers come from."""
    labels: dict[Literal["all", "train", "val", "test"], Counts] = {}
    """`{split: {label: videos}}`."""
    methods: dict[Literal["all", "train", "val", "test"], Counts] = {}
    """`{split: {method: videos}}`."""


class Part(_Section):
    """A dataset's share in a combination."""

    dataset: str
    """Its name."""
    splits: list[Split]
    """The splits to draw from."""
    videos: int = Field(gt=0)
    """Number of videos of each class."""


class Combine(_Section):
    """Videos drawn from other datasets."""

    seed: int
    """Seed of the draw."""
    splits: list[Split]
    """Splits that the videos are written to."""
    never: list[Split] = []
    """Videos of these splits are not drawn."""
    parts: list[Part] = Field(min_length=1)
    """The datasets, and how many videos of each."""


class Dataset(_Section):
    """One dataset's YAML. It has either `folders` and `videos`, or `combine`."""

    name: Name
    """Its name in commands, and of its dataset JSON."""
    title: str = ""
    """Its full name."""
    citation: list[str] = []
    """What to cite."""
    access: str = ""
    """Where to ask for it."""
    licence: str = ""
    """Its licence."""
    layout: str = ""
    """The source of the layout."""
    layout_checked: bool = False
    """Whether the YAML was run on the real release."""
    checked: str = ""
    """What of it was run on real files."""
    notes: list[str] = []
    """What a user must know. The audit shows it."""
    overlaps: list[str] = []
    """What the published splits share, or may share: facts of the dataset, not faults of the disk."""
    face: Literal["largest", "mask"] = "largest"
    """The face that preprocessing cuts by default."""
    folders: list[Folder] = []
    """Its folders: a name, or several. A name alone is short for `{name: …}`."""
    faces: str | None = None
    """The folder for its face crops, if not below the root: absolute, or relative to the YAML's folder."""
    levels: Levels | None = None
    """Its compression levels."""
    tables: dict[str, Table] = {}
    """Lists that come with it, by a name of your choice."""
    videos: list[Rule] = []
    """The rules, in order: which files are videos, and what each one is."""
    split: Ratios | None = None
    """Splits by shares, for videos whose rule gives no split."""
    ignore: list[Pattern] = []
    """Patterns of paths that are not videos of this dataset."""
    methods: dict[str, str] = {}
    """Other spellings of methods, and the name of each."""
    split_names: dict[str, Split | Literal["none"]] = {}
    """Other names of splits, and the split of each."""
    subsets: dict[Name, list[str]] = {}
    """Further dataset JSONs, each with some of the labels."""
    expected: Expected | None = None
    """Numbers of videos that the audit compares with."""
    combine: Combine | None = None
    """Videos drawn from other datasets, instead of folders."""

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


def own_folders(root=".") -> list[Path]:
    """The folders of a user's dataset YAMLs, in the order in which they are searched: that of the environment first."""
    named = os.environ.get(OWN_FOLDER)
    folders = [*([Path(os.path.expanduser(named))] if named else []), Path(root, "datasets")]
    return [folder for folder in folders if folder.resolve() != (bench_configs() / "datasets").resolve()]


def own_datasets(root=".") -> dict[str, Path]:
    """The YAMLs in a user's folders, by dataset name."""
    paths = [path for folder in own_folders(root) for path in sorted(folder.glob("*.yaml")) if path.is_file()]
    return {path.stem: path for path in reversed(paths)}


def own_labels(root=".") -> dict[str, int]:
    """``{label: 0 real | 1 fake}`` of all datasets of a user; YAMLs that are no datasets are passed over.

    Raises:
        LNCLIPError: two datasets have one label, real in one and fake in the other.
    """
    known: dict[str, int] = {}
    for path in own_datasets(root).values():
        try:
            of_one = _own(path).labels
        except LNCLIPError:
            continue
        for label, value in of_one.items():
            if known.setdefault(label, value) != value:
                raise LNCLIPError(f"{path}: label {label} is real in one dataset of {path.parent} and fake in another")
    return known


def load_dataset(name) -> Dataset:
    """Read a dataset's YAML.

    Args:
        name: the name of a packaged one (``Celeb-DF-v2``) or of one in :func:`own_folders`, the path of a file that
            ends in ``.yaml`` or ``.yml``, or a ``Dataset``, which is returned.

    Raises:
        LNCLIPError: there is no dataset of that name, or its YAML has an invalid key or value.
    """
    if isinstance(name, Dataset):
        return name
    own = own_datasets()
    if str(name) in dataset_names():
        if str(name) in own:
            raise LNCLIPError(f"{own[str(name)]} has the name of a packaged dataset; rename the file and its name")
        return _packaged(bench_configs() / "datasets" / f"{name}.yaml")
    if str(name) in own:
        return _own(own[str(name)])
    if Path(name).suffix in (".yaml", ".yml"):
        return _located(name)
    if str(name) and Path(name).is_dir():
        real = Path(name, "frames" if Path(name, "frames").is_dir() else "") / "real"
        fix = f"make one of it with: lnclip-df dataset new NAME --real {real} --fake {real.with_name('fake')}"
        raise LNCLIPError(f"{name} is a folder, not a dataset; {fix}")
    known, folders = ", ".join([*own, *dataset_names()]), " or ".join(map(str, own_folders()))
    raise LNCLIPError(f"no dataset {name} (no {name}.yaml in {folders}); give a YAML file or one of: {known}")


def named_faces(names: Iterable[str]) -> set[str]:
    """The faces that datasets' YAMLs, or those of their parts, choose; without a YAML, it is the largest."""
    known: set[str] = {*dataset_names(), *own_datasets()}
    faces: set[str] = set()
    for name in names:
        parts: list[Dataset] = []
        if name in known:  # a name that a file of results has is no path
            with suppress(LNCLIPError):
                whole = load_dataset(name)
                parts = [load_dataset(part.dataset) for part in whole.combine.parts] if whole.combine else [whole]
        faces |= {part.face for part in parts} or {"largest"}
    return faces


@lru_cache
def _packaged(path) -> Dataset:
    return validate(Dataset, read_yaml(path), str(path))


def _own(path) -> Dataset:
    """A dataset of a user, whose name is the file's and whose labels do not contradict the packaged ones."""
    dataset = _located(path)
    if dataset.name != path.stem:
        raise LNCLIPError(
            f"{path}: its name is {dataset.name!r}; name the file {dataset.name}.yaml, or change the name"
        )
    packaged = labels()
    for label, value in dataset.labels.items():
        if packaged.get(label, value) != value:
            raise LNCLIPError(f"{path}: label {label} is {'fake' if packaged[label] else 'real'} elsewhere; rename it")
    return dataset


def _located(path) -> Dataset:
    """A YAML's dataset, with its paths as seen from the working folder."""
    return located(validate(Dataset, read_yaml(path), str(path)), Path(path).parent)


def located(dataset: Dataset, start: Path) -> Dataset:
    """A dataset whose relative paths start from ``start``, with paths from the working folder."""

    def moved(path):
        return None if path is None else os.path.normpath(start / os.path.expanduser(path))

    folders = [folder.model_copy(update={"path": moved(folder.path)}) for folder in dataset.folders]
    return dataset.model_copy(update={"folders": folders, "faces": moved(dataset.faces)})
