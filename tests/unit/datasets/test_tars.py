"""Crops in tars are the same data set as those in folders: same JSON, database, audit, predictions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import trees
from tars import into_tars
from tiny import make_toy, toy_with_weights

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets import lmdb as database
from lnclip_df.datasets import scan_faces
from lnclip_df.datasets.audit import AuditOptions, audit
from lnclip_df.datasets.lmdb import write_lmdb
from lnclip_df.datasets.new import new_dataset
from lnclip_df.datasets.rearrange import rearrange
from lnclip_df.evaluation.predictions import read_coded
from lnclip_df.evaluation.test import test as lnclip_test
from lnclip_df.scoring.find_faces import read_aligned_faces
from lnclip_df.scoring.inputs import find_inputs
from lnclip_df.scoring.options import ScoreOptions


@pytest.mark.parametrize("name", ["Celeb-DF-v2", "FFIW"])
def test_the_scan_and_the_json_are_those_of_folders(tmp_path, name):
    root = trees.build_faces(tmp_path, trees.TREES[name])
    items = scan_faces(name, root)
    [path, *_] = rearrange(name, root, tmp_path / "json", relative_to=root)
    report = str(audit(name, items, AuditOptions(workers=1, progress=False)))
    assert into_tars(root) and not list(root.rglob("[0-9]*.png"))
    assert scan_faces(name, root) == items
    [again, *_] = rearrange(name, root, tmp_path / "json2", relative_to=root)
    assert again.read_bytes() == path.read_bytes()
    assert str(audit(name, items, AuditOptions(workers=1, progress=False))) == report
    assert any(len(item.masks) for item in items) == (name != "Celeb-DF-v2")


@pytest.mark.slow
def test_predictions_from_tars_are_those_from_files(tmp_path):
    config, weights = toy_with_weights(tmp_path)
    lnclip_test(config, weights, tmp_path / "files", device="cpu", progress=False)
    into_tars(tmp_path)
    lnclip_test(config, weights, tmp_path / "tars", device="cpu", progress=False)
    files, tars = (read_coded(tmp_path / out / "predictions" / "toy.parquet")[0] for out in ("files", "tars"))
    assert files["prob"].tolist() == tars["prob"].tolist() and len(files["prob"]) == 24
    assert str(files) == str(tars)


def test_the_database_is_that_of_files(tmp_path):
    root = make_toy(tmp_path)
    file = root / "preprocessing" / "dataset_json" / "toy.json"
    for folder in (root / "frames" / "demo_real").iterdir():
        landmarks = root / "landmarks" / "demo_real" / folder.name
        landmarks.mkdir(parents=True)
        np.save(landmarks / "000.npy", np.ones((81, 2)))
    one = write_lmdb(file, root / "one", data_root=root, progress=False)
    into_tars(root)
    other = write_lmdb(file, root / "other", data_root=root, progress=False)
    assert one.frames == 96 and one.landmarks == 24 and one[1:] == other[1:]
    frames = [
        frame for videos in json.loads(file.read_text())["toy"].values() for frame in videos["test"]["20"]["frames"]
    ]
    for frame in frames:
        assert database.read_value(one.path, frame) == database.read_value(other.path, frame)
    database.close_databases()


def test_a_folder_of_tars_is_scored_as_the_folder_of_crops(tmp_path):
    frames = make_toy(tmp_path) / "frames" / "demo_real"
    options = ScoreOptions(aligned=True)
    of_folders = [read_aligned_faces(file, options) for file in find_inputs(frames)]
    into_tars(tmp_path)
    of_tars = [read_aligned_faces(file, options) for file in find_inputs(frames)]
    assert len(of_tars) == len(of_folders) == 24
    for one, other in zip(of_folders, of_tars, strict=True):
        assert other.result == replace(one.result, path=f"{one.result.path}.tar")
        for face, same in zip(one.faces, other.faces, strict=True):
            np.testing.assert_array_equal(face.crop, same.crop)


def test_a_damaged_tar_is_a_line_that_names_it(tmp_path):
    root = make_toy(tmp_path)
    file = root / "preprocessing" / "dataset_json" / "toy.json"
    tar = into_tars(root)[0]
    tar.write_bytes(tar.read_bytes()[:-1])
    with pytest.raises(LNCLIPError, match=rf"the first is .*: {tar} is damaged.*; nothing was written"):
        write_lmdb(file, root / "lmdb", data_root=root, progress=False)


@pytest.mark.parametrize("how", ["folders", "table", "table of tars"])
def test_a_data_set_of_tars_is_made_as_of_folders(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNCLIP_DATASETS", raising=False)
    make_toy(tmp_path)
    into_tars(tmp_path)
    if how == "folders":
        new_dataset("mine", tmp_path / "frames" / "demo_real", {"": tmp_path / "frames" / "demo_fake"})
    else:
        suffix = ".tar" if how == "table of tars" else ""
        rows = [
            f"{label}/{number}{suffix},{label[5:]}\n" for label in ("demo_real", "demo_fake") for number in range(24)
        ]
        (tmp_path / "frames" / "list.csv").write_text("path,label\n" + "".join(rows))
        new_dataset("mine", table=tmp_path / "frames" / "list.csv")
    items = scan_faces("mine")
    assert len(items) == 48 and {len(item.frames) for item in items} == {2}
    assert {item.fake for item in items} == {False, True}
