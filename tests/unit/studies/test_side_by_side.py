"""Trainings side by side: each has its device, a fault stops no other, and what needs a failed one is not begun."""

import json

import pytest
from trials import quick

from lnclip_df.core.devices import usable_cores
from lnclip_df.studies.side_by_side import run_trials


@pytest.mark.slow
def test_a_training_that_fails_or_dies_stops_those_alone_that_start_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    dies, a, b = (quick(group, tmp_path) for group in ("dies", "a", "b"))
    after_a = quick("after-a", tmp_path, a)
    after_that = quick("after-that", tmp_path, after_a)
    trials = [dies, a, after_a, after_that, b]
    ended = {trial.group: outcome for trial, outcome in run_trials(trials, tmp_path, {}, ["cuda", "cuda:1"])}
    assert ended.pop("dies").startswith("its process died")
    assert ended == {
        "a": "a is refused",
        "after-a": "not trained, because a/seed-0 failed",
        "after-that": "not trained, because after-a/seed-0 failed",
        "b": "b is refused",
    }
    seen = json.loads((tmp_path / "a.json").read_text())
    assert seen == {"CUDA_VISIBLE_DEVICES": "7", "OMP_NUM_THREADS": str(max(1, usable_cores() // 2))}
    assert json.loads((tmp_path / "b.json").read_text())["CUDA_VISIBLE_DEVICES"] in ("4", "7")
