"""A test shared among shards, processes and machines gives what an undivided one gives, also after kills."""

import importlib
import json
import logging
from multiprocessing import get_start_method

import numpy as np
import pytest
import torch
from tiny import configured, toy_with_weights, write_dataset

from lnclip_df import LNCLIPError
from lnclip_df.core.devices import device_names
from lnclip_df.core.files import read_json
from lnclip_df.core.processes import worker_pool
from lnclip_df.core.provenance import Provenance
from lnclip_df.evaluation import shards
from lnclip_df.evaluation.external import load_external
from lnclip_df.evaluation.features import features_file, write_features
from lnclip_df.evaluation.parts import Parts
from lnclip_df.evaluation.predictions import read_predictions
from lnclip_df.evaluation.test import test as run_test

SETTINGS = ("test_batchSize=5", "lnclip.missing_frames=skip", "lnclip.benchmarks=[many]")  # 96 frames: 20 batches
GONE = "frames/demo_fake/7/001.png"


def add_many(root):
    """The data set many: all 48 videos of toy as one test split, of which one frame is missing."""
    path = root / "preprocessing" / "dataset_json" / "toy.json"
    classes = json.loads(path.read_text())["toy"]
    whole = {
        label: {"test": {k: v for of in splits.values() for k, v in of.items()}} for label, splits in classes.items()
    }
    write_dataset(root, "many", whole)
    (root / GONE).unlink()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The configuration and weights of a detector, and the results of its undivided test."""
    root = tmp_path_factory.mktemp("many")
    _, weights = toy_with_weights(root)
    add_many(root)
    config = configured(root, *SETTINGS)
    run_test(config, weights, root / "whole", device="cpu", progress=False, save_features=True)
    return config, weights, contents(root / "whole")


def contents(out):
    """All that a test has written, without its seconds; and nothing else is there."""
    assert {path.name for path in out.iterdir()} <= {"predictions", "metrics", "features"}
    metrics = read_json(out / "metrics" / "many.json")
    assert metrics.pop("seconds") > 0
    table, metadata = read_predictions(out / "predictions" / "many.parquet")
    table = {name: list(column) for name, column in table.items()}
    features = out / "features" / "many.safetensors"
    return metrics, table, metadata, features.read_bytes() if features.exists() else None


def share(many, out, **options):
    options = {"device": "cpu", "progress": False, "save_features": True} | options
    return run_test(many[0], many[1], out, **options)


def test_the_undivided_test_is_right(many):
    metrics, table, _, features = many[2]
    assert (metrics["videos"], metrics["frames"], metrics["skipped_frames"]) == (48, 95, [f"./{GONE}"])
    assert len(set(table["prob"])) > 80 and features


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_in_any_order_give_the_undivided_test_to_the_bit(many, tmp_path, caplog, order):
    caplog.set_level(logging.INFO, "lnclip_df")
    left = [1, 2, 3]
    for number in order:
        result = share(many, tmp_path, shard=f"{number}/3")
        left.remove(number)
        if left:
            assert result == {} and not (tmp_path / "metrics").exists()
            said = f"shard {number}/3 is finished, but there are no metrics yet, because shards are missing: "
            assert f"{said}{', '.join(map(str, left))} of 3" in caplog.text
    assert result["many"] == read_json(tmp_path / "metrics" / "many.json")
    assert contents(tmp_path) == many[2]
    assert share(many, tmp_path, shard="2/3") == result  # joined before: nothing is done again
    assert contents(tmp_path) == many[2]


def batches_of(monkeypatch, end_after=None):
    """The frames of each batch that is predicted from now on; the prediction may end after some, as if killed."""
    seen, genuine = [], shards.score_batches

    def recorded(*arguments, **options):
        for table in genuine(*arguments, **options):
            if len(seen) == end_after:
                raise KeyboardInterrupt
            seen.append(table["index"])
            yield table

    monkeypatch.setattr(shards, "score_batches", recorded)
    return seen


def test_a_test_that_was_ended_continues_whoever_has_predicted_the_parts(many, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SECONDS", 0)
    with monkeypatch.context() as patch:
        first = batches_of(patch, end_after=4)
        with pytest.raises(KeyboardInterrupt):
            share(many, tmp_path, shard="2/2")
    with monkeypatch.context() as patch:
        second = batches_of(patch, end_after=9)
        with pytest.raises(KeyboardInterrupt):
            share(many, tmp_path)
    rest = batches_of(monkeypatch)
    share(many, tmp_path)
    assert [indices[0] for indices in first] == [5, 15, 25, 35]
    assert (len(first), len(second), len(rest)) == (4, 9, 7)
    indices = [index for batch in (*first, *second, *rest) for index in batch]
    assert len(set(indices)) == len(indices) == 95  # all but the missing one, and each once
    assert contents(tmp_path) == many[2]


@pytest.mark.slow
def test_two_processes_give_the_undivided_test(many, tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    share(many, tmp_path, devices=2)
    found, expected = contents(tmp_path), many[2]
    np.testing.assert_allclose(found[1]["prob"], expected[1]["prob"], rtol=1e-6)  # sums of other threads
    assert found[1] | {"prob": None} == expected[1] | {"prob": None}
    assert found[0]["video"] == pytest.approx(expected[0]["video"], abs=1e-6)
    assert torch.get_num_threads() == threads
    monkeypatch.setattr(shards, "worker_pool", None)
    assert share(many, tmp_path, devices=2)["many"]["frames"] == 95  # finished: no process is started


@pytest.mark.slow
def test_a_process_predicts_only_with_the_weights_and_videos_of_the_first_one(tmp_path, monkeypatch):
    config, weights = toy_with_weights(tmp_path)
    add_many(tmp_path)
    listed = tmp_path / "preprocessing" / "dataset_json" / "many.json"

    def pool_after_a_change(*arguments, **options):
        toy_with_weights(tmp_path, seed=1)  # as a training does that goes on
        listed.write_text(listed.read_text().replace("/7/000.png", "/6/000.png"))
        return worker_pool(*arguments, **options)

    monkeypatch.setattr(shards, "worker_pool", pool_after_a_change)
    with pytest.raises(LNCLIPError, match="many: weights and videos_sha256 changed as the test began; run it again"):
        run_test(config, weights, tmp_path / "run", datasets=["many"], device="cpu", devices=2, progress=False)


def test_the_loaders_of_a_process_start_their_workers_as_here():
    """Spawned ones would each get the whole dataset through a pipe."""
    with worker_pool(1) as pool:
        assert pool.submit(get_start_method).result() == get_start_method()


def test_two_that_join_at_once_do_no_harm(many, tmp_path, monkeypatch):
    """The other one writes and removes everything while this one has read the parts."""
    share(many, tmp_path, shard="1/2")
    genuine = shards.Parts.join

    def joined(self, frames):
        found = genuine(self, frames)
        monkeypatch.setattr(shards.Parts, "join", genuine)
        share(many, tmp_path)
        return found

    monkeypatch.setattr(shards.Parts, "join", joined)
    result = share(many, tmp_path, shard="2/2")
    assert result["many"]["frames"] == 95 and contents(tmp_path) == many[2]


def test_a_join_that_is_killed_leaves_what_another_process_has_just_finished(many, tmp_path, monkeypatch):
    """The other one finishes after this one has looked for its result, and before this one writes."""
    share(many, tmp_path, shard="1/2")
    module = importlib.import_module("lnclip_df.evaluation.test")

    def killed(*arguments):
        raise KeyboardInterrupt

    def other_finishes(*arguments):
        patch.undo()
        share(many, tmp_path)
        patch.setattr(module, "write_table", killed)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "require_frames", other_finishes)
        share(many, tmp_path, shard="2/2")
    assert contents(tmp_path) == many[2]


@pytest.mark.parametrize(
    ("overrides", "options", "said"),
    [
        (["test_batchSize=6"], {}, "batch_size"),
        ([], {"save_features": False}, "features"),
        (["lnclip.resize=deepfakebench"], {}, "config_sha256"),
        (["frame_num={train: 2, test: 1}"], {}, "config_sha256"),
    ],
)
def test_shards_of_different_tests_are_not_mixed(many, tmp_path, overrides, options, said):
    share(many, tmp_path, shard="1/2")
    other = many[0].replace({}) if not overrides else configured(many[1].parents[1], *SETTINGS, *overrides)
    with pytest.raises(LNCLIPError, match=rf"parts.many contains parts of another test \(different: .*{said}"):
        share((other, many[1]), tmp_path, shard="2/2", **options)
    assert not (tmp_path / "predictions").exists()


def test_shards_of_other_weights_are_not_mixed(many, tmp_path):
    share(many, tmp_path / "run", shard="1/2")
    _, weights = toy_with_weights(tmp_path, seed=1)
    with pytest.raises(LNCLIPError, match=r"different: weights\); finish that one, or remove the folder"):
        share((many[0], weights), tmp_path / "run", shard="2/2")


def test_an_undivided_test_replaces_parts_of_other_weights_or_settings(many, tmp_path, monkeypatch, caplog):
    """As it must where memory was not enough, and the error has named a smaller batch as the cure."""
    caplog.set_level(logging.INFO, "lnclip_df")
    monkeypatch.setattr(shards, "SECONDS", 0)
    _, weights = toy_with_weights(tmp_path, seed=1)
    share((configured(many[1].parents[1], *SETTINGS, "test_batchSize=6"), many[1]), tmp_path / "out", shard="1/2")
    for run in ((many[0], weights), many):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            batches_of(patch, end_after=2)
            share(run, tmp_path / "out")
    assert caplog.text.count("parts of a test with other weights or settings are removed") == 2
    seen = batches_of(monkeypatch)
    share(many, tmp_path / "out")
    assert len(seen) == 18 and contents(tmp_path / "out") == many[2]


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", None])
def test_a_damaged_part_is_one_line(many, tmp_path, content):
    share(many, tmp_path, shard="1/2")
    (path,) = (tmp_path / "parts" / "many").iterdir()
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    with pytest.raises(LNCLIPError, match=r"parts.many"):
        share(many, tmp_path, shard="2/2")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused_before_the_work(many, tmp_path, shard):
    with pytest.raises(LNCLIPError, match="accepted is i/n"):
        share(many, tmp_path / "run", shard=shard)
    assert not (tmp_path / "run").exists()


RIVAL = """
import multiprocessing, os, signal, time
from pathlib import Path
FAULT = Path(__file__).with_name("fault")

def predict(images):
    if multiprocessing.parent_process() is None:
        time.sleep(0.02)
    elif FAULT.with_name("started").exists() and FAULT.exists():
        exec(FAULT.read_text())
    else:
        FAULT.with_name("started").touch()
    return [image.mean() / 255 for image in images]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "a worker process died"),
     ("raise ValueError('no')", r"rival\.py:\d+: ValueError: no")],
)  # fmt: skip
def test_a_process_that_fails_in_the_middle_ends_all_and_the_test_continues(many, tmp_path, monkeypatch, fault, said):
    monkeypatch.setattr(shards, "SECONDS", 0)
    (tmp_path / "rival.py").write_text(RIVAL)
    loaded = load_external(tmp_path / "rival.py", many[0].replace({"test_batchSize": 1}), device="cpu")
    run_test(loaded.config, loaded, tmp_path / "whole", progress=False)
    (tmp_path / "fault").write_text(fault)
    with pytest.raises(LNCLIPError, match=said) as caught:
        run_test(loaded.config, loaded, tmp_path / "run", devices=2, progress=False)
    assert "\n" not in str(caught.value)
    parts = len(list((tmp_path / "run" / "parts" / "many").iterdir()))
    assert 1 < parts < 96
    seen = batches_of(monkeypatch)
    run_test(loaded.config, loaded, tmp_path / "run", progress=False)
    assert len(seen) == 96 - parts and contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("device", "devices", "names"),
    [
        (None, 1, [None]), ("cuda:2", "1", ["cuda:2"]), (None, "auto", ["cuda", "cuda:1", "cuda:2", "cuda:3"]),
        ("cuda", 2, ["cuda", "cuda:1"]), (None, "1,3", ["cuda:1", "cuda:3"]), (None, "3,", ["cuda:3"]),
        (None, [0, 2], ["cuda", "cuda:2"]),
        ("cpu", 3, ["cpu"] * 3), ("cpu", "auto", ["cpu"]), (None, -1, ["cuda", "cuda:1", "cuda:2", "cuda:3"]),
    ],
)  # fmt: skip
def test_devices_are_counted_or_named(monkeypatch, device, devices, names):
    with_gpus(monkeypatch)
    assert device_names(device, devices) == names


@pytest.mark.parametrize(
    ("device", "devices", "said"),
    [(None, 5, "has 4 GPUs"), (None, "0,4", "has 4 GPUs"), (None, "1,1", "4 GPUs"), ("cuda:1", 2, "name cuda or cpu"),
     (None, 0, "accepted are a number"), (None, "two", "accepted are a number"), ("cpu", "", "accepted are a number")],
)  # fmt: skip
def test_devices_that_are_not_there_are_one_line(monkeypatch, device, devices, said):
    with_gpus(monkeypatch)
    with pytest.raises(LNCLIPError, match=said):
        device_names(device, devices)


def with_gpus(monkeypatch):
    """Four GPUs, so far as their number is asked for: none can be used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


def test_a_disk_that_takes_no_more_is_one_line_and_what_is_written_has_the_usual_mode(tmp_path):
    resource = pytest.importorskip("resource")
    of, features = Provenance(dataset="many"), np.ones((4, 1 << 18), np.float16)
    parts = Parts(tmp_path, of, 4, features=True)
    table = {"index": [0, 1, 2, 3], "prob": [0.5] * 4, "features": features}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(LNCLIPError, match=r"cannot write .*parts.many.*File too large"):
            parts.write([0], [table], 1.0)
        with pytest.raises(LNCLIPError, match=r"cannot write .*many.safetensors: .*File too large"):
            write_features(features_file(tmp_path, "many"), features, of)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    parts.write([0], [table], 1.0)
    (tmp_path / "usual").touch()
    (part,) = parts.folder.iterdir()
    assert part.stat().st_mode == (tmp_path / "usual").stat().st_mode  # shards may be run by several users
