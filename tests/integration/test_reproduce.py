"""reproduce on miniatures: from videos to the leaderboard, ended at every stage and continued."""

import json
import logging
import shutil

import pytest
import trees
from commands import call, error_of
from tiny import configured

from lnclip_df import preprocess
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.schema import load_dataset
from lnclip_df.evaluation.predictions import read_coded
from lnclip_df.faces.detectors import shared_detector
from lnclip_df.faces.settings import CropSettings
from lnclip_df.media.recipe import add_recipe
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.preprocess import RunOptions
from lnclip_df.reproduce import run
from lnclip_df.reproduce.job import Detector, make_job
from lnclip_df.reproduce.plan import KINDS
from lnclip_df.training import train
from lnclip_df.weights import save_weights

SETS = ["FaceForensics++", "UADFV", "KoDF", "PolyGlotFake"]
BROKEN = "PolyGlotFake/json_file/real_json_file/all_real_video.json"
WORK = {  # the function that does the work of each stage
    "preprocess": (preprocess.run, "write_manifest"),
    "rearrange": (run, "rearrange"),
    "audit": (run, "audit_dataset"),
    "train": (train, "train"),
    "test": (run, "test"),
    "leaderboard": (run, "leaderboard"),
}


class Killed(BaseException):
    """Ends a stage as a signal does."""


def ended_after(work):
    """The function ``work``, whose process ends before its result is recorded."""

    def end(*arguments, **options):
        work(*arguments, **options)
        raise Killed

    return end


def dataset_setting(key, *names):
    return f"{key}=[{', '.join(names)}]"


def job_of(root, out, *overrides):
    training = [dataset_setting(key, "FaceForensics++") for key in ("train_dataset", "lnclip.val_dataset")]
    config = configured(root, *training, dataset_setting("lnclip.benchmarks", *SETS), "compression=c23", *overrides)
    return make_job({"trained": Detector(config)}, root, out, faces=out / "faces")


def carry_out(job, kinds=KINDS):
    return run.reproduce(job, kinds, RunOptions(1, progress=False), {"accelerator": "cpu", "devices": 1})


def scores(out):
    """The frames' probabilities of every dataset."""
    return {path.stem: read_coded(path)[0]["prob"].tolist() for path in out.glob("trained/predictions/*.parquet")}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Videos of FaceForensics++ and UADFV; PolyGlotFake with a damaged list; KoDF is absent."""
    pytest.importorskip("av")
    pytest.importorskip("retinaface")
    pytest.importorskip("skimage")
    from tree_videos import write_videos

    root = tmp_path_factory.mktemp("root")
    for tree in (trees.faceforensics(("c23",), ("Deepfakes",)), trees.TREES["UADFV"], trees.TREES["PolyGlotFake"]):
        write_videos(root, tree)
    (root / BROKEN).write_text("[")
    return root


@pytest.mark.slow
def test_a_run_that_is_ended_at_every_stage_gives_what_an_uninterrupted_one_gives(root, tmp_path, monkeypatch, caplog):
    whole, ended = tmp_path / "whole", tmp_path / "ended"
    caplog.set_level(logging.INFO, "lnclip_df")
    report = carry_out(job_of(root, whole))
    assert "training on cpu" in caplog.text and "nothing to resume" not in caplog.text
    assert report["failures"] == {} and set(report["datasets"]) == {"FaceForensics++", "UADFV"}
    assert report["missing"]["KoDF"]["absent"] and "kodf@deepbrainai.io" in report["missing"]["KoDF"]["access"]
    assert not report["missing"]["PolyGlotFake"]["absent"] and "not JSON" in report["missing"]["PolyGlotFake"]["why"]
    assert "UADFV" in (whole / "leaderboard" / "leaderboard.md").read_text()
    text = (whole / "report.md").read_text()
    assert "(few)" in text and "fewer than 20 videos of a class" in text
    assert all(words in text for words in ("KoDF, not on disk", "PolyGlotFake, it cannot be used", "LNCLIP-DF"))

    for kind, (module, name) in WORK.items():
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(module, name, ended_after(getattr(module, name)))
            carry_out(job_of(root, ended))
        records = json.loads((ended / "stages.json").read_text())
        assert [stage.split()[0] for stage, record in records.items() if record["gave"] is None] == [kind]
    assert carry_out(job_of(root, ended))["failures"] == {}
    assert scores(ended) == scores(whole) and set(scores(whole)) == {"FaceForensics++", "UADFV"}
    for name in ("FaceForensics++", "UADFV"):
        files = (whole / "dataset_json" / f"{name}.json", ended / "dataset_json" / f"{name}.json")
        assert files[0].read_bytes() == files[1].read_bytes()

    for module, name in WORK.values():  # nothing is left to do
        monkeypatch.setattr(module, name, None)
    again = carry_out(job_of(root, ended))
    assert again["failures"] == {} and all(facts["to_do"] == 0 for facts in again["stages"].values())


@pytest.mark.slow
def test_changed_videos_are_tested_again_and_a_training_on_others_is_refused(root, tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(root, videos)
    carry_out(job_of(videos, out))
    before = scores(out)

    real, fake = sorted((videos / "UADFV" / "real").iterdir())[0], sorted((videos / "UADFV" / "fake").iterdir())[0]
    shutil.copy(fake, real)
    assert carry_out(job_of(videos, out))["failures"] == {}
    after = scores(out)
    assert after["UADFV"] != before["UADFV"] and after["FaceForensics++"] == before["FaceForensics++"]

    original = videos / "FaceForensics++" / "original_sequences" / "youtube" / "c23" / "videos"
    shutil.copy(original / "054.mp4", original / "071.mp4")  # both are of train
    failures = carry_out(job_of(videos, out))["failures"]
    assert "was trained on other videos or crops of train of FaceForensics++" in failures["train trained"]
    assert failures["test trained FaceForensics++"] == "train trained failed"
    shutil.rmtree(out / "trained")
    assert carry_out(job_of(videos, out))["failures"] == {}

    for path in videos.rglob("*.mp4"):
        path.unlink()
    removed = carry_out(job_of(videos, out))
    assert removed["failures"] == {} and removed["stages"]["train"]["finished"] == 1
    assert all(facts["to_do"] == 0 for facts in removed["stages"].values())


@pytest.fixture
def with_faces(tmp_path):
    """Faces of UADFV alone, and the weights of an untrained detector."""
    trees.build_faces(tmp_path / "rgb", trees.TREES["UADFV"], frames=(0, 1))
    config = configured(tmp_path)
    save_weights(LNCLIPDetector(config), tmp_path / "mine.safetensors", {"config": config.to_dict()})
    return tmp_path


def arguments(folder, *more):
    given = ["--root", folder / "rgb", "--out", folder / "run", "--datasets", "UADFV,KoDF", "--accelerator", "cpu"]
    return ["reproduce", *given, "--weights", folder / "mine.safetensors", "--quiet", *more]


@pytest.mark.slow
def test_weights_are_tested_on_faces_that_are_there(with_faces):
    result = call(*arguments(with_faces))
    assert result.exit_code == 0, result.output
    report = json.loads((with_faces / "run" / "report.json").read_text())
    assert report["datasets"]["UADFV"]["auroc"].keys() == {"mine"} and report["stages"]["train"]["finished"] == 0
    assert "mine" in (with_faces / "run" / "leaderboard" / "leaderboard.md").read_text()
    assert "KoDF, not on disk" in result.stdout and "kodf@deepbrainai.io" in result.stdout


@pytest.mark.slow
def test_crops_of_more_frames_are_refused_with_the_way_to_use_them_as_they_are(with_faces):
    pytest.importorskip("retinaface")
    settings = CropSettings(face="largest")
    recipe = settings.recipe(shared_detector(settings, 1))
    trees.build_videos(with_faces / "rgb", trees.TREES["UADFV"])
    for path in (with_faces / "rgb").rglob("frames/*/*.png"):
        path.write_bytes(add_recipe(path.read_bytes(), recipe))
    refused = call(*arguments(with_faces, "--datasets", "UADFV"))
    assert refused.exit_code == 1 and "sampling.frames 32, now 2" in refused.output
    assert "leave out the stage preprocess to use them as they are" in refused.output
    result = call(*arguments(with_faces, "--datasets", "UADFV", "--stages", "rearrange,audit,test,leaderboard"))
    assert result.exit_code == 0 and (with_faces / "run" / "mine" / "metrics" / "UADFV.json").is_file(), result.output


@pytest.mark.slow
def test_a_test_in_shards_gives_that_of_one_process(with_faces, monkeypatch):
    few = ["--set", "test_batchSize=3"]
    assert call(*arguments(with_faces, *few, "--devices", "1")).exit_code == 0
    expected = read_coded(with_faces / "run" / "mine" / "predictions" / "UADFV.parquet")[0]["prob"].tolist()
    shutil.rmtree(with_faces / "run" / "mine")
    (with_faces / "run" / "stages.json").unlink()
    assert call(*arguments(with_faces, *few, "--stages", "rearrange,audit")).exit_code == 0
    metrics = with_faces / "run" / "mine" / "metrics" / "UADFV.json"
    for shard, there in (("2/2", False), ("1/2", True)):
        result = call(*arguments(with_faces, *few, "--stages", "test", "--shard", shard))
        assert result.exit_code == 0 and metrics.exists() == there, result.output
    written, devices, genuine = metrics.stat().st_mtime_ns, [], run.test
    records = with_faces / "run" / "stages.json"

    def test(*arguments, **options):
        """Test, while another process records a stage."""
        devices.append(options["devices"])
        before = json.loads(records.read_text())
        records.write_text(json.dumps(before | {"another stage": next(iter(before.values()))}))
        return genuine(*arguments, **options)

    monkeypatch.setattr(run, "test", test)
    assert call(*arguments(with_faces, *few, "--devices", "1")).exit_code == 0
    assert devices == ["1"] and metrics.stat().st_mtime_ns == written  # the whole run finds it finished
    assert "another stage" in json.loads(records.read_text())
    assert read_coded(with_faces / "run" / "mine" / "predictions" / "UADFV.parquet")[0]["prob"].tolist() == expected


@pytest.mark.slow
def test_parts_of_other_videos_are_not_continued(with_faces, monkeypatch):
    stages = ["--set", "test_batchSize=3", "--stages"]
    assert call(*arguments(with_faces, *stages, "rearrange,audit")).exit_code == 0
    assert call(*arguments(with_faces, *stages, "test", "--shard", "1/2")).exit_code == 0
    faces = sorted((with_faces / "rgb" / "UADFV").rglob("*.png"))
    faces[0].unlink()  # of the first video
    refused = call(*arguments(with_faces, *stages, "test", "--shard", "1/2"))
    assert refused.exit_code == 1 and "test it once without shard" in refused.stderr
    result = call(*arguments(with_faces, *stages, "rearrange,test"))
    assert result.exit_code == 0, result.output
    assert not (with_faces / "run" / "mine" / "parts").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"audit UADFV": {}}', '{"audit UADFV": {"made_from": 1}}'])
def test_damaged_records_are_one_line(with_faces, text):
    (with_faces / "run").mkdir()
    (with_faces / "run" / "stages.json").write_text(text)
    assert "stages.json" in error_of(call(*arguments(with_faces)))


def test_a_dry_run_shows_the_plan_and_writes_nothing(with_faces):
    result = call(*arguments(with_faces, "--dry-run"))
    assert result.exit_code == 0, result.output
    assert "estimates" in result.stdout and "| rearrange " in result.stdout and "KoDF, not on disk" in result.stdout
    assert not (with_faces / "run").exists()


@pytest.mark.slow
def test_a_dataset_that_fails_is_named_and_stops_no_other(with_faces):
    twice = with_faces / "rgb" / "UADFV" / "again" / "real"
    shutil.copytree(with_faces / "rgb" / "UADFV" / "real", twice)
    trees.build_faces(with_faces / "rgb", trees.TREES["Celeb-DF-v2"], frames=(0, 1))
    assert call(*arguments(with_faces, "--datasets", "Celeb-DF-v2")).exit_code == 1
    report = json.loads((with_faces / "run" / "report.json").read_text())
    assert list(report["failures"]) == ["rearrange UADFV", "test mine UADFV"]
    assert report["datasets"]["Celeb-DF-v2"]["auroc"].keys() == {"mine"}
    shutil.rmtree(twice)
    assert call(*arguments(with_faces, "--datasets", "Celeb-DF-v2")).exit_code == 0
    assert "UADFV" in (with_faces / "run" / "leaderboard" / "leaderboard.md").read_text()


@pytest.mark.slow
def test_faces_are_cut_and_read_where_the_yaml_of_a_dataset_says(root, tmp_path):
    """Below a folder that is neither the root nor the run."""
    shutil.copytree(root / "UADFV", tmp_path / "rgb" / "UADFV")
    spec = load_dataset("UADFV").model_copy(update={"faces": str(tmp_path / "shelf")})
    training = [dataset_setting(key, "FaceForensics++") for key in ("train_dataset", "lnclip.val_dataset")]
    detectors = {"trained": Detector(configured(tmp_path, *training))}
    job = make_job(detectors, tmp_path / "rgb", tmp_path / "run", datasets=[spec])
    report = carry_out(job, ["preprocess", "rearrange"])
    assert set(report["failures"]) == {"train trained"} and report["datasets"]["UADFV"]["faces"] > 0
    videos = read_videos(job.detectors["trained"].config, ["UADFV"], "test")
    assert not list((tmp_path / "rgb").rglob("*.png"))
    assert videos and all(str(frame).startswith(str(tmp_path / "shelf")) for v in videos for frame in v.frames)


@pytest.mark.parametrize(("extended", "needs_a_detector"), [("gend/clip.yaml", True), ("lnclip.yaml", False)])
def test_the_configuration_decides_the_crops_not_its_name(tmp_path, extended, needs_a_detector):
    yaml = tmp_path / ("mine.yaml" if needs_a_detector else "gendered.yaml")
    yaml.write_text(f"extends: {extended}\n")
    (tmp_path / "rgb").mkdir()
    run = ["--root", tmp_path / "rgb", "--out", tmp_path / "run", "--datasets", "UADFV", "--dry-run"]
    result = call("reproduce", *run, "--recipe", yaml)
    assert ("recipe gend: detector is missing" in result.stderr) == needs_a_detector
    assert result.exit_code == (1 if needs_a_detector else 0)


def test_a_dataset_of_one_class_is_missing(with_faces):
    """FaceShifter's real videos are those of FaceForensics++: they alone are no dataset."""
    trees.build_faces(with_faces / "rgb", trees.faceforensics(("c23",), ("Deepfakes",)), frames=(0, 1))
    result = call(*arguments(with_faces, "--dry-run", "--datasets", "FaceShifter"))
    assert "* FaceShifter, not on disk: no split has real and fake videos: test." in result.stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--stages", "preprocess,tests"], "'tests' received"),
        (["--shard", "1/2"], "can only be preprocessed or tested"),
        (["--datasets", "nothing"], "no dataset nothing"),
        (["--weights", "absent.safetensors"], "no weights file absent.safetensors"),
        (["--root", "nowhere"], "nowhere is not a folder"),
        (["--against", "nothing"], "published row"),
    ],
)
def test_wrong_options_are_one_line(with_faces, more, message):
    assert message in error_of(call(*arguments(with_faces, *more)))


@pytest.mark.slow
def test_without_the_training_set_nothing_is_tested_and_the_report_says_why(with_faces):
    result = call("reproduce", "--root", with_faces / "rgb", "--out", with_faces / "run", "--datasets", "UADFV")
    assert result.exit_code == 1
    assert "no real and fake videos are on disk of the train split of FaceForensics++" in result.stdout
    assert (with_faces / "run" / "dataset_json" / "UADFV.json").is_file()
