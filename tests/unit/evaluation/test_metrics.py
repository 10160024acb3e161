"""Metrics against naive loops, scikit-learn, and DeepfakeBench's own function."""

import numpy as np
import pytest
from host_modules import host_module
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from lnclip_df.evaluation.metrics import (
    METRICS,
    aggregate,
    deepfakebench_video_metrics,
    frame_metrics,
    mean_average_precision,
    tpr_at_fpr,
    video_metrics,
)

ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))),
    min_size=1,
    max_size=60,
)


def both(rows):
    label, prob = zip(*rows, strict=True)
    return np.array(label), np.array(prob)


def naive_auroc(label, prob):
    """The share of (fake, real) pairs in the right order; ties count half."""
    pairs = [(f > r) + 0.5 * (f == r) for f in prob[label == 1] for r in prob[label == 0]]
    return sum(pairs) / len(pairs)


@given(ROWS)
def test_frame_metrics_are_the_naive_ones(rows):
    label, prob = both(rows)
    found = frame_metrics(label, prob)
    assert found["accuracy"] == pytest.approx(sum((p > 0.5) == y for y, p in rows) / len(rows))
    if len(set(label)) == 1:
        assert found["auroc"] is found["ap"] is found["eer"] is mean_average_precision(label, prob) is None
        return
    assert found["auroc"] == pytest.approx(naive_auroc(label, prob))
    assert found["auroc"] == pytest.approx(roc_auc_score(label, prob), abs=1e-12)
    fakes, reals = average_precision_score(label, prob), average_precision_score(1 - label, 1 - prob)
    assert found["ap"] == pytest.approx(fakes, abs=1e-12)
    assert mean_average_precision(label, prob) == pytest.approx((fakes + reals) / 2, abs=1e-12)
    fpr, tpr, _ = roc_curve(label, prob)
    assert found["eer"] == pytest.approx(fpr[np.argmin(np.abs(1 - tpr - fpr))], abs=1e-12)


@given(ROWS)
def test_the_leaderboards_metrics_are_these(rows):
    label, prob = both(rows)
    found = {name: metric.function(label, prob) for name, metric in METRICS.items()}
    expected = {key: frame_metrics(label, prob)[key] for key in ("auroc", "ap", "eer")}
    assert [found["frame_auroc"], found["ap"], found["eer"]] == list(expected.values())
    assert [found["tpr1"], found["tpr5"]] == [tpr_at_fpr(label, prob, fpr) for fpr in (0.01, 0.05)]


@given(ROWS, st.sampled_from([0.0, 0.01, 0.05, 0.5, 1.0]))
def test_tpr_at_fpr_is_the_best_of_all_thresholds(rows, fpr):
    label, prob = both(rows)
    if len(set(label)) == 1:
        assert tpr_at_fpr(label, prob, fpr) is None
        return
    real, fake = prob[label == 0], prob[label == 1]
    allowed = [t for t in [*prob, np.inf] if np.mean(real >= t) <= fpr]
    assert tpr_at_fpr(label, prob, fpr) == max(np.mean(fake >= t) for t in allowed)


@pytest.mark.parametrize("seed", range(5))
def test_video_metrics_are_scikit_learns_on_thousands_of_videos(seed):
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(2000), 8)
    label = (video % 3 > 0).astype(int)
    prob = np.round(1 / (1 + np.exp(-(label - 0.5 + rng.normal(size=len(video))))), 2 + 10 * (seed % 2))
    keys, labels, scores = aggregate(video, label, prob)
    found = video_metrics(video, label, prob)
    fpr, tpr, _ = roc_curve(labels, scores)
    assert len(keys) == 2000
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found["ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert found["eer"] == pytest.approx(fpr[np.argmin(np.abs(1 - tpr - fpr))], abs=1e-12)


def test_the_equal_error_rate_is_a_point_of_the_curve():
    label = [0, 0, 0, 0, 1, 1, 1]
    assert frame_metrics(label, [0.1, 0.2, 0.3, 0.8, 0.4, 0.7, 0.9])["eer"] == 0.25
    assert frame_metrics(label, [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.9])["eer"] == 0.0
    assert frame_metrics(label, [0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1])["eer"] == 1.0


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1)), min_size=1, max_size=60))
@pytest.mark.slow
def test_aggregate_is_the_mean_of_each_video(rows):
    keys = [f"set/class/{video}" for video, _ in rows]
    label = [video % 2 for video, _ in rows]
    groups = {}
    for key, (video, prob) in zip(keys, rows, strict=True):
        groups.setdefault(key, (video % 2, []))[1].append(prob)
    videos, labels, scores = aggregate(keys, label, [prob for _, prob in rows])
    assert list(videos) == sorted(groups)
    assert labels.tolist() == [groups[key][0] for key in videos]
    assert scores == pytest.approx([np.mean(groups[key][1]) for key in videos])
    assert ((scores >= 0) & (scores <= 1)).all()
    assert video_metrics(keys, label, [prob for _, prob in rows]) == frame_metrics(labels, scores)


def test_integers_serve_as_video_keys():
    videos, label, score = aggregate(np.array([7, 3, 7]), np.array([1, 0, 1]), np.array([0.5, 0.25, 1.0]))
    assert (videos.tolist(), label.tolist(), score.tolist()) == ([3, 7], [0, 1], [0.25, 0.75])


def test_a_video_with_both_labels_is_named():
    with pytest.raises(ValueError, match="video x/000 has frames of both labels"):
        aggregate(["a", "x/000", "x/000"], [0, 1, 0], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("label", "prob", "message"),
    [
        ([0, 1], [0.5, float("nan")], "probability nan of row 1"),
        ([0, 1], [0.5, 1.5], r"probability 1.5 of row 1 is not within 0..1"),
        ([0, 1], [-0.1, 0.5], r"probability -0.1 of row 0"),
        ([0, 1], [0.5], r"shape \(2,\) do not fit probabilities of shape \(1,\)"),
        ([0, 2], [0.5, 0.5], "label 2 is neither 0 nor 1"),
        ([], [], "no frames"),
        ([[0]], [[0.5]], "shape"),
    ],
)
def test_invalid_arrays_are_refused(label, prob, message):
    videos = ["x"] * len(label)
    for call in (
        lambda: frame_metrics(label, prob),
        lambda: aggregate(videos, label, prob),
        lambda: deepfakebench_video_metrics([f"{video}/0.png" for video in videos], label, prob),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_keys_of_another_length_are_refused():
    with pytest.raises(ValueError, match="do not fit labels"):
        aggregate(["a"], [0, 1], [0.1, 0.2])


def test_deepfakebench_merges_folders_of_one_name():
    paths = ["./DF/frames/000_003/0.png", "./F2F/frames/000_003/0.png", "./real/frames/000/0.png"]
    label, prob = [1, 1, 0], [0.9, 0.1, 0.6]
    assert video_metrics([path.rsplit("/", 1)[0] for path in paths], label, prob)["auroc"] == 0.5
    assert deepfakebench_video_metrics(paths, label, prob)["auroc"] == 0.0


def test_deepfakebench_rounds_the_label_of_a_mixed_folder_down():
    paths = ["real/a/0.png", "fake/a/0.png", "fake\\b\\0.png", "x\\c/d\\0.png"]
    found = deepfakebench_video_metrics(paths, [0, 1, 1, 0], [0.4, 0.6, 0.9, 0.5])
    assert found == frame_metrics([0, 1, 0], [0.5, 0.9, 0.5])


def test_a_path_without_a_folder_is_named():
    with pytest.raises(ValueError, match=r"'0.png' has no parent"):
        deepfakebench_video_metrics(["0.png"], [1], [0.5])


@pytest.fixture(scope="module")
def theirs():
    return host_module("training/metrics/utils.py", "deepfakebench_metrics").get_test_metrics


@pytest.mark.parametrize("seed", range(20))
def test_metrics_are_deepfakebenchs(theirs, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 200))
    separator = ["/", "\\"][seed % 2]
    label = rng.integers(0, 2, n)
    label[:2] = 0, 1
    folders = [f"{'real' if seed % 3 else y}{separator}{rng.integers(0, 9)}_{y if seed % 3 else 0}" for y in label]
    folders[:2] = [f"r{separator}only_real", f"f{separator}only_fake"]
    paths = [f".{separator}{folder}{separator}{i:03d}.png" for i, folder in enumerate(folders)]
    prob = np.round(rng.random(n), 1 + seed % 4)
    expected = theirs(prob.copy(), label.copy(), paths)
    found = frame_metrics(label, prob)
    for ours, name in {"auroc": "auc", "ap": "ap", "eer": "eer", "accuracy": "acc"}.items():
        assert found[ours] == pytest.approx(expected[name], abs=1e-12)
    assert deepfakebench_video_metrics(paths, label, prob)["auroc"] == pytest.approx(expected["video_auc"], abs=1e-12)
