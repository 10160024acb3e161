"""The whole demo on a few identities: every stage runs, resumes, and writes what it promises."""

import json

import pytest

from lnclip_df import LNCLIPError
from lnclip_df.demo import run, videos

pytest.importorskip("retinaface")
pytest.importorskip("skimage")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(videos, "IDENTITIES", {"train": 2, "val": 2, "test": 2})
    few = {"nEpochs": 1, "workers": 0, "frame_num": {"train": 2, "test": 2}}
    full = run.demo_config
    monkeypatch.setattr(run, "demo_config", lambda seed: full(seed).replace(few))


def test_the_demo_goes_from_videos_to_a_leaderboard_and_goes_on_where_it_stopped(small, tmp_path):
    summary = run.run_demo(tmp_path, seed=3, workers=1, progress=False)
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored == summary
    assert {"video_auroc", "frame_auroc", "untrained_video_auroc", "seconds"} <= set(summary)
    assert summary["videos"] == 2 * 3 and summary["faces"] == 6 * 3 * 2
    index = json.loads((tmp_path / "dataset_json" / "LNCLIP-demo.json").read_text())["LNCLIP-demo"]
    names = {split: set(index["demo_real"][split]) for split in ("train", "val", "test")}
    assert not names["train"] & names["val"] and not names["train"] & names["test"] and not names["val"] & names["test"]
    assert (tmp_path / "leaderboard" / "roc.png").read_bytes().startswith(b"\x89PNG")
    assert "trained" in (tmp_path / "leaderboard" / "leaderboard.md").read_text()

    weights = tmp_path / "trained" / "best.safetensors"
    before = weights.read_bytes()
    again = run.run_demo(tmp_path, seed=3, workers=1, progress=False)
    assert weights.read_bytes() == before
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in summary.items() if k != "seconds"}

    with pytest.raises(LNCLIPError, match="seed 3"):
        run.run_demo(tmp_path, seed=4, progress=False)
    (tmp_path / "videos" / "videos.json").write_text('{"seed": 3}')
    with pytest.raises(LNCLIPError, match=r"failed: .*no key videos"):
        run.run_demo(tmp_path, seed=3, progress=False)
