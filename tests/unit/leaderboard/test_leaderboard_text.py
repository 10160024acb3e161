"""The leaderboard as Markdown, CSV and LaTeX."""

import csv

from runs import write_dataset

from lnclip_df.evaluation.reference import reference
from lnclip_df.leaderboard import make_board
from lnclip_df.leaderboard.text import terminal


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


def test_means_over_other_columns_are_given_over_the_shared_ones(tmp_path, runs):
    write_dataset(tmp_path / "run", "DFDC", ["DFDC_Real".lower(), "DFDC_Fake"])
    write_dataset(tmp_path / "run", "KoDF", ["KoDF_real", "KoDF_fake"])
    text = terminal(make_board([runs[0], tmp_path / "run"], resamples=0))
    assert "(1 of 13)" in text and "(2 of 13)" in text and "Over the column that every run has (KoDF): " in text
