"""Lists of frames, as the paper's authors release them, become dataset JSONs with our keys."""

import json

import pytest
from commands import call, error_of
from trees import png, write

from lnclip_df import LNCLIPError
from lnclip_df.config.loading import load_config
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.rearrange import rearrange

FF = {"real/000": 3, "DF/000_003": 4, "F2F/000_003": 2, "FS/000_003": 2, "NT/000_003": 2}
CDF = {"Celeb-real/id0_0000": 2, "YouTube-real/00000": 2, "Celeb-synthesis/id0_id1_0000": 3}


def make(root, name, videos, *, split="test", end="\n", separator="/"):
    """Frames of a set below ``datasets``, and one list for each of its sources."""
    for video, count in videos.items():
        frames = [f"datasets/{name}/{video}/{9 * number}.png" for number in range(count)]
        for frame in frames:
            write(root / frame, png())
        path = root / "config" / "datasets" / name / split / f"{video.partition('/')[0]}.txt"
        text = end.join(frame.replace("/", separator) for frame in reversed(frames))
        write(path, text.encode())
    return root / "config" / "datasets" / name


def test_the_authors_lists_of_faceforensics_are_its_labels_and_subsets(tmp_path):
    lists = make(tmp_path, "FF", FF)
    written = rearrange("FaceForensics++", tmp_path, tmp_path / "json", lists=[lists], relative_to=tmp_path)
    assert [path.stem for path in written] == ["FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT"]
    classes = json.loads(written[0].read_text())["FaceForensics++"]
    assert set(classes) == {"FF-real", "FF-DF", "FF-F2F", "FF-FS", "FF-NT"}
    record = classes["FF-DF"]["test"]["c23"]["000_003"]
    assert record["frames"] == [f"./datasets/FF/DF/000_003/{number}.png" for number in (0, 9, 18, 27)]
    assert classes["FF-DF"]["train"] == {"c23": {}}


@pytest.mark.parametrize(("end", "separator"), [("\n", "/"), ("\r\n", "\\"), ("\n\n", "/")])
def test_videos_have_the_keys_that_they_have_from_the_original_release(tmp_path, end, separator):
    lists = make(tmp_path, "CDFv2", CDF, end=end, separator=separator)
    rearrange(
        "Celeb-DF-v2", tmp_path, tmp_path / "json", lists=sorted((lists / "test").iterdir()), relative_to=tmp_path
    )
    config = load_config("lnclip.yaml").replace({"lnclip.data_root": str(tmp_path), "dataset_json_folder": "json"})
    videos = read_videos(config, ["Celeb-DF-v2"], "test")
    assert {video.key: len(video.frames) for video in videos} == {
        "Celeb-DF-v2/CelebDFv2_fake/id0_id1_0000": 3,
        "Celeb-DF-v2/CelebDFv2_real/00000": 2,
        "Celeb-DF-v2/CelebDFv2_real/id0_0000": 2,
    }


def test_a_frame_that_is_listed_twice_counts_once(tmp_path):
    lists = make(tmp_path, "CDFv2", CDF)
    path = lists / "test" / "Celeb-real.txt"
    path.write_text("\n".join([path.read_text()] * 2))
    (written,) = rearrange("Celeb-DF-v2", tmp_path, tmp_path / "json", lists=[lists], relative_to=tmp_path)
    assert len(json.loads(written.read_text())["Celeb-DF-v2"]["CelebDFv2_real"]["test"]["id0_0000"]["frames"]) == 2


def test_splits_are_folders_names_with_or_without_the_authors_prefix(tmp_path):
    lists = make(tmp_path, "CDFv2", CDF)
    make(tmp_path, "CDFv2", {"Celeb-real/id9_0009": 1}, split="my-train")
    (written,) = rearrange("Celeb-DF-v2", tmp_path, tmp_path / "json", lists=[lists], relative_to=tmp_path)
    classes = json.loads(written.read_text())["Celeb-DF-v2"]
    assert set(classes["CelebDFv2_real"]["train"]) == {"id9_0009"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("test/Celeb-real.txt", "datasets/CDFv2/Celeb-real/id0_0000/1.png", "line 1: no frame .*id0_0000/1.png"),
        ("test/Celeb-real.txt", "id0_0000/0.png", "line 1: 'id0_0000/0.png' is not <set>/<source>/<video>/<number>"),
        ("test/x.txt", "\ndatasets/CDFv2/Celeb-real/../0.png", "line 2: .* is not <set>"),
        ("test/x.txt", "datasets/CDFv2/Celeb-real/id0_0000/a.png", "line 1: .* is not <set>"),
        ("other/x.txt", "", "names no split; put the list into a folder named train, val, test"),
        ("test/x.txt", b"\xff\xfe\x00", r"x\.txt: line 1 is not UTF-8 \(truncated data\); save it as text in UTF-8"),
    ],
)
def test_a_faulty_list_is_one_line(tmp_path, name, text, said):
    make(tmp_path, "CDFv2", CDF)
    lists = tmp_path / "lists"
    write(lists / name, text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LNCLIPError, match=said):
        rearrange("Celeb-DF-v2", tmp_path, tmp_path / "json", lists=[lists], relative_to=tmp_path)


def test_a_source_of_another_dataset_is_named(tmp_path):
    lists = make(tmp_path, "FF", FF | {"Other/000_003": 1})
    with pytest.raises(LNCLIPError, match=r"source 'Other' fits no label of FaceForensics\+\+ \(FF-DF, "):
        rearrange("FaceForensics++", tmp_path, tmp_path / "json", lists=[lists], relative_to=tmp_path)


def test_the_command_takes_lists_and_says_where_there_are_none(tmp_path):
    lists = make(tmp_path, "CDFv2", CDF)
    arguments = ["--root", tmp_path, "--out", tmp_path / "json", "--relative-to", tmp_path]
    assert call("rearrange", "Celeb-DF-v2", *arguments, "--lists", lists).exit_code == 0
    (tmp_path / "empty").mkdir()
    assert "contains no list (*.txt)" in error_of(
        call("rearrange", "Celeb-DF-v2", *arguments, "--lists", tmp_path / "empty")
    )
    absent = tmp_path / "test" / "absent"
    assert f"no list {absent}: no such file" in error_of(
        call("rearrange", "Celeb-DF-v2", *arguments, "--lists", absent)
    )


def test_lists_need_the_folder_that_their_paths_start_from(tmp_path):
    lists = make(tmp_path, "CDF", CDF)
    line = error_of(call("rearrange", "Celeb-DF-v2", "--lists", lists, "--out", tmp_path / "json"))
    assert "root is missing: name the folder that the paths of the lists start from" in line
