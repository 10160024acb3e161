"""Intervals and DeLong's test against their definitions, written naively."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lnclip_df import statistics
from lnclip_df.statistics import bootstrap_auroc, delong, interval, placements

SCORES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
PAIRS = st.lists(st.tuples(st.integers(0, 1), SCORES, SCORES), min_size=4, max_size=40).filter(
    lambda rows: 2 <= sum(label for label, _, _ in rows) <= len(rows) - 2
)


def columns(rows):
    label, a, b = map(np.array, zip(*rows, strict=True))
    return label, a, b


def psi(x, y):
    return 1.0 if x > y else 0.5 if x == y else 0.0


def naive_delong(label, *scores):
    """DeLong, DeLong and Clarke-Pearson (1988), equations for θ, V₁₀, V₀₁ and S, pair by pair."""
    theta, v10, v01 = [], [], []
    for score in scores:
        x, y = score[label == 1], score[label == 0]
        theta.append(sum(psi(a, b) for a in x for b in y) / (len(x) * len(y)))
        v10.append([sum(psi(a, b) for b in y) / len(y) for a in x])
        v01.append([sum(psi(a, b) for a in x) / len(x) for b in y])
    m, n = int((label == 1).sum()), int((label == 0).sum())

    def covariance(v, r, s):
        return sum((p - theta[r]) * (q - theta[s]) for p, q in zip(v[r], v[s], strict=True)) / (len(v[r]) - 1)

    s = [[covariance(v10, r, c) / m + covariance(v01, r, c) / n for c in (0, 1)] for r in (0, 1)]
    return theta, s[0][0] + s[1][1] - 2 * s[0][1]


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(statistics).failed == 0


@given(PAIRS)
def test_delong_is_the_naive_one(rows):
    label, a, b = columns(rows)
    (theta_a, theta_b), variance = naive_delong(label, a, b)
    found = delong(label, a, b)
    assert found.a == pytest.approx(theta_a, abs=1e-12) and found.b == pytest.approx(theta_b, abs=1e-12)
    assert found.error**2 == pytest.approx(max(variance, 0), abs=1e-12)
    if variance > 1e-9:
        z = (theta_a - theta_b) / math.sqrt(variance)
        assert found.z == pytest.approx(z, abs=1e-6)
        assert found.p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=1e-6)


@given(PAIRS)
def test_placements_average_to_scikit_learns_auroc(rows):
    label, score, _ = columns(rows)
    fakes, reals = placements(label, score)
    assert fakes.mean() == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert reals.mean() == pytest.approx(roc_auc_score(label, score), abs=1e-12)


def test_delong_of_a_detector_with_itself_and_of_one_video():
    label, score = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])
    assert delong(label, score, score)[2:] == (0.0, 0.0, 0.0, 1.0)
    assert delong([0, 1, 1], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1])[2:] == (1.0, None, None, None)
    assert delong(label, label, 1 - label)[4:] == (math.inf, 0.0)


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(0)
    label = np.arange(120) % 2
    shared = label + rng.normal(size=(600, 120))
    a, b = (1 / (1 + np.exp(-(shared + rng.normal(size=(600, 120))))) for _ in "ab")
    p = np.array([delong(label, *pair).p for pair in zip(a, b, strict=True)])
    assert 0.03 < (p < 0.05).mean() < 0.07 and 0.44 < (p < 0.5).mean() < 0.56


@pytest.mark.parametrize("digits", [1, 6])
def test_a_resample_is_the_auroc_of_its_videos(monkeypatch, digits):
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 60)
    score = np.round(rng.random(60), digits)
    drawn = []

    def draws(rng, rows, n):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=rows)
        drawn.append(counts)
        return counts

    monkeypatch.setattr(statistics, "_draws", draws)
    found = bootstrap_auroc(label, score, resamples=5)
    real, fake = np.sort(score[label == 0]), np.sort(score[label == 1])
    for row in range(5):
        reals, fakes = np.repeat(real, drawn[0][row]), np.repeat(fake, drawn[1][row])
        labels = np.r_[np.zeros(len(reals)), np.ones(len(fakes))]
        assert found[row] == pytest.approx(roc_auc_score(labels, np.r_[reals, fakes]), abs=1e-12)


def test_draws_are_as_many_as_videos_and_even():
    counts = statistics._draws(np.random.default_rng(0), 2000, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
    assert counts.var(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.12)


def test_resamples_repeat_with_the_seed_and_spread_as_delong_says():
    rng = np.random.default_rng(1)
    label = np.arange(400) % 2
    score = 1 / (1 + np.exp(-(label + rng.normal(size=400))))
    found = bootstrap_auroc(label, score, resamples=4000, seed=5)
    assert (found == bootstrap_auroc(label, score, resamples=4000, seed=5)).all()
    assert (found != bootstrap_auroc(label, score, resamples=4000, seed=6)).any()
    error = delong(label, score, np.full(400, 0.5)).error
    assert found.std() == pytest.approx(error, rel=0.06)
    assert found.mean() == pytest.approx(roc_auc_score(label, score), abs=0.003)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    label, truth = np.arange(200) % 2, 0.856
    shift = 1.5028  # Φ(shift / √2) = 0.856
    held = 0
    for test in range(1500):
        score = 1 / (1 + np.exp(-(rng.normal(size=200) + shift * label)))
        low, high = interval(bootstrap_auroc(label, score, resamples=1000, seed=test))
        held += low <= truth <= high
    assert 0.93 <= held / 1500 <= 0.97


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [([1, 1], [0.1, 0.2], "both classes"), ([0, 1], [0.1, math.nan], "probability nan"), ([], [], "no frames")],
)
def test_unfit_arrays_are_refused(label, score, message):
    for call in (bootstrap_auroc, placements, lambda y, s: delong(y, s, s)):
        with pytest.raises(ValueError, match=message):
            call(label, score)


def test_at_least_one_resample():
    with pytest.raises(ValueError, match="resamples is 0"):
        bootstrap_auroc([0, 1], [0.1, 0.2], resamples=0)
