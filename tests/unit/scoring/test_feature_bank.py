"""A feature bank contains the features of training frames, finds the nearest videos, and is refused if invalid."""

import json
import math

import numpy as np
import pytest
import torch
from commands import call
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import configured, make_toy, write_dataset

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, sha256
from lnclip_df.datasets.frames import read_frame
from lnclip_df.evaluation.predict import load_detector as load
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.models.input import resize
from lnclip_df.models.pixels import as_tensor, normalize
from lnclip_df.scoring.feature_bank import FeatureBank, make_bank, nearest, read_bank
from lnclip_df.weights import save_weights


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A detector with its weights, and the bank of its training frames: in memory and in its file."""
    root = make_toy(tmp_path_factory.mktemp("toy"))
    config = configured(root)
    save_weights(LNCLIPDetector(config), root / "best.safetensors", {"config": config.to_dict()})
    loaded = load(config, root / "best.safetensors", "cpu")
    return loaded, make_bank(loaded, root / "bank.safetensors", progress=False), root / "bank.safetensors"


def test_a_bank_holds_the_features_of_every_training_frame(made):
    loaded, bank, _ = made
    toy = read_json(f"{loaded.config.lnclip.data_root}/preprocessing/dataset_json/toy.json")["toy"]
    expected = {
        (f"toy/{name}/{video}", name, int(name == "demo_fake"), frame)
        for name, splits in toy.items()
        for video, record in splits["train"].items()
        for frame in record["frames"]
    }
    of_row = [bank.videos[index] for index in bank.video]
    rows = [(v["video"], v["method"], v["label"], f) for v, f in zip(of_row, bank.frames, strict=True)]
    assert len(rows) == len(expected) == 48 and set(rows) == expected
    assert {video["dataset"] for video in bank.videos} == {"toy"}
    assert bank.features.dtype == np.float16 and bank.features.shape == (48, 32)
    for row in (0, 17, 47):
        image = resize(read_frame(loaded.config, "toy", bank.frames[row]), 32)
        with torch.inference_mode():
            z = loaded.detector({"image": normalize(as_tensor(image), loaded.config.mean, loaded.config.std)[None]})[
                "feat"
            ]
        np.testing.assert_allclose(bank.features[row], z[0].numpy(), atol=1e-3)


def test_a_bank_is_read_as_it_was_written(made):
    loaded, bank, path = made
    read = read_bank(path, weights_sha256=sha256(loaded.weights.path))
    assert (read.features == bank.features).all() and (read.video == bank.video).all()
    assert (read.frames, read.videos, read.facts) == (bank.frames, bank.videos, bank.facts)
    assert read.facts["datasets"] == ["toy"] and read.facts["split"] == "train"


def test_frames_split_and_datasets_are_chosen(made, tmp_path):
    loaded, _, _ = made
    other = make_bank(loaded, tmp_path / "b.safetensors", datasets=["toy"], split="val", frames=1, progress=False)
    assert len(other.frames) == len(other.videos) == 12
    assert all(frame.endswith("000.png") for frame in other.frames)


def test_the_method_is_the_files_own_where_it_names_one(made, tmp_path):
    loaded, bank, _ = made
    record = {"label": "demo_fake", "frames": bank.frames[:2], "method": "swap"}
    config = loaded.config.replace({"dataset_json_folder": str(tmp_path / "preprocessing" / "dataset_json")})
    write_dataset(tmp_path, "named", {"demo_fake": {"train": {"a": record}}})
    other = type(loaded)(loaded.detector, config, loaded.device, loaded.weights)
    assert make_bank(other, tmp_path / "b.safetensors", datasets=["named"], progress=False).videos == [
        {"dataset": "named", "video": "named/demo_fake/a", "method": "swap", "label": 1}
    ]


def random_bank(n=60, d=16, videos=9):
    rng = np.random.default_rng(0)
    known = [{"dataset": "d", "video": f"v{i}", "method": "m", "label": i % 2} for i in range(videos)]
    features = rng.normal(size=(n, d)).astype(np.float16)  # not of unit length: the angle is what counts
    return FeatureBank(
        features, rng.permutation(np.arange(n) % videos).astype(np.int32), [*map(str, range(n))], known, {}
    )


@pytest.mark.parametrize("block", [7, 8192])
def test_nearest_equals_a_naive_search(block, monkeypatch):
    monkeypatch.setattr("lnclip_df.scoring.feature_bank.BLOCK_ROWS", block)
    bank, queries = random_bank(), np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32)
    for query, found in zip(queries.tolist(), nearest(bank, queries, k=5), strict=True):
        best = {}
        for row, feature in enumerate(bank.features.tolist()):
            dot = sum(a * b for a, b in zip(query, feature, strict=True))
            lengths = math.sqrt(sum(a * a for a in query)) * math.sqrt(sum(b * b for b in feature))
            angle = math.degrees(math.acos(dot / lengths))
            best[bank.video[row]] = min(best.get(bank.video[row], (999, 0)), (angle, row))
        expected = sorted(best.values())[:5]
        assert [int(entry["frame"]) for entry in found] == [row for _, row in expected]
        assert [entry["video"] for entry in found] == [f"v{bank.video[row]}" for _, row in expected]
        np.testing.assert_allclose([entry["angle"] for entry in found], [angle for angle, _ in expected], atol=1e-6)
        assert json.loads(json.dumps(found)) == found


def test_a_face_of_the_bank_is_its_own_nearest_and_its_opposite_farthest():
    bank = random_bank()
    for row, found in enumerate(nearest(bank, bank.features, k=1)):
        assert found[0]["frame"] == str(row) and found[0]["angle"] < 1e-5
    opposite = nearest(bank, -bank.features[:1], k=99)[0]
    assert len(opposite) == 9 and all(entry["frame"] != "0" for entry in opposite)
    single = FeatureBank(bank.features[:1], np.zeros(1, np.int32), ["0"], bank.videos[:1], {})
    assert nearest(single, -bank.features[:1])[0][0]["angle"] == pytest.approx(180, abs=1e-5)


def test_half_precision_moves_an_angle_by_less_than_three_hundredths_of_a_degree():
    z = np.random.default_rng(2).normal(size=(50, 1024)) * np.exp(np.random.default_rng(3).normal(size=(50, 1024)))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    bank = FeatureBank(
        z.astype(np.float16), np.arange(50, dtype=np.int32), [""] * 50, random_bank(videos=50).videos, {}
    )
    assert max(found[0]["angle"] for found in nearest(bank, z, k=1)) < 0.03
    exact = np.degrees(np.arccos(np.clip(z.astype(float) @ z.T.astype(float), -1, 1)))
    for row, found in enumerate(nearest(bank, z, k=50)):
        for entry in found[1:]:
            assert entry["angle"] == pytest.approx(exact[row, int(entry["video"][1:])], abs=0.03)


@pytest.mark.parametrize("invalid", [np.ones(16), np.ones((1, 15)), np.full((1, 16), np.nan)])
def test_invalid_features_are_refused(invalid):
    with pytest.raises(ValueError, match="needs B×16"):
        nearest(random_bank(), invalid)
    with pytest.raises(ValueError, match="k is 0"):
        nearest(random_bank(), np.ones((1, 16)), k=0)


def test_a_bank_of_other_weights_is_refused(made):
    with pytest.raises(LNCLIPError, match=r"other weights \(SHA-256 .* make it again with lnclip-df bank"):
        read_bank(made[2], weights_sha256="0" * 64)


def test_damaged_files_are_refused(made, tmp_path):
    loaded, _, path = made
    data, sha = path.read_bytes(), loaded.weights.sha256
    flipped = bytearray(data)
    flipped[-3] ^= 1
    renamed = data.replace(b"demo_real/3/000.png", b"demo_real/4/000.png")
    assert renamed != data
    for name, damaged in {"half": data[:3000], "flipped": flipped, "renamed": renamed, "empty": b""}.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(LNCLIPError, match=f"cannot read the feature bank .*{name}: .*make it again"):
            read_bank(tmp_path / name, sha)
    with pytest.raises(LNCLIPError, match="cannot read the feature bank"):
        read_bank(tmp_path / "absent", sha)


def test_other_safetensors_are_no_bank(made, tmp_path):
    loaded, _, path = made
    with pytest.raises(LNCLIPError, match="is not a feature bank"):
        read_bank(loaded.weights.path, loaded.weights.sha256)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file({"features": tensors["features"]}, tmp_path / "less", metadata=metadata)
    save_file(tensors, tmp_path / "nameless")
    for name in ("less", "nameless"):
        with pytest.raises(LNCLIPError, match=name):
            read_bank(tmp_path / name, loaded.weights.sha256)


def test_invalid_choices_leave_no_file(made, tmp_path):
    loaded, _, _ = made
    out = tmp_path / "bank.safetensors"
    for options, message in (
        ({"frames": 0}, "frames: 0 received"),
        ({"datasets": ["absent"]}, "no dataset file"),
        ({"split": "holdout"}, "no toy.demo_fake.holdout|no toy.demo_real.holdout"),
    ):
        with pytest.raises(LNCLIPError, match=message):
            make_bank(loaded, out, progress=False, **options)
    assert not list(tmp_path.iterdir())


def test_broken_frames_are_an_error_or_left_out(made, tmp_path, caplog):
    loaded, _, _ = made
    root = make_toy(tmp_path / "toy")
    (root / "frames" / "demo_real" / "3" / "001.png").write_bytes(b"")
    config = loaded.config.replace({"lnclip.data_root": str(root)})
    broken = type(loaded)(loaded.detector, config, loaded.device, loaded.weights)
    with pytest.raises(LNCLIPError, match=r"demo_real/3/001\.png"):
        make_bank(broken, tmp_path / "b.safetensors", progress=False)
    config = config.replace({"lnclip.missing_frames": "skip"})
    broken = type(loaded)(loaded.detector, config, loaded.device, loaded.weights)
    bank = make_bank(broken, tmp_path / "b.safetensors", progress=False)
    assert len(bank.frames) == 47 and "./frames/demo_real/3/001.png" not in bank.frames
    read = read_bank(tmp_path / "b.safetensors", loaded.weights.sha256)
    assert read.frames == bank.frames and "cannot be read and are not in the bank: 1, the first is" in caplog.text


def test_the_command_writes_the_bank_that_the_function_writes(made, tmp_path):
    loaded, bank, _ = made
    out = tmp_path / "bank.safetensors"
    result = call("bank", "--weights", loaded.weights.path, "--out", out, "--device", "cpu", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{out}: 48 frames of 24 videos"
    read = read_bank(out, loaded.weights.sha256)
    assert read.frames == bank.frames and (read.features == bank.features).all()
    failed = call("bank", "--weights", loaded.weights.path, "--out", out, "--datasets", "absent", "--quiet")
    assert failed.exit_code == 1 and failed.stderr.splitlines()[-1].startswith("error: no dataset file")
