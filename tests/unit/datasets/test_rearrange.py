"""The dataset JSON: written by hand, and by DeepfakeBench's own script from the same tree, its faults aside."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trees
from expected_items import PARTS, SINGLE, expected
from host_modules import REAL

from lnclip_df.config.loading import load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.datasets.rearrange import rearrange
from lnclip_df.datasets.schema import load_dataset

SCRIPT = Path(__file__).parents[3] / "preprocessing" / "rearrange.py"
ROOT = "./datasets/rgb"


def build(folder, *parts):
    """A checkout's folder with the faces of some trees below ``datasets/rgb``."""
    for tree in parts:
        trees.build_faces(folder / "datasets" / "rgb", tree)
    return folder


def write(checkout, name, **options):
    """The dataset JSON of a checkout's faces, parsed."""
    options = {"relative_to": checkout} | options
    return read(rearrange(name, checkout / "datasets" / "rgb", checkout / "json", **options)[0])


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def record(label, folder, video, masks=None, **extra):
    found = {"label": label, "frames": images(folder, "frames", video), **extra}
    return found if masks is None else {**found, "masks": masks}


def images(folder, kind, video):
    return [f"{ROOT}/{folder}/{kind}/{video}/{index}.png" for index in ("000", "004", "1000")]


# --- by hand ----------------------------------------------------------------------------------------------------------


def faceforensics_label(label, folder, splits, levels=("c23",), masks=False):
    """A label of FaceForensics++'s family: its videos by split, at every level."""
    return {
        split: {
            level: {
                video: record(
                    label,
                    f"FaceForensics++/{folder}/{level}",
                    video,
                    images(f"FaceForensics++/{folder}/{level}", "masks", video) if masks else None,
                )
                for video in splits.get(split, ())
            }
            for level in levels
        }
        for split in ("train", "val", "test")
    }


REALS = {"train": ["071", "054"], "val": ["719", "688"], "test": ["953", "974"]}
FAKES = {"train": ["071_054", "054_071"], "val": ["719_688", "688_719"], "test": ["953_974", "974_953"]}


def test_faceforensics_and_its_subsets(tmp_path):
    build(tmp_path, trees.faceforensics())
    root, out = tmp_path / "datasets" / "rgb", tmp_path / "json"
    written = rearrange("FaceForensics++", root, out, relative_to=tmp_path)
    assert [path.name for path in written] == [
        f"{n}.json" for n in ("FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT")
    ]
    levels = ("c23", "c40")
    real = faceforensics_label("FF-real", "original_sequences/youtube", REALS, levels)
    fakes = {
        label: faceforensics_label(label, f"manipulated_sequences/{method}", FAKES, levels, masks=True)
        for label, method in zip(("FF-DF", "FF-F2F", "FF-FS", "FF-NT"), trees.FF_METHODS, strict=True)
    }
    assert read(written[0]) == {"FaceForensics++": {"FF-real": real, **fakes}}
    for path, (label, videos) in zip(written[1:], fakes.items(), strict=True):
        assert read(path) == {label: {"FF-real": real, label: videos}}


def test_masks_of_c23_serve_the_other_levels_and_may_be_absent(tmp_path):
    build(tmp_path, trees.faceforensics(("c23", "c40", "raw"), ("Deepfakes",)))
    folder = "FaceForensics++/manipulated_sequences/Deepfakes"
    for path in ("c40/masks", "raw/masks", "c23/masks/953_974"):
        shutil.rmtree(tmp_path / "datasets" / "rgb" / folder / path)
    test = write(tmp_path, "FaceForensics++")["FaceForensics++"]["FF-DF"]["test"]
    assert [test[level]["974_953"]["masks"] for level in ("c23", "c40", "raw")] == [
        images(f"{folder}/c23", "masks", "974_953")
    ] * 3
    assert [test[level]["953_974"]["masks"] for level in ("c23", "c40", "raw")] == [[], [], []]


def test_one_level_alone_is_written_where_it_is_asked_for(tmp_path):
    build(tmp_path, trees.faceforensics())
    labels = write(tmp_path, "FaceForensics++", level="c40")["FaceForensics++"].values()
    assert {tuple(levels) for splits in labels for levels in splits.values()} == {("c40",)}


def test_faceshifter_has_no_masks(tmp_path):
    build(tmp_path, trees.faceforensics(("c23",), ("FaceShifter",)))
    assert write(tmp_path, "FaceShifter") == {
        "FaceShifter": {
            "FF-FH": faceforensics_label("FF-FH", "manipulated_sequences/FaceShifter", FAKES),
            "FF-real": faceforensics_label("FF-real", "original_sequences/youtube", REALS),
        }
    }


def test_deepfakedetection_is_test_alone(tmp_path):
    build(tmp_path, trees.deepfakedetection())
    fakes = {
        "test": ["01_02__exit_phone_room__YVGY8LOK", "02_01__hugging_happy__YVGY8LOK", "02_06__kitchen_pan__0GEZ9N2P"]
    }
    reals = {"test": ["01__exit_phone_room", "02__hugging_happy", "27__kitchen_pan"]}
    fake = faceforensics_label("DFD_fake", "manipulated_sequences/DeepFakeDetection", fakes, masks=True)
    fake["test"]["c23"]["02_06__kitchen_pan__0GEZ9N2P"]["masks"] = []
    assert write(tmp_path, "DeepFakeDetection") == {
        "DeepFakeDetection": {
            "DFD_fake": fake,
            "DFD_real": faceforensics_label("DFD_real", "original_sequences/actors", reals),
        }
    }


def test_celeb_df_keeps_test_videos_out_of_train_and_val_empty(tmp_path):
    build(tmp_path, trees.CELEB)

    def records(label, **videos):
        return {
            video: record(label, f"Celeb-DF-v2/{folder.replace('_', '-')}", video)
            for folder, names in videos.items()
            for video in names
        }

    assert write(tmp_path, "Celeb-DF-v2") == {
        "Celeb-DF-v2": {
            "CelebDFv2_real": {
                "train": records("CelebDFv2_real", Celeb_real=["id0_0000", "id0_0001"], YouTube_real=["00000"]),
                "val": {},
                "test": records("CelebDFv2_real", Celeb_real=["id1_0007"], YouTube_real=["00170"]),
            },
            "CelebDFv2_fake": {
                "train": records("CelebDFv2_fake", Celeb_synthesis=["id0_id1_0000", "id1_id2_0003"]),
                "val": {},
                "test": records("CelebDFv2_fake", Celeb_synthesis=["id1_id0_0007"]),
            },
        }
    }


def test_dfdc_and_uadfv(tmp_path):
    build(tmp_path, trees.DFDC, trees.UADFV)
    part, test = "DFDC/train/dfdc_train_part_", "DFDC/test"
    assert write(tmp_path, "DFDC") == {
        "DFDC": {
            "DFDC_Real": {
                "train": {"bbbbbbbbbb": record("DFDC_Real", f"{part}0", "bbbbbbbbbb")},
                "val": {},
                "test": {"ffffffffff": record("DFDC_Real", test, "ffffffffff")},
            },
            "DFDC_Fake": {
                "train": {
                    "aaaaaaaaaa": record("DFDC_Fake", f"{part}0", "aaaaaaaaaa"),
                    "dddddddddd": record("DFDC_Fake", f"{part}1", "dddddddddd"),
                },
                "val": {},
                "test": {"eeeeeeeeee": record("DFDC_Fake", test, "eeeeeeeeee")},
            },
        }
    }
    assert write(tmp_path, "UADFV") == {
        "UADFV": {
            "UADFV_Real": {
                "train": {},
                "val": {},
                "test": {name: record("UADFV_Real", "UADFV/real", name) for name in ("0000", "0048")},
            },
            "UADFV_Fake": {
                "train": {},
                "val": {},
                "test": {name: record("UADFV_Fake", "UADFV/fake", name) for name in ("0000_fake", "0048_fake")},
            },
        }
    }


def test_a_record_names_its_method_where_its_label_has_several(tmp_path):
    build(tmp_path, trees.CELEB_PP, trees.FFIW)
    stem = "id57_0003_test_id04006___a_fDWly5s"
    fakes = write(tmp_path, "Celeb-DF++")["Celeb-DF++"]["CelebDFv3_fake"]["test"]
    folder = "Celeb-DF-v3/Celeb-synthesis/TalkingFace/FLOAT"
    assert fakes[f"TalkingFace/FLOAT/{stem}"] == record("CelebDFv3_fake", folder, stem, method="FLOAT")
    ffiw = write(tmp_path, "FFIW")["FFIW"]
    assert ffiw["FFIW_fake"]["test"]["test_00000249"] == record(
        "FFIW_fake", "FFIW10K-v1-release-test/target/test", "test_00000249", masks=[]
    )
    assert ffiw["FFIW_real"]["test"]["test_00000249"] == record(
        "FFIW_real", "FFIW10K-v1-release-test/source/test", "test_00000249"
    )


def test_df40_is_also_written_by_domain(tmp_path):
    build(tmp_path, trees.DF40)
    rearrange("DF40", tmp_path / "datasets" / "rgb", tmp_path / "json", relative_to=tmp_path)
    found = {
        name: {
            label: sorted(splits["test"]) for label, splits in read(tmp_path / "json" / f"{name}.json")[name].items()
        }
        for name in ("DF40-ff", "DF40-cdf")
    }
    assert found == {
        "DF40-ff": {"FF-real": ["953"], "DF40-ff_fake": ["MRAA/953", "UniFace/953_974", "simswap/953_974"]},
        "DF40-cdf": {
            "CelebDFv2_real": ["00170", "id1_0007"], "DF40-cdf_fake": ["danet/id1_0007", "simswap/id1_id0_0007"],
        },
    }  # fmt: skip


# --- every dataset ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FaceForensics++", *SINGLE])
def test_the_package_reads_what_is_written(name, tmp_path):
    build(tmp_path, trees.TREES[name])
    written = rearrange(name, tmp_path / "datasets" / "rgb", tmp_path / "json", relative_to=tmp_path)
    config = load_config("lnclip.yaml", [f"lnclip.data_root={tmp_path}", "dataset_json_folder=json"])
    videos = read_videos(config, [path.stem for path in written], "test")
    assert all((tmp_path / frame).is_file() for video in videos for frame in video.frames)
    assert all(len(video.frames) == 3 for video in videos)
    if name in SINGLE:
        test = [fake for fake, splits, *_ in expected(name).values() if "test" in splits]
        assert sorted(video.label for video in read_videos(config, [name], "test")) == sorted(map(int, test))


@pytest.mark.parametrize("name", ["FaceForensics++", *SINGLE])
def test_the_same_tree_gives_the_same_bytes(name, tmp_path, monkeypatch):
    build(tmp_path, trees.TREES[name])
    root, dataset = tmp_path / "datasets" / "rgb", load_dataset(name)
    first = [path.read_bytes() for path in rearrange(dataset, root, tmp_path / "a", relative_to=tmp_path)]
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: reversed(sorted(real(path), key=lambda entry: entry.name)))
    monkeypatch.chdir(tmp_path)
    second = [path.read_bytes() for path in rearrange(dataset, "datasets/rgb", "b")]
    assert first == second


def test_the_validation_set_is_val_and_test_alike(tmp_path):
    build(tmp_path, *(trees.TREES[name] for name in PARTS))
    written = write(tmp_path, "LNCLIP-val")["LNCLIP-val"]
    assert set(written) == set(load_dataset("LNCLIP-val").labels)
    assert all(splits["train"] == {} and splits["val"] == splits["test"] != {} for splits in written.values())
    assert set(written["FFIW_fake"]["val"]) == {"train_00006238", "train_00006239", "val_00000000"}
    assert {record["method"] for record in written["DeepSpeak-v2.0_fake"]["val"].values()} == {"facefusion", "memo"}
    shutil.rmtree(tmp_path / "datasets" / "rgb" / "DeepSpeak-v1.1")
    with pytest.raises(LNCLIPError, match=r"part DeepSpeak-v1\.1 is missing"):
        write(tmp_path, "LNCLIP-val")
    assert "DeepSpeak-v1.1_fake" not in write(tmp_path, "LNCLIP-val", allow_missing=True)["LNCLIP-val"]


@pytest.mark.parametrize("seed", [0, 3])
def test_drawn_frames_are_those_of_a_training_and_tests_keep_all(tmp_path, seed):
    build(tmp_path, trees.TREES["FaceForensics++"])
    config = load_config("gend/clip.yaml", [f"lnclip.data_root={tmp_path}", "dataset_json_folder=json"])

    def listed(split, **options):
        write(tmp_path, "FaceForensics++", **options)
        return read_videos(config, ["FaceForensics++"], split)

    every = FrameDataset(config, listed("train"), frames_per_video=2, random_frames=True, seed=seed)
    drawn = listed("train", draw=2, seed=seed)
    assert [frame for video in drawn for frame in video.frames] == [frame for _, frame in every.items]
    assert {len(video.frames) for video in drawn} == {2} and {len(video.frames) for video in every.videos} == {3}
    assert listed("test", draw=2, seed=seed) == listed("test")


def test_no_frames_cannot_be_drawn(tmp_path):
    with pytest.raises(LNCLIPError, match="draw: 0 received"):
        rearrange("UADFV", tmp_path, tmp_path / "json", draw=0)


# --- paths and faults -------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_a_folder_or_absolute(tmp_path):
    build(tmp_path, trees.UADFV)
    root = tmp_path / "datasets" / "rgb"
    absolute = write(tmp_path, "UADFV", paths="absolute")["UADFV"]["UADFV_Real"]["test"]["0000"]["frames"][0]
    assert absolute == str(root / "UADFV" / "real" / "frames" / "0000" / "000.png")
    nearer = write(tmp_path, "UADFV", relative_to=root)["UADFV"]["UADFV_Real"]["test"]["0000"]["frames"][0]
    assert nearer == "./UADFV/real/frames/0000/000.png"
    with pytest.raises(LNCLIPError, match=r"are not below .*; name a folder that holds them with relative_to"):
        write(tmp_path, "UADFV", relative_to=tmp_path / "json")
    with pytest.raises(LNCLIPError, match="paths: 'short' received; accepted is relative or absolute"):
        write(tmp_path, "UADFV", paths="short")


def test_paths_go_through_a_linked_folder(tmp_path):
    build(tmp_path / "disk", trees.UADFV)
    (tmp_path / "checkout" / "datasets").mkdir(parents=True)
    (tmp_path / "checkout" / "datasets" / "rgb").symlink_to(tmp_path / "disk" / "datasets" / "rgb")
    written = write(tmp_path / "checkout", "UADFV")
    assert written["UADFV"]["UADFV_Real"]["test"]["0000"] == record("UADFV_Real", "UADFV/real", "0000")


def test_a_mapped_folder_elsewhere_needs_absolute_paths(tmp_path):
    build(tmp_path / "disk", trees.UADFV)
    folders = {"UADFV": tmp_path / "disk" / "datasets" / "rgb" / "UADFV"}
    (tmp_path / "datasets").mkdir()
    with pytest.raises(LNCLIPError, match=r"are not below .*/datasets, which relative paths start from"):
        rearrange("UADFV", tmp_path / "datasets", tmp_path, folders=folders, relative_to=tmp_path / "datasets")
    written = rearrange("UADFV", tmp_path / "datasets", tmp_path, folders=folders, paths="absolute")
    assert len(read(written[0])["UADFV"]["UADFV_Real"]["test"]) == 2


def test_two_videos_under_one_key_are_both_named(tmp_path):
    build(tmp_path, trees.CELEB)
    folder = tmp_path / "datasets" / "rgb" / "Celeb-DF-v2"
    shutil.copytree(folder / "Celeb-real", folder / "copy" / "Celeb-real")
    with pytest.raises(LNCLIPError) as caught:
        write(tmp_path, "Celeb-DF-v2")
    assert "Celeb-DF-v2/Celeb-real/id0_0000 and Celeb-DF-v2/copy/Celeb-real/id0_0000 are both" in str(caught.value)
    assert not (tmp_path / "json").exists()


def test_faces_without_a_split_are_no_dataset(tmp_path):
    tree = trees.Tree(["DeepSpeak-v1.1/87-1.mp4"])
    build(tmp_path, tree)
    with pytest.raises(LNCLIPError, match=r"none of 1 videos is in train, val or test.*annotations-split-def"):
        write(tmp_path, "DeepSpeak-v1.1")


def test_what_was_written_is_one_line(tmp_path, caplog):
    build(tmp_path, trees.faceforensics(("c23",), ("Deepfakes",)))
    caplog.set_level(logging.INFO)
    write(tmp_path, "FaceForensics++")
    line = "real + fake videos: c23 train 2 + 2, c23 val 2 + 2, c23 test 2 + 2"
    assert [message.split(".json: ")[1] for message in caplog.messages if ".json: " in message] == [line, line]


@pytest.mark.slow
def test_the_script_does_what_the_function_does(tmp_path):
    build(tmp_path, trees.UADFV)
    (tmp_path / "datasets" / "rgb" / "UADFV").rename(tmp_path / "datasets" / "rgb" / "elsewhere")
    command = [sys.executable, SCRIPT, "UADFV", "--root", "datasets/rgb", "--out", "json"]
    mapped = ["--map", f"UADFV={tmp_path / 'datasets' / 'rgb' / 'elsewhere'}"]
    done = subprocess.run([*command, *mapped], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "json/UADFV.json\n"), done.stderr
    assert read(tmp_path / "json" / "UADFV.json")["UADFV"]["UADFV_Real"]["test"]["0000"]["frames"]
    for options, words in (([], "no folder UADFV"), (["--map", "x"], "NAME=PATH")):
        failed = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
        assert failed.returncode == 1 and failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
        assert words in failed.stderr


# --- DeepfakeBench's own script ---------------------------------------------------------------------------------------

PYTHON = os.environ.get("LNCLIP_DEEPFAKEBENCH_PYTHON", sys.executable)  # one that has pandas
CALL = "import sys; sys.path.insert(0, sys.argv[1]); import rearrange as r; r.generate_dataset_file(*sys.argv[2:])"


@pytest.fixture(scope="module")
def script():
    """Calls DeepfakeBench's ``generate_dataset_file`` in a folder, and returns what it wrote under a name."""
    if not REAL:
        pytest.skip("LNCLIP_DEEPFAKEBENCH names no checkout")
    if subprocess.run([PYTHON, "-c", "import cv2, pandas, yaml"], capture_output=True).returncode:
        pytest.skip(f"{PYTHON} lacks cv2, pandas or yaml; LNCLIP_DEEPFAKEBENCH_PYTHON names one that has them")

    def call(folder, name, file=None):
        out = folder / "theirs"
        out.mkdir(exist_ok=True)
        command = [PYTHON, "-c", CALL, str(Path(REAL, "preprocessing").resolve()), name, ROOT, str(out)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return ordered(read(out / f"{file or name}.json"))

    return call


def ordered(value):
    """A dataset JSON with sorted frames and masks: theirs come in the disk's order."""
    if isinstance(value, dict):
        return {key: ordered(item) for key, item in value.items()}
    return sorted(value) if isinstance(value, list) else value


def family(folder):
    """All of FaceForensics++'s family, with c40 and masks as DeepfakeBench's preprocessing leaves them, below c23."""
    build(folder, trees.faceforensics(), trees.faceforensics_family())
    for masks in folder.glob("datasets/rgb/*/*/*/c40/masks"):
        shutil.rmtree(masks)
    return folder


@pytest.mark.parametrize("name", ["FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FaceShifter"])
def test_faceforensics_and_faceshifter_equal_deepfakebenchs(script, tmp_path, name):
    family(tmp_path)
    dataset = name if name == "FaceShifter" else "FaceForensics++"
    write(tmp_path, dataset)
    assert ordered(read(tmp_path / "json" / f"{name}.json")) == script(tmp_path, dataset, name)


def test_deepfakedetection_equals_deepfakebenchs_but_for_train_and_val(script, tmp_path):
    family(tmp_path)
    ours, theirs = ordered(write(tmp_path, "DeepFakeDetection")), script(tmp_path, "DeepFakeDetection")
    for label, splits in theirs["DeepFakeDetection"].items():
        assert splits["train"] == splits["val"] == splits["test"]  # their fault: test videos in all three
        theirs["DeepFakeDetection"][label] = splits | {"train": {"c23": {}}, "val": {"c23": {}}}
    assert ours == theirs


def test_uadfv_equals_deepfakebenchs_but_for_train_and_val(script, tmp_path):
    build(tmp_path, trees.UADFV)
    ours, theirs = ordered(write(tmp_path, "UADFV")), script(tmp_path, "UADFV")
    for label, splits in theirs["UADFV"].items():
        assert splits["train"] == splits["val"] == splits["test"]  # their fault: test videos in all three
        theirs["UADFV"][label] = splits | {"train": {}, "val": {}}
    assert ours == theirs


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_celeb_df_equals_deepfakebenchs_but_for_train_and_val(script, tmp_path, version):
    name, real_label, fake_label = f"Celeb-DF-{version}", f"CelebDF{version}_real", f"CelebDF{version}_fake"
    build(tmp_path, trees.TREES[name])
    ours = ordered(write(tmp_path, name))[name]
    theirs = script(tmp_path, name)[name]
    assert ours.keys() == theirs.keys()
    for label, splits in theirs.items():
        assert splits["val"] == splits["test"] == ours[label]["test"]  # their fault: val is the test list
        assert ours[label]["val"] == {}
    fake, real = theirs[fake_label]["train"], theirs[real_label]["train"]
    assert fake.keys() & theirs[fake_label]["test"].keys() == {"id1_id0_0007"}  # test videos stay in train
    assert ours[fake_label]["train"] == {video: fake[video] for video in fake if video != "id1_id0_0007"}
    # Of the two folders of real videos, only the one that the disk lists last is in their train.
    assert set(real) in ({"id0_0000", "id0_0001", "id1_0007"}, {"00000", "00170"})
    kept = {video: record for video, record in real.items() if video not in theirs[real_label]["test"]}
    assert set(ours[real_label]["train"]) == {"id0_0000", "id0_0001", "00000"}
    assert kept.items() <= ours[real_label]["train"].items()


def flat(tree, level):
    """A tree with the videos of each folder of ``level`` parts directly in it, as DeepfakeBench wants them."""
    parts = (path.split("/") for path in tree.videos)
    return trees.Tree(["/".join([*path[:level], path[-1]]) for path in parts if "_extra_" not in path[-1]],
                      files=tree.files)  # fmt: skip


def test_dfdcp_equals_deepfakebenchs_but_for_val(script, tmp_path):
    build(tmp_path, flat(trees.DFDCP, 2))
    ours, theirs = ordered(write(tmp_path, "DFDCP"))["DFDCP"], script(tmp_path, "DFDCP")["DFDCP"]
    assert ours == {label: splits | {"val": {}} for label, splits in theirs.items()}  # theirs: val is test
    assert [label for label in theirs if theirs[label]["val"]] == ["DFDCP_Real", "DFDCP_FakeA", "DFDCP_FakeB"]


def test_deeperforensics_equals_deepfakebenchs_but_for_the_splits_of_reals(script, tmp_path):
    name = "DeeperForensics-1.0"
    tree = flat(trees.DEEPERFORENSICS, 3)
    build(tmp_path, tree)
    ours, theirs = ordered(write(tmp_path, name))[name], script(tmp_path, name)[name]
    assert ours["DF_fake"] == theirs["DF_fake"]
    reals = theirs["DF_real"]
    assert reals["train"] == reals["val"] == reals["test"]  # their fault: every source video is in all three
    assert {video: record for split in ours["DF_real"].values() for video, record in split.items()} == reals["test"]


def test_dfdc_equals_deepfakebenchs_but_for_val(script, tmp_path):
    build(tmp_path, trees.DFDC)
    ours, theirs = ordered(write(tmp_path, "DFDC"))["DFDC"], script(tmp_path, "DFDC")["DFDC"]
    for label, splits in theirs.items():
        # Their fault: val is the last test video's record, beside the training videos that are scanned after it.
        (test,) = splits["test"].values()
        assert {key: splits["val"][key] for key in ("label", "frames")} == test
        assert splits["val"].keys() - {"label", "frames"} in (set(), set(splits["train"]))
        theirs[label] = splits | {"val": {}}
    assert ours == theirs
