"""Two training sets of one size: fakes together with the reals they were made from, and the same fakes without them.

The paper's Figure 3 compares the two; paired training generalises better (arXiv 2508.06248).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, write_json
from lnclip_df.datasets.dataset_json import COMPRESSIONS
from lnclip_df.datasets.schema import Item
from lnclip_df.datasets.write_json import SPLITS


class Subsets(NamedTuple):
    """The two subsets, as items of the training split, sorted by path.

    Attributes:
        fakes: in both subsets.
        paired: exactly the reals that these fakes were made from.
        unpaired: as many other reals.
    """

    fakes: list[Item]
    paired: list[Item]
    unpaired: list[Item]


class Summary(NamedTuple):
    """What was written.

    Attributes:
        paired, unpaired: the JSON files.
        reals: how many each of them holds.
        fakes: how many each of them holds, by method.
        left_out: fakes of the training split whose real is not in it, or not known.
    """

    paired: Path
    unpaired: Path
    reals: int
    fakes: dict[str, int]
    left_out: int

    def __str__(self):
        methods = ", ".join(f"{method} {count}" for method, count in self.fakes.items())
        line = f"{self.paired} and {self.unpaired}: {self.reals} reals and {sum(self.fakes.values())} fakes each"
        left_out = f"; {self.left_out} fakes without their real left out" if self.left_out else ""
        return f"{line} ({methods}){left_out}"


def write_pairs(json_file, items: Iterable[Item], *, out=None, seed=0, strict=False, compression="c23") -> Summary:
    """Write ``<dataset>-paired.json`` and ``<dataset>-unpaired.json``, each with its own name as the dataset's.

    Their training splits are those of :func:`split_pairs`; their other splits are those of ``json_file``. DeepfakeBench
    looks for a compression level under its own names only, so these files hold one level's videos without it.

    Args:
        json_file: the dataset JSON, named by its dataset.
        items: the dataset's videos, which tell the pairs and methods.
        out: folder of the two files; that of ``json_file`` by default.
        seed, strict: see :func:`split_pairs`.
        compression: the level taken where the dataset has levels.

    Raises:
        LNCLIPError: the JSON is unfit, it holds videos that ``items`` lacks, or it cannot give both subsets.
    """
    json_file = Path(json_file)
    name, classes = _read(json_file, compression)
    chosen = _training_items(json_file, classes, items, compression)
    subsets = split_pairs(chosen, seed=seed, strict=strict, name=str(json_file))
    files = []
    for kind, reals in (("paired", subsets.paired), ("unpaired", subsets.unpaired)):
        kept = {(item.label, item.name) for item in (*reals, *subsets.fakes)}
        files.append(Path(out or json_file.parent) / f"{name}-{kind}.json")
        write_json(files[-1], {f"{name}-{kind}": _cut(classes, kept)})
    reals = {item.path for item in chosen if not item.fake}
    return Summary(
        *files,
        reals=len(subsets.paired),
        fakes=dict(sorted(Counter(_method(item) for item in subsets.fakes).items())),
        left_out=sum(item.fake and item.pair not in reals for item in chosen),
    )


def split_pairs(items: Iterable[Item], *, seed=0, strict=False, name="the training split") -> Subsets:
    """Choose the two subsets of some training videos.

    The identities are drawn into two groups. The fakes made from the first group are in both subsets; the paired one
    adds the reals that they were made from, the unpaired one as many reals of the second group: the two differ in
    nothing but the reals. There are as many reals as the identities allow, and of each all its fakes.

    Args:
        items: training videos, in any order; fakes whose real is not among them are left out.
        seed: of the draw.
        strict: no source of a fake (``Item.ids``, of a face swap also the donor) may be a source of the unpaired
            reals. Otherwise the fake's own real is what must be absent.
        name: what the items are, for the error.

    Raises:
        LNCLIPError: there are not enough pairs for both subsets.
    """
    items = sorted(items, key=lambda item: item.path)
    reals = [item for item in items if not item.fake]
    known = {item.path for item in reals}
    fakes = [item for item in items if item.fake and item.pair in known]
    if strict and not all(fake.ids for fake in fakes):
        count = sum(not fake.ids for fake in fakes)
        raise LNCLIPError(f"{name}: strict needs every fake's sources, and {count} have none; leave out strict")
    sources = _sources(reals, fakes, strict)
    rng = np.random.default_rng(seed)
    place = {source: at for at, source in enumerate(_drawn(reals, fakes, sources, rng))}
    size, cut = _best_cut(reals, fakes, sources, place)
    if not size:
        counts = f"{len(reals)} reals and {len(fakes)} fakes made from them"
        kind = "strictly unpaired" if strict else "unpaired"
        mend = "rearrange a larger training split" + (", or leave out strict" if strict else "")
        raise LNCLIPError(f"{name} has {counts}: too few for a paired and an {kind} subset; {mend}")
    first = [fake for fake in fakes if _last(fake, sources, place) < cut]
    paired = _sample(sorted({fake.pair for fake in first}), size, rng)
    unpaired = _sample([real.path for real in reals if _first(real, sources, place) >= cut], size, rng)
    return Subsets(
        fakes=[fake for fake in first if fake.pair in paired],
        paired=[real for real in reals if real.path in paired],
        unpaired=[real for real in reals if real.path in unpaired],
    )


def _sources(reals, fakes, strict) -> dict[str, set[str]]:
    """By path, what two videos must not share to be unpaired: the real itself or, if strict, persons and clips."""
    sources = {real.path: {f"id {source}" for source in real.ids if strict} or {real.path} for real in reals}
    for fake in fakes:
        sources[fake.path] = {f"id {source}" for source in fake.ids if strict} | sources[fake.pair]
    return sources


def _drawn(reals, fakes, sources, rng) -> list[str]:
    """All sources in random order; those that some videos tie together are neighbours, those without fakes last."""
    groups = _tied([sources[item.path] for item in (*reals, *fakes)])
    forged = set().union(*(sources[fake.path] for fake in fakes)) if fakes else set()
    groups = [groups[at] for at in rng.permutation(len(groups))]
    groups.sort(key=forged.isdisjoint)
    return [group[at] for group in groups for at in rng.permutation(len(group))]


def _tied(sets: Sequence[set[str]]) -> list[list[str]]:
    """The connected groups of sources, two being tied where one video has both; sorted."""
    parent = {source: source for sources in sets for source in sources}

    def root(source):
        while parent[source] != source:
            parent[source] = source = parent[parent[source]]
        return source

    for sources in sets:
        first, *others = sorted(sources)
        for other in others:
            parent[root(other)] = root(first)
    groups = {}
    for source in sorted(parent):
        groups.setdefault(root(source), []).append(source)
    return sorted(groups.values())


def _best_cut(reals, fakes, sources, place) -> tuple[int, int]:
    """Where to part the drawn sources so that both subsets are largest: ``(reals a subset, place of the cut)``.

    Of the fakes with all their sources before the cut, the reals they were made from are the paired ones; reals with
    all their sources behind it can be unpaired ones.
    """
    count, paired_from = len(place), {}
    for fake in fakes:
        paired_from[fake.pair] = min(paired_from.get(fake.pair, count), _last(fake, sources, place) + 1)
    paired = np.cumsum(np.bincount(list(paired_from.values()), minlength=count + 1))
    starts = np.bincount([_first(real, sources, place) for real in reals], minlength=count + 1)
    unpaired = len(reals) - np.cumsum(starts) + starts
    sizes = np.minimum(paired, unpaired)
    return int(sizes.max()), int(sizes.argmax())


def _first(item, sources, place):
    return min(place[source] for source in sources[item.path])


def _last(item, sources, place):
    return max(place[source] for source in sources[item.path])


def _sample(paths, size, rng) -> set[str]:
    return {paths[at] for at in rng.permutation(len(paths))[:size]}


def _method(item):
    return item.method or item.label


def _read(json_file, compression) -> tuple[str, dict]:
    """``(dataset, {label: {split: {video: record}}})`` of a dataset JSON, of one compression level."""
    name, document = json_file.stem, read_json(json_file)
    if not isinstance(document, dict) or not isinstance(document.get(name), dict):
        raise LNCLIPError(f"{json_file}: no {name}; a dataset JSON is named by its dataset")
    classes = {}
    for label, splits in document[name].items():
        splits = splits if isinstance(splits, dict) else {}
        classes[label] = {
            split: _without_level(json_file, f"{name}.{label}.{split}", splits.get(split, {}), compression)
            for split in SPLITS
        }
    return name, classes


def _without_level(json_file, key, records, compression) -> dict:
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise LNCLIPError(f"{json_file}: {key} is {str(records)[:60]!r}, not a mapping of videos; make it again")
    if not records or not set(records) <= set(COMPRESSIONS) or any("frames" in record for record in records.values()):
        return records
    if compression not in records:
        raise LNCLIPError(f"{json_file}: no {key}.{compression}; there is {', '.join(records)}")
    return records[compression]


def _training_items(json_file, classes, items, compression) -> list[Item]:
    """The items of the training split's videos."""
    known = {(item.label, item.name): item for item in items if item.level in (None, compression)}
    videos = [(label, name) for label, splits in classes.items() for name in splits["train"]]
    unknown = [f"{label}/{name}" for label, name in videos if (label, name) not in known]
    if unknown:
        fault = f"{len(unknown)} of {len(videos)} training videos are not on disk as it says, {unknown[0]} first"
        raise LNCLIPError(f"{json_file}: {fault}; rearrange again")
    return [known[video] for video in videos]


def _cut(classes, kept) -> dict:
    """The classes, sorted, with only the videos ``kept`` in their training split."""
    cut = {}
    for label, splits in sorted(classes.items()):
        train = {name: record for name, record in splits["train"].items() if (label, name) in kept}
        cut[label] = {split: dict(sorted(records.items())) for split, records in {**splits, "train": train}.items()}
    return cut
