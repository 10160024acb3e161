"""Intervals and DeLong's test against their definitions, written naively."""

import math
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from lnclip_df.evaluation import statistics
from lnclip_df.evaluation.statistics import auroc_interval, bootstrap_auroc, combined_interval, delong, placements

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


@pytest.mark.slow
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

    monkeypatch.setattr(statistics, "draw_counts", draws)
    found = bootstrap_auroc(label, score, resamples=5)
    real, fake = np.sort(score[label == 0]), np.sort(score[label == 1])
    for row in range(5):
        reals, fakes = np.repeat(real, drawn[0][row]), np.repeat(fake, drawn[1][row])
        labels = np.r_[np.zeros(len(reals)), np.ones(len(fakes))]
        assert found[row] == pytest.approx(roc_auc_score(labels, np.r_[reals, fakes]), abs=1e-12)


def test_draws_are_as_many_as_videos_and_even():
    counts = statistics.draw_counts(np.random.default_rng(0), 2000, 7)
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


def drawn(rng, reals, fakes, shift, digits=None):
    """Labels and scores of two normal distributions, rounded to so many digits."""
    label = np.repeat([0, 1], [reals, fakes])
    score = 1 / (1 + np.exp(-(rng.normal(size=len(label)) + shift * (label - 0.5))))
    return label, score if digits is None else score.round(digits)


def jackknife(label, score):
    """What leaving a video out takes from the AUROC, each of a class of k times (k − 1)/k: fakes, then reals."""
    whole = roc_auc_score(label, score)
    parts = []
    for kind in (1, 0):
        places = np.flatnonzero(label == kind)
        left = [roc_auc_score(np.delete(label, at), np.delete(score, at)) for at in places]
        parts.append([(whole - value) * (len(places) - 1) / len(places) for value in left])
    return parts


def naive_interval(label, score, samples, level=0.95):
    """The bias-corrected, accelerated, expanded interval, term by term."""
    fakes, reals = parts = jackknife(label, score)
    auroc, normal = roc_auc_score(label, score), NormalDist()
    below = sum(1.0 if s < auroc - 1e-9 else 0.5 if s < auroc + 1e-9 else 0.0 for s in samples) / len(samples)
    z0 = normal.inv_cdf(min(max(below, 0.5 / len(samples)), 1 - 0.5 / len(samples)))
    squares = sum(u**2 for u in fakes + reals)
    a = sum(u**3 for u in fakes + reals) / (6 * squares**1.5)
    variances = [sum(u**2 for u in part) * len(part) / (len(part) - 1) for part in parts]
    freedom = sum(variances) ** 2 / sum(v**2 / (len(part) - 1) for v, part in zip(variances, parts, strict=True))
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        q = stats.t.ppf(share, freedom) * math.sqrt(sum(variances) / squares)
        at = normal.cdf(z0 + (z0 + q) / (1 - a * (z0 + q))) * (len(samples) - 1)
        low, high = sorted(samples)[math.floor(at)], sorted(samples)[math.ceil(at)]
        ends.append(low + (at - math.floor(at)) * (high - low))
    return ends


SETS = [(12, 9, 2.0, None), (15, 60, 1.2, 1), (40, 25, 0.3, 2), (30, 30, 2.6, 1)]


@pytest.mark.parametrize(("reals", "fakes", "shift", "digits"), SETS)
def test_the_interval_is_the_naive_one(reals, fakes, shift, digits):
    label, score = drawn(np.random.default_rng(reals), reals, fakes, shift, digits)
    samples = bootstrap_auroc(label, score, resamples=999, seed=4)
    found = auroc_interval(label, score, resamples=999, seed=4)
    assert found == pytest.approx(naive_interval(label, score, samples), abs=1e-9)


@pytest.mark.parametrize(("reals", "fakes", "shift", "digits"), SETS)
def test_it_is_scipys_bca_interval_at_the_expanded_level(reals, fakes, shift, digits):
    label, score = drawn(np.random.default_rng(reals), reals, fakes, shift, digits)
    samples = bootstrap_auroc(label, score, resamples=999, seed=4)
    squares = [np.square(part).sum() for part in jackknife(label, score)]
    variances = np.array(squares) * [fakes / (fakes - 1), reals / (reals - 1)]
    freedom = variances.sum() ** 2 / (variances**2 / [fakes - 1, reals - 1]).sum()
    expanded = stats.t.ppf(0.975, freedom) * math.sqrt(variances.sum() / sum(squares))

    def auroc(x, y):
        return round(roc_auc_score(np.repeat([1, 0], [len(x), len(y)]), np.r_[x, y]), 12)

    theirs = stats.bootstrap(
        (score[label == 1], score[label == 0]), auroc, vectorized=False, method="BCa", n_resamples=0,
        confidence_level=2 * stats.norm.cdf(expanded) - 1,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=samples.round(12)),
    ).confidence_interval  # fmt: skip
    assert auroc_interval(label, score, resamples=999, seed=4) == pytest.approx(tuple(theirs), abs=1e-9)


# Reals, fakes, AUROC, and frames a video: with frames, a video's score is a mean of rounded ones, and has ties.
@pytest.mark.parametrize(
    ("reals", "fakes", "auroc", "frames"), [(30, 30, 0.97, 0), (49, 49, 0.95, 0), (20, 100, 0.8, 0), (49, 49, 0.95, 8)]
)
@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say(reals, fakes, auroc, frames):
    rng, tests = np.random.default_rng(reals + frames), 1000
    label, shift = np.repeat([0, 1], [reals, fakes]), math.sqrt(2) * NormalDist().inv_cdf(auroc)

    def scores(label):
        video = rng.normal(size=len(label)) + shift * (label - 0.5)
        if not frames:
            return 1 / (1 + np.exp(-video))
        noisy = video[:, None] + 0.5 * rng.normal(size=(len(label), frames))
        return (1 / (1 + np.exp(-noisy))).round(1).mean(axis=1).round(2)

    many = np.repeat([0, 1], 100_000)
    truth = placements(many, scores(many))[0].mean() if frames else auroc
    held = 0
    for test in range(tests):
        low, high = auroc_interval(label, scores(label), resamples=400, seed=test)
        held += low <= truth <= high
    assert 0.93 <= held / tests <= 0.97


@pytest.mark.slow
@given(PAIRS, st.integers(1, 30))
def test_every_interval_holds_its_auroc_within_0_and_1(rows, resamples):
    label, score, _ = columns(rows)
    low, high = auroc_interval(label, score, resamples=resamples)
    assert 0 <= low <= roc_auc_score(label, score) + 1e-12 and roc_auc_score(label, score) - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("reals", "fakes", "auroc"),
    [
        ([0.1] * 30, [0.9] * 20, 1.0),
        ([0.9] * 30, [0.1] * 20, 0.0),
        ([0.5] * 8, [0.5] * 9, 0.5),
        ([0.4], [0.1, 0.5, 0.6, 0.7], 0.75),
        ([0.1], [0.9], 1.0),
    ],
)
def test_where_resamples_say_nothing_it_is_newcombes_interval(reals, fakes, auroc):
    label, m, n = np.repeat([0, 1], [len(reals), len(fakes)]), len(fakes), len(reals)
    ends = auroc_interval(label, reals + fakes, resamples=5)
    assert ends[0] <= auroc <= ends[1]
    for end in ends:
        k = (m + n) / 2 - 1
        variance = end * (1 - end) * (1 + k * (1 - end) / (2 - end) + k * end / (1 + end)) / (m * n)
        assert abs(auroc - end) == pytest.approx(1.959964 * math.sqrt(variance), abs=1e-6)
    assert (auroc == 1.0) == (ends[1] == 1.0) and (auroc == 0.0) == (ends[0] == 0.0)
    assert 0.05 < ends[1] - ends[0] < 1


def test_an_interval_of_another_level_is_wider_or_narrower():
    label, score = drawn(np.random.default_rng(0), 50, 50, 1.5)
    widths = [np.ptp(auroc_interval(label, score, level=level)) for level in (0.5, 0.9, 0.95, 0.99)]
    assert widths == sorted(widths) and widths[0] < 0.5 * widths[-1]


def test_a_combined_interval_is_root_of_squares_on_either_side():
    values, bounds = [0.9, 0.7, 0.5], [(0.8, 0.92), (0.6, 0.75), (0.5, 0.5)]
    low, high = combined_interval(values, bounds, [1 / 3] * 3)
    assert low == pytest.approx(0.7 - math.sqrt(0.1**2 + 0.1**2) / 3)
    assert high == pytest.approx(0.7 + math.sqrt(0.02**2 + 0.05**2) / 3)
    low, high = combined_interval(values[:2], bounds[:2], [1, -1])
    assert low == pytest.approx(0.2 - math.hypot(0.1, 0.05)) and high == pytest.approx(0.2 + math.hypot(0.02, 0.1))


@pytest.mark.slow
def test_an_interval_of_a_mean_holds_the_truth_as_often_as_it_says():
    rng, sets = np.random.default_rng(2), [(40, 30, 0.95), (25, 60, 0.9), (30, 30, 0.8)]
    held = 0
    for test in range(600):
        parts = [drawn(rng, reals, fakes, math.sqrt(2) * NormalDist().inv_cdf(auroc)) for reals, fakes, auroc in sets]
        values = [placements(*part)[0].mean() for part in parts]
        bounds = [auroc_interval(*part, resamples=300, seed=[test, at]) for at, part in enumerate(parts)]
        low, high = combined_interval(values, bounds, [1 / 3] * 3)
        held += low <= np.mean([auroc for *_, auroc in sets]) <= high
    assert 0.93 <= held / 600 <= 0.97


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [([1, 1], [0.1, 0.2], "both classes"), ([0, 1], [0.1, math.nan], "probability nan"), ([], [], "no frames")],
)
def test_unfit_arrays_are_refused(label, score, message):
    for call in (bootstrap_auroc, auroc_interval, placements, lambda y, s: delong(y, s, s)):
        with pytest.raises(ValueError, match=message):
            call(label, score)


def test_at_least_one_resample():
    with pytest.raises(ValueError, match="resamples is 0"):
        bootstrap_auroc([0, 1], [0.1, 0.2], resamples=0)
