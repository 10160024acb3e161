"""Each thing that stops or spoils a run in DeepfakeBench has a finding of its own, and a sound checkout has none."""

import json
import shutil
import sys

import pytest
import yaml
from checkouts import make_checkout
from real_checkouts import json_of
from tiny import write_dataset
from trees import write

from lnclip_df.bench import doctor as module
from lnclip_df.bench.doctor import Finding, doctor
from lnclip_df.bench.install import install, uninstall
from lnclip_df.bench.probe import probe
from lnclip_df.config.files import bench_configs
from lnclip_df.media.crop_files import new_tar

pytestmark = pytest.mark.slow

SOUND = {
    "absent": [],
    "versions": {"numpy": "1.26.4", "albumentations": "1.3.1", "opencv-python": None, "opencv-python-headless": "4.11"},
    "gpus": 1,
    "import_error": None,
    "scripts": {"training/train.py": None, "training/test.py": None},
}


def write_json(root, dataset, split, videos):
    """``videos``: ``{folder: (label, frames)}``; the frames are made."""
    index = {}
    for folder, (label, count) in videos.items():
        frames = [f"./rgb/{folder}/{k:03d}.png" for k in range(count)]
        for frame in frames:
            write(root / frame, b"picture")
        index.setdefault(label, {split: {}})[split][folder] = {"label": label, "frames": frames}
    write_dataset(root, dataset, index)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout in which nothing is lacking."""
    monkeypatch.setattr(module, "probe", lambda root, detector_path: SOUND)
    root = make_checkout(tmp_path / "bench")
    predictor = root / "preprocessing/dlib_tools/shape_predictor_81_face_landmarks.dat"
    predictor.parent.mkdir(parents=True)
    predictor.touch()
    install(root)
    change_yaml(root, train_dataset=["demo"], train_batchSize=2)
    write_json(root, "demo", "train", {"a/1": ("demo_real", 3), "a/2": ("demo_fake", 3)})
    write_json(root, "LNCLIP-val", "test", {"b/1": ("demo_real", 3), "b/2": ("demo_fake", 3)})
    return root


def change_yaml(root, **values):
    path = root / "lnclip.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def change_index(root, dataset, change):
    index = json.loads(json_of(root, dataset).read_text())[dataset]
    for label in index.values():
        for videos in label.values():
            for video in videos.values():
                change(video)
    write_dataset(root, dataset, index)


def pretend(monkeypatch, **values):
    monkeypatch.setattr(module, "probe", lambda root, detector_path: {**SOUND, **values})


def faults(root):
    """What is not ok, by name; the first where several share one."""
    return {f.name: f for f in reversed(doctor(root)) if f.status != "ok"}


def test_a_sound_checkout_has_no_fault(checkout):
    assert faults(checkout) == {}


def test_another_folder_is_the_only_finding(tmp_path):
    (finding,) = doctor(tmp_path)
    assert finding.status == "problem" and "not a DeepfakeBench checkout" in finding.found


@pytest.mark.parametrize(
    ("values", "name", "status"),
    [
        ({"absent": ["imgaug", "numpy<2"]}, "packages", "problem"),
        ({"versions": {**SOUND["versions"], "numpy": "2.1.0"}}, "numpy", "problem"),
        ({"versions": {**SOUND["versions"], "albumentations": "2.0.8"}}, "albumentations", "problem"),
        ({"versions": {**SOUND["versions"], "opencv-python": "5.0"}}, "opencv", "warning"),
        ({"import_error": "ImportError: no"}, "import", "problem"),
        ({"gpus": 0}, "GPU", "warning"),
        ({"scripts": {"training/train.py": None, "training/test.py": "no"}}, "training/test.py", "problem"),
    ],
)
def test_the_environment(checkout, monkeypatch, values, name, status):
    pretend(monkeypatch, **values)
    (finding,) = faults(checkout).values()
    assert (finding.name, finding.status) == (name, status) and finding.fix


def test_frames_in_tars_are_none_that_the_host_reads(checkout):
    folder = checkout / "rgb" / "a" / "1"
    with new_tar(folder.with_name("1.tar"), "a/1") as save:
        for path in sorted(folder.iterdir()):
            save("frames", path.name, path.read_bytes())
    shutil.rmtree(folder)
    finding = faults(checkout)["demo train (train.py)"]
    assert finding.status == "problem" and "are in tars, for example ./rgb/a/1/000.png" in finding.found
    assert "lnclip-df lmdb" in finding.fix


def test_the_absent_predictor(checkout):
    (checkout / "preprocessing/dlib_tools/shape_predictor_81_face_landmarks.dat").unlink()
    assert faults(checkout)["predictor"].status == "warning"


def test_the_predictor_of_mid_2024_lies_outside_the_checkout(checkout):
    source = checkout / "training/dataset/fwa_blend.py"
    source.parent.mkdir()
    path = "../preprocessing/dlib_tools/shape_predictor_81_face_landmarks.dat"
    source.write_text(f"predictor_path = '{path}'\n")
    finding = faults(checkout)["predictor"]
    assert finding.status == "warning" and path in finding.found and "bench-run" in finding.fix


def test_a_checkout_without_the_detector(checkout):
    (checkout / "training/detectors/lnclip_detector.py").unlink()
    assert faults(checkout)["installation"].status == "problem"


def test_an_installation_without_its_yaml_still_trains(checkout):
    (checkout / "training/config/detector/lnclip.yaml").unlink()
    finding = faults(checkout)["installation"]
    assert finding.status == "warning" and "training/config/detector/lnclip.yaml" in finding.found


def test_lmdb_and_the_folder_that_goes_with_it(checkout):
    path = checkout / "training/config/train_config.yaml"
    path.write_bytes(path.read_bytes().replace(b"lmdb: False", b"lmdb: True"))
    found = faults(checkout)
    assert "dataset_json_v3" in found["lmdb in train_config.yaml"].found
    assert found["demo train (train.py)"].status == "problem"
    assert "lmdb in test_config.yaml" not in found


@pytest.mark.parametrize(
    ("values", "name", "status", "part"),
    [
        ({"lr_scheduler": "cosine"}, "lr_scheduler", "warning", "no effect"),
        ({"optimizer": {"type": "sam"}}, "optimizer", "problem", "schedule"),
        ({"test_dataset": ["LNCLIP-val", "DFDC"]}, "test_dataset", "warning", "DFDC"),
        ({"resolution": 224}, "resolution", "warning", "OpenCV"),
        ({"train_batchSize": 64}, "train loader", "problem", "one step"),
        ({"train_dataset": ["Absent"]}, "Absent train (train.py)", "problem", "cannot read"),
        ({"lnclip": {"tuning": 1}}, "configuration", "problem", "unknown key"),
        ({"frame_num": None}, "configuration", "problem", "TypeError"),
        ({"extends": "lnclip.yaml"}, "configuration", "problem", "does not know extends"),
    ],
)
def test_the_configuration(checkout, values, name, status, part):
    change_yaml(checkout, **values)
    finding = faults(checkout)[name]
    assert finding.status == status and part in finding.found


def test_a_label_that_no_dictionary_has(checkout):
    change_index(checkout, "demo", lambda video: video.update(label="strange"))
    finding = faults(checkout)["demo train (train.py)"]
    assert finding.status == "problem" and "strange" in finding.found


def test_a_label_that_only_train_py_keeps(checkout):
    change_yaml(checkout, label_dict={"demo_real": 0, "strange": 1})
    change_index(checkout, "LNCLIP-val", lambda video: video.update(label="strange"))
    found = faults(checkout)
    assert "strange" in found["LNCLIP-val test (test.py)"].found
    assert "LNCLIP-val test (train.py)" not in found


@pytest.mark.parametrize("prefix", ["rgb", "/rgb"])
def test_paths_that_are_never_found(checkout, prefix):
    change_index(checkout, "demo", lambda video: video.update(frames=[f"{prefix}/a/000.png"]))
    finding = faults(checkout)["demo train (train.py)"]
    assert finding.status == "problem" and "never finds" in finding.found


def test_one_step_in_the_only_epoch_is_enough(checkout):
    change_yaml(checkout, train_batchSize=64, nEpochs=0)
    assert "train loader" not in faults(checkout)


def test_the_scripts_are_tried_with_the_given_yaml_once_installed(checkout, monkeypatch):
    given = []
    monkeypatch.setattr(module, "probe", lambda root, detector_path: given.append(detector_path) or SOUND)
    name = "training/config/detector/lnclip_ffiw.yaml"
    assert any("FFIW train" in finding.name for finding in doctor(checkout, detector_path=name))
    (checkout / "lnclip.yaml").unlink()
    doctor(checkout)
    uninstall(checkout)
    doctor(checkout)
    assert given == [checkout / name, bench_configs() / "lnclip.yaml", None]


def test_an_absent_yaml_is_named(checkout):
    (finding,) = [f for f in doctor(checkout, detector_path="absent.yaml") if f.name == "configuration"]
    assert finding.status == "problem" and "absent.yaml" in finding.found


@pytest.mark.parametrize("damage", ["absent", "empty"])
def test_frames_that_are_not_on_disk(checkout, damage):
    frame = checkout / "rgb/a/2/000.png"
    frame.unlink() if damage == "absent" else frame.write_bytes(b"")
    finding = faults(checkout)["demo train (train.py)"]
    assert finding.status == "problem" and "1 of 2 frames" in finding.found


def test_more_frames_than_it_takes(checkout):
    change_yaml(checkout, frame_num={"train": 2, "test": 32})
    finding = faults(checkout)["demo train (train.py)"]
    assert "the first ones" in finding.found and "evenly spaced" in finding.fix
    ours = yaml.safe_load((checkout / "lnclip.yaml").read_text())["lnclip"]
    change_yaml(checkout, manualSeed=3, lnclip={**ours, "train_frames": "random"})
    assert "rearrange --draw 2 --seed 3" in faults(checkout)["demo train (train.py)"].fix


def test_videos_of_one_name(checkout):
    write_json(checkout, "LNCLIP-val", "test", {"b/1": ("demo_real", 3), "c/1": ("demo_fake", 3)})
    finding = faults(checkout)["LNCLIP-val test (test.py)"]
    assert finding.status == "warning" and "demo_fake, demo_real" in finding.found


def test_an_interpreter_that_cannot_be_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    root = make_checkout(tmp_path / "bench")
    finding = next(f for f in doctor(root) if f.name == "environment")
    assert finding.status == "problem" and "/bin/false failed to report its packages" in finding.found


@pytest.mark.slow
def test_the_probe_answers(tmp_path):
    root = make_checkout(tmp_path / "bench")
    found = probe(root)
    assert found["versions"]["numpy"] and found.keys() == SOUND.keys() and found["scripts"] == {}


def test_a_finding_is_one_line():
    assert str(Finding("GPU", "warning", "none", "buy one")) == "warning GPU: none; buy one"
