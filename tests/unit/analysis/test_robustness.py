"""Robustness: levels are of the same frames, finished levels are not repeated, and the figures are scikit-learn's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tiny import toy_with_weights

from lnclip_df.analysis import robustness as study
from lnclip_df.analysis.corruptions import CORRUPTIONS
from lnclip_df.analysis.robustness import CorruptedFrames, Level, degradation, levels_of, robustness
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.tables import read_csv
from lnclip_df.datasets import frame_dataset as dataset
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.evaluation.estimates import Bootstrap
from lnclip_df.evaluation.predictions import read_predictions, write_predictions
from lnclip_df.evaluation.runs import read_run
from lnclip_df.evaluation.test import test as lnclip_test


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_with_weights(tmp_path_factory.mktemp("toy"))


def test_degradation_is_the_mean_of_means():
    drops = {Level("jpeg", q): 0.01 * i for i, q in enumerate(CORRUPTIONS["jpeg"].levels)} | {Level("blur", 1): 0.1}
    means, overall = degradation(drops | {Level("pgd", 4): 0.9})
    assert means == pytest.approx({"jpeg": 0.02, "blur": 0.1})
    assert overall == pytest.approx(0.06)
    assert degradation({})[1] is None


def run_study(toy, out, **options):
    config, weights = toy
    kinds = {"corruptions": ["jpeg", "h264"], "attacks": []}
    options = {"datasets": ["toy"], "device": "cpu", "progress": False, "resamples": 100} | kinds | options
    return robustness(config, weights, out, **options)


@pytest.mark.slow
def test_the_study_end_to_end(toy, tmp_path):
    pytest.importorskip("av")
    config, weights = toy
    text = run_study(toy, tmp_path)
    lnclip_test(config, weights, tmp_path / "test", datasets=["toy"], device="cpu", progress=False)
    clean, tested = (read_run(folder).sets["toy"] for folder in (tmp_path / "levels" / "clean", tmp_path / "test"))
    np.testing.assert_array_equal(clean.frame_prob, tested.frame_prob)
    rows = read_csv(tmp_path / "robustness.csv", ("kind", "drop"))
    assert len(rows) == 11
    base = roc_auc_score(clean.label, clean.score)
    for row in rows[1:]:
        there = read_run(tmp_path / "levels" / f"{row['kind']}-{row['level'].split('.')[0]}").sets["toy"]
        assert float(row["auroc"]) == pytest.approx(roc_auc_score(there.label, there.score), abs=1e-6)
        low, high = Bootstrap(100, 0).auroc(there.label, there.score, "toy")[1:]
        assert (float(row["auroc_low"]), float(row["auroc_high"])) == pytest.approx((low, high), abs=1e-6)
        assert float(row["drop"]) == pytest.approx(base - roc_auc_score(there.label, there.score), abs=1e-6)
    tables = [read_predictions(path)[0] for path in sorted(tmp_path.glob("levels/*/predictions/toy.parquet"))]
    assert len(tables) == 11 and all(table["frame"] == tables[0]["frame"] for table in tables)
    mean = np.mean([float(row["drop"]) for row in rows[1:]])
    assert f"**{100 * mean:.1f}** points over 2 corruptions" in text
    assert (tmp_path / "robustness.png").stat().st_size > 5000


@pytest.mark.slow
def test_it_goes_on_level_by_level(toy, tmp_path, monkeypatch):
    made = []
    genuine = study.predict_frames

    def counting(loaded, frames, *, title, **options):
        made.append(title)
        if len(made) == 4:
            raise KeyboardInterrupt
        return genuine(loaded, frames, title=title, **options)

    monkeypatch.setattr(study, "predict_frames", counting)
    only = {"corruptions": ["jpeg"]}
    with pytest.raises(KeyboardInterrupt):
        run_study(toy, tmp_path, **only)
    run_study(toy, tmp_path, **only)
    assert made == ["clean", "jpeg-100", "jpeg-75", "jpeg-50", "jpeg-50", "jpeg-25", "jpeg-10"]
    del made[:]
    text = run_study(toy, tmp_path, **only)
    assert made == []
    path = tmp_path / "levels" / "jpeg-75" / "predictions" / "toy.parquet"
    path.write_bytes(path.read_bytes()[:99])  # damaged: made again
    made += ["", "", "", ""]
    assert run_study(toy, tmp_path, **only) == text
    assert made[4:] == ["jpeg-75"]
    del made[4:]
    run_study(toy, tmp_path, seed=1, **only)  # another seed: all of it
    assert len(made) == 10


def test_a_video_is_corrupted_as_a_whole_whatever_order_its_frames_come_in(toy):
    pytest.importorskip("av")
    config, _ = toy
    videos = read_videos(config, ["toy"], "test")
    options = {"frames_per_video": 2, "level": Level("h264", 30), "corruption_seed": 0}
    frames = CorruptedFrames(config, videos, **options)
    images = [frames[i]["image"] for i in range(len(frames))]
    other = CorruptedFrames(config, videos, **options)
    for i in reversed(range(len(other))):
        assert torch.equal(other[i]["image"], images[i])


@pytest.mark.parametrize("level", [Level("clean"), Level("jpeg", 50), Level("occlusion", 0.1)])
def test_every_frame_is_read_once_a_level(toy, monkeypatch, level):
    config, _ = toy
    read, genuine = [], dataset.read_frame
    monkeypatch.setattr(dataset, "read_frame", lambda *arguments: read.append(arguments[-1]) or genuine(*arguments))
    videos = read_videos(config, ["toy"], "test")
    frames = CorruptedFrames(config, videos, frames_per_video=2, level=level, corruption_seed=0)
    assert [frames[at]["frame"] for at in range(len(frames))] == read


def test_a_broken_frame_is_passed_over_at_every_level(toy):
    pytest.importorskip("av")
    config, _ = toy
    config = config.replace({"lnclip.missing_frames": "skip"})
    video = read_videos(config, ["toy"], "test")[0]
    video = replace(video, frames=(video.frames[0], video.frames[0].replace("000", "777")))
    for level in (Level("clean"), Level("jpeg", 50), Level("h264", 30)):
        frames = CorruptedFrames(config, [video], frames_per_video=2, level=level, corruption_seed=0)
        assert ["skipped" in frames[i] for i in range(2)] == [False, True]


def test_another_dataset_of_older_weights_in_the_folder_is_no_fault(toy, tmp_path):
    run_study(toy, tmp_path, corruptions=["blur"], videos=2)
    older = {"weights": {"path": "older.safetensors", "sha256": "0" * 64, "epoch": 1}}
    for path in tmp_path.glob("levels/*/predictions/toy.parquet"):
        table, metadata = read_predictions(path)
        write_predictions(path.with_name("other.parquet"), table, metadata | older)
    assert "## toy" in run_study(toy, tmp_path, corruptions=["blur"], videos=2)


def test_fewer_videos_and_frames(toy, tmp_path):
    run_study(toy, tmp_path, corruptions=["blur"], videos=3, frames=1)
    scores = read_run(tmp_path / "levels" / "blur-2").sets["toy"]
    assert (len(scores.label), scores.label.sum(), scores.frames) == (6, 3, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets": []}, "datasets is empty"),
        ({"corruptions": ["rain"]}, "no corruption 'rain'"),
        ({"attacks": ["cw"]}, "no attack 'cw'"),
        ({"frames": 0}, "frames is 0; expected at least 1"),
        ({"videos": 0}, "videos is 0; expected at least 1"),
        ({"datasets": ["other"]}, "no dataset file"),
    ],
)
def test_invalid_options_are_one_line(toy, tmp_path, options, message):
    with pytest.raises(LNCLIPError, match=message):
        run_study(toy, tmp_path, **options)


def test_there_are_five_levels_of_seven_and_three_of_two():
    assert len(levels_of(list(CORRUPTIONS), ["fgsm", "pgd"])) == 1 + 7 * 5 + 2 * 3
