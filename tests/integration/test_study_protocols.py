"""The protocol studies: what is trained and tested, what is not repeated, and figures that equal independent ones."""

import importlib
import json
import re
import shutil
from collections import Counter

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
import yaml
from commands import call
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from tiny import TINY, configured, make_toy, write_dataset

from lnclip_df import LNCLIPError, load_config
from lnclip_df.config.files import bench_configs
from lnclip_df.core.files import sha256
from lnclip_df.datasets.dataset_json import Video, read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset, share_of
from lnclip_df.datasets.new import new_dataset
from lnclip_df.studies.ablation import STEPS, Ablation
from lnclip_df.studies.continual import Continual, measures
from lnclip_df.studies.over_seeds import is_cross, spread
from lnclip_df.studies.pairing import Pairing
from lnclip_df.studies.training_set import TrainingSet
from lnclip_df.training import train as training
from lnclip_df.training.train import train

QUIET = {"accelerator": "cpu", "progress": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """``toy``, and ``new``: other frames' worth of it (half of the videos of each split), and the toy's two subsets."""
    root = make_toy(tmp_path_factory.mktemp("toy"))
    classes = json.loads((root / "preprocessing/dataset_json/toy.json").read_text())["toy"]

    def part(keep):
        return {
            label: {
                split: {n: video for n, video in videos.items() if keep(int(n))} for split, videos in splits.items()
            }
            for label, splits in classes.items()
        }

    write_dataset(root, "new", part(lambda n: n % 2))
    for kind, least in (("paired", 0), ("unpaired", 6)):
        subset = part(lambda n: True)
        subset["demo_fake"]["train"] = part(lambda n: n < 6)["demo_fake"]["train"]
        reals = part(lambda n, least=least: least <= n < least + 6)["demo_real"]["train"]
        subset["demo_real"]["train"] = reals
        write_dataset(root, f"toy-{kind}", subset)
    return root


def tiny(root, *further):
    return [*TINY, "nEpochs=0", f"lnclip.data_root={root}", *further]


def yaml_of(root, name, *overrides):
    path = root / f"{name}-{len(overrides)}.yaml"
    path.write_text(yaml.safe_dump(configured(root, "nEpochs=0", f"train_dataset=[{name}]", *overrides).to_dict()))
    return str(path)


def auroc_of(folder, name):
    """Video AUROC of stored predictions, by loops and scikit-learn alone."""
    videos = {}
    for row in parquet.read_table(folder / "predictions" / f"{name}.parquet").to_pylist():
        videos.setdefault((row["video"], row["label"]), []).append(row["prob"])
    return roc_auc_score([label for _, label in videos], [np.mean(probs) for probs in videos.values()])


# --- YAMLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "dataset"), [("ffpp", "FaceForensics++"), ("ffiw", "FFIW"), ("dsv2", "DeepSpeak-v2.0")]
)
def test_a_training_yaml_differs_from_the_method_in_its_training_set_alone(stem, dataset):
    ours = load_config(f"training/{stem}.yaml")
    assert ours == load_config("lnclip.yaml").replace({"train_dataset": [dataset]})
    assert (bench_configs() / "datasets" / f"{dataset}.yaml").is_file()


# --- training that goes on --------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(["real", "fake"]), st.sampled_from([None, "m"]))),
    st.floats(0.01, 1),
    st.integers(0, 5),
)
def test_a_share_is_drawn_of_every_class_and_method_and_depends_on_nothing_else(kinds, share, seed):
    videos = [
        Video(dataset, label, int(label == "fake"), "train", None, str(n), ("1.png",), method)
        for n, (dataset, label, method) in enumerate(kinds)
    ]
    kept = share_of(videos, share, seed)
    before, after = (
        Counter((video.dataset, video.label_name, video.method) for video in group) for group in (videos, kept)
    )
    assert after == {kind: max(1, round(share * count)) for kind, count in before.items()}
    assert kept == [video for video in videos if video in kept]
    only = [video for video in videos if video.dataset == "A"]
    assert share_of(only, share, seed) == [video for video in kept if video.dataset == "A"]
    assert share_of(videos, 1.0, seed) == videos


@pytest.fixture(scope="module")
def first(root, tmp_path_factory):
    """A training on ``toy``."""
    out = tmp_path_factory.mktemp("first")
    train(configured(root, "nEpochs=1"), out, **QUIET)
    return out / "best.safetensors"


def test_training_from_a_checkpoint_begins_with_its_weights(root, first, tmp_path):
    still = "lnclip.schedule={warmup_epochs: 1, decay_epochs: 1, lr_min: 1.0e-12, lr_max: 1.0e-12}"
    begun = {}
    for name, start in (("from", [f"lnclip.start_from={first}"]), ("afresh", [])):
        train(configured(root, "nEpochs=0", "train_dataset=[new]", still, *start), tmp_path / name, **QUIET)
        begun[name] = load_file(tmp_path / name / "best.safetensors")
    expected = load_file(first)
    assert all(torch.allclose(begun["from"][name], value, atol=1e-9) for name, value in expected.items())
    assert not all(torch.allclose(begun["afresh"][name], value, atol=1e-3) for name, value in expected.items())
    started = json.loads((tmp_path / "from" / "start.json").read_text())
    assert started == {
        "weights": str(first),
        "sha256": sha256(first),
        "epoch": started["epoch"],
        "train_dataset": ["toy"],
    }
    assert load_config(tmp_path / "from" / "config.yaml").lnclip.start_from == str(first)


def test_training_from_a_checkpoint_that_was_interrupted_ends_with_the_same_weights(root, first, tmp_path):
    settings = [f"lnclip.start_from={first}", "train_dataset=[new]", "lnclip.replay={datasets: [toy], share: 0.5}"]
    train(configured(root, "nEpochs=1", *settings), tmp_path / "whole", **QUIET)
    train(configured(root, "nEpochs=0", *settings), tmp_path / "parts", **QUIET)
    train(configured(root, "nEpochs=1", *settings), tmp_path / "parts", resume=True, **QUIET)
    whole, parts = (torch.load(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "parts"))
    assert all(torch.equal(parts["trained"][name], value) for name, value in whole["trained"].items())
    with pytest.raises(LNCLIPError, match=r"cannot resume: lnclip.replay.share is 0.25 and was 0.5"):
        train(configured(root, "nEpochs=2", *settings[:2], "lnclip.replay={datasets: [toy], share: 0.25}"),
              tmp_path / "parts", resume=True, **QUIET)  # fmt: skip


def trained_on(monkeypatch, config, out):
    """The videos that a training was given."""
    seen = []

    class Recorded(FrameDataset):
        def __init__(self, config, videos, *, transform=None, **options):
            if transform:
                seen.extend(videos)
            super().__init__(config, videos, transform=transform, **options)

    monkeypatch.setattr(training, "FrameDataset", Recorded)
    train(config, out, **QUIET)
    return seen


def test_replay_mixes_the_same_share_of_the_old_into_the_new(root, monkeypatch, tmp_path):
    replay = "lnclip.replay={datasets: [toy], share: 0.25}"
    config = configured(root, "nEpochs=0", "train_dataset=[new]", replay)
    seen = trained_on(monkeypatch, config, tmp_path / "a")
    counts = Counter((video.dataset, video.label_name) for video in seen)
    assert counts == {(name, label): n for name, n in (("new", 6), ("toy", 3)) for label in ("demo_real", "demo_fake")}
    assert trained_on(monkeypatch, config, tmp_path / "b") == seen
    assert trained_on(monkeypatch, config.replace({"manualSeed": 7}), tmp_path / "c") != seen


def test_videos_of_the_validation_set_are_never_trained_on(root, monkeypatch, tmp_path):
    document = json.loads((root / "preprocessing/dataset_json/toy.json").read_text())["toy"]
    drawn = {
        label: {split: dict(list(splits["train"].items())[:4]) for split in ("val", "test")}
        for label, splits in document.items()
    }
    write_dataset(root, "drawn", drawn)
    config = configured(root, "nEpochs=0", "lnclip.val_dataset=[drawn]")
    seen = trained_on(monkeypatch, config, tmp_path / "a")
    validated = {frame for video in read_videos(config, ["drawn"], "val") for frame in video.frames}
    assert len(seen) == 16 and not validated & {frame for video in seen for frame in video.frames}
    write_dataset(root, "same", {label: {"val": splits["train"]} for label, splits in document.items()})
    with pytest.raises(LNCLIPError, match="contain the same videos"):
        train(configured(root, "lnclip.val_dataset=[same]"), tmp_path / "b", **QUIET)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["lnclip.replay={datasets: [toy]}"],
            r"lnclip.replay.datasets names toy, all of which train_dataset trains on",
        ),
        (["lnclip.replay={datasets: [new], share: 0}"], r"lnclip.replay.share: .*greater than 0 \(received 0\)"),
        (["lnclip.replay={dataset: [new]}"], r"lnclip.replay.dataset: unknown key \(did you mean datasets\?\)"),
        (["lnclip.start_from=''"], r"lnclip.start_from: "),
    ],
)
def test_a_wrong_replay_is_one_line(root, overrides, message):
    with pytest.raises(LNCLIPError, match=message) as caught:
        configured(root, *overrides)
    assert "\n" not in str(caught.value)


def test_a_start_that_does_not_fit_is_one_line_and_nothing_is_trained(root, first, tmp_path):
    with pytest.raises(LNCLIPError, match=r"no weights file .*absent\.safetensors"):
        train(configured(root, f"lnclip.start_from={tmp_path}/absent.safetensors"), tmp_path / "a", **QUIET)
    other = [f"lnclip.start_from={first}", "lnclip.backbone.seed=1"]
    with pytest.raises(LNCLIPError, match=r"is a delta for .* with frozen weights of SHA-256"):
        train(configured(root, *other), tmp_path / "b", **QUIET)
    assert not (tmp_path / "b" / "history.json").exists()


def test_whole_weights_on_another_frozen_backbone_are_refused(root, tmp_path):
    from lnclip_df.models.detector import LNCLIPDetector
    from lnclip_df.weights import save_weights

    for seed, fits in ((0, True), (1, False)):
        config = configured(root, "nEpochs=0", f"lnclip.backbone.seed={seed}")
        save_weights(LNCLIPDetector(config), tmp_path / f"{seed}.safetensors", {"config": config.to_dict()})
        start = configured(root, "nEpochs=0", f"lnclip.start_from={tmp_path}/{seed}.safetensors")
        if fits:
            train(start, tmp_path / "a", **QUIET)
        else:
            with pytest.raises(LNCLIPError, match=r"the frozen weights of .* are not those of lnclip.backbone"):
                train(start, tmp_path / "b", **QUIET)


# --- figures ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_the_spread_is_numpys(values):
    found = spread([*values, None])
    assert found["n"] == len(values)
    assert np.isclose(found["mean"], np.mean(values), atol=1e-12)
    assert np.isclose(found["std"], np.std(values, ddof=1), atol=1e-12)


@given(
    st.integers(2, 4).flatmap(
        lambda k: st.lists(st.lists(st.floats(0, 1), min_size=k, max_size=k), min_size=k, max_size=k)
    )
)
def test_forgetting_is_the_definition_in_loops(matrix):
    matrix, last = np.array(matrix), len(matrix) - 1
    forgotten, transfer = [], []
    for j in range(last):
        forgotten.append(max(matrix[k, j] - matrix[last, j] for k in range(last)))
        transfer.append(matrix[last, j] - matrix[j, j])
    found = measures(matrix.tolist())
    expected = {
        "average": matrix[last].mean(),
        "forgetting": np.mean(forgotten),
        "backward_transfer": np.mean(transfer),
    }
    assert found.keys() == expected.keys() and all(np.isclose(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("trained", "tested", "cross"),
    [
        (["FaceForensics++"], "FaceForensics++", False),
        (["FaceForensics++-unpaired"], "FF-NT", False),
        (["FaceForensics++"], "FaceShifter", True),
        (["FF-DF"], "FaceForensics++", False),
        (["FF-DF"], "FF-NT", True),
        (["FFIW", "DFDC"], "DFDC", False),
        (["LNCLIP-demo"], "LNCLIP-demo-swap", False),
        (["LNCLIP-demo-swap"], "LNCLIP-demo-reenact", True),
    ],
)
def test_what_is_cross_dataset(trained, tested, cross):
    assert is_cross(trained, tested) is cross


# --- the studies ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ablation(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "ablation"
    Ablation(out, seeds=(0, 1), overrides=tiny(root), datasets=["toy", "new"], **QUIET).run()
    return out


def png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_the_ablation_trains_the_five_yamls_and_its_figures_are_scikit_learns(root, ablation):
    summary = json.loads((ablation / "summary.json").read_text())
    assert [row["group"] for row in summary["rows"]] == list(STEPS) and summary["note"] is None
    assert summary["finished"] == summary["of"] == 10 and png(ablation / "ablation.png")
    table = (ablation / "summary.md").read_text()
    for row in summary["rows"]:
        config = load_config(ablation / row["group"] / "seed-1" / "config.yaml")
        expected = load_config(f"ablation/{row['group']}.yaml", tiny(root, "manualSeed=1"))
        assert config == expected
        for name in ("toy", "new"):
            values = [auroc_of(ablation / row["group"] / f"seed-{seed}", name) for seed in (0, 1)]
            assert np.isclose(row["auroc"][name]["mean"], np.mean(values), atol=1e-12)
            assert np.isclose(row["auroc"][name]["std"], np.std(values, ddof=1), atol=1e-12)
            assert f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}" in table
        assert row["cross_mean"] == row["auroc"]["new"]
    lines = (ablation / "summary.csv").read_text().splitlines()
    assert len(lines) == 1 + 5 * 2 * 2 and lines[1].startswith("1-linear-probe,0,toy,0,")


def test_what_is_finished_is_not_repeated_and_what_is_not_is(root, ablation, monkeypatch):
    before = (ablation / "summary.json").read_bytes()
    made = [path.stat().st_mtime_ns for path in sorted(ablation.rglob("*.safetensors"))]
    calls = []
    monkeypatch.setattr(
        training, "train", lambda config, out, **options: calls.append(str(out)) or train(config, out, **options)
    )
    options = {"seeds": (0, 1), "overrides": tiny(root), "datasets": ["toy", "new"], **QUIET}
    Ablation(ablation, **options).run()
    assert not calls and (ablation / "summary.json").read_bytes() == before
    assert [path.stat().st_mtime_ns for path in sorted(ablation.rglob("*.safetensors"))] == made

    lost = ablation / "3-l2" / "seed-1"
    for path in ("trial.json", "best.safetensors", "checkpoints/last.ckpt", "metrics/toy.json"):
        (lost / path).unlink()
    again = Ablation(ablation, **options).run()
    assert calls == [str(lost)]
    assert again["rows"] == json.loads(before)["rows"]


def test_a_study_of_other_settings_or_data_is_refused_in_its_folder(root, ablation):
    options = {"seeds": (0,), "datasets": ["toy"], **QUIET}
    with pytest.raises(LNCLIPError, match=r"cannot resume: train_batchSize is 6 and was 8"):
        Ablation(ablation, overrides=tiny(root, "train_batchSize=6"), **options).run()
    file = root / "preprocessing/dataset_json/toy.json"
    text = file.read_text()
    try:
        file.write_text(text + "\n")
        with pytest.raises(LNCLIPError, match=r"1-linear-probe/seed-0 was made from another toy\.json"):
            Ablation(ablation, overrides=tiny(root), **options).run()
    finally:
        file.write_text(text)


def test_missing_data_are_named_before_anything_is_trained(root, tmp_path):
    with pytest.raises(LNCLIPError, match=r"no gone\.json, lost\.json in .*dataset_json; write what is missing"):
        Ablation(tmp_path, seeds=(0,), overrides=tiny(root), datasets=["toy,lost", "gone"], **QUIET).run()
    with pytest.raises(LNCLIPError, match=r"no .*new-paired\.json; write it with: lnclip-df pairs .*/new\.json --root"):
        Pairing(tmp_path, dataset="new", seeds=(0,), overrides=tiny(root), **QUIET).run()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_pairing_trains_on_the_two_subsets_and_keeps_every_epoch(root, tmp_path, caplog):
    with caplog.at_level("INFO", "lnclip_df.studies"):
        summary = Pairing(tmp_path, seeds=(0, 1), overrides=tiny(root, "nEpochs=1"), datasets=["new"], **QUIET).run()
    assert caplog.messages[0] == "computing on cpu in fp32"
    paired, unpaired = summary["rows"]
    assert (paired["group"], unpaired["group"]) == ("paired", "unpaired") and png(tmp_path / "pairing.png")
    for row in summary["rows"]:
        histories = [
            json.loads((tmp_path / row["group"] / f"seed-{seed}" / "history.json").read_text())["epochs"]
            for seed in (0, 1)
        ]
        assert [point["step"] for point in row["curve"]] == [3, 6]  # 12 videos of 2 frames, 8 a batch
        for index, point in enumerate(row["curve"]):
            assert np.isclose(point["val"]["mean"], np.mean([h[index]["val"]["auroc"] for h in histories]))
        drops = [max(e["val"]["auroc"] for e in h) - h[-1]["val"]["auroc"] for h in histories]
        assert np.isclose(row["drop"]["mean"], np.mean(drops))
        config = load_config(tmp_path / row["group"] / "seed-0" / "config.yaml")
        assert config.train_dataset == [f"toy-{row['group']}"]
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 1 + 2 * 2 * 2


def test_the_matrix_has_training_sets_as_rows_and_test_sets_as_columns(root, tmp_path):
    yamls = [yaml_of(root, "toy"), yaml_of(root, "new")]
    summary = TrainingSet(tmp_path, configs=yamls, seeds=(3,), datasets=["new", "toy"], **QUIET).run()
    assert [row["group"] for row in summary["rows"]] == ["toy", "new"] and png(tmp_path / "training-set.png")
    for row in summary["rows"]:
        assert list(row["auroc"]) == ["new", "toy"]
        for name, value in row["auroc"].items():
            assert value["mean"] == pytest.approx(auroc_of(tmp_path / row["group"] / "seed-3", name), abs=1e-12)
            assert value["std"] is None
        other = {"toy": "new", "new": "toy"}[row["group"]]
        assert row["cross_mean"] == row["auroc"][other]
    with pytest.raises(LNCLIPError, match="two YAMLs train on the same data: toy, toy"):
        TrainingSet(tmp_path, configs=yamls[:1] * 2, seeds=(0,), **QUIET).run()


def test_a_study_goes_on_where_the_cpu_computes_in_another_precision(root, tmp_path, monkeypatch):
    study = TrainingSet(
        tmp_path, configs=[yaml_of(root, "toy", "lnclip.precision=tf32")], seeds=(0,), datasets=["toy"], **QUIET
    )
    first = study.run()
    assert load_config(tmp_path / "toy" / "seed-0" / "config.yaml").lnclip.precision == "fp32"
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained again"))
    assert study.run() == first


@pytest.mark.slow
def test_continual_training_starts_each_step_where_the_last_ended_and_replays_also_side_by_side(
    root, tmp_path, monkeypatch
):
    yamls = [yaml_of(root, "toy"), yaml_of(root, "new")]
    summary = Continual(tmp_path, configs=yamls, shares=(0.0, 0.5), seeds=(0,), **QUIET).run()
    before = tmp_path / "1-toy" / "seed-0" / "best.safetensors"
    for row, share in zip(summary["rows"], ("0", "0.5"), strict=True):
        folder = tmp_path / f"replay-{share}" / "2-new" / "seed-0"
        assert json.loads((folder / "start.json").read_text())["sha256"] == sha256(before)
        replayed = load_config(folder / "config.yaml").lnclip.replay.datasets
        assert replayed == (["toy"] if share == "0.5" else [])
        expected = [[auroc_of(where, name) for name in ("toy", "new")] for where in (before.parent, folder)]
        assert np.allclose([[cell["mean"] for cell in cells] for cells in row["matrix"]], expected, atol=1e-12)
        assert row["forgetting"]["mean"] == pytest.approx(expected[0][0] - expected[1][0])
    assert summary["finished"] == 3 and png(tmp_path / "continual.png")
    with monkeypatch.context() as patch:  # from another working folder, where --out is written otherwise
        patch.chdir(tmp_path.parent)
        patch.setattr(training, "train", lambda *_, **__: pytest.fail("trained again"))
        assert Continual(tmp_path.name, configs=yamls, shares=(0.0, 0.5), seeds=(0,), **QUIET).run() == summary
    assert "## Replay 50 %" in (tmp_path / "summary.md").read_text()
    two = Continual(tmp_path / "two", configs=yamls, shares=(0.0, 0.5), seeds=(0,), devices=2, **QUIET).run()
    for row, same in zip(summary["rows"], two["rows"], strict=True):
        assert [[cell["mean"] for cell in cells] for cells in same["matrix"]] == [
            [cell["mean"] for cell in cells] for cells in row["matrix"]
        ]
    files = [path.relative_to(tmp_path) for path in tmp_path.glob("[1r]*/**/*.parquet")]
    assert len(files) == 6
    for file in files:
        one, other = (parquet.read_table(folder / file).to_pydict() for folder in (tmp_path, tmp_path / "two"))
        assert one["frame"] == other["frame"] and np.allclose(one["prob"], other["prob"], atol=1e-6)
    with pytest.raises(LNCLIPError, match="expected two or more steps, each with data of its own; received toy; toy"):
        Continual(tmp_path, configs=yamls[:1] * 2, seeds=(0,), **QUIET).run()
    with pytest.raises(LNCLIPError, match=r"shares: 2 is not within 0 to 1"):
        Continual(tmp_path, configs=yamls, shares=(2,), seeds=(0,), **QUIET).run()


def test_a_dataset_of_ones_own_needs_no_json_and_is_refused_once_it_has_changed(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root / "frames", "crops")
    made = new_dataset("mine", "crops/demo_real", {"": "crops/demo_fake"})
    yaml = yaml_of(root, "mine", "lnclip.val_dataset=[mine]", "lnclip.benchmarks=[mine]")
    study = TrainingSet(tmp_path / "out", configs=[yaml], seeds=(0,), **QUIET)
    (row,) = study.run()["rows"]
    assert row["auroc"]["mine"]["mean"] == pytest.approx(auroc_of(tmp_path / "out/mine/seed-0", "mine"), abs=1e-12)
    module, scans = importlib.import_module("lnclip_df.datasets.rearrange"), []
    genuine = module.document_of_faces
    with monkeypatch.context() as patch:
        patch.setattr(module, "document_of_faces", lambda *given: scans.append(given) or genuine(*given))
        assert TrainingSet(tmp_path / "out", configs=[yaml], seeds=(0,), **QUIET).run()["rows"] == [row]
    assert len(scans) == 4  # its three splits and its digest, for any number of trainings
    with pytest.raises(
        LNCLIPError, match=r"lnclip-df rearrange mine --out .*dataset_json && lnclip-df pairs \S+mine\.json"
    ):
        Pairing(tmp_path / "pairs", yaml=yaml, seeds=(0,), **QUIET).run()
    trained = next(item for item in made.items if item.splits == ("train",))
    next((tmp_path / "crops").glob(f"*/{trained.name}/001.png")).unlink()
    with pytest.raises(LNCLIPError, match=r"mine/seed-0 was made from another mine; restore it"):
        study.run()


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ablation", "pairing", "training-set", "continual"])
def test_help_shows_examples(command):
    text = " ".join(call("study", command, "--help").stdout.split())
    assert f"lnclip-df study {command}" in text and "--demo" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablation", "--seeds", "0,x"], r"seeds '0,x': expected whole numbers from 0 on"),
        (["ablation", "--seeds", "1,1"], r"seeds '1,1': a seed occurs twice"),
        (["continual", "--shares", "a"], r"shares 'a': expected numbers from 0 to 1"),
        (["ablation", "--set", "lnclip.tun=none"], r"lnclip.tun: unknown key"),
    ],
)
def test_wrong_options_are_one_line(arguments, message, tmp_path):
    result = call("study", *arguments, "--out", tmp_path)
    assert result.exit_code == 1 and re.search(message, result.stderr), result.output
    assert len(result.stderr.splitlines()) == 1


def test_the_commands_train_from_a_checkpoint_and_run_a_study(root, first, tmp_path):
    path = yaml_of(root, "new", "test_batchSize=4")
    options = ["--config", path, "--out", tmp_path / "next", "--accelerator", "cpu", "--quiet"]
    result = call("train", "--from", first, *options)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "next/start.json").read_text())["sha256"] == sha256(first)
    options = ["--configs", path, "--datasets", "toy", "--seeds", 5, "--accelerator", "cpu", "--quiet"]
    result = call("study", "training-set", *options, "--out", tmp_path / "study")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# Training set × test set") and "| new |" in result.stdout
    assert (tmp_path / "study/new/seed-5/metrics/toy.json").is_file()
