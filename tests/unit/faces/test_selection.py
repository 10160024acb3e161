"""Whose face is chosen: the largest, one person's through crossings and cuts, everyone's, the one a mask covers."""

from itertools import permutations

import numpy as np
import pytest
from clips import cv2

from lnclip_df.faces.base import Faces
from lnclip_df.faces.selection import (
    SAME_PERSON,
    SHIFT_WEIGHT,
    THUMBNAIL,
    Frame,
    all_persons,
    largest_face,
    link_tracks,
    main_person,
    mask_coverage,
    masked_person,
    thumbnails,
)

pytest.importorskip("retinaface")


POINTS = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32) / 100


def thumbnail_of(person, rng=None, strength=0.3):
    """A unit picture of a person; with a generator, seen a little otherwise."""
    pictures = np.random.default_rng(100 + person).normal(size=THUMBNAIL * THUMBNAIL)
    if rng is not None:
        pictures = pictures + strength * rng.normal(size=THUMBNAIL * THUMBNAIL)
    pictures = pictures - pictures.mean()
    return (pictures / np.linalg.norm(pictures)).astype(np.float32)


def seen(people, rng=None):
    """A frame in which ``{person: (centre x, centre y, side)}`` are seen; and who is at which place, at random."""
    order = list(people) if rng is None else rng.permutation(list(people)).tolist()
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in (people[p] for p in order)])
    boxes = boxes.reshape(-1, 4).astype(np.float32)
    points = boxes[:, None, :2] + POINTS * (boxes[:, None, 2:] - boxes[:, None, :2])
    pictures = [thumbnail_of(person, rng) for person in order]
    faces = Faces(boxes, np.full(len(order), 0.99, np.float32), points.astype(np.float32))
    return Frame(faces, np.array(pictures, np.float32).reshape(-1, THUMBNAIL * THUMBNAIL)), order


def film(*frames, seed=0):
    rng = np.random.default_rng(seed)
    made = [seen(people, rng) for people in frames]
    return [one for one, _ in made], [order for _, order in made]


def who_is_at(places, orders):
    return [None if place is None else order[place] for place, order in zip(places, orders, strict=True)]


@pytest.mark.parametrize("seed", range(4))
def test_two_people_who_cross_are_told_apart(seed):
    frames = [{0: (100 + 20 * t, 100, 60), 1: (300 - 20 * t, 104, 50)} for t in range(11)]
    made, orders = film(*frames, seed=seed)
    assert who_is_at(main_person(made), orders) == [0] * 11
    tracks = [who_is_at([t.faces.get(at) for at in range(11)], orders) for t in link_tracks(made)]
    assert sorted(tracks) == [[0] * 11, [1] * 11]


def test_the_one_who_fills_most_of_the_video_is_followed_and_not_who_is_large_once():
    loud = {0: (100, 100, 50), 1: (300, 100, 90)}
    made, orders = film(*[{0: (100 + t, 100, 50)} for t in range(9)], loud, {0: (110, 100, 50)})
    assert who_is_at(main_person(made), orders) == [0] * 11
    assert who_is_at([largest_face(one.faces) for one in made], orders)[9] == 1


def test_who_leaves_is_not_replaced_and_who_comes_late_is_not_taken():
    both = {0: (100, 100, 60), 1: (300, 100, 40)}
    made, orders = film(*[both] * 6, *[{1: (300, 100, 40)}] * 4, {})
    assert who_is_at(main_person(made), orders) == [0] * 6 + [None] * 5
    made, orders = film(*[{0: (100, 100, 60)}] * 6, *[{0: (100, 100, 60), 2: (260, 100, 70)}] * 4)
    assert who_is_at(main_person(made), orders) == [0] * 10


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_that_swaps_sides_or_shows_another_alone_does_not_change_the_person(seed):
    before, after = {0: (100, 100, 60), 1: (300, 100, 58)}, {1: (100, 100, 60), 0: (300, 100, 58)}
    made, orders = film(*[before] * 5, *[after] * 5, seed=seed)
    assert who_is_at(main_person(made), orders) == [0] * 10 or who_is_at(main_person(made), orders) == [1] * 10
    reverse = [{0: (200, 100, 60)}, {1: (200, 100, 60)}, {0: (200, 100, 60)}] * 3
    made, orders = film(*reverse, seed=seed)
    assert who_is_at(main_person(made), orders) == [0, None, 0] * 3


def test_a_person_is_known_again_after_a_long_gap():
    made, orders = film(*[{0: (100, 100, 60)}] * 5, *[{}] * 12, *[{0: (400, 200, 90), 1: (100, 100, 30)}] * 3)
    assert who_is_at(main_person(made), orders) == [0] * 5 + [None] * 12 + [0] * 3


def test_faces_are_given_to_tracks_as_the_best_of_all_permutations():
    rng = np.random.default_rng(3)
    for _ in range(40):
        first, _ = seen({p: (*rng.uniform(0, 300, 2), rng.uniform(30, 80)) for p in range(3)})
        second, _ = seen({p: (*rng.uniform(0, 300, 2), rng.uniform(30, 80)) for p in range(3)})
        mixed = first.thumbnails[rng.integers(0, 3, 3)] + rng.uniform(0, 1) * first.thumbnails[rng.integers(0, 3, 3)]
        second = Frame(second.faces, mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
        cost = np.array([[naive_distance(first, i, second, j) for j in range(3)] for i in range(3)])
        best = min(permutations(range(3)), key=lambda p: sum(min(cost[i, p[i]], 1 - SAME_PERSON) for i in range(3)))
        expected = {(i, best[i]) for i in range(3) if cost[i, best[i]] < 1 - SAME_PERSON}
        found = {(t.faces[0], t.faces[1]) for t in link_tracks([first, second]) if len(t.faces) == 2}
        assert found == expected


def naive_distance(one, i, other, j):
    (left, top, right, bottom), (l2, t2, r2, b2) = one.faces.boxes[i], other.faces.boxes[j]
    sides = np.sqrt((right - left) * (bottom - top)), np.sqrt((r2 - l2) * (b2 - t2))
    shift = np.hypot((l2 + r2 - left - right) / 2, (t2 + b2 - top - bottom) / 2) / (sum(sides) / 2)
    alike = np.corrcoef(one.thumbnails[i], other.thumbnails[j])[0, 1]
    return 1 - alike + SHIFT_WEIGHT * min(shift + abs(np.log(sides[1] / sides[0])), 1)


@pytest.mark.parametrize("seed", range(3))
def test_everyone_is_found_over_cuts_and_who_comes_late_too(seed):
    both, swapped = {0: (100, 100, 60), 1: (300, 100, 50)}, {1: (100, 100, 50), 0: (300, 100, 60)}
    late = {**swapped, 2: (200, 180, 30)}
    made, orders = film(*[both] * 5, *[swapped] * 3, {}, *[{1: (220, 120, 80)}] * 2, *[late] * 4, seed=seed)
    found = [who_is_at(places, orders) for places in all_persons(made)]
    assert found == [
        [0] * 8 + [None] * 3 + [0] * 4,
        [1] * 8 + [None] + [1] * 6,
        [None] * 11 + [2] * 4,
    ]


def test_two_who_look_alike_are_two_where_they_are_seen_together():
    made, _ = film(*[{0: (100, 100, 60), 1: (300, 100, 50)}] * 4, *[{0: (100, 100, 60)}] * 4)
    twins = [Frame(one.faces, np.tile(thumbnail_of(0), (len(one.thumbnails), 1))) for one in made]
    found = all_persons(twins)
    assert [sum(place is not None for place in places) for places in found] == [8, 4]


@pytest.mark.parametrize("seed", range(30))
def test_each_face_belongs_to_exactly_one_person_and_the_first_is_the_one_followed(seed):
    rng, frames = np.random.default_rng(seed), []
    for _ in range(int(rng.integers(1, 25))):
        shown = np.flatnonzero(rng.random(4) < rng.random())
        frames.append({int(one): (*rng.uniform(0, 400, 2), rng.uniform(20, 90)) for one in shown})
    made, _ = film(*frames, seed=seed)
    blurred = [
        Frame(one.faces, one.thumbnails + rng.uniform(0, 0.05) * rng.normal(size=one.thumbnails.shape)) for one in made
    ]
    found = all_persons(blurred)
    faces = [(at, place) for places in found for at, place in enumerate(places) if place is not None]
    assert sorted(faces) == [(at, place) for at, one in enumerate(made) for place in range(len(one.faces.boxes))]
    assert all(len(places) == len(made) and any(place is not None for place in places) for places in found)
    assert found[0] == main_person(blurred) if found else main_person(blurred) == [None] * len(made)


def test_nothing_seen_is_nobody():
    made, _ = film({}, {}, {})
    assert all_persons(made) == [] and all_persons([]) == []
    assert main_person(made) == [None] * 3 and main_person([]) == [] and link_tracks(made) == []
    assert masked_person(made, [None] * 3) == [None] * 3
    assert largest_face(made[0].faces) is None


def test_the_largest_face_is_taken_whatever_its_score():
    boxes = np.array([[0, 0, 10, 10], [5, 5, 40, 30], [0, 0, 34, 10]], np.float32)
    points = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    assert largest_face(Faces(boxes, np.array([0.99, 0.91, 0.95]), points)) == 1
    assert largest_face(Faces(boxes[[1, 1]], np.array([0.99, 0.91]), points[:2])) == 0
    assert largest_face(Faces(boxes[:0], np.zeros(0), points[:0])) is None


def test_a_mask_overrules_size_and_hands_over_to_the_person_it_covered():
    both = {0: (100, 100, 80), 1: (300, 100, 40)}
    made, orders = film(*[both] * 8, {0: (100, 100, 80)})
    amounts = [np.array([1000.0 * (person == 1) for person in order]) for order in orders]
    assert who_is_at(masked_person(made, amounts), orders) == [1] * 8 + [None]
    ends = [*amounts[:3], *[None] * 6]
    assert who_is_at(masked_person(made, ends), orders) == [1] * 8 + [None]
    black = [amounts[0] * 0, *amounts[1:4], *[amount * 0 for amount in amounts[4:]]]
    assert who_is_at(masked_person(made, black), orders) == [1] * 8 + [None]
    assert who_is_at(masked_person(made, [None] * 9), orders) == [0] * 9


def test_coverage_is_the_sum_of_the_mask_in_the_box():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 256, (60, 80), dtype=np.uint8)
    boxes = np.array([[10, 5, 50, 45], [-20, -20, 12, 9], [70, 50, 200, 200], [90, 70, 95, 75]], np.float32)
    naive = []
    for left, top, right, bottom in boxes.astype(int):
        inside = [(y, x) for y in range(60) for x in range(80) if top <= y < bottom and left <= x < right]
        naive.append(sum(int(mask[y, x]) for y, x in inside) / 255)
    np.testing.assert_allclose(mask_coverage(mask, boxes, (60, 80)), naive)
    np.testing.assert_allclose(mask_coverage(mask, boxes * 2, (120, 160)), naive)


def test_looks_are_the_same_under_light_and_place_and_have_unit_length():
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8), (0, 0), 4)
    image = cv2.normalize(image, None, 0, 120, cv2.NORM_MINMAX)
    faces, _ = seen({0: (80, 90, 60), 1: (200, 100, 80)})
    one = thumbnails(image, faces.faces)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(one.sum(axis=1), 0, atol=1e-3)
    shifted = np.roll(image, 10, axis=1) * 2 + 10
    boxes, scores, points, _ = faces.faces
    moved = Faces(boxes + np.array([10, 0, 10, 0]), scores, points + np.array([10, 0]))
    assert (np.sum(one * thumbnails(shifted, moved), axis=1) > 0.99).all() and one[0] @ one[1] < 0.5
    assert thumbnails(image, Faces.none()).shape == (0, THUMBNAIL * THUMBNAIL)
