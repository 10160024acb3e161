"""The leaderboard's cells: what is compared with what, and what is refused."""

import numpy as np
import pytest
from runs import FF, run_facts, write_dataset
from sklearn.metrics import roc_auc_score

from lnclip_df.core.enough import FEW
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.metrics import METRICS, Metric
from lnclip_df.evaluation.statistics import delong
from lnclip_df.leaderboard import leaderboard, make_board, write_board


def test_the_parts_of_faceforensics_are_its_reals_with_one_label(board):
    row = board[0].rows[0]
    whole = row.run.sets["FaceForensics++"]
    for name in FF[1:]:
        keep = (whole.label_name == name) | (whole.label == 0)
        assert row.cells[name].auroc.value == pytest.approx(
            roc_auc_score(whole.label[keep], whole.score[keep]), abs=1e-12
        )
        assert (row.cells[name].reals, row.cells[name].fakes, row.cells[name].frames) == (20, 20, 120)
    assert row.in_dataset.auroc.value == pytest.approx(
        np.mean([row.cells[n].auroc.value for n in ("FaceForensics++", *FF[1:])])
    )


def test_methods_stand_against_all_reals_and_labels_serve_where_there_are_none(board):
    row = board[0].rows[0]
    assert list(row.methods["KoDF"]) == ["dfl", "fo"] and list(row.methods["FaceForensics++"]) == sorted(FF[1:])
    assert (row.methods["KoDF"]["fo"].reals, row.methods["KoDF"]["fo"].fakes) == (20, 10)


def test_intervals_hold_their_figure_and_repeat(board, runs):
    again = make_board(runs, resamples=300)
    for row, other in zip(board[0].rows, again.rows, strict=True):
        for name, found in row.cells.items():
            assert found.auroc.low <= found.auroc.value <= found.auroc.high
            assert found.auroc == other.cells[name].auroc
        assert row.cross_dataset.auroc.low <= row.cross_dataset.auroc.value <= row.cross_dataset.auroc.high


def test_runs_are_compared_on_the_same_videos(board):
    found = {item.dataset: item for item in board[0].comparisons}
    first, second = (row.run.sets["KoDF"] for row in board[0].rows)
    assert found["KoDF"].videos == 40 and (first.video == second.video).all()
    assert found["KoDF"].test == delong(first.label, first.score, second.score)
    assert list(found) == ["FaceForensics++", *FF[1:], "KoDF"]


def test_a_csv_enters_as_a_run_under_either_name(tmp_path, runs):
    rows = ["dataset,video,label,prob"]
    rows += [f"KoDF,KoDF/KoDF_{('real', 'fake')[y]}/{n:03d},{y},{(n + 7 * y) / 20}" for y in (0, 1) for n in range(12)]
    (tmp_path / "other.csv").write_text("\n".join([*rows, "CDFv2,a,0,0.1", "CDFv2,b,1,0.9"]))
    board = make_board([runs[0], tmp_path / "other.csv"], resamples=0)
    assert board.rows[1].cells["Celeb-DF-v2"].auroc.value == 1.0 and board.rows[1].cells["KoDF"].auroc.low is None
    assert [item.dataset for item in board.comparisons] == ["KoDF"] and board.comparisons[0].videos == 24


def test_few_videos_are_said_beside_every_figure(tmp_path):
    for seed, name in enumerate(("a", "b")):
        write_dataset(tmp_path / name, "KoDF", ["KoDF_real", "KoDF_fake"], seed=seed, each=19, methods=["x", "y"])
        write_dataset(tmp_path / name, "DFDC", ["DFDC_real", "DFDC_fake"], seed=seed, methods=["x", "y"])
    board = make_board([tmp_path / "a", tmp_path / "b"], metrics=["tpr1"], resamples=100)
    row = board.rows[0]
    assert row.cells["KoDF"].few == row.cross_dataset.few == FEW and row.cells["DFDC"].few == ""
    assert row.methods["DFDC"]["x"].few == FEW  # 10 fakes
    assert {item.dataset: item.few for item in board.comparisons} == {"KoDF": FEW, "DFDC": ""}
    assert row.cells["DFDC"].metric("tpr1").endswith(FEW)  # 1 % of 20 reals is no video
    write_board(board, tmp_path / "out")
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.*") if path.suffix != ".png"
    }
    for name in ("leaderboard.md", "details.md", "leaderboard.html", "leaderboard.tex"):
        assert FEW in texts[name] and "fewer than 20 videos of a class" in texts[name], name
    (compared,) = (line for line in texts["details.md"].splitlines() if line.startswith("| a, b | KoDF"))
    assert compared.endswith("(few) |")


def test_enough_videos_need_no_remark(board, tmp_path):
    write_board(board[0], tmp_path)
    assert "few" not in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")


def test_a_dataset_of_ones_own_stands_alone(tmp_path):
    write_dataset(tmp_path / "run", "mine", ["a_real", "a_fake"], metadata={})
    board = make_board([tmp_path / "run"], resamples=100)
    assert board.datasets == ["mine"] and board.published is None
    assert board.rows[0].cross_dataset.auroc.value == board.rows[0].cells["mine"].auroc.value


def test_what_has_no_figure_is_refused_in_one_line(tmp_path, runs):
    out = tmp_path / "out"
    write_dataset(tmp_path / "one", "KoDF", ["KoDF_real"])
    write_dataset(tmp_path / "mixed", "KoDF", ["KoDF_real", "KoDF_fake"])
    write_dataset(tmp_path / "mixed", "DFDC", ["DFDC_real", "DFDC_fake"], metadata=run_facts("b"))
    (tmp_path / "two.csv").write_text("dataset,video,frame,label,prob\nKoDF,v,a,0,0\nKoDF,w,a,1,0.2\nKoDF,v,b,1,0.3\n")
    (tmp_path / "method.csv").write_text(
        "dataset,video,frame,label,prob,method\nD,v,a,0,0,\nD,w,a,1,0,x\nD,w,b,1,0,y\n"
    )
    (tmp_path / "nan.csv").write_text("dataset,video,label,prob\nKoDF,v,0,0.1\nKoDF,w,1,nan\n")
    (tmp_path / "names.csv").write_text("dataset,video,label,prob\nKoDF,v,0,0.1\nCDFv2,w,1,0.1\nCeleb-DF-v2,w,1,0.1\n")
    (tmp_path / "other.csv").write_text("dataset,video,label,prob\nKoDF,KoDF/KoDF_real/000,1,0.1\nKoDF,w,0,0.2\n")
    for paths, message in {
        ("one",): "all 20 videos are real, and an AUROC needs both classes",
        ("mixed",): "mixes checkpoints: bbbbbbbbbb for DFDC; aaaaaaaaaa for KoDF",
        ("two.csv",): "KoDF: the video v has frames of two labels",
        ("method.csv",): "the video w has frames of two methods, x and y",
        ("nan.csv",): "prob is nan, not within 0..1",
        ("names.csv",): "one dataset has two names",
        (runs[0], "other.csv"): "the video KoDF/KoDF_real/000 is real in good and fake in other",
    }.items():
        with pytest.raises(LNCLIPError, match=message) as caught:
            leaderboard([tmp_path / path for path in paths], out)
        assert "\n" not in str(caught.value) and not out.exists()


def test_unknown_options_are_named(runs, tmp_path):
    for options, message in {
        ("metrics", ("auc",)): "no metric 'auc'; accepted: frame_auroc",
        ("against", "LNCLIP"): "no published row 'LNCLIP' \\(did you mean LNCLIP-DF\\?\\); accepted: LNCLIP-DF",
        ("resamples", -1): "resamples is -1",
    }.items():
        with pytest.raises(LNCLIPError, match=message):
            leaderboard(runs, tmp_path, **dict([options]))


def test_a_metric_of_ones_own_is_one_entry(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "brier", Metric("Brier", lambda label, score: float(np.mean((score - label) ** 2))))
    board = make_board(runs[:1], metrics=["brier"], resamples=0)
    scores = board.rows[0].run.sets["KoDF"]
    assert board.rows[0].cells["KoDF"].more == {"brier": np.mean((scores.score - scores.label) ** 2)}
    write_board(board, tmp_path)
    assert "| video AUROC | Brier |" in (tmp_path / "details.md").read_text(encoding="utf-8")
