"""Whose face is chosen: the largest, the one who is followed, the one a mask covers."""

import numpy as np
from films import CUT, Film

from lnclip_df.faces.base import Faces
from lnclip_df.faces.selection import choose_face, largest_face, main_person, mask_coverage, masked_person


def test_track_is_the_person_seen_most_and_largest_the_largest_of_each_frame():
    film = Film(*[{0: (100, 100, 50), 1: (300, 100, 40)}] * 4, CUT, *[{1: (200, 100, 60)}] * 3)
    assert film.who(choose_face(film.frames, "track", film.follow)) == [1] * 7
    for face in ("largest", None):
        assert film.who(choose_face(film.frames, face, film.follow)) == [0] * 4 + [1] * 3
    nobody = Film({}, {}, {})
    assert main_person(nobody.frames, nobody.follow) == [None] * 3
    assert masked_person(nobody.frames, [None] * 3, nobody.follow) == [None] * 3
    assert largest_face(nobody.frames[0].faces) is None


def test_the_largest_face_is_taken_whatever_its_score():
    boxes = np.array([[0, 0, 10, 10], [5, 5, 40, 30], [0, 0, 34, 10]], np.float32)
    points = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    assert largest_face(Faces(boxes, np.array([0.99, 0.91, 0.95]), points)) == 1
    assert largest_face(Faces(boxes[[1, 1]], np.array([0.99, 0.91]), points[:2])) == 0
    assert largest_face(Faces(boxes[:0], np.zeros(0), points[:0])) is None


def test_a_mask_overrules_size_and_hands_over_to_the_person_it_covered():
    both = {0: (100, 100, 80), 1: (300, 100, 40)}
    film = Film(*[both] * 8, {0: (100, 100, 80)})
    amounts = [np.array([1000.0 * (person == 1) for person in order]) for order in film.orders]
    ends = [*amounts[:3], *[None] * 6]
    black = [amounts[0] * 0, *amounts[1:4], *[amount * 0 for amount in amounts[4:]]]
    for covered in (amounts, ends, black):
        assert film.who(masked_person(film.frames, covered, film.follow)) == [1] * 8 + [None]
    assert film.who(masked_person(film.frames, [None] * 9, film.follow)) == [0] * 9


def test_a_mask_on_every_face_needs_nobody_followed():
    film = Film(*[{0: (100, 100, 80), 1: (300, 100, 40)}] * 4, CUT, *[{1: (100, 100, 40)}] * 2)
    amounts = [np.array([1000.0 * (person == 1) for person in order]) for order in film.orders]
    assert film.who(masked_person(film.frames, amounts, film.follow)) == [1] * 6 and not film.described


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
