"""Doctor's word on ``train.py`` and ``test.py`` against what happens when they run, setting by setting."""

import json
import os
import shutil

import pytest
from host_runs import host_runs
from real_checkouts import REAL, change_host, change_yaml, clone, json_of, make_dataset

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not REAL, reason="LNCLIP_DEEPFAKEBENCH names no checkout")]

TRAIN, TEST = "training/train.py", "training/test.py"


def lmdb(root):
    """LMDB mode of ``train.py``, which then reads its JSONs from another folder."""
    shutil.copytree(json_of(root, "x").parent, root / "preprocessing" / "dataset_json_v3")
    change_host(root, ["train"], lmdb=True)


def two_lmdb_sets(root):
    make_dataset(root, "toy", "train", {"demo_real": [5], "demo_fake": [5]})
    change_yaml(root, train_dataset=["FaceForensics++", "toy"])
    lmdb(root)


def change_json(root, change, dataset="LNCLIP-val", split="test"):
    index = json.loads(json_of(root, dataset).read_text())
    for label in index[dataset].values():
        for video in label[split].values():
            change(video)
    json_of(root, dataset).write_text(json.dumps(index))


def frames_with_words(root):
    def rename(video):
        for number, frame in enumerate(video["frames"]):
            new = frame.replace(".png", "_face.png")
            (root / frame).rename(root / new)
            video["frames"][number] = new

    change_json(root, rename)


def one_class(root):
    make_dataset(root, "real-only", "test", {"demo_real": [4, 4]})
    change_yaml(root, test_dataset=["real-only"])


def one_folder_for_both_classes(root):
    """Its video metrics group frames by their folder's name."""

    def rename(video):
        first = video["frames"][0]
        folder = os.path.dirname(first)
        other = os.path.join(os.path.dirname(folder), "same")
        shutil.copytree(root / folder, root / other, dirs_exist_ok=True)
        video["frames"] = [frame.replace(folder, other) for frame in video["frames"]]

    change_json(root, rename)


def a_set_whose_last_batch_is_dropped(root, frames=9):
    make_dataset(root, "DeepFakeDetection", "test", {"DFD_real": [frames], "DFD_fake": [frames]}, "c23")
    change_yaml(root, test_dataset=["DeepFakeDetection"], frame_num={"train": 6, "test": 9})


def empty_frames(root, number=None):
    """Frames of no bytes: those with a number, or all."""

    def empty(video):
        for frame in video["frames"][slice(number, None if number is None else number + 1)]:
            (root / frame).write_bytes(b"")

    change_json(root, empty)


def absent_weights(root):
    change_yaml(root, resolution=224, lnclip={"backbone": {"name": "ViT-B-32-quickgelu", "pretrained": "openai"}})


def a_label_that_test_py_lacks(root):
    change_yaml(root, label_dict={"FF-real": 0, "FF-DF": 1, "FF-NT": 1, "strange": 1, "demo_real": 0})
    change_json(root, lambda video: video.update(label=video["label"].replace("demo_fake", "strange")))


def yaml_with(**values):
    return lambda root: change_yaml(root, **values)


# what is changed, and which scripts stop
CASES = {
    "nothing": (lambda root: None, []),
    "LMDB without its database": (lmdb, [TRAIN]),
    "LMDB with two training sets": (two_lmdb_sets, [TRAIN]),
    "another resolution": (yaml_with(resolution=96), []),
    "another resolution that nobody resizes": (
        yaml_with(resolution=96, lnclip={"resize": "deepfakebench"}),
        [TRAIN, TEST],
    ),
    "video_mode": (yaml_with(video_mode=True), [TRAIN, TEST]),
    "video_mode with clips": (yaml_with(video_mode=True, clip_size=2), [TRAIN, TEST]),
    "dataset_type: blend": (yaml_with(dataset_type="blend"), [TRAIN]),
    "dataset_type: iid": (yaml_with(dataset_type="iid"), [TRAIN]),
    "dataset_type: pair": (yaml_with(dataset_type="pair"), []),
    "SWA": (lambda root: change_host(root, ["train"], SWA=True), [TRAIN]),
    "SWA from an epoch on": (lambda root: change_host(root, ["train"], SWA=True, swa_start=0), [TRAIN]),
    "SWA never": (lambda root: change_host(root, ["train"], SWA=True, swa_start=5), []),
    "frames not named by integers": (frames_with_words, [TRAIN, TEST]),
    "a test set of one class": (one_class, [TRAIN, TEST]),
    "one folder for both classes": (one_folder_for_both_classes, [TRAIN, TEST]),
    "DeepFakeDetection in train.py": (a_set_whose_last_batch_is_dropped, [TRAIN]),
    "DeepFakeDetection in whole batches": (lambda root: a_set_whose_last_batch_is_dropped(root, 8), []),
    "empty frames": (empty_frames, [TRAIN, TEST]),
    "empty first frames": (lambda root: empty_frames(root, 0), None),
    "empty second frames": (lambda root: empty_frames(root, 1), None),
    "weights neither here nor to be had": (absent_weights, [TRAIN, TEST]),
    "a label that test.py lacks": (a_label_that_test_py_lacks, [TEST]),
    "lr_scheduler: cosine": (yaml_with(lr_scheduler="cosine", lr_T_max=2, lr_eta_min=0), []),
    "lr_scheduler: linear": (yaml_with(lr_scheduler="linear"), []),
    "lr_scheduler: step without its keys": (yaml_with(lr_scheduler="step"), [TRAIN]),
    "one step per epoch": (yaml_with(train_batchSize=32), [TRAIN]),
    "one step in the only epoch": (yaml_with(train_batchSize=32, nEpochs=0), []),
    "an unknown optimizer": (yaml_with(optimizer={"type": "lion"}), [TRAIN]),
    "SAM": (yaml_with(optimizer={"type": "sam", "sam": {"lr": 1e-3, "momentum": 0.9}}), []),
    "no epoch": (yaml_with(start_epoch=3), [TRAIN]),
    "masks": (yaml_with(with_mask=True), []),
}


@pytest.fixture(scope="module")
def stops(tmp_path_factory):
    """Why each script stops in each case, as doctor's rehearsal says and as it happens: ``(case, script)`` → both."""
    folder = tmp_path_factory.mktemp("cases")
    original = clone(folder / "DeepfakeBench")
    change_yaml(original, workers=0)
    jobs = []
    for number, (change, _) in enumerate(CASES.values()):
        root = folder / str(number)
        shutil.copytree(original, root)
        change(root)
        for script, more in ((TRAIN, []), (TEST, ["--weights_path", ""])):
            arguments = ["--detector_path", "lnclip.yaml", *more]
            jobs += [[str(root), script, arguments, True], [str(root), script, arguments, False]]
    offline = {"HF_HOME": str(folder / "empty"), "HF_HUB_OFFLINE": "1"}
    results = host_runs(jobs, offline)
    keys = [(case, script) for case in CASES for script in (TRAIN, TEST)]
    return dict(zip(keys, zip(results[::2], results[1::2], strict=True), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_doctors_word_is_what_happens(stops, case):
    for script in (TRAIN, TEST):
        said, happened = stops[case, script]
        assert (said is None) == (happened is None), f"{script}: doctor says {said!r}, and what happens is {happened!r}"
    stopping = CASES[case][1]
    assert stopping is None or [script for script in (TRAIN, TEST) if stops[case, script][1]] == stopping


@pytest.mark.parametrize(
    ("case", "script", "word"),
    [
        ("SWA", TRAIN, "SWA: true needs a model that train.py does not build"),
        ("a test set of one class", TEST, "all frames of real-only are real"),
        ("DeepFakeDetection in train.py", TRAIN, "the last 2 frames of DeepFakeDetection"),
        ("empty frames", TEST, "Error loading image"),
        ("weights neither here nor to be had", TRAIN, "cannot fetch the weights 'openai' of ViT-B-32-quickgelu"),
    ],
)
def test_the_reason_is_in_plain_words(stops, case, script, word):
    assert word in stops[case, script][0]
