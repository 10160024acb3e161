"""From logical paths to items: the first rule that matches, the rows that it joins, and its templates filled."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import SPLITS
from lnclip_df.datasets.folder_listing import FRAME, Listing, without_suffix
from lnclip_df.datasets.items import Frames, Item
from lnclip_df.datasets.schema import FIELD, UNUSED, Dataset, Join, Rule, fill, first
from lnclip_df.datasets.tables import Rows
from lnclip_df.media.crop_files import file_names, masks_in_tar

logger = logging.getLogger(__name__)

Fields = dict[str, str | None]
Kind = Literal["videos", "faces"]
SEPARATOR = re.compile(r"[-_. ]")
FEW = 0.5  # share of the expected matches below which a split list is taken for another's
ENOUGH = 10  # expected matches from which on a share of them says anything


@dataclass
class ListMatches:
    """How many videos on disk a split list names.

    ``listed`` and ``unlisted`` are numbers of videos, ``fitting`` of unlisted ones that have faces and a name of the
    list's form; ``example`` is a key that was not in the list, ``otherwise`` the split of such videos, None where they
    have none.
    """

    listed: int = 0
    unlisted: int = 0
    fitting: int = 0
    example: str = ""
    otherwise: str | None = None


class Matcher:
    """Makes items of a dataset's logical paths.

    Args:
        level: the compression level to take; None takes all.
        kind: whether the paths are those of raw videos or of videos with faces; None gives items without media.

    Attributes:
        undecided: paths that the dataset's shares decide the split of.
        unmatched, empty, unpaired: paths that match no rule, have no face images, or lack their real video.
        levels: number of videos of each level, taken or not.
    """

    def __init__(
        self, dataset: Dataset, tables: dict[str, Rows], listing: Listing, level: str | None, kind: Kind | None
    ):
        self.dataset, self.tables, self.listing, self.level, self.kind = dataset, tables, listing, level, kind
        self.rules = [(re.compile(rf"(?P<base>(?:[^/]+/)*?)(?P<rest>{rule.path})"), rule) for rule in dataset.videos]
        self.ignore = [re.compile(rf"[^/]*/(?:{pattern})") for pattern in (*dataset.ignore, ".*masks/.*")]
        self.pairs: dict[str, dict[str, list[str]]] = {}
        self.unmatched: list[str] = []
        self.empty: list[str] = []
        self.unpaired: list[str] = []
        self.undecided: set[str] = set()
        self.levels: Counter = Counter()
        self.lists: dict[str, ListMatches] = defaultdict(ListMatches)
        self._forms_of: dict[str, set[str]] = {}

    def items(self, paths: Iterable[str]) -> list[Item]:
        """The items of logical paths, sorted, each fake with its real video if that is among them."""
        return self._paired([item for item in map(self._item, sorted(paths)) if item is not None])

    @property
    def other_levels(self) -> list[str]:
        """Levels on disk that were not taken."""
        return sorted(level for level in self.levels if None not in (level, self.level) and level != self.level)

    def _item(self, path: str) -> Item | None:
        rule, fields = self._match(path)
        if rule is None:
            self.unmatched.append(path)
            return None
        if rule.refuse:
            raise LNCLIPError(f"{self.dataset.name}: {path}: {first(rule.refuse, fields)}")
        other = self.listing.twice.get((self.kind or "", path))
        if other:
            raise LNCLIPError(f"{self.dataset.name}: {path} is there twice, also as {other}")
        levels = self.dataset.levels
        level = fields.get("level") or None
        level = levels.aliases.get(level, level) if levels and level else None
        self.levels[level] += 1
        if self.level is not None and level not in (None, self.level):
            return None
        media = self._media(path, rule, fields)
        if media is None:
            self.empty.append(path)
            return None
        self._check_agreement(path, rule, fields)
        self.pairs[path] = {kind: _filled(templates, fields) for kind, templates in rule.pair}
        method = first(rule.method, fields)
        return Item(
            path=path,
            label=rule.label,
            fake=rule.fake,
            splits=self._splits(path, rule, fields),
            name=fill(rule.name, fields) or path,
            level=level if levels and levels.in_json else None,
            method=self.dataset.methods.get(method, method) if method is not None else None,
            ids=tuple(dict.fromkeys([*_filled(rule.ids, fields), *_identities(rule, fields)])),
            **media,
        )

    def _match(self, path: str) -> tuple[Rule | None, Fields]:
        """The first rule that matches, and the fields that it gives; or None and nothing."""
        for pattern, rule in self.rules:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            fields = {**match.groupdict(), "path": path, "stem": path.rsplit("/", 1)[-1]}
            for name, join in rule.join.items():
                row = self.tables[join.table].get(first(join.key, fields))
                fields.update({f"{name}.{column}": text for column, text in row.items()})
            if all(re.fullmatch(wanted, fields.get(name) or "") for name, wanted in rule.when.items()):
                return rule, fields
        return None, {}

    def _splits(self, path, rule, fields) -> tuple[str, ...]:
        self._count_lists(rule, fields)
        split = first(rule.split, fields)
        if split is None and self.dataset.split is not None:
            self.undecided.add(path)
        split = self.dataset.split_names.get(split, split) if split is not None else UNUSED
        if split == UNUSED:
            return ()
        if split not in SPLITS:
            raise LNCLIPError(
                f"{self.dataset.name}: {path}: split {split!r} is none of {', '.join(SPLITS)}; see split_names"
            )
        return (split,)

    def _count_lists(self, rule, fields):
        """Note whether the lists that a rule takes the split from name this video; with shares they need not."""
        for column, join in _split_lists(rule) if self.dataset.split is None else ():
            matches = self.lists[join.table]
            if fields.get(column) is not None:
                matches.listed += 1
                return
            matches.unlisted += 1
            matches.example = first(join.key, fields) or ""
            matches.fitting += self.kind == "faces" and _form(matches.example) in self._forms(join.table)
            matches.otherwise = first(rule.split, fields)

    def check_lists(self):
        """Raise LNCLIPError for a split list that names few or none of the videos on disk: it is another dataset's.

        Faces may be those of one split alone: then a list of names of the same form is the right one.
        """
        for name, matches in self.lists.items():
            rows = self.tables[name]
            if rows.rows and matches.listed < self._least(name, matches) and not matches.fitting:
                split = f"would be of split {matches.otherwise}" if matches.otherwise else "would have no split"
                raise LNCLIPError(
                    f"{self.dataset.name}: {matches.listed} of {matches.listed + matches.unlisted} videos on disk are "
                    f"in {', '.join(sorted({path.name for path in rows.files}))}; the others {split}. The list has "
                    f"{min(rows.rows)!r}, expected was a name like {matches.example!r}; give this dataset's list"
                )

    def _forms(self, table) -> set[str]:
        """The forms of a list's names."""
        if table not in self._forms_of:
            self._forms_of[table] = {_form(name) for name in self.tables[table].rows}
        return self._forms_of[table]

    def _least(self, table, matches) -> float:
        """How many videos a list must name: half of all, or of as many as are likely where it names some alone."""
        videos = matches.listed + matches.unlisted
        if matches.otherwise is None:
            return max(1, FEW * videos)
        counts = self.dataset.expected.labels.get("all", {}) if self.dataset.expected else {}
        labels = {rule.label for rule in self.dataset.videos for _, join in _split_lists(rule) if join.table == table}
        whole = sum(counts.get(label, 0) for label in labels)
        likely = len(self.tables[table].rows) * min(1, videos / whole) if whole else 0
        return max(1, FEW * likely if likely >= ENOUGH else 0)

    def _check_agreement(self, path, rule, fields):
        for name, template in rule.agree.items():
            value, wanted = fields.get(name), fill(template, fields)
            if None not in (value, wanted) and value != wanted:
                raise LNCLIPError(
                    f"{self.dataset.name}: {path}: {name} is {value!r}, not {wanted!r} as {template} says; "
                    "the lists or the folders are wrong"
                )

    def _media(self, path, rule, fields) -> dict | None:
        """The media of an item; None if it has no face image."""
        if self.kind is None:
            return {}
        return self._faces(path, rule, fields) if self.kind == "faces" else self._video(path, rule, fields)

    def _video(self, path, rule, fields) -> dict:
        masks = (self.listing.videos.get(name) for name in _filled(rule.mask, fields))
        return {"file": self.listing.videos[path], "mask": next(filter(None, masks), None)}

    def _faces(self, path, rule, fields) -> dict | None:
        frames = _images(self.listing.faces[path])
        if not frames:
            return None
        if not rule.masks:
            return {"frames": frames}
        own = self.listing.masks.get(path) or masks_in_tar(frames.folder)
        folders = (self.listing.masks.get(name) for name in _filled(rule.masks_from, fields))
        folder = own or next(filter(None, folders), None)
        return {"frames": frames, "has_masks": True, "masks": Frames() if folder is None else _images(folder)}

    def _paired(self, items: list[Item]) -> list[Item]:
        """The items with the real video of each fake, where the rules name one and it is among them."""
        real = {item.path for item in items if not item.fake}
        stems, folders = defaultdict(list), defaultdict(list)
        for path in real:
            folder, _, stem = path.rpartition("/")
            stems[stem].append(path)
            folders[folder].append(path)
        result = []
        for item in items:
            named = self.pairs[item.path]
            found = [path for path in named["path"] if path in real]
            found += _unique(stems, map(without_suffix, named["stem"])) + _unique(folders, named["folder"])
            found += _by_beginning(named["prefix"], real, stems) if not found else []
            known = named["path"] or named["stem"] or named["folder"]  # a beginning is a guess
            self.unpaired += [item.path] if known and not found else []
            result.append(replace(item, pair=found[0]) if found else item)
        return result

    def log(self):
        """Log what was passed over and which listed videos are absent, one line per kind."""
        ignored = {path for path in self.unmatched if any(pattern.fullmatch(path) for pattern in self.ignore)}
        self._warn(set(self.unmatched) - ignored, "fit no rule and are passed over")
        self._warn(self.empty, "have no face images and are passed over")
        for level in self.other_levels:
            count = self.levels[level]
            logger.info("%s: %d videos of level %s are passed over for %s", self.dataset.name, count, level, self.level)
        self._warn(self.unpaired, "have no real video on disk that they were made from")
        for rows in self.tables.values():
            files = ", ".join(sorted({path.name for path in rows.files}))
            as_faces = " as faces" if self.kind == "faces" else ""
            self._warn(rows.not_found, f"of {len(rows.rows)} listed in {files} are not on disk{as_faces}")
            if rows.repeated:
                logger.info("%s: %d rows repeat others in %s", self.dataset.name, rows.repeated, files)

    def _warn(self, paths, what):
        if paths:
            logger.warning("%s: %d videos %s, for example %s", self.dataset.name, len(paths), what, min(paths))


def _form(name: str) -> str:
    """A name with each digit as 0.

    >>> _form("Celeb-real/id12_0007")
    'Celeb-real/id00_0000'
    """
    return re.sub(r"\d", "0", name)


def _split_lists(rule: Rule) -> list[tuple[str, Join]]:
    """The columns that a rule takes the split from, each with the join that gives it."""
    columns = [column for template in rule.split for column in FIELD.findall(template) if "." in column]
    return [(column, rule.join[column.split(".")[0]]) for column in columns]


def _filled(templates, fields) -> list[str]:
    return [text for text in (fill(template, fields) for template in templates) if text is not None]


def _identities(rule: Rule, fields) -> list[str]:
    """The source ids that a pattern finds in a text."""
    text = fill(rule.identity.text, fields) if rule.identity else None
    if rule.identity is None or text is None:
        return []
    matches = re.finditer(rule.identity.pattern, text)
    return [part for match in matches for part in (match.groups() or [match[0]]) if part]


def _by_beginning(names: Iterable[str], real: set[str], stems: dict[str, list[str]]) -> list[str]:
    """The real videos whose path, or else name, is the longest beginning of a path."""
    for name in names:
        folder, _, stem = name.rpartition("/")
        for end in [len(stem), *(cut.start() for cut in reversed(list(SEPARATOR.finditer(stem))))]:
            path = f"{folder}/{stem[:end]}"
            found = [path] if path in real else _unique(stems, [stem[:end]])
            if found:
                return found
    return []


def _unique(index: dict[str, list[str]], keys: Iterable[str]) -> list[str]:
    """The paths that are the only one of their key."""
    return [index[key][0] for key in keys if len(index.get(key, ())) == 1]


def _images(folder: Path) -> Frames:
    """The images of a video's folder, or of its tar, that are named by an index, in its order."""
    try:
        names = file_names(folder)
    except (OSError, ValueError) as error:
        raise LNCLIPError(f"cannot read {folder}: {getattr(error, 'strerror', None) or error}") from error
    numbered = ((int(match[1]), name) for name in names if (match := FRAME.fullmatch(name)))
    return Frames(folder, [name for _, name in sorted(numbered)])
