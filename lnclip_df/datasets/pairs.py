"""Two training sets of one size: fakes together with the reals they were made from, and the same fakes without them.

The paper's Figure 3 compares the two; paired training generalises better (arXiv 2508.06248).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lnclip_df.core.errors import LNCLIPError, shown
from lnclip_df.core.files import check_writable, write_json
from lnclip_df.datasets.dataset_json import SPLITS, read_classes, records_of_level
from lnclip_df.datasets.items import Item
from lnclip_df.datasets.splits import tied


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


class PairsSummary(NamedTuple):
    """What was written.

    Attributes:
        reals, fakes: number in each of the two files, of fakes by method.
        left_out: fakes of the training split whose real is unknown or not in that split.
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


def write_pairs(
    json_file, items: Iterable[Item], *, out=None, seed: int = 0, strict: bool = False, compression: str = "c23"
) -> PairsSummary:
    """Write ``<dataset>-paired.json`` and ``<dataset>-unpaired.json``, each with its own name as the dataset's.

    Their training splits are those of :func:`split_pairs`; their other splits are those of ``json_file``. DeepfakeBench
    expects compression levels under its own dataset names only, so these files have one level's videos without it.

    Args:
        json_file: the dataset JSON, named by its dataset.
        items: the dataset's videos, with their pairs and methods.
        out: folder of the two files; that of ``json_file`` by default.
        seed, strict: see :func:`split_pairs`.
        compression: the level to take where the dataset has levels.

    Raises:
        LNCLIPError: the JSON is invalid, it has videos that ``items`` lacks, or it is too small for both subsets.
    """
    json_file = Path(json_file)
    classes = _classes_of_level(json_file, compression)
    check_writable(out or json_file.parent, folder=True)
    name = json_file.stem
    chosen = _training_items(json_file, classes, items, compression)
    subsets = split_pairs(chosen, seed=seed, strict=strict, name=str(json_file))
    files = {kind: Path(out or json_file.parent) / f"{name}-{kind}.json" for kind in ("paired", "unpaired")}
    for kind, file in files.items():
        kept = {(item.label, item.name) for item in (*getattr(subsets, kind), *subsets.fakes)}
        write_json(file, {file.stem: _with_train(classes, kept)})
    reals = {item.path for item in chosen if not item.fake}
    return PairsSummary(
        **files,
        reals=len(subsets.paired),
        fakes=dict(sorted(Counter(item.method or item.label for item in subsets.fakes).items())),
        left_out=sum(item.fake and item.pair not in reals for item in chosen),
    )


def split_pairs(
    items: Iterable[Item], *, seed: int = 0, strict: bool = False, name: str = "the training split"
) -> Subsets:
    """Choose the two subsets of some training videos.

    The identities are drawn into two groups. The fakes made from the first group are in both subsets; the paired one
    adds the reals that they were made from, the unpaired one as many reals of the second group: the two differ in
    nothing but the reals. There are as many reals as the identities allow, and of each all its fakes.

    Args:
        items: training videos, in any order; fakes whose real is not among them are left out.
        seed: of the draw.
        strict: no source of a fake (``Item.ids``, of a face swap also the donor) may be a source of the unpaired
            reals. Otherwise only the fake's own real must be absent from them.
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
    index = {source: at for at, source in enumerate(_drawn(reals, fakes, sources, rng))}
    first = {item.path: min(index[source] for source in sources[item.path]) for item in reals}
    last = {item.path: max(index[source] for source in sources[item.path]) for item in fakes}
    size, cut = _best_cut(fakes, first, last, len(index))
    if not size:
        counts = f"{len(reals)} reals and {len(fakes)} fakes made from them"
        kind = "strictly unpaired" if strict else "unpaired"
        fix = "rearrange a larger training split" + (", or leave out strict" if strict else "")
        raise LNCLIPError(f"{name} has {counts}: too few for a paired and an {kind} subset; {fix}")
    before = [fake for fake in fakes if last[fake.path] < cut]
    paired = _sample(sorted({fake.pair for fake in before if fake.pair}), size, rng)
    unpaired = _sample([path for path in first if first[path] >= cut], size, rng)
    return Subsets(
        fakes=[fake for fake in before if fake.pair in paired],
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
    groups = tied([sources[item.path] for item in (*reals, *fakes)])
    forged = set().union(*(sources[fake.path] for fake in fakes)) if fakes else set()
    groups = [groups[at] for at in rng.permutation(len(groups))]
    groups.sort(key=forged.isdisjoint)
    return [group[at] for group in groups for at in rng.permutation(len(group))]


def _best_cut(fakes, first: dict[str, int], last: dict[str, int], count: int) -> tuple[int, int]:
    """Where to cut the drawn sources so that both subsets are largest: ``(reals per subset, index of the cut)``.

    Of the fakes with all their sources before the cut, the reals they were made from are the paired ones; reals with
    all their sources behind it can be unpaired ones. ``first`` and ``last`` have the index of a video's first and last
    source, by path.
    """
    paired_from: dict[str, int] = {}
    for fake in fakes:
        paired_from[fake.pair] = min(paired_from.get(fake.pair, count), last[fake.path] + 1)
    paired = np.cumsum(np.bincount(list(paired_from.values()), minlength=count + 1))
    starts = np.bincount(list(first.values()), minlength=count + 1)
    unpaired = len(first) - np.cumsum(starts) + starts
    sizes = np.minimum(paired, unpaired)
    return int(sizes.max()), int(sizes.argmax())


def _sample(paths: Sequence[str], size: int, rng) -> set[str]:
    return {paths[at] for at in rng.permutation(len(paths))[:size]}


def _classes_of_level(json_file, compression) -> dict[str, dict]:
    """``{label: {split: {video: record}}}`` of a dataset JSON, of one compression level."""
    name = json_file.stem
    classes: dict[str, dict] = {}
    for label, splits in read_classes(json_file, name).items():
        classes[label] = {}
        for split in SPLITS:
            key, records = f"{name}.{label}.{split}", splits.get(split, {}) if isinstance(splits, dict) else {}
            if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
                raise LNCLIPError(f"{json_file}: {key} is {shown(records)}, not a mapping of videos; make it again")
            classes[label][split] = records_of_level(json_file, name, key, records, compression)[0]
    return classes


def _training_items(json_file, classes, items, compression) -> list[Item]:
    """The items of the training split's videos."""
    known = {(item.label, item.name): item for item in items if item.level in (None, compression)}
    videos = [(label, name) for label, splits in classes.items() for name in splits["train"]]
    unknown = [f"{label}/{name}" for label, name in videos if (label, name) not in known]
    if unknown:
        fault = f"{len(unknown)} of {len(videos)} training videos are not on disk as it says, {unknown[0]} first"
        raise LNCLIPError(f"{json_file}: {fault}; rearrange again")
    return [known[video] for video in videos]


def _with_train(classes, kept) -> dict:
    """The classes, sorted, with only the videos ``kept`` in their training split."""
    result = {}
    for label, splits in sorted(classes.items()):
        train = {name: record for name, record in splits["train"].items() if (label, name) in kept}
        result[label] = {split: dict(sorted(records.items())) for split, records in {**splits, "train": train}.items()}
    return result
