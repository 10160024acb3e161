"""A dataset is data: the YAML that says which videos it has, and what each of them is; no dataset is known by name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from lnclip_df.config.loading import bench_configs, read_yaml, validate
from lnclip_df.core.errors import LNCLIPError

UNUSED = "none"  # what a split rule says of videos that belong to the set and to none of its splits
FIELD = re.compile(r"\{([^{}]+)\}")
GIVEN = ("path", "base", "rest", "stem")  # fields that every video has, beside the groups of its pattern


class Frames(Sequence):
    """The images of one video, in order: like a tuple of paths, but as small as their names.

    >>> list(Frames(Path("frames/a"), ("000.png", "004.png")))
    [PosixPath('frames/a/000.png'), PosixPath('frames/a/004.png')]
    """

    __slots__ = ("folder", "names")

    def __init__(self, folder: Path = Path(), names: Sequence[str] = ()):
        self.folder, self.names = folder, tuple(names)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return Frames(self.folder, self.names[place])
        return self.folder / self.names[place]

    def __len__(self):
        return len(self.names)

    def __eq__(self, other):
        return tuple(self) == tuple(other) if isinstance(other, Frames | tuple) else NotImplemented

    def __hash__(self):
        return hash(tuple(self))

    def __repr__(self):
        return f"Frames({str(self.folder)!r}, {self.names!r})"


@dataclass(frozen=True)
class Item:
    """One video of a dataset.

    Attributes:
        path: its identity: ``/``-separated, ``<folder named in the YAML>/<path below it>``, without a ``videos`` or
            ``frames`` level and without suffix: ``Celeb-DF-v2/Celeb-real/id0_0000``.
        label: its label's name in the dataset JSON.
        fake: whether that label is a fake's.
        splits: of train, val and test; none where the video is known but unused.
        name: its key in the dataset JSON.
        level: its compression level in the dataset JSON, None where the set has none.
        method: its forgery method where one is known; None for real videos.
        pair: ``path`` of the real video that it was made from; None for real ones, where none is known, and where that
            one is not on disk.
        ids: its source ids (persons, clips): two videos that share one are not independent.
        file: the raw video, from ``scan_videos``.
        mask: the raw mask video, from ``scan_videos``; None where there is none.
        frames: face images in the order of their index, from ``scan_faces``.
        masks: mask images likewise.
        has_masks: whether its record in the dataset JSON lists masks, be it none.
    """

    path: str
    label: str
    fake: bool
    splits: tuple[str, ...]
    name: str
    level: str | None = None
    method: str | None = None
    pair: str | None = None
    ids: tuple[str, ...] = ()
    file: Path | None = None
    mask: Path | None = None
    frames: Sequence[Path] = ()
    masks: Sequence[Path] = ()
    has_masks: bool = False


def fill(template: str, values: dict) -> str | None:
    """Replace every ``{field}`` by its value; None where one has no value.

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
        raise ValueError(f"is no regular expression: {error}") from error
    return text


def _listed(value):
    return value if isinstance(value, list) else [value]


Pattern = Annotated[str, AfterValidator(_pattern)]
Name = Annotated[str, Field(pattern=r"^\w[\w.+ -]{0,99}$")]  # it becomes a file's
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
    """A list, CSV or JSON that says something of videos, as rows of named columns.

    ``file`` is a pattern of paths below a folder of the set; its named groups become columns, and so does ``add``.
    ``lines``: a row a line, matched by ``line``. ``csv``: with a header; a nameless column is named by its place
    (``column9``, from 0). ``json``: a list of objects, or an object of objects, whose own key is the column ``key``;
    it is looked for under ``rows`` of the document where that is set. ``pairs``: a JSON list of ``[a, b]``, that
    stands for the videos ``a``, ``b``, ``a_b`` and ``b_a``, each in the column ``video``.
    A row is found again by ``key``. ``videos: false`` says that its rows are not videos.
    """

    file: Pattern
    format: Literal["lines", "csv", "json", "pairs"]
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
            raise ValueError("format: lines needs the key line, and no other format has it")
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
    """Videos of one kind, and what they are. The first rule that fits a video is taken.

    ``path`` is matched against the end of a video's path: ``{base}`` is what stands before it (the set's folder and any
    further level), ``{rest}`` the match, ``{stem}`` its last name, and every named group a field. ``join`` adds a row's
    columns as ``{table.column}``. All other values are templates of these fields, mostly lists of which the first that
    can be filled is taken. ``when`` holds patterns that fields must match, else the rule does not fit; ``agree`` holds
    values that fields must have where they are known, else the tree and its lists contradict each other.
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

    ``in_json: true`` writes all that are on disk, each under its name in the dataset JSON. Else only ``use`` is taken.
    """

    names: list[str] = Field(min_length=1)
    aliases: dict[str, str] = {}
    in_json: bool = False
    use: str | None = None

    @model_validator(mode="after")
    def _one_or_all(self):
        if self.in_json == (self.use is not None):
            raise ValueError("either in_json: true (all levels are written) or use: LEVEL (one is)")
        unknown = {*self.aliases.values(), *([self.use] if self.use else [])} - set(self.names)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} is none of the names {', '.join(self.names)}")
        return self


class Expected(_Section):
    """Numbers of videos (of one level) that the release has, and who says so; the split ``all`` is the whole set."""

    source: str
    labels: dict[Literal["all", "train", "val", "test"], Counts] = {}
    methods: dict[Literal["all", "train", "val", "test"], Counts] = {}


class Part(_Section):
    """A dataset's share in a combination: a number of videos of each class, from some of its splits."""

    dataset: str
    splits: list[Split]
    videos: int = Field(gt=0)


class Combine(_Section):
    """Videos drawn from other datasets, written to ``splits``; whoever is in one of ``never`` is not drawn."""

    seed: int
    splits: list[Split]
    never: list[Split] = []
    parts: list[Part] = Field(min_length=1)


class Dataset(_Section):
    """One dataset's YAML.

    ``layout`` names the source of the layout and ``layout_checked`` says whether somebody ran it on the real release.
    ``overlaps`` states what the published splits share, or may share: facts of the dataset, and no faults of the disk.
    ``videos`` holds the rules, in order; ``ignore`` patterns of paths that are no videos of this set; ``methods`` and
    ``split_names`` translate a method or split as files and names spell it; ``subsets`` are further dataset JSONs,
    each with some of the labels; ``face`` is the default choice of the face in preprocessing.
    """

    name: Name
    title: str = ""
    citation: list[str] = []
    access: str = ""
    licence: str = ""
    layout: str = ""
    layout_checked: bool = False
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
            raise ValueError("either folders and videos, or combine")
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
    """Names of the datasets that travel with the package."""
    return sorted(path.stem for path in (bench_configs() / "datasets").glob("*.yaml"))


@lru_cache
def _read(path) -> Dataset:
    return validate(Dataset, read_yaml(path), str(path))


def load_dataset(name) -> Dataset:
    """Read a dataset's YAML.

    Args:
        name: the name of a packaged one (``Celeb-DF-v2``), or the path of a file that ends in ``.yaml`` or ``.yml``.

    Raises:
        LNCLIPError: there is none of that name, or it holds a wrong key or value.
    """
    if str(name) in dataset_names():
        return _read(bench_configs() / "datasets" / f"{name}.yaml")
    if Path(name).suffix in (".yaml", ".yml"):
        return validate(Dataset, read_yaml(name), str(name))
    raise LNCLIPError(f"no dataset {name}; give a YAML file or one of: {', '.join(dataset_names())}")
