"""Whose face is cut out: the largest, one person's through crossings and cuts, everyone's, whom a mask covers."""

import json
from itertools import permutations

import numpy as np
import pytest
from clips import contents, cv2, options, run, write_clip

from lnclip_df.faces.align import similarity, template
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
from lnclip_df.preprocess import preprocess_sources
from lnclip_df.preprocess.paths import Source

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


# --- whole videos -----------------------------------------------------------------------------------------------------

HIGH, WIDE, FRAMES = 200, 480, 16


@pytest.fixture(scope="module")
def two():
    """Two people of one size, 200×240 pixels each, in 16 frames."""
    from lnclip_df.demo import people, scenes

    takes = []
    for identity in (0, 5):
        scene = scenes.make_scene(0, identity, FRAMES, 288)
        person = people.make_person(0, identity)
        takes.append([cv2.resize(frame, (240, 240))[:HIGH] for frame in scenes.film(person, scene)])
    return takes


def small(frame):
    """The same person at 70 % of the size, in a grey room."""
    room = np.full_like(frame, 120)
    room[30:170, 36:204] = cv2.resize(frame, (168, 140))
    return room


def side_by_side(left, right):
    return [np.hstack(pair) for pair in zip(left, right, strict=True)]


def who(summary, key, own):
    """Which of two people each crop of a video shows: the one whose own crop is nearer."""
    found = {}
    for path in summary.frame_paths().get(key, []):
        crop = cv2.imread(str(path))[..., ::-1].astype(float)
        found[int(path.stem)] = int(np.argmin([np.abs(crop - one[int(path.stem)]).mean() for one in own]))
    return found


@pytest.fixture(scope="module")
def own(two, tmp_path_factory):
    """The crops of each person alone."""
    folder, crops = tmp_path_factory.mktemp("own"), []
    for number, frames in enumerate(two):
        clip = write_clip(folder / f"{number}.mp4", frames, options={"crf": "10"})
        paths = run(clip, folder / "out", frames=FRAMES).frame_paths()[str(number)]
        assert len(paths) == FRAMES
        crops.append([cv2.imread(str(path))[..., ::-1].astype(float) for path in paths])
    return crops


def test_track_stays_with_one_person_where_largest_changes(two, own, tmp_path):
    left = [small(frame) if 6 <= at < 10 else frame for at, frame in enumerate(two[0])]
    right = [small(frame) if not 6 <= at < 10 else frame for at, frame in enumerate(two[1])]
    clip = write_clip(tmp_path / "two.mp4", side_by_side(left, right), options={"crf": "10"})
    largest_of = who(run(clip, tmp_path / "largest", frames=FRAMES), "two", own)
    assert largest_of == {at: int(6 <= at < 10) for at in range(FRAMES)}
    followed = who(run(clip, tmp_path / "track", frames=FRAMES, face="track"), "two", own)
    assert followed == dict.fromkeys(range(FRAMES), 0)


def test_track_stays_with_one_person_over_a_cut_that_swaps_sides(two, own, tmp_path):
    right = [small(frame) for frame in two[1]]
    frames = side_by_side(two[0], right)[:8] + side_by_side(right, two[0])[8:]
    clip = write_clip(tmp_path / "cut.mp4", frames, options={"crf": "10"})
    followed = who(run(clip, tmp_path / "out", frames=FRAMES, face="track"), "cut", own)
    assert followed == dict.fromkeys(range(FRAMES), 0)


def masks(frames, ends=FRAMES, size=(WIDE, HIGH), level=255):
    """A mask over the small person on the right, as a video has it: three channels."""
    picture = np.zeros((HIGH, WIDE, 3), np.uint8)
    picture[30:170, 300:420] = level
    return [cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)] * min(frames, ends)


@pytest.fixture
def manipulated(two, tmp_path):
    frames = side_by_side(two[0], [small(frame) for frame in two[1]])
    path = write_clip(tmp_path / "fake.mp4", frames, options={"crf": "10"})

    def cut(mask, face="mask", out="out"):
        source = Source("fake", str(path), mask=None if mask is None else str(mask))
        return preprocess_sources([source], tmp_path / out, *options(frames=FRAMES, face=face))

    return cut


@pytest.mark.parametrize("ends, size", [(FRAMES, (WIDE, HIGH)), (5, (WIDE, HIGH)), (FRAMES, (WIDE // 2, HIGH // 2))])
def test_mask_takes_the_smaller_face_that_it_covers_and_goes_on_with_it(manipulated, own, tmp_path, ends, size):
    mask = write_clip(tmp_path / "mask.mp4", masks(FRAMES, ends, size))
    summary = manipulated(mask)
    assert who(summary, "fake", own) == dict.fromkeys(range(FRAMES), 1)
    written = sorted(path.name for path in (tmp_path / "out" / "masks" / "fake").iterdir())
    assert written == [f"{at:03d}.png" for at in range(ends)]
    for name in written:
        levels = cv2.imread(str(tmp_path / "out" / "masks" / "fake" / name), cv2.IMREAD_UNCHANGED)
        assert levels.shape == (256, 256) and set(np.unique(levels)) <= {0, 255} and levels[140, 128] == 255


def test_the_masks_of_an_image_folder_are_used_too(manipulated, own, tmp_path):
    (tmp_path / "mask").mkdir()
    for at, mask in enumerate(masks(FRAMES)):
        cv2.imwrite(str(tmp_path / "mask" / f"{at}.png"), mask)
    summary = manipulated(tmp_path / "mask")
    assert set(who(summary, "fake", own).values()) == {1}
    assert len(list((tmp_path / "out" / "masks" / "fake").iterdir())) == FRAMES


def test_a_mask_is_white_from_level_two_on(manipulated, tmp_path):
    (tmp_path / "mask").mkdir()
    for at in range(3):
        cv2.imwrite(str(tmp_path / "mask" / f"{at}.png"), np.full((HIGH, WIDE), at, np.uint8))
    manipulated(tmp_path / "mask")
    found = [cv2.imread(str(tmp_path / "out" / "masks" / "fake" / f"00{at}.png"))[128, 128].max() for at in range(3)]
    assert found == [0, 0, 255]


def test_a_mask_that_cannot_be_used_is_a_note_and_the_person_is_followed(manipulated, own, tmp_path):
    (tmp_path / "text.mp4").write_text("no mask")
    for name, mask in (("absent", tmp_path / "absent.mp4"), ("text", tmp_path / "text.mp4"), ("none", None)):
        summary = manipulated(mask, out=name)
        assert summary.counts == {"done": 1} and set(who(summary, "fake", own).values()) == {0}
        note = json.loads((tmp_path / name / "records" / "fake.json").read_text())["reason"]
        assert note == "" if mask is None else note.startswith("its mask cannot be used: cannot be opened")
        assert not (tmp_path / name / "masks").exists()


def test_masks_are_written_for_any_choice_of_face_and_lie_where_the_crop_does(manipulated, tmp_path):
    white = np.zeros((HIGH, WIDE, 3), np.uint8)
    white[90:110, 100:130] = 255
    mask = write_clip(tmp_path / "mask.mp4", [white] * FRAMES, options={"crf": "4"})
    summary = manipulated(mask, face="largest")
    [record] = summary.results
    assert record.saved == list(range(FRAMES))
    from lnclip_df.faces.detectors import make_detector
    from lnclip_df.faces.settings import CropSettings
    from lnclip_df.media.frames import open_frames

    images = [image for _, image in open_frames(tmp_path / "fake.mp4").read(record.saved)]
    for at, faces in enumerate(make_detector(CropSettings())(images)):
        turn = similarity(faces.points[largest_face(faces)], template())
        corners = np.array([[100, 90], [130, 90], [130, 110], [100, 110]]) - 0.5
        expected = np.zeros((256, 256), np.uint8)
        cv2.fillPoly(expected, [np.rint(corners @ turn[:, :2].T + turn[:, 2]).astype(np.int32)], 255)
        found = cv2.imread(str(tmp_path / "out" / "masks" / "fake" / f"{at:03d}.png"), cv2.IMREAD_GRAYSCALE)
        shared = np.count_nonzero(found & expected) / np.count_nonzero(found | expected)
        assert shared > 0.8
        wide = cv2.dilate(expected, np.ones((9, 9), np.uint8))
        assert not (found & ~wide).any()


def test_a_run_without_the_mask_leaves_no_old_one(manipulated, tmp_path):
    mask = write_clip(tmp_path / "mask.mp4", masks(FRAMES))
    manipulated(mask, face="track")
    (tmp_path / "out" / "records" / "fake.json").unlink()
    manipulated(None, face="track")
    assert not [name for name in contents(tmp_path / "out") if name.startswith("masks/")]
