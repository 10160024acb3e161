"""Every dataset on a miniature tree of its layout, all the way: videos, faces, dataset JSON, audit, evaluation."""

from pathlib import PurePosixPath

import pytest
import trees

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets import scan_faces, scan_videos
from lnclip_df.datasets.audit import AuditOptions, audit, audit_dataset
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.rearrange import rearrange
from lnclip_df.datasets.schema import load_dataset
from lnclip_df.evaluation.predictions import read_coded
from lnclip_df.evaluation.test import test as lnclip_test
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.preprocess import preprocess_dataset
from lnclip_df.weights import save_weights

pytest.importorskip("av")
pytest.importorskip("retinaface")
pytest.importorskip("skimage")
from clips import options
from tiny import configured
from tree_videos import write_videos

VAL_PARTS = ("Celeb-DF-v2", "DeepSpeak-v1.1", "DeepSpeak-v2.0", "FFIW")


def make(root, name):
    """Faces and dataset JSON of a miniature tree below ``root``; returns the summary of preprocessing."""
    write_videos(root, trees.TREES[name])
    summary = preprocess_dataset(name, root, None, *options(frames=2))
    rearrange(name, root, root / "preprocessing" / "dataset_json", relative_to=root)
    return summary


@pytest.mark.parametrize("name", trees.TREES)
def test_from_videos_to_figures(name, tmp_path):
    summary = make(tmp_path, name)
    videos = scan_videos(name, tmp_path)
    assert summary.counts == {"done": len(videos)} and summary.faces == 2 * len(videos)
    assert summary.recipe.facts["face"] == load_dataset(name).face

    items = scan_faces(name, tmp_path)
    assert [item.path for item in items] == [item.path for item in videos]
    assert [item.splits for item in items] == [item.splits for item in videos]
    for item, video in zip(items, videos, strict=True):
        assert len(item.frames) == 2 and (video.mask is None or len(masks_of(item)) == 2)

    report = audit(name, items, AuditOptions(frames=2, workers=1, progress=False))
    assert set(report.recipes) == {summary.recipe.fingerprint}
    problems = [finding for finding in report.findings if finding.status == "problem"]
    assert {finding.name for finding in problems} <= {"counts", "methods"}, report  # a miniature lacks most videos

    config = configured(tmp_path, "compression=c23")
    tested = read_videos(config, [name], "test")
    used = [item for item in items if "test" in item.splits and item.level in (None, "c23")]
    assert sorted(video.name for video in tested) == sorted(item.name for item in used)
    assert {video.label for video in tested} == {0, 1}
    weights = tmp_path / "weights.safetensors"
    save_weights(LNCLIPDetector(config), weights, {"config": config.to_dict()})
    result = lnclip_test(config, weights, tmp_path / "run", datasets=[name], device="cpu", progress=False)[name]
    assert result["videos"] == len(tested) and result["frames"] == 2 * len(tested) and result["skipped_frames"] == []
    assert 0 <= result["video"]["auroc"] <= 1 and set(result["crops"]) == {summary.recipe.fingerprint}
    methods = read_coded(tmp_path / "run" / "predictions" / f"{name}.parquet")[0]["method"].values
    several = {item.label: {i.method for i in items if i.label == item.label} for item in used if item.fake}
    wanted = {item.method for item in used if item.fake and len(several[item.label]) > 1}
    assert set(methods) - {""} == wanted


def masks_of(item):
    folder = item.frames[0].parent.parent.parent / "masks" / PurePosixPath(item.path).name
    return list(folder.glob("*.png"))


def test_the_validation_set_is_cut_and_drawn_from_its_parts(tmp_path):
    for name in VAL_PARTS:
        write_videos(tmp_path, trees.TREES[name])
    summary = preprocess_dataset("LNCLIP-val", tmp_path, None, *options(frames=2))
    drawn = scan_videos("LNCLIP-val", tmp_path)
    assert [result.key for result in sorted(summary.results, key=lambda r: r.key)] == [item.path for item in drawn]
    rearrange("LNCLIP-val", tmp_path, tmp_path / "preprocessing" / "dataset_json", relative_to=tmp_path)
    config = configured(tmp_path)
    keys = {split: {video.name for video in read_videos(config, ["LNCLIP-val"], split)} for split in ("val", "test")}
    assert keys["val"] == keys["test"] == {item.name for item in drawn}
    tests = {item.path for name in VAL_PARTS for item in scan_videos(name, tmp_path) if "test" in item.splits}
    assert not tests & {item.path for item in drawn}
    faces = {summary.folders[item.path].relative_to(tmp_path.resolve()).parts[0] for item in drawn}
    assert len(faces) == len(VAL_PARTS)


def test_only_the_split_asked_for_is_cut(tmp_path):
    write_videos(tmp_path, trees.TREES["Celeb-DF-v2"])
    summary = preprocess_dataset("Celeb-DF-v2", tmp_path, None, *options(frames=2), splits=["test"])
    wanted = [item.path for item in scan_videos("Celeb-DF-v2", tmp_path) if "test" in item.splits]
    assert [result.key for result in summary.results] == wanted

    def problems(**chosen):
        found = audit_dataset("Celeb-DF-v2", tmp_path, AuditOptions(frames=2, workers=1, progress=False), **chosen)
        return {finding.name for finding in found.findings if finding.status == "problem"}

    assert "faces" in problems() and "faces" not in problems(splits=["test"])


def test_a_validation_set_without_some_of_its_parts_is_cut_if_that_is_allowed(tmp_path):
    write_videos(tmp_path, trees.TREES["FFIW"])
    with pytest.raises(LNCLIPError, match="part Celeb-DF-v2 is missing"):
        preprocess_dataset("LNCLIP-val", tmp_path, None, *options(frames=2))
    summary = preprocess_dataset("LNCLIP-val", tmp_path, None, *options(frames=2), allow_missing=True)
    assert {result.key.split("/")[0] for result in summary.results} == {"FFIW10K-v1-release"}


def test_faces_of_training_videos_alone_have_a_dataset_json(tmp_path):
    """The list of tests, which names none of them, is still this dataset's."""
    write_videos(tmp_path, trees.TREES["Celeb-DF-v2"])
    preprocess_dataset("Celeb-DF-v2", tmp_path, None, *options(frames=2), splits=["train"])
    rearrange("Celeb-DF-v2", tmp_path, tmp_path / "preprocessing" / "dataset_json", relative_to=tmp_path)
    wanted = {item.name for item in scan_videos("Celeb-DF-v2", tmp_path) if "train" in item.splits}
    assert {video.name for video in read_videos(configured(tmp_path), ["Celeb-DF-v2"], "train")} == wanted
