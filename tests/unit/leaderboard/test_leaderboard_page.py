"""The leaderboard's cells, records and page: what is compared with what, what is refused, what a browser shows."""

import csv
import re
import shutil
import subprocess

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_json
from lnclip_df.evaluation.metrics import METRICS, Metric
from lnclip_df.evaluation.predictions import write_predictions
from lnclip_df.evaluation.reference import reference
from lnclip_df.evaluation.runs import read_run
from lnclip_df.evaluation.statistics import delong
from lnclip_df.leaderboard import compare, leaderboard, make_board, write_board
from lnclip_df.leaderboard.text import terminal

pytest.importorskip("matplotlib")
FF = ["FF-real", "FF-DF", "FF-F2F", "FF-FS", "FF-NT"]


def facts(weights="a", **further):
    config = {"lnclip": {"slerp": {"enabled": True}, "tune": "layernorm"}, "train_batchSize": 128, "workers": 4}
    return {
        "weights": {"path": "x", "sha256": weights * 64, "epoch": 3}, "train_dataset": ["FaceForensics++"],
        "videos_sha256": "e" * 64, "config_sha256": "f" * 64, "crops": {"0123456789": 4},
        "trained": {"config": config, "seed": 1, "selection": "highest video AUROC"},
        "predicted": {"resolution": 224, "frame_num": 32}, "metric": "video AUROC", "versions": {"torch": "2"},
    } | further  # fmt: skip


def write(folder, dataset, labels, *, strength=2.0, seed=0, methods=None, metadata=None, each=12):
    """Predictions of ``each`` videos of 3 frames for every label name; names that end in real are real."""
    rng = np.random.default_rng(seed)
    names = [name for name in labels for _ in range(each * 3)]
    label = np.array([not name.endswith("real") for name in names]).astype(int)
    prob = 1 / (1 + np.exp(-(strength * (label - 0.5) + rng.normal(size=len(names)))))
    table = {
        "dataset": [dataset] * len(names), "split": ["test"] * len(names), "label_name": names,
        "video": [f"{dataset}/{name}/{place // 3 % each:03d}" for place, name in enumerate(names)],
        "frame": [f"{place}.png" for place in range(len(names))], "label": label, "prob": prob,
    }  # fmt: skip
    if methods:
        table["method"] = [methods[place // 3 % each % len(methods)] if y else "" for place, y in enumerate(label)]
    write_predictions(folder / "predictions" / f"{dataset}.parquet", table, facts() if metadata is None else metadata)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed, (name, strength) in enumerate({"good": 3.0, "<b>bad</b>".replace("/", "_"): 1.0}.items()):
        write(root / name, "FaceForensics++", FF, strength=strength, seed=seed)
        write(root / name, "KoDF", ["KoDF_real", "KoDF_fake"], strength=strength, seed=seed, methods=["fo", "dfl"])
    return sorted(root.iterdir(), reverse=True)


@pytest.fixture(scope="module")
def board(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("board")
    board = make_board(runs, metrics=["all"], resamples=300)
    write_board(board, out)
    return board, out


def test_the_parts_of_faceforensics_are_its_reals_with_one_label(board):
    row = board[0].lines[0]
    whole = row.run.sets["FaceForensics++"]
    for name in FF[1:]:
        keep = (whole.label_name == name) | (whole.label == 0)
        assert row.cells[name].auroc == pytest.approx(roc_auc_score(whole.label[keep], whole.score[keep]), abs=1e-12)
        assert (row.cells[name].reals, row.cells[name].fakes, row.cells[name].frames) == (12, 12, 72)
    assert row.in_dataset.value == pytest.approx(np.mean([row.cells[n].auroc for n in ("FaceForensics++", *FF[1:])]))


def test_methods_stand_against_all_reals_and_labels_serve_where_there_are_none(board):
    row = board[0].lines[0]
    assert list(row.methods["KoDF"]) == ["dfl", "fo"] and list(row.methods["FaceForensics++"]) == sorted(FF[1:])
    assert (row.methods["KoDF"]["fo"].reals, row.methods["KoDF"]["fo"].fakes) == (12, 6)


def test_intervals_hold_their_figure_and_repeat(board, runs):
    again = make_board(runs, resamples=300)
    for row, other in zip(board[0].lines, again.lines, strict=True):
        for name, found in row.cells.items():
            assert found.low <= found.auroc <= found.high
            assert (found.low, found.high) == (other.cells[name].low, other.cells[name].high)
        assert row.crossed.low <= row.crossed.value <= row.crossed.high


def test_runs_are_compared_on_the_same_videos(board):
    found = {item.dataset: item for item in board[0].comparisons}
    first, second = (row.run.sets["KoDF"] for row in board[0].lines)
    assert found["KoDF"].videos == 24 and (first.video == second.video).all()
    assert found["KoDF"].test == delong(first.label, first.score, second.score)
    assert list(found) == ["FaceForensics++", *FF[1:], "KoDF"]


def test_a_terminal_sees_the_table_turned_and_what_is_missing(board):
    text = terminal(board[0])
    assert text.startswith("| column") and "| good " in text.splitlines()[0]
    assert "Missing: CDFv2, DFD, DFDC, " in text and max(map(len, text.splitlines()[:9])) <= 100


def test_figures_carry_what_made_them(board):
    rows = list(csv.DictReader((board[1] / "figures.csv").read_text(encoding="utf-8").splitlines()))
    assert len(set(rows[0])) == len(rows[0]) and None not in rows[0]
    assert {row["metric"] for row in rows} >= {"video AUROC", "frame AUROC", "AP", "EER", "TPR at 1 % FPR"}
    made = {"weights": "a" * 10, "epoch": "3", "seed": "1", "video_list": "e" * 10, "crops": "0123456789"}
    assert all(row.items() >= made.items() for row in rows)
    assert {row["method"] for row in rows if row["column"] == "KoDF"} == {"", "fo", "dfl"}


def test_latex_escapes_and_details_name_both_runs(board):
    tex = (board[1] / "leaderboard.tex").read_text(encoding="utf-8")
    assert "\\_" in tex and "{\\scriptsize [" in tex and tex.count("\\\\\n") == 3 + len(reference().rows)
    details = (board[1] / "details.md").read_text(encoding="utf-8")
    assert "DeLong" in details and "## KoDF by method" in details and "## What made each figure" in details


def test_a_csv_enters_as_a_run_under_either_name(tmp_path, runs):
    rows = ["dataset,video,label,prob"]
    rows += [f"KoDF,KoDF/KoDF_{('real', 'fake')[y]}/{n:03d},{y},{(n + 7 * y) / 20}" for y in (0, 1) for n in range(12)]
    (tmp_path / "other.csv").write_text("\n".join([*rows, "CDFv2,a,0,0.1", "CDFv2,b,1,0.9"]))
    board = make_board([runs[0], tmp_path / "other.csv"], resamples=0)
    assert board.lines[1].cells["Celeb-DF-v2"].auroc == 1.0 and board.lines[1].cells["KoDF"].low is None
    assert [item.dataset for item in board.comparisons] == ["KoDF"] and board.comparisons[0].videos == 24


def test_a_dataset_of_ones_own_stands_alone(tmp_path):
    write(tmp_path / "run", "mine", ["a_real", "a_fake"], metadata={})
    board = make_board([tmp_path / "run"], resamples=100)
    assert board.datasets == ["mine"] and not board.shows_published
    assert board.lines[0].crossed.value == board.lines[0].cells["mine"].auroc


def test_means_over_other_columns_are_given_over_the_shared_ones(tmp_path, runs):
    write(tmp_path / "run", "DFDC", ["DFDC_Real".lower(), "DFDC_Fake"])
    write(tmp_path / "run", "KoDF", ["KoDF_real", "KoDF_fake"])
    text = terminal(make_board([runs[0], tmp_path / "run"], resamples=0))
    assert "(1 of 13)" in text and "(2 of 13)" in text and "Over the 1 columns that every run has (KoDF): " in text


def test_what_has_no_figure_is_refused_in_one_line(tmp_path, runs):
    out = tmp_path / "out"
    write(tmp_path / "one", "KoDF", ["KoDF_real"])
    write(tmp_path / "mixed", "KoDF", ["KoDF_real", "KoDF_fake"])
    write(tmp_path / "mixed", "DFDC", ["DFDC_real", "DFDC_fake"], metadata=facts("b"))
    (tmp_path / "two.csv").write_text("dataset,video,label,prob\nKoDF,v,0,0.1\nKoDF,w,1,0.2\nKoDF,v,1,0.3\n")
    (tmp_path / "method.csv").write_text("dataset,video,label,prob,method\nD,v,0,0,\nD,w,1,0.2,x\nD,w,1,0.3,y\n")
    (tmp_path / "nan.csv").write_text("dataset,video,label,prob\nKoDF,v,0,0.1\nKoDF,w,1,nan\n")
    (tmp_path / "names.csv").write_text("dataset,video,label,prob\nKoDF,v,0,0.1\nCDFv2,w,1,0.1\nCeleb-DF-v2,w,1,0.1\n")
    (tmp_path / "other.csv").write_text("dataset,video,label,prob\nKoDF,KoDF/KoDF_real/000,1,0.1\nKoDF,w,0,0.2\n")
    for paths, message in {
        ("one",): "all 12 videos are real, and an AUROC needs both classes",
        ("mixed",): "mixes checkpoints: bbbbbbbbbb for DFDC; aaaaaaaaaa for KoDF",
        ("two.csv",): "KoDF: the video v is there under two labels",
        ("method.csv",): "the video w is there under two methods, x and y",
        ("nan.csv",): "prob is nan, not within 0..1",
        ("names.csv",): "one dataset goes by two names",
        (runs[0], "other.csv"): "the video KoDF/KoDF_real/000 is real in good and fake in other",
    }.items():
        with pytest.raises(LNCLIPError, match=message) as caught:
            leaderboard([tmp_path / path for path in paths], out)
        assert "\n" not in str(caught.value) and not out.exists()


def test_unknown_options_are_named(runs, tmp_path):
    for options, message in {
        ("metrics", ("auc",)): "no metric 'auc'; accepted: frame_auroc",
        ("against", "LNCLIP"): "no published row 'LNCLIP'; there are LNCLIP-DF",
        ("resamples", -1): "resamples is -1",
    }.items():
        with pytest.raises(LNCLIPError, match=message):
            leaderboard(runs, tmp_path, **dict([options]))


def test_a_metric_of_ones_own_is_one_entry(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "brier", Metric("Brier", lambda label, score: float(np.mean((score - label) ** 2))))
    board = make_board(runs[:1], metrics=["brier"], resamples=0)
    scores = board.lines[0].run.sets["KoDF"]
    assert board.lines[0].cells["KoDF"].more == {"brier": np.mean((scores.score - scores.label) ** 2)}
    write_board(board, tmp_path)
    assert "| video AUROC | Brier |" in (tmp_path / "details.md").read_text(encoding="utf-8")


def test_every_published_figure_has_a_source_and_its_recipe_a_yaml():
    found = {name: {f.column: f.value for f in row.figures} for name, row in reference().rows.items()}
    assert found["LNCLIP-DF"] == {"CDFv2": 96.5, "DFD": 97.3, "DFDC": 87.0, "FFIW": 93.5, "mean": 94.2}
    assert found["ForAda"] == {"mean": 91.5} and found["Effort"] == {"mean": 90.6}
    ladder = [values for name, values in found.items() if name.startswith("ablation")]
    assert [values["mean"] for values in ladder] == [76.1, 90.8, 91.8, 92.1, 92.8]
    assert [values["CDFv2"] for values in ladder] == [78.8, 93.1, 94.5, 94.3, 96.5]
    assert all("arXiv" in figure.source for row in reference().rows.values() for figure in row.figures)


def test_compare_names_the_first_cause_first(tmp_path, runs):
    other = facts("b", videos_sha256="d" * 64)
    other["trained"] = {"config": {"lnclip": {"slerp": {"enabled": False}, "tune": "layernorm"}, "train_batchSize": 64}}
    write(tmp_path / "other", "KoDF", ["KoDF_real", "KoDF_fake"], metadata=other)
    report = compare(runs[0], tmp_path / "other")
    fields = [departure.field for departure in report.departures]
    assert fields == ["lnclip.slerp.enabled", "train_batchSize", "weights", "video list"]
    lines = str(report).splitlines()
    assert lines[:2] == ["first difference, good | other:", "  lnclip.slerp.enabled: True | False"]
    assert "not recorded by other: seed, selection" in lines and any(line.startswith("KoDF ") for line in lines)


def test_compare_says_when_nothing_recorded_differs(runs):
    assert str(compare(runs[0], runs[0])).startswith("no recorded field differs between good (first) and good (second)")


def test_compare_with_a_published_row_is_by_what_it_states(runs):
    report = compare(runs[0], "ablation 4, +UnAl")
    assert [departure.field for departure in report.departures] == ["lnclip.slerp.enabled"]
    assert "lnclip.loss.alignment" in report.unrecorded["good"] and "RetinaFace" in report.words["crops"]
    assert report.figures[-1][0] == "cross-dataset mean" and report.figures[-1][3] == "–"
    assert "we hold none" in str(compare(runs[0], "Effort"))
    with pytest.raises(LNCLIPError, match="nowhere is neither a run nor a published row; there are LNCLIP-DF"):
        compare(runs[0], "nowhere")


def test_the_metrics_file_adds_to_the_record_only_where_it_is_of_the_same_test(tmp_path):
    write(tmp_path, "KoDF", ["KoDF_real", "KoDF_fake"])
    write_json(tmp_path / "metrics" / "KoDF.json", facts(skipped_frames=["x"]))
    assert read_run(tmp_path).facts["KoDF"]["skipped_frames"] == ["x"]
    write_json(tmp_path / "metrics" / "KoDF.json", facts("c", skipped_frames=["x"]))
    assert "skipped_frames" not in read_run(tmp_path).facts["KoDF"]


def test_the_page_asks_for_nothing_and_escapes_names(board):
    page = (board[1] / "leaderboard.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bsrc=|\bhref=|<link|<img|<iframe|fetch\(|XMLHttp", page)
    assert "default-src 'none'" in page
    assert "<b>bad" not in page and "&lt;b&gt;bad" in page


def test_a_browser_sorts_by_a_click_with_gaps_last(board, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no chromium here to open the page with")
    page = (board[1] / "leaderboard.html").read_text(encoding="utf-8")
    click = """<script>
      const table = document.querySelector("table.big");
      const head = [...table.tHead.rows[1].cells].find(cell => cell.textContent === "CDFv2");
      const names = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join("|");
      head.firstChild.click(); document.body.dataset.down = names();
      head.firstChild.click(); document.body.dataset.up = names();
      document.querySelector('.tabs button[data-panel="5"]').click();
      document.body.dataset.shown = [...document.querySelectorAll(".panel")].filter(p => p.offsetHeight).length
        + document.querySelector(".panel:not([style*=none]) h3").textContent;
      document.body.dataset.drawn = [...document.querySelectorAll("path.curve")].every(p => p.getTotalLength() > 300);
    </script></body>"""
    (tmp_path / "clicked.html").write_text(page.replace("</body>", click), encoding="utf-8")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "clicked.html").as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    body = re.search(r"<body[^>]*>", dom).group()
    down, up = (re.search(rf'data-{way}="([^"]*)"', body).group(1).split("|") for way in ("down", "up"))
    known = ["ablation 5, +slerp", "ablation 3", "ablation 4", "ablation 2", "ablation 1"]
    assert down[0].startswith("LNCLIP-DF") and [n.split(", ")[0] for n in down[1:6]] == [
        n.split(", ")[0] for n in known
    ]
    assert up[0].startswith("ablation 1") and {*down[6:]} == {*up[6:]} and any("good" in name for name in down[6:])
    assert 'data-shown="1KoDF' in body and 'data-drawn="true"' in body
