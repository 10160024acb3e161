"""What made the figures of two runs, compared."""

import pytest
from runs import run_facts, write_dataset

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.leaderboard import compare


def test_compare_names_the_first_cause_first(tmp_path, runs):
    other = run_facts("b", videos_sha256="d" * 64)
    other["trained"] = {"config": {"lnclip": {"slerp": {"enabled": False}, "tune": "layernorm"}, "train_batchSize": 64}}
    write_dataset(tmp_path / "other", "KoDF", ["KoDF_real", "KoDF_fake"], metadata=other)
    report = compare(runs[0], tmp_path / "other")
    fields = [difference.field for difference in report.differences]
    assert fields == ["lnclip.slerp.enabled", "train_batchSize", "weights", "video list"]
    lines = str(report).splitlines()
    assert lines[:2] == ["first difference, good | other:", "  lnclip.slerp.enabled: True | False"]
    assert "not recorded by other: seed, selection" in lines and any(line.startswith("KoDF ") for line in lines)


def test_compare_says_when_nothing_recorded_differs(runs):
    assert str(compare(runs[0], runs[0])).startswith("no recorded field differs between good (first) and good (second)")


def test_compare_with_a_published_row_is_by_what_it_states(runs):
    report = compare(runs[0], "ablation 4, +UnAl")
    assert [difference.field for difference in report.differences] == ["lnclip.slerp.enabled"]
    assert "lnclip.loss.alignment" in report.unrecorded["good"] and "RetinaFace" in report.words["crops"]
    assert report.figures[-1][0] == "cross-dataset mean" and report.figures[-1][3] == "–"
    assert "none is known" in str(compare(runs[0], "Effort"))
    with pytest.raises(LNCLIPError, match="nowhere is neither a run nor a published row; published rows: LNCLIP-DF"):
        compare(runs[0], "nowhere")
