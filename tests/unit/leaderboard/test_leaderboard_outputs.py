"""The leaderboard: its numbers are the video-level AUROC, gaps stay gaps, and its plot is drawn."""

import csv
import sys

import cv2
import numpy as np
import pytest

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.metrics import video_metrics
from lnclip_df.evaluation.predictions import read_predictions, write_predictions
from lnclip_df.evaluation.reference import column_of, reference
from lnclip_df.evaluation.runs import read_runs
from lnclip_df.leaderboard import leaderboard

pytestmark = pytest.mark.slow

pytest.importorskip("matplotlib")

PAPER = [
    "FF", "DF", "F2F", "FS", "NT", "CDFv2", "DFD", "DFDC", "FSh", "UADFV", "DFDM", "FFIW", "DSv1", "DSv2", "KoDF",
    "FAVC", "PGF", "IDF",
]  # fmt: skip


def write_run(folder, datasets, strength=1.0, classes=2, metadata=None):
    """Predictions of 40 videos of 4 frames in each dataset; the larger ``strength``, the better."""
    for number, dataset in enumerate(datasets):
        rng = np.random.default_rng(number)
        video = np.repeat(np.arange(40), 4)
        label = video % classes
        prob = 1 / (1 + np.exp(-(strength * (label - 0.5) + rng.normal(size=160) + np.repeat(rng.normal(size=40), 4))))
        table = {
            "dataset": [dataset] * 160,
            "split": ["test"] * 160,
            "label_name": [["real", "fake"][y] for y in label],
            "video": [f"{dataset}/{y}/{v}" for y, v in zip(label, video, strict=True)],
            "frame": [f"{v}/{i}.png" for i, v in enumerate(video)],
            "label": label,
            "prob": prob,
        }
        write_predictions(folder / "predictions" / f"{dataset}.parquet", table, metadata or {})
    return folder


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    datasets = ["Celeb-DF-v2", "DFDC", "DeepFakeDetection", "FFIW", "FaceForensics++", "KoDF"]
    runs = [write_run(root / "lnclip|slerp", datasets, 3.0), write_run(root / "probe", datasets[:5], 1.0)]
    return root, leaderboard(runs, root / "out")


def test_cells_are_the_video_level_auroc(board):
    root, found = board
    for run, row in found.items():
        for dataset, auroc in row["auroc"].items():
            file = root / run / "predictions" / f"{dataset}.parquet"
            if not file.exists():
                assert auroc is None
                continue
            table, _ = read_predictions(file)
            assert auroc == video_metrics(table["video"], table["label"], table["prob"])["auroc"]


def test_the_mean_leaves_out_the_training_set_and_counts_its_columns(board):
    _, found = board
    row = found["lnclip|slerp"]
    crossed = [value for name, value in row["auroc"].items() if name != "FaceForensics++"]
    assert len(crossed) == 5 and row["mean"] == pytest.approx(sum(crossed) / 5)
    row = found["probe"]
    crossed = [row["auroc"][name] for name in ("Celeb-DF-v2", "DFDC", "DeepFakeDetection", "FFIW")]
    assert row["mean"] == pytest.approx(sum(crossed) / 4) and row["mean_over"] == 4


def test_a_set_that_a_run_was_trained_on_is_no_cross_dataset(tmp_path):
    run = write_run(tmp_path / "run", ["FFIW", "KoDF"], metadata={"train_dataset": ["FFIW"]})
    row = leaderboard([run], tmp_path / "out")["run"]
    assert row["mean"] == row["auroc"]["KoDF"]


def test_tables_hold_percent_with_one_decimal_and_a_dash_for_gaps(board):
    root, found = board
    header, first, second = csv.reader((root / "out" / "leaderboard.csv").read_text(encoding="utf-8").splitlines())
    assert header == ["run", "cross-dataset mean", "in-dataset mean", *PAPER]
    assert first[0] == "lnclip|slerp" and second[PAPER.index("KoDF") + 3] == "–"
    auroc = {column_of(name): value for name, value in found["lnclip|slerp"]["auroc"].items()}
    assert first[3:] == [f"{100 * auroc[name]:.1f}" if name in auroc else "–" for name in PAPER]
    markdown = (root / "out" / "leaderboard.md").read_text(encoding="utf-8").splitlines()
    assert markdown[2].startswith("| lnclip\\|slerp | ")
    table = [line for line in markdown if line.startswith("|")]
    assert len(table) == 2 + 2 + len(reference().rows)
    assert all(line.replace("\\|", "").count("|") == len(header) + 1 for line in table)
    assert "(4 of 13)" in table[3] and "(94.2)" not in table[3] and "(96.5, " in table[3]  # it names no training set


def test_the_plot_is_drawn(board):
    image = cv2.imread(str(board[0] / "out" / "roc.png"))
    assert min(image.shape[:2]) > 400
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50


def test_one_class_only_is_refused(tmp_path):
    with pytest.raises(LNCLIPError, match=r"UADFV\.parquet: all 40 videos are real, and an AUROC needs both classes"):
        leaderboard([write_run(tmp_path / "run", ["UADFV"], classes=1)], tmp_path / "out")


def test_runs_need_predictions_and_names_of_their_own(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LNCLIPError, match=r"no predictions/\*.parquet in .*empty"):
        leaderboard([tmp_path / "empty"], tmp_path / "out")
    run = write_run(tmp_path / "a" / "run", ["UADFV"])
    with pytest.raises(LNCLIPError, match=rf"two runs have the name of {run}; leave one out"):
        leaderboard([run, run], tmp_path / "out")


def test_runs_of_a_study_are_told_apart_by_the_folders_above(tmp_path):
    folders = ("one/probe/seed-0", "one/slerp/seed-0", "one/slerp/seed-1", "two/slerp/seed-0")
    paths = [write_run(tmp_path / folder, ["UADFV"]) for folder in folders]
    assert [run.name for run in read_runs(paths)] == list(folders)
    assert [run.name for run in read_runs(paths[:3])] == ["probe/seed-0", "slerp/seed-0", "slerp/seed-1"]
    assert [run.name for run in read_runs(paths[1:3])] == ["seed-0", "seed-1"]


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", ["UADFV"])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(LNCLIPError, match="pip install 'lnclip-df"):
        leaderboard([run], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_run_is_overwritten(tmp_path):
    path = tmp_path / "leaderboard.csv"
    path.write_text("dataset,video,label,prob\n" + "".join(f"A,v{i},{i % 2},0.{i}\n" for i in range(4)))
    before = path.read_bytes()
    with pytest.raises(LNCLIPError, match="it is an input"):
        leaderboard([path], tmp_path, resamples=0)
    assert path.read_bytes() == before
