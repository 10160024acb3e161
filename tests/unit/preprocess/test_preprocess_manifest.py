"""What is written of a run: the manifest, the recipe in every crop, the sheet."""

import json
import sys

import numpy as np
import pytest
from clips import contents, cv2, rows, run

from lnclip_df.media.discover import find_videos
from lnclip_df.preprocess.manifest import COLUMNS

retinaface = pytest.importorskip("retinaface")


def test_the_manifest_says_what_is_on_disk(several, tmp_path):
    summary = run(several, tmp_path, frames=5)
    found = {row["video"]: row for row in rows(tmp_path)}
    assert summary.manifest == tmp_path.resolve() / "manifests" / "videos.v1.csv"
    assert list(found) == sorted(find_videos(several).videos) and {*found["a"]} | {"seconds"} == {*COLUMNS}
    for key in ("a", "b", "c d", "Ä 顔/e"):
        row, record = found[key], json.loads((tmp_path / "records" / f"{key}.json").read_text(encoding="utf-8"))
        faces = sorted(path.name for path in (tmp_path / "frames" / key).iterdir())
        assert faces == [f"{index:03d}.png" for index in record["saved"]] == [f"{i:03d}.png" for i in (0, 2, 5, 8, 11)]
        assert (row["outcome"], row["asked"], row["decoded"], row["found"], row["saved"]) == (
            "done",
            "5",
            "12",
            "5",
            "5",
        )
        assert (row["width"], row["height"], row["error"]) == ("320", "240", "")
        assert 0.9 < float(row["score"]) <= 1 and 40 < float(row["box"]) < 160
        assert row["recipe"] == summary.recipe.fingerprint == record["recipe"]
        assert record["bytes"] == (several / f"{key}.mp4").stat().st_size
    assert found["none"]["outcome"] == "no face" and found["none"]["error"] == "no face in 4 frames"
    assert found["empty"]["outcome"] == found["x" * 251]["outcome"] == "unreadable"
    assert "cannot be opened" in found["empty"]["error"] and "too long" in found["x" * 251]["error"]
    about = json.loads((tmp_path / "manifests" / "videos.v1.json").read_text(encoding="utf-8"))
    assert about["outcomes"] == summary.counts and about["faces"] == 20 and about["videos"] == 7
    assert about["settings"]["frames"] == 5 and about["recipe"] == summary.recipe.to_dict()
    assert about["versions"]["numpy"] == np.__version__ and about["versions"]["python"] == sys.version.split()[0]


def test_every_crop_carries_the_recipe_of_the_run(clip, tmp_path):
    from PIL import Image

    summary = run(clip, tmp_path, size=128, sampling="fixed_stride", stride=5)
    for path in summary.frame_paths()["face"]:
        with Image.open(path) as crop:
            recipe = json.loads(crop.text["lnclip-recipe"])
        assert recipe == summary.recipe.to_dict() and crop.size == (128, 128)
    assert recipe["sampling"] == {"mode": "fixed_stride", "stride": 5} and recipe["detector"]["name"] == "retinaface"
    assert recipe["size"] == 128 and recipe["scale"] == 1.3 and recipe["face"] == "largest"


@pytest.mark.slow
def test_the_sheet_shows_crops_ten_across_with_captions(several, clip, tmp_path):
    from PIL import Image

    summary = run(several, tmp_path / "out", frames=4)
    with Image.open(summary.sheet) as sheet:
        assert sheet.size == (1280, 2 * 160)
        first = np.asarray(sheet.crop((0, 0, 128, 128)).convert("RGB")).astype(float)
        for line in range(2):  # the video; the frame and, where known, the class
            caption = np.asarray(sheet.crop((0, 130 + 14 * line, 128, 143 + 14 * line)).convert("L"))
            assert caption.min() < 60 and np.mean(caption > 250) > 0.5
        corners = [(across * 128, 128 + 160 * down) for down in range(2) for across in range(10)]
        captions = [sheet.crop((left, top, left + 128, top + 32)) for left, top in corners]
        written = [caption.tobytes() for caption in captions if caption.convert("L").getextrema()[0] < 60]
        assert len(set(written)) == len(written) == sum(map(len, summary.frame_paths().values()))  # none twice
    crops = [cv2.imread(str(path))[..., ::-1] for paths in summary.frame_paths().values() for path in paths]
    assert min(np.abs(cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA) - first).mean() for crop in crops) < 4
    (tmp_path / "out" / "frames" / "a" / "000.png").write_bytes(b"broken since")
    assert run(several, tmp_path / "out", frames=4).sheet is not None
    assert run(clip, tmp_path / "one", frames=1).sheet.is_file()
    assert run(several / "none.mkv", tmp_path / "none").sheet is None


@pytest.mark.slow
def test_shards_together_are_one_run(several, tmp_path):
    whole = run(several, tmp_path / "whole")
    keys = []
    for part in ("2/3", "1/3", "3/3"):
        summary = run(several, tmp_path / "parts", shard=part)
        keys += [record.key for record in summary.results]
        waiting = [row["video"] for row in rows(tmp_path / "parts") if row["outcome"] == "waiting"]
        assert set(waiting) == {record.key for record in whole.results} - set(keys) - {"x" * 251}
    assert sorted(keys) == [record.key for record in whole.results]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
