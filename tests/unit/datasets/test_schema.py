"""The YAMLs of the datasets: what the packaged ones state, and how a wrong key is reported."""

import subprocess
import sys
from pathlib import Path

import pytest
import trees
import yaml
from expected_items import facts
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.config.files import bench_configs
from lnclip_df.config.loading import detector_yamls, labels, load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets import schema
from lnclip_df.datasets.scan import scan_videos
from lnclip_df.datasets.schema import dataset_names, fill, load_dataset, named_faces
from lnclip_df.evaluation.reference import reference


def test_there_is_one_for_every_benchmark_and_published_column():
    benchmarks = set(load_config("gend/clip.yaml").lnclip.benchmarks)
    names = set(dataset_names())
    validation, further = {"LNCLIP-val", "GenD-val"}, {"DF40", "WildDeepfake", "Deepfake-Eval-2024", "KoDF-adversarial"}
    assert {*load_config("lnclip.yaml").lnclip.benchmarks, *benchmarks, *validation, *further} <= names
    parts = {name for dataset in names for name in load_dataset(dataset).subsets}
    published = {column.dataset for column in reference().all_columns}
    assert published - {"FaceForensics++-c40"} <= names | parts  # that is a level of FaceForensics++


@pytest.mark.parametrize("name", dataset_names())
def test_a_packaged_yaml_says_where_everything_comes_from(name):
    dataset = load_dataset(name)
    assert dataset.name == name
    assert dataset.citation and dataset.access and dataset.licence and dataset.layout and dataset.notes
    assert dataset.layout_checked is False and dataset.checked
    assert dataset.labels.items() <= labels().items()
    assert dataset.expected is None or dataset.expected.source


def test_several_people_in_a_frame_need_the_mask():
    assert {name for name in dataset_names() if load_dataset(name).face == "mask"} == {"FFIW", "DeepFakeDetection"}


def test_a_dataset_is_no_detector():
    assert detector_yamls()
    assert not [name for name in detector_yamls() if name.startswith("datasets/")]
    with pytest.raises(LNCLIPError, match=r"no config datasets/UADFV\.yaml"):
        load_config("datasets/UADFV.yaml")


def test_no_dataset_is_named_in_code():
    folder = Path(schema.__file__).parent
    names = [*dataset_names(), "FF-real", "List_of_testing", "labels.csv", "manipulated_sequences"]
    docs = {"Celeb-DF-v2"}  # an example in docstrings
    for module in ("schema", "items", "tables", "table_formats", "folder_listing", "rules", "scan", "rearrange"):
        text = (folder / f"{module}.py").read_text(encoding="utf-8")
        assert not [name for name in names if name in text and name not in docs], module


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lables": {}}, ["lables: unknown key"]),
        ({"videos": [{"path": "a", "label": "x", "fak": True}]}, ["videos.0.fak: unknown key (did you mean fake?)"]),
        ({"videos": [{"path": "(", "label": "x"}]}, ["videos.0.path", "not a regular expression"]),
        ({"videos": [{"path": "a", "label": "x", "split": "{part}"}]}, ["videos.0", "no field part"]),
        ({"videos": [{"path": "a", "label": "x", "join": {"t": "{stem}"}}]}, ["no table t"]),
        ({"videos": [{"path": "(?P<stem>a)", "label": "x"}]}, ["videos.0", "are taken"]),
        ({"videos": [{"path": "a"}]}, ["videos.0", "label"]),
        ({"videos": []}, ["either folders and videos, or combine"]),
        ({"tables": {"t": {"file": "a", "format": "lines", "key": "{a}"}}}, ["tables.t", "needs the key line"]),
        ({"levels": {"names": ["a"], "use": "b"}}, ["levels", "b is none of"]),
        ({"name": "../x"}, ["name"]),
        ({"face": "smallest"}, ["face", "'largest' or 'mask'"]),
    ],
)
def test_a_wrong_key_is_one_line_with_file_and_path(tmp_path, change, words):
    path = tmp_path / "mine.yaml"
    right = {"name": "mine", "folders": "mine", "videos": [{"path": "a", "label": "x"}]}
    path.write_text(yaml.safe_dump(right))
    assert load_dataset(path).name == "mine"
    path.write_text(yaml.safe_dump(right | change))
    with pytest.raises(LNCLIPError) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_name_lists_those_that_are():
    for name in ("Celeb-DF-v9", "../labels", ""):
        with pytest.raises(LNCLIPError, match=r"no dataset .*Celeb-DF-v2"):
            load_dataset(name)


def test_a_dataset_of_ones_own_is_one_yaml(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nfolders: clips\nvideos:\n"
        "  - {path: 'a/(?P<n>\\w+)', label: mine_real, split: test}\n"
        "  - {path: 'b/(?P<n>\\w+)-(?P<how>\\w+)', label: mine_fake, fake: true, method: '{how}', split: test,\n"
        "     pair: {path: '{base}a/{n}'}}\n"
    )
    for name in ("a/x.mp4", "b/x-swap.MOV", "b/y-swap.mp4", "b/note.txt"):
        trees.write(tmp_path / "clips" / name, b"")
    assert facts(scan_videos(tmp_path / "mine.yaml", tmp_path)) == {
        "clips/a/x": (False, ("test",), None, None),
        "clips/b/x-swap": (True, ("test",), "swap", "clips/a/x"),
        "clips/b/y-swap": (True, ("test",), "swap", None),
    }


@given(st.text(max_size=30), st.dictionaries(st.sampled_from(["a", "b"]), st.text(max_size=5)))
@pytest.mark.slow
def test_a_template_is_filled_or_none(template, values):
    filled = fill(template, values)
    assert filled is None or isinstance(filled, str)
    assert fill("{a}/{b}", values) == (f"{values['a']}/{values['b']}" if len(values) == 2 else None)


def test_nothing_heavy_is_needed_to_read_a_yaml():
    code = "import sys, lnclip_df.datasets.schema; print({'torch', 'lightning', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_the_faces_that_a_yaml_chooses_are_those_of_its_parts_too(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text((bench_configs() / "datasets" / "FFIW.yaml").read_text())
    names = ("FFIW", "LNCLIP-val", "Celeb-DF-v2", "toy", str(path))
    assert [named_faces([name]) for name in names] == [{"mask"}, {"mask", "largest"}, *[{"largest"}] * 3]
    assert named_faces(["FFIW", "toy"]) == {"mask", "largest"} and named_faces([]) == set()
