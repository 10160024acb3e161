"""The plan of a reproduction: which stages are finished, to do or blocked, by what is on disk and recorded."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lnclip_df import LNCLIPError, load_config
from lnclip_df.reproduce.job import Detector, OnDisk, make_job
from lnclip_df.reproduce.plan import KINDS, Record, make_plan, seconds_for
from lnclip_df.reproduce.report import make_report

SETS = ("FaceForensics++", "Celeb-DF-v2", "UADFV")
ROOT = Path(__file__).parent
ABSENT = OnDisk(Counter(), fault="no folder", absent=True)


def on_disk(version="1", videos=10):
    """A dataset with so many videos in each split; ``version`` changes those of test."""
    splits = ("train", "val", "test")
    source = {split: f"{split} {version if split == 'test' else '1'}" for split in splits}
    return OnDisk(Counter(dict.fromkeys(splits, videos)), 3 * videos, source=source, cut="", faces=1)


def job_of(tests=SETS, **settings):
    config = load_config("lnclip.yaml", {"lnclip.val_dataset": ["FaceForensics++"], **settings})
    return make_job({"trained": Detector(config)}, ROOT, ROOT / "out", datasets=tests)


def plan_of(job, disk, records=(), **how):
    return make_plan(job, disk, dict(records), given=lambda stage: "its files", **how)


def recorded(plan):
    return {stage.id: Record(stage.made_from, "its files") for stage in plan.stages}


def states(plan):
    return {stage.id: stage.state for stage in plan.stages}


def test_without_records_everything_is_to_do_in_the_order_of_work():
    plan = plan_of(job_of(), dict.fromkeys(SETS, on_disk()))
    assert set(states(plan).values()) == {"to do"}
    assert [stage.kind for stage in plan.stages] == sorted((s.kind for s in plan.stages), key=KINDS.index)
    assert {kind: len(plan.to_do(kind)) for kind in KINDS} == {
        "preprocess": 3, "rearrange": 3, "audit": 3, "train": 1, "test": 3, "leaderboard": 1
    }  # fmt: skip


def test_what_is_recorded_and_on_disk_is_finished():
    job, disk = job_of(), dict.fromkeys(SETS, on_disk())
    records = recorded(plan_of(job, disk))
    assert set(states(plan_of(job, disk, records)).values()) == {"finished"}
    gone = make_plan(job, disk, records, given=lambda stage: None if stage.id == "audit UADFV" else "its files")
    assert [stage.id for stage in gone.stages if stage.state != "finished"] == ["audit UADFV"]
    begun = {**records, "train trained": Record(records["train trained"].made_from)}
    assert states(plan_of(job, disk, begun))["train trained"] == "to do"


def test_changed_videos_are_done_again_with_all_that_depends_on_them_and_nothing_else():
    job, disk = job_of(), dict.fromkeys(SETS, on_disk())
    plan = plan_of(job, {**disk, "UADFV": on_disk("2")}, recorded(plan_of(job, disk)))
    again = {stage.id: stage.why for stage in plan.stages if stage.state == "to do"}
    of_uadfv = ["preprocess UADFV", "rearrange UADFV", "audit UADFV", "test trained UADFV"]
    assert list(again) == [*of_uadfv, "leaderboard"]
    assert {again[name] for name in of_uadfv} == {"changed: test of UADFV"}


def test_other_words_about_a_dataset_audit_it_again_and_leave_the_rest():
    job, disk = job_of(), dict.fromkeys(SETS, on_disk())
    said = job.datasets["UADFV"].model_copy(update={"notes": ["one more"]})
    job_after = replace(job, datasets={**job.datasets, "UADFV": said})
    plan = plan_of(job_after, disk, recorded(plan_of(job, disk)))
    assert [stage.id for stage in plan.stages if stage.state == "to do"] == ["audit UADFV"]


def test_other_crops_begin_anew():
    job, disk = job_of(), dict.fromkeys(SETS, on_disk())
    records = recorded(plan_of(job, disk))
    found = states(plan_of(replace(job, crops=replace(job.crops, scale=1.5)), disk, records))
    assert set(found.values()) == {"to do"}


def test_a_detector_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in (("det.onnx", "one"), ("copy.onnx", "one"), ("other.onnx", "two")):
        (tmp_path / name).write_text(content)
    job, disk = job_of(), dict.fromkeys(SETS, on_disk())

    def cut_with(path):
        return replace(job, crops=replace(job.crops, detector=str(path)))

    records = recorded(plan_of(cut_with("det.onnx"), disk))
    for path in ("./det.onnx", tmp_path / "det.onnx", "copy.onnx"):
        assert set(states(plan_of(cut_with(path), disk, records)).values()) == {"finished"}
    assert set(states(plan_of(cut_with("other.onnx"), disk, records)).values()) == {"to do"}


def test_videos_may_be_removed_after_the_cutting_while_the_faces_stay_the_same():
    job, disk = job_of(), dict.fromkeys(SETS, on_disk())
    records = recorded(plan_of(job, disk))
    of_faces = {split: f"{split} faces" for split in ("train", "val", "test")}
    removed = replace(on_disk(), videos=0, source=of_faces, cut="its files")
    found = states(plan_of(job, dict.fromkeys(SETS, removed), records))
    assert set(found.values()) == {"finished"} and "train trained" in found
    other = dict.fromkeys(SETS, replace(removed, cut="other files"))
    assert set(states(plan_of(job, other, records)).values()) == {"to do"}


def test_a_run_on_the_cpu_is_reported_where_pytorch_cannot_use_the_gpu(unusable):
    job = job_of()
    report = make_report(job, plan_of(job, dict.fromkeys(SETS, on_disk())), {}, {})
    assert report["stages"]["train"]["seconds_to_do"] > 0


def test_an_unknown_published_row_is_refused_before_the_work():
    with pytest.raises(LNCLIPError, match="published row"):
        make_job({"trained": Detector(load_config("lnclip.yaml"))}, ROOT, ROOT / "out", against="LNCLIP")


def test_a_further_benchmark_leaves_training_and_finished_tests_as_they_are():
    disk = dict.fromkeys(SETS, on_disk())
    records = recorded(plan_of(job_of(["Celeb-DF-v2"]), disk))
    found = states(plan_of(job_of(), disk, records))
    assert found["train trained"] == found["test trained Celeb-DF-v2"] == "finished"
    assert found["test trained FaceForensics++"] == found["test trained UADFV"] == "to do"


def test_another_setting_trains_and_tests_again():
    disk = dict.fromkeys(SETS, on_disk())
    records = recorded(plan_of(job_of(), disk))
    found = plan_of(job_of(manualSeed=7), disk, records)
    assert {stage.kind for stage in found.stages if stage.state == "to do"} == {"train", "test", "leaderboard"}
    assert found.to_do("train")[0].why == "changed: settings"
    assert set(states(plan_of(job_of(workers=3), disk, records)).values()) == {"finished"}  # a matter of speed


def test_an_absent_benchmark_has_no_stage_and_an_absent_training_set_blocks_what_needs_it():
    disk = dict.fromkeys(SETS, on_disk())
    found = states(plan_of(job_of(), {**disk, "UADFV": ABSENT}))
    assert set(found.values()) == {"to do"} and not [name for name in found if "UADFV" in name]
    plan = plan_of(job_of(), {**disk, "FaceForensics++": ABSENT})
    assert {stage.kind for stage in plan.stages if stage.state == "blocked"} == {"train", "test", "leaderboard"}
    train = next(stage for stage in plan.stages if stage.kind == "train")
    assert "train split of FaceForensics++" in train.why and "val split" in train.why
    assert len(plan.to_do("preprocess")) == 2


def test_faces_without_videos_are_taken_as_they_are():
    disk = dict.fromkeys(SETS, replace(on_disk(), videos=0, faces=30, crops=960))
    assert "preprocess" not in {stage.kind for stage in plan_of(job_of(), disk).stages}


def test_stages_can_be_chosen():
    disk = dict.fromkeys(SETS, on_disk())
    plan = plan_of(job_of(), disk, kinds=["audit"])
    assert {stage.state for stage in plan.stages if stage.kind != "audit"} == {"not chosen"}
    assert len(plan.to_do("audit")) == 3
    with pytest.raises(LNCLIPError, match="'tests' received; accepted are preprocess"):
        plan_of(job_of(), disk, kinds=["tests"])


def test_only_the_splits_that_are_needed_are_asked_for():
    assert job_of().splits == {
        "FaceForensics++": ("train", "val", "test"), "Celeb-DF-v2": ("test",), "UADFV": ("test",)
    }  # fmt: skip
    assert job_of(["CDFv2"]).splits == {"Celeb-DF-v2": ("test",), "FaceForensics++": ("train", "val")}


def test_time_is_estimated_by_the_rate_of_this_run_else_of_the_benchmarks():
    records = {name: Record({}, seconds=n / 10, images=n) for name, n in (("test a UADFV", 100), ("test a DFDC", 200))}
    assert seconds_for("test", 1000, records, measured=True) == pytest.approx(100)
    assert seconds_for("preprocess", 1000, {}, measured=False) > 0
    assert seconds_for("test", 1000, {}, measured=False) is None
