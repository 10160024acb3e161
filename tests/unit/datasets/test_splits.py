"""Splits by shares: what belongs together stays together, and every split has every class wherever that is possible."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.items import Item
from lnclip_df.datasets.schema import Ratios
from lnclip_df.datasets.splits import split_by_shares

THIRDS = Ratios(train=70, val=15, test=15)


def video(number, fake, *, ids=(), pair=None, split=()):
    return Item(f"d/{number}", "f" if fake else "r", fake, split, str(number), ids=ids, pair=pair)


def split(items, ratios=THIRDS):
    return split_by_shares(items, {item.path for item in items if not item.splits}, ratios, "mine")


@st.composite
def datasets(draw, most=9):
    """Videos, some of which share sources; some fakes have a real video that they were made from."""
    fakes = draw(st.lists(st.booleans(), min_size=1, max_size=most))
    ids = st.sets(st.sampled_from("abcd"), max_size=1)
    items = [video(number, fake, ids=tuple(draw(ids))) for number, fake in enumerate(fakes)]
    reals = [item.path for item in items if not item.fake]
    pair = st.sampled_from([None, *reals])
    return [replace(item, pair=draw(pair)) if item.fake else item for item in items]


def together(items):
    """Sets of paths that must be in one split, by joining whatever shares a source until nothing changes."""
    groups = [({item.path}, {item.path, *item.ids, *([item.pair] if item.pair else [])}) for item in items]
    changed = True
    while changed:
        changed = False
        for a, b in product(groups, groups):
            if a is not b and a[1] & b[1]:
                groups.remove(b)
                a[0].update(b[0])
                a[1].update(b[1])
                changed = True
                break
    return [paths for paths, _ in groups]


def possible(items, splits):
    """Whether some assignment of the groups gives each split a video of each class there is."""
    fake = {item.path: item.fake for item in items}
    classes, groups = set(fake.values()), [{fake[path] for path in group} for group in together(items)]
    for choice in product(range(splits), repeat=len(groups)):
        there = [set() for _ in range(splits)]
        for group, at in zip(groups, choice, strict=True):
            there[at] |= group
        if all(found == classes for found in there):
            return True
    return False


@given(datasets(most=7), st.integers(0, 3), st.sampled_from([(70, 15, 15), (50, 0, 50), (0, 0, 100), (10, 80, 10)]))
def test_groups_stay_whole_and_every_class_is_everywhere_or_it_is_impossible(items, seed, shares):
    ratios = Ratios(train=shares[0], val=shares[1], test=shares[2], seed=seed)
    wanted = {name for name in ("train", "val", "test") if getattr(ratios, name)}
    if not possible(items, len(wanted)):
        with pytest.raises(LNCLIPError, match=r"mine: too few videos for .*groups"):
            split(items, ratios)
        return
    chosen = split(items, ratios)
    assert chosen.keys() == {item.path for item in items} and set(chosen.values()) == wanted
    assert all(len({chosen[path] for path in group}) == 1 for group in together(items))
    for name in wanted:
        assert {i.fake for i in items if chosen[i.path] == name} == {i.fake for i in items}
    assert split(items[::-1], ratios) == chosen


@given(st.integers(6, 60), st.integers(6, 60), st.integers(0, 9))
def test_videos_on_their_own_come_as_close_to_the_shares_as_whole_videos_can(reals, fakes, seed):
    items = [video(number, number >= reals) for number in range(reals + fakes)]
    chosen = split(items, Ratios(train=60, val=20, test=20, seed=seed))
    for fake, total in ((False, reals), (True, fakes)):
        for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            assert abs(sum(chosen[i.path] == name for i in items if i.fake == fake) - share * total) < 1.5


def test_the_seed_changes_the_draw_and_the_place_does_not():
    items = [video(number, number % 2) for number in range(40)]
    moved = [replace(item, path=item.path.replace("d/", "elsewhere/")) for item in items]
    here, there = split(items), split(moved)
    assert [here[item.path] for item in items] == [there[item.path] for item in moved]
    assert split(items, THIRDS.model_copy(update={"seed": 1})) != here


def test_a_video_follows_what_it_belongs_to_and_that_counts_towards_the_shares():
    items = [video(0, False, split=("test",)), video(1, True, pair="d/0")]
    items += [video(number, number % 2) for number in range(2, 12)]
    chosen = split(items, Ratios(train=50, test=50))
    assert chosen["d/1"] == "test" and "d/0" not in chosen
    assert sum(name == "test" for name in chosen.values()) == 5  # and d/0 is the sixth of twelve


def test_nothing_to_decide_is_no_error():
    assert split([video(0, False, split=("test",))]) == {}
