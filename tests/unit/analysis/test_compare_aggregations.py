"""The comparison of aggregations, and features that belong to their predictions."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tiny import toy_with_weights

from lnclip_df.analysis.compare_aggregations import MOVEMENT, all_scores, compare_aggregations
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.provenance import Provenance
from lnclip_df.core.tables import read_csv
from lnclip_df.evaluation.aggregation import AGGREGATIONS, movement
from lnclip_df.evaluation.features import features_file, read_features
from lnclip_df.evaluation.predictions import read_predictions
from lnclip_df.evaluation.runs import read_run
from lnclip_df.evaluation.test import test as lnclip_test
from lnclip_df.models.detector import LNCLIPDetector


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was tested with its features: configuration, weights, folder."""
    config, weights = toy_with_weights(tmp_path_factory.mktemp("toy"))
    predict_toy(config, weights, save_features=True)
    return config, weights


def predict_toy(config, weights, **options):
    """Test the toy data set into the folder of the weights."""
    lnclip_test(config, weights, weights.parent, datasets=["toy"], device="cpu", progress=False, **options)


def test_saved_features_are_the_detectors_in_the_predictions_order(run):
    import torch

    from lnclip_df.datasets.frames import read_frame
    from lnclip_df.models.input import resize
    from lnclip_df.models.pixels import as_tensor, normalize
    from lnclip_df.weights import load_weights

    config, weights = run
    table, facts = read_predictions(weights.parent / "predictions" / "toy.parquet")
    features = read_features(features_file(weights.parent, "toy"), Provenance.from_json(facts), len(table["frame"]))
    assert features.dtype == np.float16
    detector = LNCLIPDetector(config).eval()
    load_weights(detector, weights)
    for row in (0, 7, 23):
        image = resize(read_frame(config, "toy", table["frame"][row]), 32)
        with torch.inference_mode():
            made = detector({"image": normalize(as_tensor(image), config.mean, config.std)[None]})
        np.testing.assert_allclose(features[row], made["feat"][0].numpy(), atol=1e-3)
        assert table["prob"][row] == pytest.approx(made["prob"].item(), abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features.astype(float), axis=1), 1, atol=2e-3)


def test_the_study_compares_all_on_the_run(run):
    _, weights = run
    text = compare_aggregations(weights.parent, resamples=100, out=weights.parent / "out")
    rows = {row["aggregation"]: row for row in read_csv(weights.parent / "out" / "aggregate.csv", ("p",))}
    assert list(rows) == [*AGGREGATIONS, MOVEMENT]
    read = read_run(weights.parent)
    scores = read.sets["toy"]
    features = read_features(features_file(weights.parent, "toy"), read.provenance["toy"], scores.frames)
    for name, values in all_scores(scores, features).items():
        assert float(rows[name]["auroc"]) == pytest.approx(roc_auc_score(scores.label, values), abs=1e-6)
    np.testing.assert_allclose(all_scores(scores)["mean"], scores.score)
    by_hand = [
        movement(features[[i for i, p in enumerate(scores.frame_video) if p == v]]) for v in range(len(scores.video))
    ]
    np.testing.assert_allclose(all_scores(scores, features)[MOVEMENT], by_hand)
    assert "fakes move less" in text
    assert (weights.parent / "out" / "aggregate.png").is_file()


def test_features_are_asked_for_once_and_go_with_other_predictions(run):
    config, weights = run
    path = features_file(weights.parent, "toy")
    before = path.stat().st_mtime_ns
    predict_toy(config, weights, save_features=True)
    predict_toy(config, weights)
    assert path.stat().st_mtime_ns == before  # finished: neither made again nor dropped
    other = config.replace({"frame_num.test": 1})
    predict_toy(other, weights)
    assert not path.exists()  # other predictions, no features
    predict_toy(config, weights)
    predict_toy(config, weights, save_features=True)
    assert path.exists()


def test_features_of_another_test_are_refused(run, tmp_path):
    _, weights = run
    table, facts = read_predictions(weights.parent / "predictions" / "toy.parquet")
    path = features_file(weights.parent, "toy")
    with pytest.raises(LNCLIPError, match="another test"):
        read_features(path, Provenance.from_json(facts | {"videos_sha256": "x"}), len(table["frame"]))
    with pytest.raises(LNCLIPError, match="another test"):
        read_features(path, Provenance.from_json(facts), 3)
    (tmp_path / "broken.safetensors").write_bytes(path.read_bytes()[:100])
    with pytest.raises(LNCLIPError, match="cannot read the features"):
        read_features(tmp_path / "broken.safetensors", Provenance.from_json(facts), 3)


def test_a_run_without_frames_is_refused(tmp_path):
    (tmp_path / "run.csv").write_text("dataset,video,label,prob\na,v,0,0.1\na,w,1,0.9\n")
    with pytest.raises(LNCLIPError, match="one row per video; expected several frames"):
        compare_aggregations(tmp_path / "run.csv", out=tmp_path / "out")
