"""Two runs with predictions of FaceForensics++ and KoDF, and their board."""

import pytest
from runs import FF, write_dataset

from lnclip_df.leaderboard import make_board, write_board


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed, (name, strength) in enumerate({"good": 3.0, "<b>bad</b>".replace("/", "_"): 1.0}.items()):
        write_dataset(root / name, "FaceForensics++", FF, strength=strength, seed=seed)
        write_dataset(
            root / name, "KoDF", ["KoDF_real", "KoDF_fake"], strength=strength, seed=seed, methods=["fo", "dfl"]
        )
    return sorted(root.iterdir(), reverse=True)


@pytest.fixture(scope="module")
def board(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("board")
    board = make_board(runs, metrics=["all"], resamples=300)
    write_board(board, out)
    return board, out
