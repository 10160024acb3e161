"""Aggregations over frames against naive forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import trim_mean

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.aggregation import AGGREGATIONS, movement, video_scores


@pytest.mark.parametrize("n", [1, 2, 3, 8, 10, 32, 33])
def test_aggregations_equal_naive_ones(n):
    prob = np.random.default_rng(n).uniform(0.01, 0.99, n)
    found = {name: function(prob) for name, function in AGGREGATIONS.items()}
    highest = sorted(prob)[::-1][: math.ceil(n / 4)]
    assert found == pytest.approx(
        {
            "mean": sum(prob) / n,
            "mean logit": expit(logit(prob).mean()),
            "median": sorted(prob)[n // 2] if n % 2 else sum(sorted(prob)[n // 2 - 1 : n // 2 + 1]) / 2,
            "top 25%": sum(highest) / len(highest),
            "trimmed 10%": trim_mean(prob, 0.1),
        },
        abs=1e-9,
    )


def test_certain_frames_keep_the_mean_logit_within_bounds():
    assert AGGREGATIONS["mean logit"]([0.0, 1.0]) == pytest.approx(0.5)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_a_videos_score_is_the_aggregation_of_its_frames_whatever_their_order(how):
    rng = np.random.default_rng(0)
    video = rng.permutation(np.repeat(np.arange(7), [1, 2, 3, 8, 9, 32, 33]))
    prob = rng.uniform(size=len(video))
    naive = [AGGREGATIONS[how]([p for p, of in zip(prob, video, strict=True) if of == v]) for v in range(7)]
    assert video_scores(video, prob, how) == pytest.approx(naive, abs=1e-12)


def test_an_unknown_aggregation_names_the_others():
    with pytest.raises(LNCLIPError, match=r"no aggregation over frames 'meen' .*; accepted: mean, mean logit"):
        video_scores(np.array([0]), np.array([0.5]), "meen")


def test_movement_is_the_mean_arc_cosine():
    z = np.random.default_rng(0).normal(size=(9, 16))
    unit = [row / math.sqrt(sum(x * x for x in row)) for row in z]
    angles = [math.acos(sum(a * b for a, b in zip(p, q, strict=True))) for p, q in pairwise(unit)]
    assert movement(z) == pytest.approx(sum(angles) / len(angles) / math.pi, abs=1e-12)


def test_movement_is_exact_for_small_angles_and_at_both_ends():
    for angle in (0, 1e-7, math.pi / 2, math.pi):
        assert movement([[1, 0], [math.cos(angle), math.sin(angle)]]) * math.pi == pytest.approx(angle, rel=1e-6)
    assert movement([[1.0, 0.0]]) is None


def test_half_precision_hardly_changes_the_movement():
    z = np.random.default_rng(0).normal(size=(32, 1024))
    z = z[:1] + 0.1 * z
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    assert movement(z.astype(np.float16)) == pytest.approx(movement(z), rel=1e-3)
