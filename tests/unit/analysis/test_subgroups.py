"""Subgroups: counts and intervals against references, and attributes that do not fit."""

import math

import numpy as np
import pytest
from references import naive_wilson
from sklearn.metrics import roc_auc_score

from lnclip_df.analysis.subgroups import UNKNOWN, Group, gap, group_figures, read_attributes, subgroups
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.tables import read_csv
from lnclip_df.evaluation.estimates import Bootstrap, wilson
from lnclip_df.evaluation.predictions import write_predictions
from lnclip_df.evaluation.runs import read_run


@pytest.fixture
def run(tmp_path):
    """A CSV run in which women are real or fake as men are, and told apart better; its attributes."""
    rng = np.random.default_rng(1)
    lines, attributes = ["dataset,video,label,prob"], ["video,sex,level"]
    for i in range(200):
        label, sex = i % 2, ("f", "m")[i // 2 % 2]
        prob = np.clip(rng.normal(0.5 + (0.35 if sex == "f" else 0.1) * (label - 0.5), 0.15), 0, 1)
        lines.append(f"toy,v{i},{label},{prob:.4f}")
        if i >= 20:
            attributes.append(f"v{i},{sex},{'' if i < 30 else 'c23'}")
    (tmp_path / "run.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "attributes.csv").write_text("\n".join(attributes) + "\n")
    return tmp_path


def test_figures_equal_counting(run):
    scores = read_run(run / "run.csv").sets["toy"]
    groups = read_attributes(run / "attributes.csv", ["sex"])
    named = [groups.get(("", video), {}).get("sex", UNKNOWN) for video in scores.video]
    found = group_figures(scores, named, 0.55, Bootstrap(300))
    assert list(found) == ["f", "m", UNKNOWN]
    for name, part in found.items():
        rows = [(s, y) for s, y, g in zip(scores.score, scores.label, named, strict=True) if g == name]
        reals, fakes = [s for s, y in rows if y == 0], [s for s, y in rows if y == 1]
        assert (part.reals, part.fakes) == (len(reals), len(fakes))
        wrong = sum(s > 0.55 for s in reals), sum(s <= 0.55 for s in fakes)
        assert part.errors == wrong
        for figure, errors, n in zip(("FPR", "FNR"), wrong, (len(reals), len(fakes)), strict=True):
            assert part.figures[figure] == pytest.approx((errors / n, *naive_wilson(errors, n)), abs=1e-9)
        assert part.figures["AUROC"].value == pytest.approx(roc_auc_score([y for _, y in rows], [s for s, _ in rows]))
        assert part.figures["AUROC"].low <= part.figures["AUROC"].value <= part.figures["AUROC"].high


def test_the_gap_of_rates_is_newcombes_worked_example():
    """Newcombe 1998, table II: 56/70 and 48/80 differ by 0.2, with the interval 0.0524 to 0.3339 of his method 10."""
    counts = {"a": (56, 70), "b": (48, 80)}
    parts = {name: Group(reals=n, figures={"FPR": wilson(k, n)}) for name, (k, n) in counts.items()}
    high, low, estimate = gap(parts, "FPR")
    assert (high, low) == ("a", "b")
    assert estimate == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_the_gap_of_aurocs_agrees_with_delongs_variances(run):
    scores = read_run(run / "run.csv").sets["toy"]
    named = np.array(["f" if int(v[1:]) // 2 % 2 == 0 else "m" for v in scores.video])
    found = group_figures(scores, named, 0.5, Bootstrap(10_000))
    _, _, estimate = gap(found, "AUROC")
    from lnclip_df.evaluation.statistics import placements

    variance = 0.0
    for name in ("f", "m"):
        fakes, reals = placements(scores.label[named == name], scores.score[named == name])
        variance += fakes.var(ddof=1) / len(fakes) + reals.var(ddof=1) / len(reals)
    width = 2 * 1.96 * math.sqrt(variance)
    assert estimate.high - estimate.low == pytest.approx(width, rel=0.1)
    assert estimate.low > 0


def test_small_and_unknown_groups_stay_out_of_the_gap():
    def part(k, n):
        return Group(reals=n, figures={"FPR": wilson(k, n)})

    parts = {"a": part(1, 20), "b": part(4, 20), "tiny": part(3, 3), UNKNOWN: part(20, 20)}
    assert gap(parts, "FPR")[:2] == ("b", "a")
    assert gap({"a": part(1, 20), "tiny": part(3, 3)}, "FPR") is None
    assert gap({"a": part(1, 20), "b": part(1, 20)}, "FPR")[2].value == 0


def test_the_study_takes_its_threshold_from_validation(run):
    out = run / "out"
    text = subgroups(run / "run.csv", run / "attributes.csv", ["sex", "level"], validation=run / "run.csv", fpr=0.1,
                     resamples=200, out=out)  # fmt: skip
    scores = read_run(run / "run.csv").sets["toy"]
    reals = sorted(scores.score[scores.label == 0], reverse=True)
    assert f"threshold {reals[10]:.4f}" in text
    rows = read_csv(out / "subgroups.csv", ("group",))
    assert [(row["attribute"], row["group"]) for row in rows] == [
        ("sex", "f"), ("sex", "m"), ("sex", UNKNOWN), ("level", "c23"), ("level", UNKNOWN),
    ]  # fmt: skip
    assert sum(int(row["false_positives"]) for row in rows[:3]) == 10
    assert (out / "subgroups.png").stat().st_size > 5000


def test_a_validation_of_other_weights_is_refused(run):
    for name, sha256 in (("tested", "a"), ("validated", "b")):
        metadata = {"weights": {"path": "best.safetensors", "sha256": 64 * sha256, "epoch": 1}}
        table = {"dataset": ["toy"] * 2, "split": ["test"] * 2, "label_name": ["real", "fake"]}
        table |= {"video": ["v20", "v21"], "frame": ["v20/0", "v21/0"], "label": [0, 1], "prob": [0.2, 0.8]}
        write_predictions(run / name / "predictions" / "toy.parquet", table, metadata)
    options = {"out": run / "out", "resamples": 0}
    with pytest.raises(LNCLIPError, match="test again with the same weights"):
        subgroups(run / "tested", run / "attributes.csv", ["sex"], validation=run / "validated", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no threshold"),
        ({"threshold": 2.0}, "threshold is 2.0; expected 0 to 1"),
        ({"threshold": 0.5, "validation": "run.csv"}, "give one of them"),
        ({"threshold": 0.5, "by": ["age"]}, "no column age"),
        ({"threshold": 0.5, "by": []}, "by is empty"),
        ({"threshold": 0.5, "attributes": "absent.csv"}, "cannot read"),
        ({"threshold": 0.5, "datasets": ["other"]}, "no predictions of other"),
    ],
)
def test_invalid_options_are_one_line(run, options, message):
    options = {"by": ["sex"], "attributes": "attributes.csv", "out": run / "out"} | options
    attributes, by = run / options.pop("attributes"), options.pop("by")
    with pytest.raises(LNCLIPError, match=message):
        subgroups(run / "run.csv", attributes, by, resamples=0, **options)


def test_a_video_name_of_two_datasets_has_the_attributes_of_each(tmp_path):
    lines = [f"{name},v{i},{i % 2},0.{i}" for name in ("CDFv2", "DFD") for i in range(4)]
    (tmp_path / "run.csv").write_text("\n".join(["dataset,video,label,prob", *lines]) + "\n")
    lines = [f"{name},v{i},{sex}" for name, sex in (("Celeb-DF-v2", "f"), ("DFD", "m")) for i in range(4)]
    (tmp_path / "a.csv").write_text("\n".join(["dataset,video,sex", *lines]) + "\n")
    subgroups(tmp_path / "run.csv", tmp_path / "a.csv", ["sex"], threshold=0.5, resamples=0, out=tmp_path)
    rows = read_csv(tmp_path / "subgroups.csv", ("group",))
    assert [(row["dataset"], row["group"], row["reals"]) for row in rows] == [
        ("Celeb-DF-v2", "f", "2"),
        ("DeepFakeDetection", "m", "2"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,sex\nv1,f\nv1,m\n", "line 3.*other values"),
        ("video,sex\nx1,f\n", "names no video of run; expected keys like v0"),
        ("video,sex\nv1\n", "line 2 has 1 cells, not 2"),
        ("video,sex\n", "has no rows"),
    ],
)
def test_attributes_that_do_not_fit_are_one_line(run, text, message):
    (run / "attributes.csv").write_text(text)
    with pytest.raises(LNCLIPError, match=message):
        subgroups(run / "run.csv", run / "attributes.csv", ["sex"], threshold=0.5, resamples=0, out=run / "out")
