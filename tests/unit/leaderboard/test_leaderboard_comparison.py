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


def test_crops_that_differ_are_compared_by_their_settings(tmp_path):
    for name, size in (("a", 256), ("b", 128)):
        facts = run_facts(crops={name * 10: 4}, recipes={name * 10: {"size": size, "scale": 1.3}})
        write_dataset(tmp_path / name, "KoDF", ["KoDF_real", "KoDF_fake"], metadata=facts)
    (found,) = compare(tmp_path / "a", tmp_path / "b").differences
    assert str(found) == "crops (KoDF): aaaaaaaaaa | bbbbbbbbbb (size 256, now 128)"


def test_a_csv_recorded_nothing_in_one_line(tmp_path, runs):
    rows = [f"KoDF,KoDF/KoDF_{('real', 'fake')[y]}/{n:03d},{y},{(n + 7 * y) / 20}" for y in (0, 1) for n in range(12)]
    (tmp_path / "other.csv").write_text("\n".join(["dataset,video,label,prob", *rows]))
    report = compare(runs[0], tmp_path / "other.csv")
    assert report.unrecorded == {} and [item.field for item in report.differences][:2] == ["videos", "frames"]
    lines = str(report).splitlines()
    assert "other recorded nothing of how it was trained and tested: it is a CSV file" in lines
    assert not any("not recorded" in line or "no recorded field" in line for line in lines)
    (compared,) = (line for line in lines if line.startswith("KoDF "))
    assert compared.count("(few)") == 2 and compared.endswith(" 24") and "fewer than 20 videos" in lines[-1]
    with_itself = compare(tmp_path / "other.csv", tmp_path / "other.csv")
    assert len(with_itself.silent) == 2 and "no recorded field" not in str(with_itself)
    published = compare(tmp_path / "other.csv", "LNCLIP-DF")
    assert len(published.silent) == 1 and not published.unrecorded
    assert "cross-dataset mean" not in str(published)  # whether the mean is cross-dataset is not known


def test_a_csv_that_names_its_training_set_recorded_that_alone(tmp_path):
    (tmp_path / "other.csv").write_text(
        "dataset,video,label,prob,train_dataset\nKoDF,a,0,0.1,FF-DF\nKoDF,b,1,0.9,FF-DF\n"
    )
    report = compare(tmp_path / "other.csv", "LNCLIP-DF")
    assert report.silent == ["other recorded its training set alone: it is a CSV file"]
    assert [item.field for item in report.differences] == ["train_dataset"] and "cross-dataset mean" in str(report)


def test_compare_with_a_published_row_is_by_what_it_states(runs):
    report = compare(runs[0], "ablation 4, +UnAl")
    assert [difference.field for difference in report.differences] == ["lnclip.slerp.enabled"]
    assert "lnclip.loss.alignment" in report.unrecorded["good"] and "RetinaFace" in report.words["crops"]
    assert report.figures[-1][0] == "cross-dataset mean" and report.figures[-1][3] == "–"
    assert "none is known" in str(compare(runs[0], "Effort"))
    with pytest.raises(LNCLIPError, match="nowhere is neither a run nor a published row; published rows: LNCLIP-DF"):
        compare(runs[0], "nowhere")
