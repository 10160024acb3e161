"""Splits by shares: videos that belong together in one split, and every class in every split."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import SPLITS
from lnclip_df.datasets.items import Item, draw_key
from lnclip_df.datasets.schema import Ratios


def split_by_shares(items: Sequence[Item], undecided: set[str], ratios: Ratios, name: str) -> dict[str, str]:
    """Choose the split of some videos.

    Videos that share a source id, a fake and its real video, and the levels of one video are a group. A group in which
    a video has a split follows it. Of the others, first those are drawn that give every split a video of each class,
    then each goes, the largest first, where the counts of both classes come closest to the shares.

    Args:
        items: all videos of the dataset, with ``pair``, in any order.
        undecided: ``path`` of those to choose a split for; the others are in ``Item.splits``, or in none.
        ratios: the shares, and the seed that decides between equal groups.
        name: the dataset's, for the error.

    Returns:
        ``{path: split}`` of the undecided videos.

    Raises:
        LNCLIPError: there are too few groups for a video of each class in each split.
    """
    shares = {split: share / 100 for split in SPLITS if (share := getattr(ratios, split))}
    classes = sorted({item.fake for item in items if item.path in undecided})
    have = {split: np.zeros(len(classes)) for split in SPLITS}
    chosen: dict[str, str] = {}
    free: dict[tuple[str, str], list[Item]] = {}
    for group in _groups(items):
        todo = [item for item in group if item.path in undecided]
        fixed = Counter(split for item in group for split in item.splits)
        for item in group:
            for split in item.splits:
                have[split] += _counts([item], classes)
        if fixed and todo:
            split = fixed.most_common(1)[0][0]
            have[split] += _counts(todo, classes)
            chosen |= {item.path: split for item in todo}
        elif todo:
            free[min((draw_key(ratios.seed, item), item.path) for item in todo)] = todo
    counts = {key: _counts(group, classes) for key, group in free.items()}
    try:
        drawn = _draw(counts, {split: have[split] for split in shares}, shares)
    except StopIteration as error:
        raise LNCLIPError(_too_few(name, list(free.values()), shares, classes)) from error
    return chosen | {item.path: split for key, split in drawn.items() for item in free[key]}


def _draw(counts, have, shares) -> dict:
    """The split of each group. StopIteration: no group is left for a class that a split lacks.

    ``counts`` has the videos of each class of a group, ``have`` those that each split has already.
    """
    total = np.maximum(1, sum([*counts.values(), *have.values()]))
    left = sorted(counts, key=lambda key: (counts[key].sum(), key))  # the smallest first
    drawn = {}

    def take(key, split):
        drawn[key] = split
        have[split] += counts[key]

    for split in sorted(shares, key=lambda split: ((have[split] == 0).sum(), shares[split])):
        while (lacking := have[split] == 0).any():
            exact = (key for key in left if ((counts[key] > 0) == lacking).all())
            useful = (key for key in left if counts[key][lacking].any())
            key = next(exact, None) or next(useful)
            left.remove(key)
            take(key, split)
    for key in reversed(left):
        take(key, min(shares, key=lambda split: _excess(have[split], counts[key], shares[split], total)))
    return drawn


def _excess(have, added, share, total) -> float:
    """How much farther a split's shares of the classes are from its own with some more videos, squared."""
    before, after = have / total - share, (have + added) / total - share
    return float((after**2).sum() - (before**2).sum())


def _too_few(name, groups, shares, classes) -> str:
    kinds = ["fake" if fake else "real" for fake in classes]
    counts = _counts([item for group in groups for item in group], classes)
    there = " and ".join(f"{int(count)} {kind}" for count, kind in zip(counts, kinds, strict=True))
    return (
        f"{name}: too few videos for {', '.join(shares)}: each needs a {' and a '.join(kinds)} video, and the {there} "
        f"ones form {len(groups)} groups that share sources or pairs; add videos, or set the share of a split to 0"
    )


def _counts(items, classes) -> np.ndarray:
    return np.array([sum(item.fake == fake for item in items) for fake in classes], float)


def _groups(items: Sequence[Item]) -> list[list[Item]]:
    """The videos that belong together, sorted."""
    ties = {item.path: {f"path {item.path}", *_ties(item)} for item in items}
    group_of = {tie: at for at, group in enumerate(tied(list(ties.values()))) for tie in group}
    groups = defaultdict(list)
    for item in sorted(items, key=lambda item: item.path):
        groups[group_of[f"path {item.path}"]].append(item)
    return list(groups.values())


def _ties(item: Item) -> set[str]:
    """What a video shares with others that belong to it: source ids, its real video, and its name at other levels."""
    pair = {f"path {item.pair}"} if item.pair else set()
    level = {f"name {item.label}/{item.name}"} if item.level else set()
    return {f"id {source}" for source in item.ids} | pair | level


def tied(sets: Sequence[set[str]]) -> list[list[str]]:
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
    groups: dict[str, list[str]] = {}
    for source in sorted(parent):
        groups.setdefault(root(source), []).append(source)
    return sorted(groups.values())
