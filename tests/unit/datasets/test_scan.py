"""Each dataset against a miniature tree of its layout, and what else disks hold."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import trees
import yaml
from expected_items import PARTS, SINGLE, cut, expected, facts
from hypothesis import given, settings
from hypothesis import strategies as st

from lnclip_df.config.files import bench_configs
from lnclip_df.config.loading import labels
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.folder_listing import Listing
from lnclip_df.datasets.items import Frames
from lnclip_df.datasets.scan import scan_faces, scan_videos
from lnclip_df.datasets.schema import dataset_names, load_dataset
from lnclip_df.datasets.tables import climbs

pytestmark = pytest.mark.slow

# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SINGLE)
def test_the_raw_videos_of_a_layout(name, tmp_path):
    items = scan_videos(name, trees.build_videos(tmp_path, trees.TREES[name]))
    assert facts(items) == expected(name)
    assert [item.path for item in items] == sorted(item.path for item in items)
    on_disk = {tmp_path / path for path in trees.TREES[name].videos}
    assert {item.file for item in items} <= on_disk
    assert all(item.label in labels() and labels()[item.label] == item.fake for item in items)


@pytest.mark.parametrize("name", SINGLE)
def test_faces_are_the_same_videos(name, tmp_path):
    items = scan_faces(name, trees.build_faces(tmp_path, trees.TREES[name]))
    assert facts(items) == expected(name)
    for item in items:
        folder, stem = item.path.rsplit("/", 1)
        assert item.frames == tuple(tmp_path / folder / "frames" / stem / f"{n}.png" for n in ("000", "004", "1000"))


@pytest.mark.parametrize("name", SINGLE)
def test_a_videos_level_makes_no_difference(name, tmp_path):
    assert facts(scan_videos(name, trees.build_videos(tmp_path, trees.TREES[name], nested=True))) == expected(name)


@pytest.mark.parametrize("name", SINGLE)
def test_faces_may_lie_apart_from_lists(name, tmp_path):
    root = trees.build_videos(tmp_path / "raw", trees.TREES[name])
    trees.build_faces(root, trees.TREES[name], lists=False, frames=(7,))  # not these
    faces = trees.build_faces(tmp_path / "faces", trees.TREES[name], lists=False)
    items = scan_faces(name, root, faces=faces)
    assert facts(items) == expected(name)
    assert all(faces in frame.parents for item in items for frame in item.frames)


@pytest.mark.parametrize("name", ["Celeb-DF-v2", "FFIW", "UADFV", "PolyGlotFake", "IDForge-v1"])
def test_an_archive_that_is_nested_in_itself_is_found(name, tmp_path):
    trees.build_videos(tmp_path, trees.TREES[name])
    for folder in list(tmp_path.iterdir()):
        folder.rename(tmp_path / "aside")
        (tmp_path / folder.name).mkdir()
        (tmp_path / "aside").rename(folder / folder.name)
    items = scan_videos(name, tmp_path)
    flat = {path.split("/", 1)[1]: facts[:3] for path, facts in facts(items).items()}
    assert flat == {path: facts[:3] for path, facts in expected(name).items()}
    assert sum(item.pair is not None for item in items) == sum(pair is not None for *_, pair in expected(name).values())


def test_faceforensics_levels_masks_and_pairs(tmp_path):
    items = scan_videos("FaceForensics++", trees.build_videos(tmp_path, trees.faceforensics_family()))
    assert len(items) == 6 + 4 * 6 and {item.level for item in items} == {"c23"}
    fake = next(item for item in items if item.path.endswith("NeuralTextures/c23/719_688"))
    folder = tmp_path / "FaceForensics++" / "manipulated_sequences" / "NeuralTextures"
    assert fake.mask == folder / "masks" / "videos" / "719_688.mp4"
    assert fake.file == folder / "c23" / "videos" / "719_688.mp4"
    assert (fake.label, fake.method, fake.splits) == ("FF-NT", "NeuralTextures", ("val",))
    assert fake.pair == "FaceForensics++/original_sequences/youtube/c23/719" and fake.ids == ("719", "688")


def test_a_level_named_c0_is_raw_and_one_level_can_be_taken(tmp_path):
    trees.build_videos(tmp_path, trees.faceforensics(("c0", "c40"), ("Deepfakes",)))
    items = scan_videos("FaceForensics++", tmp_path)
    assert {item.level for item in items} == {"raw", "c40"}
    assert all(item.pair.split("/")[-2] == item.path.split("/")[-2] for item in items if item.fake)
    assert {item.path.split("/")[-2] for item in scan_videos("FaceForensics++", tmp_path, level="raw")} == {"c0"}
    with pytest.raises(LNCLIPError, match="level 'c50' is none of raw, c23, c40"):
        scan_videos("FaceForensics++", tmp_path, level="c50")
    with pytest.raises(LNCLIPError, match=r"level c23 below .*; there is c40, raw"):
        scan_videos("FaceForensics++", tmp_path, level="c23")
    with pytest.raises(LNCLIPError, match="no compression levels"):
        scan_videos("UADFV", tmp_path, level="c23")


def test_masks_may_be_a_tree_of_their_own(tmp_path):
    tree = trees.faceforensics(("c23",), ("Deepfakes",))
    tree.masks = [f"gend/masks/{path.removeprefix('FaceForensics++/')}" for path in tree.masks]
    trees.build_videos(tmp_path, tree)
    folders = {"FaceForensics++-masks": tmp_path / "gend" / "masks"}
    assert all(item.mask for item in scan_videos("FaceForensics++", tmp_path, folders=folders) if item.fake)


def test_celeb_df_v1_is_not_read_from_a_folder_that_may_hold_v2(tmp_path):
    trees.build_videos(tmp_path, trees.CELEB_V1)
    (tmp_path / "Celeb-DF-v1").rename(tmp_path / "Celeb-DF")
    with pytest.raises(LNCLIPError, match="Celeb-DF-v1: no folder Celeb-DF-v1 below"):
        scan_videos("Celeb-DF-v1", tmp_path)
    items = scan_videos("Celeb-DF-v1", tmp_path, folders={"Celeb-DF-v1": tmp_path / "Celeb-DF"})
    assert facts(items) == expected("Celeb-DF-v1")


def test_dfdcp_finds_a_listed_video_by_its_name(tmp_path):
    flat = [f"dfdc_preview_set/{path.split('/')[1]}/{path.split('/')[-1]}" for path in trees.DFDCP.videos]
    files = {path.replace("DFDCP", "dfdc_preview_set"): text for path, text in trees.DFDCP.files.items()}
    found = facts(scan_videos("DFDCP", trees.build_videos(tmp_path, trees.Tree(flat, files=files))))
    assert {path.split("/")[-1]: value[:3] for path, value in found.items() if "method_A" in path or not value[0]} == {
        path.split("/")[-1]: value[:3]
        for path, value in expected("DFDCP").items()
        if "method_A" in path or not value[0]
    }
    list_ = tmp_path / "dfdc_preview_set" / "dataset.json"
    list_.write_text(list_.read_text().replace('"real"', '"fake"', 1))
    with pytest.raises(LNCLIPError, match=r"643049_A_001: list\.label is 'fake', not 'real'"):
        scan_videos("DFDCP", tmp_path)


def test_deeperforensics_takes_one_variant_and_no_extra_source(tmp_path, caplog):
    trees.build_videos(tmp_path, trees.DEEPERFORENSICS)
    items = scan_videos("DeeperForensics-1.0", tmp_path, level="end_to_end_mix_4_distortions")
    assert {item.path.split("/")[2] for item in items if item.fake} == {"end_to_end_mix_4_distortions"}
    assert not any("extra" in item.path for item in items) and "fit no rule" not in caplog.text
    with pytest.raises(LNCLIPError, match="there is end_to_end, end_to_end_level_2"):
        scan_videos("DeeperForensics-1.0", tmp_path, level="end_to_end_level_3")


def test_deepfake_eval_passes_over_unknown_videos_and_knows_both_suffixes(tmp_path, caplog):
    root = trees.build_videos(tmp_path, trees.DEEPFAKE_EVAL) / "Deepfake-Eval-2024"
    with open(root / "video-metadata-publish-with-links.csv", "a", encoding="utf-8") as file:
        file.write("web.webm,2024-10-17,Fake,Fake,,test\nwhat.mp4,2024-10-17,Unknown,Fake,,test\n")
    for name in ("web.webm", "what.mp4"):
        trees.write(root / "video-data" / name, b"")
    web = {"Deepfake-Eval-2024/video-data/web": (True, ("test",), None, None)}
    assert facts(scan_videos("Deepfake-Eval-2024", tmp_path)) == expected("Deepfake-Eval-2024") | web
    assert "1 videos fit no rule and are passed over, for example Deepfake-Eval-2024/video-data/what" in caplog.text


def test_the_adversarial_part_of_kodf_is_mapped_by_its_user(tmp_path):
    for kind in ("real", "fake"):
        trees.write(tmp_path / "kodf" / kind / "1.mp4", b"")
    with pytest.raises(LNCLIPError, match="put it there or map it: KoDF-adversarial-real=PATH"):
        scan_videos("KoDF-adversarial", tmp_path)
    folders = {f"KoDF-adversarial-{kind}": tmp_path / "kodf" / kind for kind in ("real", "fake")}
    items = scan_videos("KoDF-adversarial", tmp_path, folders=folders)
    assert [(item.name, item.label) for item in items] == [("1", "KoDF_fake"), ("1", "KoDF_real")]


def test_dfdm_takes_one_crf_and_knows_every_tag(tmp_path):
    trees.build_videos(tmp_path, trees.DFDM)
    items = scan_videos("DFDM", tmp_path, level="crf10")
    assert {item.path.split("/")[1] for item in items if item.fake} == {"DFDM_crf10"}
    with pytest.raises(LNCLIPError, match=r"no video of level crf0 below .*; there is crf10, crf23"):
        scan_videos("DFDM", tmp_path, level="crf0")
    trees.write(tmp_path / "DFDM" / "DFDM_crf23" / "id1_id2_0001_6new.mp4", b"")
    with pytest.raises(LNCLIPError, match="id1_id2_0001_6new: its last part names none of the models"):
        scan_videos("DFDM", tmp_path)
    shutil.rmtree(tmp_path / "Celeb-DF-v2")
    with pytest.raises(LNCLIPError, match=r"DFDM: no folder Celeb-DF-v2 below .* Celeb-DF-v2=PATH"):
        scan_videos("DFDM", tmp_path)


def test_ffiw_finds_the_face_of_a_real_video_by_the_mask_of_its_fake(tmp_path):
    items = {item.path: item for item in scan_videos("FFIW", trees.build_videos(tmp_path, trees.FFIW))}
    root = "FFIW10K-v1-release"
    mask = tmp_path / root / "target_mask" / "train" / "train_00006238_mask.mp4"
    assert (
        items[f"{root}/source/train/train_00006238"].mask == mask == items[f"{root}/target/train/train_00006238"].mask
    )
    assert items[f"{root}/source/train/train_00006239"].mask is None


def test_ffiw_does_not_take_a_video_of_another_split(tmp_path):
    trees.write(tmp_path / "FFIW10K-v1-release" / "source" / "train" / "test_00000001.mp4", b"")
    with pytest.raises(LNCLIPError, match="stem_split is 'test', not 'train'"):
        scan_videos("FFIW", tmp_path)


def test_deepfakedetection_reads_repacked_copies_with_a_level(tmp_path):
    for path in (
        "DFD_original_sequences/c23/01__kitchen_pan",
        "DFD_manipulated_sequences/c23/01_02__kitchen_pan__ABCDEFG1",
    ):
        trees.write(tmp_path / f"{path}.mp4", b"")
    fake, real = scan_videos("DeepFakeDetection", tmp_path)
    assert fake.pair == real.path and real.splits == ("test",)


def test_a_uadfv_fake_needs_no_suffix_in_its_own_folder(tmp_path):
    for path in ("real/0001", "fake/0001", "real/0002_fake"):
        trees.write(tmp_path / "UADFV" / f"{path}.mp4", b"")
    assert [item.path for item in scan_videos("UADFV", tmp_path)] == ["UADFV/fake/0001", "UADFV/real/0001"]


def test_dfdc_validation_and_other_folders_of_test(tmp_path):
    tree = trees.Tree(
        [
            "DFDC/validation/aaaaaaaaaa.mp4",
            "DFDC/validation/videos/bbbbbbbbbb.mp4",
            "DFDC/test/test_videos/cccccccccc.mp4",
        ],
        files={
            "DFDC/validation/labels.csv": "filename,label\r\naaaaaaaaaa.mp4,0\r\nbbbbbbbbbb.mp4,1\r\n",
            "DFDC/test/labels.csv": "filename,label\r\ncccccccccc.mp4,0\r\n",
        },
    )
    found = facts(scan_videos("DFDC", trees.build_videos(tmp_path, tree)))
    assert {path.rsplit("/", 1)[1]: fact[:2] for path, fact in found.items()} == {
        "aaaaaaaaaa": (False, ("val",)), "bbbbbbbbbb": (True, ("val",)), "cccccccccc": (False, ("test",)),
    }  # fmt: skip


def test_fakeavceleb_without_its_csv_goes_by_folder_and_name(tmp_path):
    items = scan_videos("FakeAVCeleb", trees.build_videos(tmp_path, cut(trees.FAKEAVCELEB, "meta_data")))
    by_name = dict(expected("FakeAVCeleb"))
    odd = "FakeAVCeleb_v1.2/FakeVideo-FakeAudio/African/men/id00076/00109_id00476_wavtolip"
    by_name[odd] = (True, ("test",), "wav2lip", by_name[odd][3])  # only the CSV knows
    assert facts(items) == by_name


@pytest.mark.parametrize(
    ("category", "name", "method"),
    [
        ("FakeVideo-RealAudio", "00027", "faceswap"),
        ("FakeVideo-RealAudio", "00109_1", "faceswap"),
        ("FakeVideo-RealAudio", "00118_id00476_UgdYVJ6xPYg_faceswap", "faceswap"),
        ("FakeVideo-RealAudio", "00109_id00173_UHoMXLSjlDo", "fsgan"),
        ("FakeVideo-RealAudio", "00109_2_id00173_U-o_XLSjlDo", "fsgan"),
        ("FakeVideo-RealAudio", "002121_id00166_wavtolip", "wav2lip"),
        ("FakeVideo-FakeAudio", "00109_id00166_wavtolip", "wav2lip"),
        ("FakeVideo-FakeAudio", "00109_10_id00476_wavtolip", "faceswap-wav2lip"),
        ("FakeVideo-FakeAudio", "00118_id00476_UgdYVJ6xPYg_faceswap_id01691_wavtolip", "faceswap-wav2lip"),
        ("FakeVideo-FakeAudio", "00109_id00173_UHoMXLSjlDo_id01691_wavtolip", "fsgan-wav2lip"),
    ],
)
def test_fakeavceleb_names_tell_the_method(category, name, method, tmp_path):
    trees.write(tmp_path / "FakeAVCeleb_v1.2" / category / "African" / "men" / "id00076" / f"{name}.mp4", b"")
    assert [item.method for item in scan_videos("FakeAVCeleb", tmp_path)] == [method]


def test_fakeavceleb_reads_the_copies_of_its_csv(tmp_path):
    rows = [row.split(",") for row in trees.FAVC_ROWS]
    text = "source,target1,target2,method,category,type,race,gender,filename,path\r\n"
    text += "".join(",".join([*row, f"FakeAVCeleb_v1.2/{row[5]}/{row[6]}"]) + "\r\n" for row in rows)
    tree = trees.Tree(trees.FAKEAVCELEB.videos, files={"FakeAVCeleb_v1.2/meta_data.csv": text})
    assert facts(scan_videos("FakeAVCeleb", trees.build_videos(tmp_path, tree))) == expected("FakeAVCeleb")


def test_kodf_without_csvs_is_test_and_has_no_pairs(tmp_path):
    items = scan_videos("KoDF", trees.build_videos(tmp_path, cut(trees.KODF, ".csv")))
    assert facts(items) == {p: (fake, ("test",), how, None) for p, (fake, _, how, _) in expected("KoDF").items()}


def test_deepspeak_by_folders_where_its_split_is_not_there(tmp_path):
    for path in ("train/real/88-2", "train/fake/wav2lip--88-89--2-3--1", "test/real/87-1"):
        trees.write(tmp_path / "DeepSpeak-v1.1" / f"{path}.mp4", b"")
    assert facts(scan_videos("DeepSpeak-v1.1", tmp_path)) == {
        "DeepSpeak-v1.1/test/real/87-1": (False, ("test",), None, None),
        "DeepSpeak-v1.1/train/fake/wav2lip--88-89--2-3--1": (
            True,
            ("train",),
            "wav2lip",
            "DeepSpeak-v1.1/train/real/88-2",
        ),
        "DeepSpeak-v1.1/train/real/88-2": (False, ("train",), None, None),
    }


def test_a_swap_of_identities_of_two_splits_is_an_error(tmp_path):
    tree = cut(trees.DEEPSPEAK_V2, "split-def")
    tree.files["DeepSpeak-v2.0/annotations-split-def.csv"] = "identity,split\n87,test\n88,test\n89,train\n90,test\n"
    with pytest.raises(LNCLIPError, match=r"source\.split is 'test', not 'train'"):
        scan_videos("DeepSpeak-v2.0", trees.build_videos(tmp_path, tree))


# --- what disks hold --------------------------------------------------------------------------------------------------


def test_folders_may_be_links_or_mapped(tmp_path):
    trees.build_videos(tmp_path / "elsewhere", trees.CELEB)
    (tmp_path / "elsewhere" / "Celeb-DF-v2").rename(tmp_path / "elsewhere" / "celeb")
    folders = {"Celeb-DF-v2": tmp_path / "elsewhere" / "celeb"}
    assert facts(scan_videos("Celeb-DF-v2", tmp_path, folders=folders)) == expected("Celeb-DF-v2")
    (tmp_path / "Celeb-DF-v2").symlink_to(tmp_path / "elsewhere" / "celeb")
    items = scan_videos("Celeb-DF-v2", tmp_path)
    assert facts(items) == expected("Celeb-DF-v2")
    assert items[0].file == tmp_path / "Celeb-DF-v2" / "Celeb-real" / "id0_0000.mp4"
    with pytest.raises(LNCLIPError, match=r"Celeb-DF-v2 is mapped to .*absent, which is not a folder"):
        scan_videos("Celeb-DF-v2", tmp_path, folders={"Celeb-DF-v2": tmp_path / "absent"})
    with pytest.raises(LNCLIPError, match="has no folder Celeb to map; there is Celeb-DF-v2"):
        scan_videos("Celeb-DF-v2", tmp_path, folders={"Celeb": tmp_path})


def test_faces_may_lie_under_the_yamls_name_beside_a_folder_of_another(tmp_path):
    trees.build_faces(tmp_path, trees.CELEB, lists=False)
    trees.build_videos(tmp_path / "raw", trees.CELEB)
    (tmp_path / "raw" / "Celeb-DF-v2").rename(tmp_path / "Celeb-DF")
    assert facts(scan_faces("Celeb-DF-v2", tmp_path)) == expected("Celeb-DF-v2")
    assert facts(scan_videos("Celeb-DF-v2", tmp_path)) == expected("Celeb-DF-v2")
    (tmp_path / "Celeb-DF").rename(tmp_path / "raw" / "celeb")
    folders = {"Celeb-DF-v2": tmp_path / "raw" / "celeb"}
    assert facts(scan_faces("Celeb-DF-v2", tmp_path, folders=folders)) == expected("Celeb-DF-v2")
    shutil.copytree(tmp_path / "Celeb-DF-v2", tmp_path / "Celeb-DF")
    with pytest.raises(LNCLIPError, match="is there twice, also as"):
        scan_faces("Celeb-DF-v2", tmp_path, folders=folders)


def test_a_folder_and_a_link_to_it_are_one(tmp_path):
    trees.build_videos(tmp_path, trees.CELEB)
    (tmp_path / "Celeb-DF").symlink_to(tmp_path / "Celeb-DF-v2")
    assert facts(scan_videos("Celeb-DF-v2", tmp_path)) == expected("Celeb-DF-v2")


@pytest.mark.parametrize("name", dataset_names())
def test_a_dataset_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(LNCLIPError, match=r"no folder .* below"):
        scan_videos(name, tmp_path)
    combine = load_dataset(name).combine
    for folder in load_dataset(combine.parts[0].dataset if combine else name).folders:
        (tmp_path / folder.name).mkdir()
    with pytest.raises(LNCLIPError, match=r"no video below|no file|folder"):
        scan_videos(name, tmp_path)


def test_videos_without_faces_have_not_been_preprocessed(tmp_path):
    trees.build_videos(tmp_path, trees.UADFV)
    with pytest.raises(LNCLIPError, match=r"no video with faces .*its videos are there, 4, and have not been prep"):
        scan_faces("UADFV", tmp_path)


def test_odd_names_and_links_are_one_line_each_and_stop_nothing(tmp_path, caplog):
    root = trees.build_videos(tmp_path, trees.UADFV) / "UADFV"
    (root / "real" / "0007.mp4").symlink_to(root / "nowhere.mp4")
    (root / "real" / "0008.mp4").symlink_to(root / "real" / "0008.mp4")
    (root / "again").symlink_to(root)
    Path(os.fsdecode(bytes(root / "real") + b"/\xff\xfe.mp4")).touch()
    (root / "real" / "..\\0009.mp4").touch()
    (root / "real" / "0010\n.mp4").touch()
    (root / "real" / "._0000.mp4").touch()
    os.mkfifo(root / "real" / "0011.mp4")
    assert facts(scan_videos("UADFV", tmp_path)) == expected("UADFV")
    passed = [message for message in caplog.messages if "passed over" in message]
    assert len(passed) == 5 and all("\n" not in message for message in passed)
    for words in ("not UTF-8", "backslash or a control", "a link to nothing", "a link to a folder above"):
        assert any(words in message for message in passed), words


def test_files_that_are_neither_videos_nor_lists_are_counted_by_suffix(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    root = trees.build_videos(tmp_path, trees.CELEB)
    for name in ("readme.md", "more.md", "archive.zip", "LICENSE"):
        (root / "Celeb-DF-v2" / name).touch()
    scan_videos("Celeb-DF-v2", root)
    [line] = [message for message in caplog.messages if "neither videos nor lists" in message]
    assert {"2 .md", "1 .zip", "1 without a suffix"} == {*line.rsplit(": ", 1)[1].split(", ")}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_one_line(tmp_path, caplog):
    trees.build_videos(tmp_path, trees.UADFV)
    (tmp_path / "UADFV" / "fake").chmod(0)
    items = scan_videos("UADFV", tmp_path)
    (tmp_path / "UADFV" / "fake").chmod(0o755)
    assert len(items) == 2 and any("Permission denied" in message for message in caplog.messages)


def test_one_video_in_two_files_is_an_error(tmp_path):
    trees.build_videos(tmp_path, trees.UADFV)
    for other in ("UADFV/real/0000.avi", "UADFV/fake/videos/0000_fake.mp4"):
        trees.write(tmp_path / other, b"")
        with pytest.raises(LNCLIPError, match="is there twice, also as"):
            scan_videos("UADFV", tmp_path)
        (tmp_path / other).unlink()


def test_videos_that_fit_no_rule_are_counted_but_not_those_of_other_sets(tmp_path, caplog):
    trees.build_videos(tmp_path, trees.faceforensics_family())
    trees.write(
        tmp_path / "FaceForensics++" / "manipulated_sequences" / "Deepfakes" / "c23" / "videos" / "1_2.mp4", b""
    )
    scan_videos("FaceForensics++", tmp_path)
    assert [message for message in caplog.messages if "no rule" in message] == [
        "FaceForensics++: 1 videos fit no rule and are passed over, for example "
        "FaceForensics++/manipulated_sequences/Deepfakes/c23/1_2"
    ]


def test_images_without_an_index_are_no_frames(tmp_path, caplog):
    trees.build_faces(tmp_path, trees.UADFV)
    folder = tmp_path / "UADFV" / "real" / "frames"
    for name in ("Thumbs.db", ".003-abc.png", "003.jpg", "x.png"):
        trees.write(folder / "0000" / name, b"")
    (folder / "0049").mkdir()
    items = {item.name: item for item in scan_faces("UADFV", str(tmp_path), faces=tmp_path)}
    assert [frame.name for frame in items["0000"].frames] == ["000.png", "004.png", "1000.png"]
    assert "0049" not in items and any("have no face images" in message for message in caplog.messages)


def test_a_scan_lists_each_folder_once_and_looks_at_no_frame(tmp_path, monkeypatch):
    trees.build_faces(tmp_path, trees.faceforensics())
    listed, real = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(os.fspath(path)) or real(path))
    Listing().walk(tmp_path / "FaceForensics++", "FaceForensics++")
    assert len(listed) == len(set(listed))
    assert not [path for path in listed if Path(path).parent.name in ("frames", "landmarks", "masks")]
    listed.clear()
    items = scan_faces("FaceForensics++", tmp_path)
    videos = [path for path in listed if Path(path).parent.name in ("frames", "masks")]
    assert len(videos) == len(set(videos)) == len(items) + sum(bool(item.masks) for item in items)


def test_frames_are_like_a_tuple_of_paths():
    frames = Frames(Path("a"), ("000.png", "004.png", "010.png"))
    paths = (Path("a/000.png"), Path("a/004.png"), Path("a/010.png"))
    assert frames == paths and frames[1:] == paths[1:] and frames[-1] == paths[-1] and len(frames) == 3
    assert hash(frames) == hash(Frames(Path("a"), frames.names)) and frames != Frames() and not Frames()


# --- the combination --------------------------------------------------------------------------------------------------


def combination(tmp_path, videos=1, **changes):
    raw = yaml.safe_load((bench_configs() / "datasets" / "LNCLIP-val.yaml").read_text(encoding="utf-8"))
    raw["combine"] |= changes
    for part in raw["combine"]["parts"]:
        part["videos"] = videos
    (tmp_path / "val.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path / "val.yaml"


@pytest.fixture
def parts(tmp_path):
    for name in PARTS:
        trees.build_videos(tmp_path / "root", trees.TREES[name])
    return tmp_path / "root"


@pytest.mark.parametrize("name", ["LNCLIP-val", "GenD-val"])
def test_a_validation_set_holds_the_splits_that_it_names_and_no_test_video(tmp_path, name):
    wanted = set()
    for part in load_dataset(name).combine.parts:
        trees.build_videos(tmp_path, trees.TREES[part.dataset])
        videos = expected(part.dataset).items()
        wanted |= {path for path, (_, splits, *_) in videos if splits in [(split,) for split in part.splits]}
    items = scan_videos(name, tmp_path)
    assert {item.path for item in items} == wanted  # so few are there that all of these are drawn
    assert {item.splits for item in items} == {("val", "test")}
    assert {item.label for item in items} == set(load_dataset(name).labels)


def test_a_draw_depends_on_the_seed_and_the_video_alone(parts, tmp_path):
    def drawn(**changes):
        return {item.path for item in scan_videos(combination(tmp_path, **changes), parts)}

    first = drawn()
    assert len(first) == 4 * 2 and first == drawn()
    assert len({frozenset(drawn(seed=seed)) for seed in range(8)}) > 1
    for path in sorted({path for path in expected("Celeb-DF-v2") if "Celeb-real" in path} - first):
        (parts / f"{path}.mp4").unlink()
    assert drawn() == first
    (parts / "FFIW10K-v1-release").rename(parts / "aside")
    (parts / "FFIW").mkdir()
    (parts / "aside").rename(parts / "FFIW" / "FFIW10K-v1-release")
    assert {path.removeprefix("FFIW/") for path in drawn()} == first


def test_a_part_that_is_missing_is_named(parts, caplog):
    shutil.rmtree(parts / "DeepSpeak-v2.0")
    with pytest.raises(LNCLIPError, match=r"LNCLIP-val: part DeepSpeak-v2\.0 is missing: .*\(allow_missing\)"):
        scan_videos("LNCLIP-val", parts)
    caplog.set_level(logging.WARNING)
    items = scan_videos("LNCLIP-val", parts, allow_missing=True)
    assert not [item for item in items if "DeepSpeak-v2.0" in item.path]
    assert any("made without DeepSpeak-v2.0" in message for message in caplog.messages)


def test_a_part_without_enough_videos_is_named(parts, caplog):
    scan_videos("LNCLIP-val", parts)
    assert "LNCLIP-val: all 3 real videos of Celeb-DF-v2, not 125" in caplog.messages
    shutil.rmtree(parts / "FFIW10K-v1-release")
    with pytest.raises(LNCLIPError, match="part FFIW is missing: FFIW has no real video in train or val"):
        scan_videos("LNCLIP-val", parts)
    assert not [item for item in scan_videos("LNCLIP-val", parts, allow_missing=True) if "FFIW" in item.path]


# --- properties -------------------------------------------------------------------------------------------------------

LINES = st.lists(
    st.from_regex(r"[01] [^\n]{0,12}\.mp4", fullmatch=True)
    | st.text(max_size=12)
    | st.sampled_from(["a,b", "1,2", "../x"])
).map("\n".join)
NAMES = st.lists(
    st.sampled_from(["Celeb-real", "YouTube-real", "Celeb-synthesis", "real", "fake", "videos", "frames", "masks"])
    | st.from_regex(r"id[0-9]_(id[0-9]_)?[0-9]{4}", fullmatch=True)
    | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8),
    min_size=1,
    max_size=4,
).filter(lambda parts: not {".", ".."} & set(parts))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["Celeb-DF-v2", "KoDF", "FakeAVCeleb", "UADFV", "FFIW"]), st.lists(NAMES, max_size=6), LINES)
@pytest.mark.slow
def test_any_tree_is_scanned_or_refused_and_no_path_leaves_it(name, paths, lines):
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, load_dataset(name).folders[0].name)
        trees.write(folder / "List_of_testing_videos.txt", lines.encode())
        for parts in paths:
            try:
                trees.write(folder.joinpath(*parts[:-1], f"{parts[-1]}.mp4"), b"")
            except OSError:  # a file where another path has a folder
                continue
        try:
            items = scan_videos(name, root)
        except LNCLIPError as error:
            assert "\n" not in str(error)
            return
        for item in items:
            assert folder in item.file.parents and item.file.is_file()
            assert not climbs(item.path) and not climbs(item.name)
