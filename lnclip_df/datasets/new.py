"""A dataset of a user: its YAML, made from folders of videos or face crops, or from a CSV."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lnclip_df.config.files import bench_configs, read_yaml
from lnclip_df.config.validation import validate
from lnclip_df.core.errors import LNCLIPError, shown
from lnclip_df.core.files import check_writable, sha256, write_text
from lnclip_df.core.tables import aligned_lines, numbered_rows
from lnclip_df.datasets.dataset_json import COMPRESSED, SPLITS
from lnclip_df.datasets.folder_listing import FRAME, HIDDEN, WRITTEN, Listing, by_suffix, logical_path
from lnclip_df.datasets.items import Item
from lnclip_df.datasets.scan import scan_faces, scan_videos, silent
from lnclip_df.datasets.schema import (
    UNUSED,
    Dataset,
    Identity,
    Ratios,
    dataset_names,
    load_dataset,
    located,
    own_datasets,
    own_folders,
)
from lnclip_df.datasets.tables import climbs
from lnclip_df.media.crop_files import TAR, stored_at
from lnclip_df.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES

NAME = re.compile(r"\w[\w.+-]{0,59}")
SHARES = "70,15,15"  # of train, val and test, in %
KINDS = f"a video ({', '.join(VIDEO_SUFFIXES[:4])}, …) nor a folder of numbered face crops (000.png, …)"
PASSED_OVER = re.compile(rf"/(?:{'|'.join(map(re.escape, HIDDEN))}|(?:{'|'.join(('masks', *WRITTEN))})/)")
REAL, FAKE = ("real", "0", "0.0"), ("fake", "1", "1.0")  # labels in a CSV; pandas may write 0.0
COMMENT = """\
# Made by lnclip-df dataset new, to keep and edit: `lnclip-df audit {name}` reads it again. Relative paths start from
# this file's folder. All keys are in the documentation, "The YAML of a dataset".
"""


class NewDataset(NamedTuple):
    """What was made: the YAML, the dataset, its videos (or faces) with their splits, and the number of other files."""

    path: Path
    dataset: Dataset
    items: list[Item]
    left_out: Counter[str]

    def __str__(self):
        kinds = Counter(item.fake for item in self.items)
        pairs, sources = (sum(map(bool, values)) for values in zip(*((i.pair, i.ids) for i in self.items), strict=True))
        line = (
            f"{self.path}: {kinds[False]} real and {kinds[True]} fake videos; {pairs} fakes have their real video, "
            f"{sources} videos a known source"
        )
        rows = [[split, *self._counts(split)] for split in (*SPLITS, UNUSED) if self._of(split)]
        left_out = [f"left out: {by_suffix(self.left_out)}"] if self.left_out else []
        return "\n".join([line, *aligned_lines(rows), *left_out])

    def _of(self, split):
        return [item for item in self.items if split in (item.splits or (UNUSED,))]

    def _counts(self, split):
        counts = Counter(item.label for item in self._of(split))
        return [f"{label} {counts[label]}" for label in self.dataset.labels]


def new_dataset(
    name: str, real=None, fakes: Mapping[str, Any] | None = None, *, table=None, shares: str | None = None,
    by: str | None = None, seed: int = 0, faces=None,
) -> NewDataset:  # fmt: skip
    """Write the YAML of a dataset into the first of :func:`~lnclip_df.datasets.schema.own_folders`.

    Args:
        name: its name in all commands.
        real: folder of real videos, or of face crops (folders of numbered images, with or without a level ``frames``);
            or a list of such folders.
        fakes: ``{method: folder}`` of fake ones; a method may be empty.
        table: instead, a CSV ``path,label[,split,method,pair,identity]``. Paths start from its folder, ``label`` is
            real or fake, ``pair`` a fake's real video, and ``identity`` has source ids, separated by ``;``.
        shares: of train, val and test in %, for videos without a ``split`` in the CSV; ``70,15,15`` by default.
        by: pattern of what a path below its folder says of a video's sources; see
            :class:`~lnclip_df.datasets.schema.Identity`.
        seed: of the draw of the splits.
        faces: folder for face crops; by default ``rgb`` beside the YAML.

    Raises:
        LNCLIPError: the name is taken or unsafe, a folder or the CSV is invalid, a video is real and fake, the shares
            do not add up, or there are too few videos for the splits.
    """
    _check_name(name)
    home = own_folders()[0]
    path = home / f"{name}.yaml"
    check_writable(path)
    reals = [Path(folder) for folder in ([real] if isinstance(real, str | Path) else real or [])]
    if (table is None) == (not reals or not fakes) or (table is not None and (reals or fakes)):
        raise LNCLIPError("name either a folder of real videos and at least one of fake videos, or a CSV (table)")
    identity = validate(Identity, {"pattern": by}, "by").pattern if by is not None else None
    ratios = _parsed(SHARES if shares is None else shares, seed)
    if table is None:
        made = _from_folders(name, home, reals, {key: Path(folder) for key, folder in (fakes or {}).items()})
    else:
        made = _from_table(name, home, Path(table))
        if made.whole and shares is not None:
            raise LNCLIPError(f"{table}: its column split names the split of every video; leave out the shares")
    mapping: dict[str, Any] = {"name": name, "layout": "lnclip-df dataset new", "layout_checked": True}
    mapping["folders"] = made.folders
    if not made.crops:
        mapping["faces"] = "rgb" if faces is None else _seen_from(home, Path(faces))
    mapping |= made.tables
    if not made.whole:
        mapping["split"] = {key: value for key, value in ratios.model_dump().items() if value or key == "seed"}
    mapping["videos"] = [rule if "refuse" in rule else rule | _identity(identity, rule) for rule in made.rules]
    dataset = located(validate(Dataset, mapping, name), home)
    _check_different(made.places)
    with silent():
        items = (scan_faces if made.crops else scan_videos)(dataset)
    if by is not None and not any(item.ids for item in items):
        raise LNCLIPError(f"by {by!r} matches the path of no video, for example not {items[0].path!r}")
    text = yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True, width=110)
    write_text(path, COMMENT.format(name=name) + text)
    return NewDataset(path, load_dataset(name), items, made.left_out)


def _parsed(shares: str, seed: int) -> Ratios:
    try:
        values = dict(zip(SPLITS, map(float, shares.split(",")), strict=True))
    except ValueError as error:
        raise LNCLIPError(f"split {shares!r}: expected the shares of train, val and test, such as {SHARES}") from error
    return validate(Ratios, {**values, "seed": seed}, shares, prefix="split")


class _Made(NamedTuple):
    """Parts of a YAML; ``places`` are the videos or folders of crops with ``fake``, ``whole``: all have a split."""

    folders: list[dict]
    rules: list[dict]
    crops: bool
    places: list[tuple[Path, bool]]
    tables: dict
    whole: bool
    left_out: Counter[str]  # files that are no videos, by suffix


def _check_name(name):
    if not NAME.fullmatch(name) or name.lower().endswith((".yaml", ".yml")):
        raise LNCLIPError(f"name {name!r}: use at most 60 letters, digits and . _ + -; it becomes a file's name")
    own = own_datasets()
    packaged = {other for known in dataset_names() for other in (known, *load_dataset(known).subsets)} | COMPRESSED
    taken = {other.casefold(): other for other in (*packaged, *own)}.get(name.casefold())
    if taken in own:
        raise LNCLIPError(f"name {name!r}: {own[taken]} exists; edit it, or remove it first")
    if taken is not None:
        raise LNCLIPError(f"name {name!r}: a dataset {taken} comes with lnclip-df; choose another name")
    columns = {one["column"].casefold(): one for one in _columns()}
    if column := columns.get(name.casefold()):
        raise LNCLIPError(
            f"name {name!r}: commands read {column['column']} as {column['dataset']}; choose another name"
        )


def _columns() -> list[dict]:
    """The leaderboard's columns, whose names stand for packaged datasets in all commands."""
    reference = read_yaml(bench_configs() / "reference.yaml")
    return [*reference["columns"], *reference["further"]]


def _seen_from(home: Path, path: Path) -> str:
    """A path as the YAML in ``home`` names it: relative where both are named relative to the working folder."""
    if home.is_absolute() or path.is_absolute():
        return str(path.absolute())
    return Path(os.path.relpath(path, home)).as_posix()


def _identity(pattern, rule) -> dict:
    if pattern is None:
        return {}
    if "identity" in rule:
        raise LNCLIPError("by: the CSV has a column identity; leave out one of the two")
    return {"identity": {"pattern": pattern, "text": "{video}"}}


# --- from folders -----------------------------------------------------------------------------------------------------


def _from_folders(name, home, reals: list[Path], fakes: dict[str, Path]) -> _Made:
    real_keys = ["real", *(f"real{number}" for number in range(2, len(reals) + 1))]
    sources = dict(zip(real_keys, reals, strict=True)) | {method or "fake": folder for method, folder in fakes.items()}
    if "real" in fakes or len(sources) != len(reals) + len(fakes):
        raise LNCLIPError(f"methods {', '.join(map(repr, fakes))}: each needs a name of its own, other than real")
    for key in sources:
        if not re.fullmatch(r"\w[\w.+-]{0,29}", key):
            raise LNCLIPError(f"method {key!r}: use at most 30 letters, digits and . _ + -")
    found = {key: _existing(key, folder) for key, folder in sources.items()}
    listings = {key: _listing(key, folder) for key, folder in found.items()}
    videos, crops = ([found[key] for key in found if bool(listings[key].faces) == kind] for kind in (False, True))
    if videos and crops:
        raise LNCLIPError(f"{videos[0]} has videos and {crops[0]} has face crops; give one kind")
    _check_names({key: listings[key] for key in real_keys}, found)
    folders, rules, places = [], [], []
    for key, folder in found.items():
        fake = key not in real_keys
        place = {"name": f"{name}-{key}", "path": _seen_from(home, folder), "required": True}
        folders.append(place | ({"crops": True} if crops else {}))
        places += [(path, fake) for path in (listings[key].faces or listings[key].videos).values()]
        path = f"^{_escaped(place['name'])}/(?P<video>.+)"
        rule: dict[str, Any] = {"path": path, "label": f"{name}_{key if fake else 'real'}", "fake": fake}
        if fake:
            rule |= {"method": key} if key in fakes else {}
            prefixes = [f"{name}-{real}/{{video}}" for real in real_keys]
            rule["pair"] = {"prefix": prefixes if len(prefixes) > 1 else prefixes[0]}
        rules.append(rule | {"name": "{video}"})
    left_out = sum((listing.other for listing in listings.values()), Counter())
    return _Made(folders, rules, bool(crops), places, tables={}, whole=False, left_out=left_out)


def _check_names(listings: dict[str, Listing], folders: dict[str, Path]):
    """Raise an error if two folders of one label have a video of the same name, which is its key in the JSON."""
    first: dict[str, str] = {}
    for key, listing in listings.items():
        for path in listing.faces or listing.videos:
            video = path.partition("/")[2]
            other = first.setdefault(video, key)
            if other != key:
                raise LNCLIPError(f"real: {folders[other]} and {folders[key]} both have a video {video}; rename one")


def _escaped(text):
    """A name as a pattern of itself: only ``.`` and ``+`` among its characters have another meaning."""
    return re.sub(r"([.+])", r"\\\1", text)


def _existing(key, folder: Path) -> Path:
    """A folder, or the one in which ``preprocess`` puts the crops of its videos."""
    for place in (folder, folder.parent / "frames" / folder.name):
        if place.is_dir():
            return place
    raise LNCLIPError(f"{key}: no folder {folder}")


def _listing(key, folder) -> Listing:
    """The videos of a folder or, without one, its face crops; LNCLIPError if it has neither, or an invalid name."""
    for crops in (False, True):
        listing = Listing()
        listing.walk(folder, key, crops=crops)
        for reason, paths in listing.skipped.items():
            raise LNCLIPError(f"{key}: {len(paths)} files or folders cannot be used, first {min(paths)!r}: {reason}")
        if not crops:
            listing.faces.clear()
        if key in listing.faces:
            raise LNCLIPError(
                f"{key}: {listing.faces[key]} contains images itself; put those of each video into a folder"
            )
        if listing.videos or listing.faces:
            return listing
    if images := Counter({suffix: count for suffix, count in listing.other.items() if suffix in IMAGE_SUFFIXES}):
        cut = f"lnclip-df preprocess {folder.parent} --out faces"
        raise LNCLIPError(
            f"{key}: {folder} contains no videos but images ({by_suffix(images)}); cut their faces with {cut}, "
            f"then name faces/{folder.name} in dataset new"
        )
    raise LNCLIPError(f"{key}: {folder} contains neither {KINDS}")


# --- from a CSV -------------------------------------------------------------------------------------------------------


def _from_table(name, home, table: Path) -> _Made:
    if table.suffix.lower() != ".csv":
        raise LNCLIPError(f"{table}: expected a file that ends in .csv")
    rows = [(line, {key: cell for key, cell in row.items() if cell})
            for line, row in numbered_rows(table, ("path", "label"))]  # fmt: skip
    places: dict[str, tuple[Path, bool]] = {}
    for number, row in rows:
        where = f"{table}: line {number}"
        path = _checked_path(where, table.parent, row)
        key = logical_path(row["path"])
        if key in places:
            raise LNCLIPError(f"{where}: {row['path']} is listed before; paths are read without suffix")
        if row.get("split", UNUSED) not in (*SPLITS, UNUSED):
            raise LNCLIPError(f"{where}: split {shown(row['split'])} is none of {', '.join((*SPLITS, UNUSED))}")
        places[key] = path, _is_fake(where, row)
    reals = {key for key, (_, fake) in places.items() if not fake}
    folders = [path.is_dir() or path.suffix == TAR for path, _ in places.values()]
    if not 0 < len(reals) < len(rows):
        raise LNCLIPError(f"{table} has only {'real' if reals else 'fake'} videos; list both kinds")
    if len(set(folders)) == 2:
        raise LNCLIPError(f"{table} lists videos and folders; list one kind")
    names = Counter(path.rsplit("/", 1)[-1] for path in reals)
    for number, row in rows:
        pair = logical_path(row["pair"]) if "pair" in row else None
        if pair is not None and pair not in reals and names[pair] != 1:
            raise LNCLIPError(f"{table}: line {number}: pair {row['pair']} is the path of no real video of the list")
    columns = {column for _, row in rows for column in row}
    whole = all("split" in row for _, row in rows)
    place = {"name": name, "path": _seen_from(home, table.parent), "required": True}
    return _Made(
        folders=[place | ({"crops": True} if all(folders) else {})],
        rules=[*(_rule(name, columns, fake) for fake in (False, True)), _other_label(name, table.name)],
        crops=all(folders),
        places=list(places.values()),
        tables={"tables": {"videos": _table(table.name, columns)}},
        whole=whole,
        left_out=Counter(),
    )


def _table(file, columns) -> dict:
    pattern = re.escape(unicodedata.normalize("NFC", file))
    paths = [column for column in ("path", "pair") if column in columns]
    return {"file": pattern, "format": "csv", "key": "{path}", "paths": paths, "required": True}


def _rule(name, columns, fake: bool) -> dict:
    """The rule of a CSV's real or fake videos."""
    rule: dict[str, Any] = {
        "path": f"^{_escaped(name)}/(?P<video>.+)",
        "join": {"videos": "{video}"},
        "when": {"videos.label": f"(?i:{'|'.join(map(re.escape, FAKE if fake else REAL))})"},
        "label": f"{name}_{'fake' if fake else 'real'}",
        "fake": fake,
    }
    if "split" in columns:
        rule["split"] = "{videos.split}"
    if "identity" in columns:
        rule["identity"] = {"pattern": "[^; ][^;]*", "text": "{videos.identity}"}
    if fake:
        rule |= {"method": "{videos.method}"} if "method" in columns else {}
        named = {"path": f"{name}/{{videos.pair}}", "stem": "{videos.pair}"} if "pair" in columns else {}
        rule["pair"] = named | {"prefix": f"{name}/{{video}}"}
    return rule | {"name": "{video}"}


def _other_label(name, file) -> dict:
    """The rule of a CSV's other videos, whose label was changed later."""
    accepted = "accepted is real, fake, 0 (real) or 1 (fake)"
    return {
        "path": f"^{_escaped(name)}/(?P<video>.+)",
        "join": {"videos": "{video}"},
        "when": {"videos.path": ".+"},
        "refuse": [f"its label in {file} is {{videos.label}}; {accepted}", f"{file} gives it no label; {accepted}"],
    }


def _checked_path(where, folder, row) -> Path:
    if "path" not in row:
        raise LNCLIPError(f"{where}: the path is empty")
    if os.path.isabs(row["path"]):
        raise LNCLIPError(f"{where}: {row['path']} is absolute; write the path from the folder of the CSV")
    if climbs(row["path"]):
        raise LNCLIPError(f"{where}: {row['path']} leaves the folder of the CSV; paths start there, so move the CSV")
    path = stored_at(folder / row["path"].replace("\\", "/"))
    if not path.exists():
        raise LNCLIPError(f"{where}: no file {path}; paths start from the folder of the CSV")
    if not (_is_crops(path) if path.is_dir() else path.suffix.lower() in (*VIDEO_SUFFIXES, TAR)):
        raise LNCLIPError(f"{where}: {row['path']} is neither {KINDS}")
    if PASSED_OVER.search("/" + row["path"].replace("\\", "/").removeprefix("./")):
        raise LNCLIPError(f"{where}: {row['path']} is hidden, or in a folder masks, landmarks or records; move it")
    return path


def _is_crops(folder) -> bool:
    return any(FRAME.fullmatch(name) for name in os.listdir(folder))


def _is_fake(where, row) -> bool:
    label = row.get("label", "").lower()
    if label not in (*REAL, *FAKE):
        raise LNCLIPError(f"{where}: label {shown(row.get('label', ''))} is none of real, fake, 0 (real) and 1 (fake)")
    return label in FAKE


# --- the same video twice ---------------------------------------------------------------------------------------------


def _check_different(places: list[tuple[Path, bool]]):
    """Raise an error if a video is real and fake: one file, files of the same bytes, or one folder of crops."""
    alike: dict[Any, list[tuple[Path, bool]]] = defaultdict(list)
    for path, fake in ((stored_at(path), fake) for path, fake in places):
        alike[os.path.realpath(path) if path.is_dir() else path.stat().st_size].append((path, fake))
    for size, same in alike.items():
        first: dict[Any, tuple[Path, bool]] = {}
        for path, fake in same if size and len(same) > 1 else ():
            other, kind = first.setdefault(size if path.is_dir() else sha256(path), (path, fake))
            if kind != fake:
                raise LNCLIPError(f"{other} and {path} are the same, once real and once fake; take one of them out")
