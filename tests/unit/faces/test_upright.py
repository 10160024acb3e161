"""Which five points can be a face's, and videos whose faces lie on their side."""

import numpy as np
import pytest
from clips import faceless, portrait, run, write_clip
from PIL import Image

from lnclip_df.faces.align import TEMPLATE
from lnclip_df.faces.base import Faces
from lnclip_df.faces.upright import WAYS, UprightFaces, plausible, tilt, turned_back, upright_score
from lnclip_df.media.images import read_image
from lnclip_df.media.recipe import read_recipe

BOX = np.float32([10, 10, 105, 105])  # about the box of a face with the template's points


def faces(*points, boxes=None, scores=None):
    points = np.float32(points)
    boxes = np.tile(BOX, (len(points), 1)) if boxes is None else np.float32(boxes)
    return Faces(boxes, np.float32(scores or [0.999] * len(points)), points)


def rotated(points, degrees):
    """Points turned clockwise about the template's centre, as seen with y downwards."""
    turn = np.exp(1j * np.radians(degrees))
    turned = ((points - 56) @ [1, 1j]) * turn
    return np.stack([turned.real, turned.imag], axis=1) + 56


def test_the_points_of_a_face_are_plausible_however_it_lies():
    assert plausible(faces(*(rotated(TEMPLATE, degrees) for degrees in range(0, 360, 30)))).all()


def test_points_that_are_no_faces_are_not():
    swapped = TEMPLATE[[3, 4, 2, 0, 1]]  # the mouth above the eyes
    one_place = np.full((5, 2), 50.0)
    not_finite = np.full((5, 2), np.nan)
    mirrored = TEMPLATE * [-1, 1] + [112, 0]
    assert not plausible(faces(swapped, one_place, not_finite, mirrored)).any()
    small, large = [30, 30, 60, 60], [0, 0, 300, 300]
    assert not plausible(faces(TEMPLATE, TEMPLATE, boxes=[small, large])).any()


def test_the_tilt_is_the_angle_by_which_a_face_is_turned_clockwise():
    for degrees in (-170, -90, -20, 0, 20, 90, 170):
        assert tilt(rotated(TEMPLATE, degrees)) == pytest.approx(degrees, abs=1e-6)
    lying = faces(rotated(TEMPLATE, 90), rotated(TEMPLATE, 80), scores=[0.9, 0.97])
    assert [upright_score(lying, way) for way in range(4)] == pytest.approx([0, 0.97, 0, 0])
    assert upright_score(faces(rotated(TEMPLATE, 44)), 0) > 0 and upright_score(faces(rotated(TEMPLATE, 46)), 0) == 0


@pytest.mark.parametrize("quarters", range(4))
def test_what_is_found_in_a_turned_image_is_named_in_pixels_of_the_image(quarters):
    height, width = 40, 70
    image = np.zeros((height, width), int)
    places = [(3, 5), (60, 5), (31, 20), (9, 33), (55, 38)]
    for number, (x, y) in enumerate(places, 1):
        image[y, x] = number
    turned = np.rot90(image, quarters)
    points = np.float32([[np.argwhere(turned == number)[0][::-1] for number in range(1, 6)]])
    low, high = points[0].min(axis=0), points[0].max(axis=0)
    found = Faces(np.float32([[*low, *high]]), np.float32([0.9]), points, points)
    back = turned_back(found, (height, width, 3), quarters)
    np.testing.assert_array_equal(back.points[0], places)
    np.testing.assert_array_equal(back.landmarks[0], places)
    np.testing.assert_array_equal(back.boxes[0], [3, 5, 60, 38])


class Pretended:
    """A detector of which ``found`` says what it finds in an image; it counts the images."""

    def __init__(self, found):
        self.found, self.images, self.recipe = found, 0, {"name": "pretended"}

    def __call__(self, images):
        self.images += len(images)
        return [self.found(image) for image in images]


def pointing(image):
    """An image's dark corner says how it lies: a face stands where the corner is at the top left, else none is seen."""
    return faces(TEMPLATE) if image[0, 0, 0] == 0 else Faces.none()


def cornered(quarters):
    image = np.full((112, 112, 3), 200, np.uint8)
    image[0, 0] = 0
    return np.rot90(image, -quarters)


@pytest.mark.parametrize("way", WAYS)
def test_a_video_that_lies_is_searched_as_if_it_was_turned(way):
    inner = Pretended(pointing)
    detector = UprightFaces(inner)
    for _ in range(3):
        for found in detector([cornered(way)] * 4):
            assert upright_score(found, way) == pytest.approx(0.999)
    assert detector.changes == {"turned": WAYS[way]} and detector.recipe == inner.recipe
    assert inner.images == 4 * 4 + 2 * 4  # the first batch in all ways, the others in one


def test_an_upright_video_is_searched_once():
    inner = Pretended(pointing)
    detector = UprightFaces(inner)
    for _ in range(3):
        detector([cornered(0)] * 4)
    assert inner.images == 12 and detector.changes == {}


def test_a_video_without_faces_is_compared_twice_and_not_turned():
    inner = Pretended(lambda image: Faces.none())
    detector = UprightFaces(inner)
    for _ in range(5):
        detector([cornered(0)] * 4)
    assert inner.images == 5 * 4 + 2 * 3 * 4 and detector.changes == {}


def test_one_face_in_four_frames_turns_no_video():
    detector = UprightFaces(Pretended(pointing))
    detector([cornered(1), *[np.full((112, 112, 3), 200, np.uint8)] * 3])
    assert detector.changes == {}


pytest.importorskip("retinaface")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_crops_of_a_video_that_lost_its_rotation_are_upright(tmp_path, way):
    frames = [portrait(shift) for shift in range(6)]
    write_clip(tmp_path / "in" / "a.mp4", frames, "libx264rgb", options={"crf": "0"}, pix_fmt="rgb24")
    lying = [np.ascontiguousarray(np.rot90(frame, -way)) for frame in frames]
    write_clip(tmp_path / "in" / "b.mp4", lying, "libx264rgb", options={"crf": "0"}, pix_fmt="rgb24")
    summary = run(tmp_path / "in", tmp_path / "out")
    upright, turned = summary.results
    assert upright.changes == {} and turned.changes == {"turned": WAYS[way]}
    assert f"b: turned {WAYS[way]}" in summary.report()
    files = [tmp_path / "out" / "frames" / key / "002.png" for key in "ab"]
    one, other = map(read_image, files)
    assert np.abs(one.astype(int) - other).mean() < 1
    assert read_recipe(files[1].read_bytes()).facts["frames"] == {"turned": WAYS[way]}


def test_a_face_in_too_few_frames_is_not_found(tmp_path):
    frames = [faceless()] * 23 + [portrait()]
    path = write_clip(tmp_path / "rare.mp4", frames)
    summary = run(path, tmp_path / "out", frames=24)
    assert summary.failures == [("rare", "a face in 1 of 24 frames alone: it may be a false one")]
    assert not list((tmp_path / "out" / "frames").rglob("*.png"))
    assert run(path, tmp_path / "fewer", frames=8).counts == {"done": 1}
    assert run(path, tmp_path / "asked", frames=1, sampling="at_least").counts == {"done": 1}


def test_a_picture_that_lies_is_scored_like_one_that_stands(tmp_path):
    Image.fromarray(portrait()).save(tmp_path / "a.png")
    Image.fromarray(np.ascontiguousarray(np.rot90(portrait(), 2))).save(tmp_path / "b.png")
    summary = run(tmp_path, tmp_path / "out")
    assert summary.results[1].changes == {"turned": "180°"}
