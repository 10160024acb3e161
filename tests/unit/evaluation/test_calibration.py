"""Calibration against independent references."""

from itertools import pairwise

import numpy as np
import pytest
from references import drawn
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation import calibration


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
def test_ece_equals_a_loop_and_scikit_learns_curve(bins):
    label, prob = drawn(500)
    edges = [b / bins for b in range(bins + 1)]
    loop = 0.0
    for low, high in pairwise(edges):
        inside = [i for i, p in enumerate(prob) if low < p <= high]
        if inside:
            loop += abs(sum(label[i] for i in inside) - sum(prob[i] for i in inside)) / len(prob)
    assert calibration.ece(label, prob, bins) == pytest.approx(loop, abs=1e-12)
    count, mean, fakes = calibration.reliability(label, prob, bins)
    share, theirs = calibration_curve(label, prob, n_bins=bins)
    full = count > 0
    np.testing.assert_allclose(fakes[full] / count[full], share, atol=1e-12)
    np.testing.assert_allclose(mean[full], theirs, atol=1e-12)


def test_a_probability_on_an_edge_belongs_below_and_the_ends_inside():
    assert calibration.reliability([0, 0, 1, 1], [0.0, 0.5, 0.5, 1.0], 2).counts.tolist() == [3, 1]


def test_nll_and_brier_equal_scikit_learns():
    label, prob = drawn(300)
    assert calibration.nll(label, prob) == pytest.approx(log_loss(label, prob), abs=1e-6)
    assert calibration.brier(label, prob) == pytest.approx(brier_score_loss(label, prob), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_is_the_best_of_a_fine_grid(temperature):
    label, prob = drawn(1000, temperature=temperature)
    prob = prob.clip(2.0**-24, 1 - 2.0**-24)  # what float32 can say
    found = calibration.fit_temperature(label, prob)
    grid = np.exp(np.arange(np.log(0.05), np.log(50), 5e-3))
    right = np.where(label == 1, prob, 1 - prob) / np.where(label == 1, 1 - prob, prob)  # odds of the true label
    losses = [np.mean(np.log1p(right ** (-1 / t))) for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=6e-3)
    assert calibration.nll(label, calibration.scaled(prob, found)) <= min(losses) + 1e-9


def test_fitting_finds_the_temperature_that_was_put_in_and_lowers_the_ece():
    label, prob = drawn(40_000, temperature=2.5)
    found = calibration.fit_temperature(label, prob)
    assert found == pytest.approx(2.5, rel=0.03)
    assert calibration.ece(label, calibration.scaled(prob, found)) < 0.02 < calibration.ece(label, prob)


def test_scaling_keeps_the_order_and_one_half():
    prob = np.linspace(0.001, 0.999, 99)
    assert (np.diff(calibration.scaled(prob, 3.0)) > 0).all()
    assert calibration.scaled([0.5], 3.0)[0] == 0.5
    np.testing.assert_allclose(calibration.scaled(prob, 1.0), prob, atol=1e-12)


def test_separated_and_meaningless_scores_end_at_the_ends_of_the_range():
    low, high = calibration.RANGE
    assert calibration.fit_temperature([0, 1], [0.4, 0.6]) == pytest.approx(low, rel=0.05)
    assert calibration.fit_temperature([0, 1] * 20, [0.9, 0.1] * 20) == pytest.approx(high, rel=0.05)


def test_certain_probabilities_stay_finite():
    assert np.isfinite(calibration.nll([0, 1], [1.0, 0.0]))
    assert np.isfinite(calibration.fit_temperature([0, 1, 0, 1], [1.0, 0.0, 0.0, 1.0]))


@pytest.mark.parametrize("fpr", [0.0, 0.05, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("ties", [False, True])
def test_the_threshold_is_the_lowest_that_keeps_the_rate(fpr, ties):
    rng = np.random.default_rng(3)
    label, score = rng.integers(0, 2, 200), rng.random(200)
    score = score.round(1) if ties else score
    reals = score[label == 0]
    allowed = [t for t in sorted({0.0, *score}) if np.mean(reals > t) <= fpr]
    assert calibration.threshold_at_fpr(label, score, fpr) == pytest.approx(
        min(t for t in allowed if t in reals), abs=1e-12
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.ece([0, 1], [0.1, 0.2], 0), "bins is 0"),
        (lambda: calibration.ece([0, 2], [0.1, 0.2]), "label 2"),
        (lambda: calibration.ece([0, 1], [0.1, float("nan")]), "nan"),
        (lambda: calibration.fit_temperature([1, 1], [0.1, 0.2]), "reals and fakes"),
        (lambda: calibration.scaled([0.1], 0), "temperature is 0"),
        (lambda: calibration.threshold_at_fpr([0, 1], [0.1, 0.2], 1), "fpr is 1"),
        (lambda: calibration.threshold_at_fpr([1, 1], [0.1, 0.2], 0), "no real"),
    ],
)
def test_invalid_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_calibration_is_read(tmp_path):
    path = tmp_path / calibration.FILE
    path.write_text('{"temperature": 2.5, "threshold": {"score": 0.25, "asked_fpr": 0.05}, "weights_sha256": "ab"}')
    assert calibration.read_calibration(path) == (2.5, 0.25, 0.05, "ab", None)
    path.write_text('{"temperature": null, "threshold": {"score": 0.25}, "validation": {"reals": 4}}')
    assert calibration.read_calibration(path) == (None, 0.25, None, None, 4)


@pytest.mark.parametrize(("reals", "fpr"), [(16, 0.05), (40, 0.05), (100, 0.1)])
def test_the_true_rate_of_a_threshold_is_below_its_bound_in_95_of_100_cases(reals, fpr):
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(2000):  # scores are uniform, so the true rate above a threshold is 1 less it
        score = rng.uniform(size=reals)
        rates.append(1 - calibration.threshold_at_fpr([0] * reals, score, fpr))
    assert np.mean(np.array(rates) <= calibration.largest_fpr(reals, fpr)) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"temperature": 1.0}',
        '{"temperature": 0, "threshold": {"score": 0.5}}',
        '{"temperature": NaN, "threshold": {"score": 0.5}}',
        '{"temperature": "2", "threshold": {"score": 0.5}}',
        '{"temperature": 2, "threshold": 0.5}',
        '{"temperature": 2, "threshold": {"score": 1.5}}',
        '{"temperature": 2, "threshold": {"score": 0.5}, "validation": {"reals": "12"}}',
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path, text):
    path = tmp_path / calibration.FILE
    path.write_text(text)
    with pytest.raises(LNCLIPError, match=r"calibration\.json is damaged.*lnclip-df calibrate"):
        calibration.read_calibration(path)
