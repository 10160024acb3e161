"""Alignment: against DeepfakeBench step by step, skimage, and plain loops."""

import numpy as np
import pytest
from clips import astronaut, cv2
from references import gend_crop

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.align import GEND_TEMPLATE, TEMPLATE, align, least_median, move, similarity, template, warp

retinaface = pytest.importorskip("retinaface")


POINTS = np.array([[204.2, 100.4], [247.1, 103.0], [223.5, 129.9], [202.8, 138.3], [244.0, 140.7]])


@pytest.mark.parametrize("size, scale", [(256, 1.3), (112, 1.0), (224, 1.7)])
def test_template_follows_deepfakebench_step_by_step(size, scale):
    margin = size * (scale - 1) / 2
    for (x, y), ours in zip(TEMPLATE, template(size, scale), strict=True):
        moved = [value * size / 112 + margin for value in (x, y)]
        np.testing.assert_allclose(ours, [value * size / (size + 2 * margin) for value in moved], atol=1e-9)


def test_similarity_agrees_with_skimage():
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(0)
    for _ in range(50):
        source, target = rng.normal(0, 50, (2, 5, 2)) + 100
        if hasattr(transform.SimilarityTransform, "from_estimate"):
            reference = transform.SimilarityTransform.from_estimate(source, target)
        else:
            reference = transform.SimilarityTransform()
            reference.estimate(source, target)
        if np.linalg.det(np.cov(source.T, target.T)[:2, 2:]) > 0:  # skimage's scale is off for mirrored points
            np.testing.assert_allclose(similarity(source, target), reference.params[:2], atol=1e-8)


def test_similarity_undoes_a_known_one_and_refuses_one_point():
    angle, zoom = 0.3, 1.7
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(POINTS, POINTS @ turn.T + [5, -7])
    np.testing.assert_allclose(matrix, np.c_[turn, [5, -7]], atol=1e-9)
    for bad in (np.ones((5, 2)), np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match="no similarity transform"):
            similarity(bad, TEMPLATE)


def test_aligned_crop_shows_what_the_inverse_transform_points_at():
    image = cv2.GaussianBlur(astronaut(), (0, 0), 2)
    crop, matrix = align(image, POINTS)
    points = move(POINTS, matrix)
    assert crop.shape == (256, 256, 3) and crop.dtype == np.uint8 and points.dtype == np.float32
    assert np.abs(points - template()).max() < 14
    np.testing.assert_array_equal(matrix, similarity(POINTS, template()))
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    for x, y in [(30, 40), (128, 128), (200, 90), (97, 211)]:
        u, v, _ = inverse @ [x, y, 1]
        left, top = int(u), int(v)
        wx, wy = u - left, v - top
        patch = image[top : top + 2, left : left + 2].astype(float)
        upper, lower = (1 - wx) * patch[:, 0] + wx * patch[:, 1]
        assert np.abs(crop[y, x] - (1 - wy) * upper - wy * lower).max() <= 2


@pytest.mark.parametrize("zoom, scale", [(1.0, 1.3), (1.7, 1.3), (0.6, 1.0), (1.3, 2.0)])
def test_gends_alignment_follows_it_step_by_step(zoom, scale):
    image = cv2.resize(astronaut(), None, fx=zoom, fy=zoom)
    crop, matrix = align(image, POINTS * zoom, "native", scale, "gend")
    expected = gend_crop(image, (POINTS * zoom).tolist(), scale)
    assert crop.shape == expected.shape and matrix.shape == (2, 3)
    difference = np.abs(crop.astype(int) - expected)
    assert difference.max() <= 1 and difference.mean() < 1e-3


def test_a_point_that_does_not_fit_moves_only_the_least_squares():
    target = template(256, 1.3, GEND_TEMPLATE, 1)
    wrong = target.copy()
    wrong[3] += 40
    assert np.abs(least_median(target, target) - least_median(wrong, target)).max() < 0.02
    assert np.abs(similarity(target, target) - similarity(wrong, target)).max() > 1


def test_points_without_a_transform_are_refused_by_either_fit():
    for fit in (similarity, least_median):
        with pytest.raises(ValueError, match="no similarity transform"):
            fit(np.ones((5, 2)), TEMPLATE)


def test_an_unknown_alignment_is_named():
    with pytest.raises(LNCLIPError, match=r"no alignment 'gnd' \(did you mean gend"):
        align(astronaut(), POINTS, alignment="gnd")


def test_a_warp_moves_pixels_where_move_moves_points():
    image = np.zeros((300, 400), np.uint8)
    cv2.circle(image, (220, 120), 4, 255, -1)
    matrix = similarity(POINTS, template())
    y, x = np.nonzero(warp(image, matrix, 256) > 127)
    np.testing.assert_allclose([x.mean(), y.mean()], move([[220, 120]], matrix)[0], atol=0.5)
