"""The calibration of a run: what it leaves beside the weights, and predictions that do not belong together."""

import numpy as np
import pytest
from references import drawn
from tiny import toy_with_weights

from lnclip_df.analysis.calibrate_run import calibrate_run
from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, sha256
from lnclip_df.evaluation import calibration
from lnclip_df.evaluation.calibration import FILE
from lnclip_df.evaluation.predictions import read_predictions
from lnclip_df.evaluation.test import test as lnclip_test
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.weights import save_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tested run of an untrained detector, with its configuration."""
    config, weights = toy_with_weights(tmp_path_factory.mktemp("toy"))
    lnclip_test(config, weights, weights.parent, datasets=["toy"], device="cpu", progress=False)
    return config, weights.parent


@pytest.mark.slow
def test_calibrate_leaves_its_file_beside_the_weights(run, monkeypatch):
    monkeypatch.setattr(enough, "MIN_VIDEOS", 6)
    config, folder = run
    found = calibrate_run(folder, config=config, fpr=0.2, bins=5, device="cpu", progress=False)
    assert found == read_json(folder / FILE)
    assert found["weights_sha256"] == sha256(folder / "best.safetensors")
    assert (found["validation"]["videos"], found["validation"]["frames"]) == (12, 24)
    table, _ = read_predictions(folder / "studies" / "calibration" / "validation" / "predictions" / "toy.parquet")
    assert set(table["split"]) == {"val"}
    assert found["temperature"] == pytest.approx(calibration.fit_temperature(table["label"], table["prob"]), rel=1e-9)
    label = np.array([v.split("/")[1] == "demo_fake" for v in dict.fromkeys(table["video"])])
    score = np.array([table["prob"][np.array(table["video"]) == v].mean() for v in dict.fromkeys(table["video"])])
    threshold = found["threshold"]
    assert threshold["score"] == pytest.approx(calibration.threshold_at_fpr(label, score, 0.2), abs=1e-12)
    assert threshold["fpr"] == np.mean(score[~label] > threshold["score"]) <= 0.2
    names = {path.name for path in (folder / "studies" / "calibration").iterdir()}
    assert {"reliability.png", "calibration.md", "calibration.csv"} <= names


@pytest.mark.slow
def test_calibrating_again_predicts_nothing_again(run):
    config, folder = run
    calibrate_run(folder, config=config, device="cpu", progress=False)
    path = folder / "studies" / "calibration" / "validation" / "predictions" / "toy.parquet"
    before = path.stat().st_mtime_ns
    calibrate_run(folder, config=config, device="cpu", progress=False)
    assert path.stat().st_mtime_ns == before


def test_predictions_of_other_weights_are_refused(run, tmp_path):
    config, folder = run
    other = tmp_path / "other.safetensors"
    detector = LNCLIPDetector(config)
    detector.head.bias.data += 1
    save_weights(detector, other, {"config": config.to_dict()})
    with pytest.raises(LNCLIPError, match="test again with the same weights"):
        calibrate_run(folder, weights=other, config=config, out=tmp_path, device="cpu", progress=False)
    assert not (tmp_path / FILE).exists()


def test_a_csv_is_calibrated_with_a_csv(tmp_path):
    label, prob = drawn(60)
    for name in ("run", "val"):
        rows = "".join(f"a,{name}{i},{y},{p}\n" for i, (y, p) in enumerate(zip(label, prob, strict=True)))
        (tmp_path / f"{name}.csv").write_text("dataset,video,label,prob\n" + rows)
    found = calibrate_run(tmp_path / "run.csv", validation=tmp_path / "val.csv", out=tmp_path / "out")
    assert found["temperature"] == pytest.approx(calibration.fit_temperature(label, prob), rel=1e-6)
    assert (tmp_path / "out" / FILE).is_file()
    with pytest.raises(LNCLIPError, match=r"\(out\)"):
        calibrate_run(tmp_path / "run.csv", validation=tmp_path / "val.csv")
    with pytest.raises(LNCLIPError, match="no weights"):
        calibrate_run(tmp_path / "run.csv", weights=tmp_path / "absent", out=tmp_path / "out")


@pytest.mark.parametrize(("reals", "fakes"), [(19, 40), (40, 4)])
def test_no_temperature_is_fitted_on_few_videos(tmp_path, caplog, reals, fakes):
    rng = np.random.default_rng(0)
    rows = "".join(f"a,v{i},{int(i >= reals)},{rng.uniform()}\n" for i in range(reals + fakes))
    (tmp_path / "val.csv").write_text("dataset,video,label,prob\n" + rows)
    found = calibrate_run(tmp_path / "val.csv", validation=tmp_path / "val.csv", out=tmp_path / "out")
    assert found["temperature"] is None and 0 < found["threshold"]["score"] < 1
    assert found["threshold"]["largest_fpr"] == calibration.largest_fpr(reals, 0.05)
    assert f"few videos ({reals} real, {fakes} fake; 20 of each are needed)" in caplog.text
    text = (tmp_path / "out" / "calibration.md").read_text(encoding="utf-8")
    assert f"No temperature: {reals} real and {fakes} fake" in text and "(few)" in text and "– " in text
    assert calibration.read_calibration(tmp_path / "out" / FILE).reals == reals
