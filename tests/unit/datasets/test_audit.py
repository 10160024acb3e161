"""Every fault that a dataset on disk can have is found, counted and named; a sound one is fit for the leaderboard."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from trees import TREES, build_faces

from lnclip_df.config.loading import load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.findings import Finding
from lnclip_df.datasets import audit as module
from lnclip_df.datasets.audit import VIDEOS, AuditOptions, audit
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frames import read_frame
from lnclip_df.datasets.items import Item
from lnclip_df.datasets.lmdb import write_lmdb
from lnclip_df.datasets.pairs import write_pairs
from lnclip_df.datasets.rearrange import rearrange
from lnclip_df.datasets.scan import scan_faces
from lnclip_df.datasets.schema import Dataset, load_dataset
from lnclip_df.media.recipe import Recipe, add_recipe

SIZE = 16
COUNTS = {"source": "the paper", "labels": {"test": {"toy_real": 2, "toy_fake": 2}}}


def dataset(**keys):
    rules = [{"path": f"{label}/.*", "label": f"toy_{label}", "fake": label == "fake"} for label in ("real", "fake")]
    defaults = {"layout": "its page", "layout_checked": True, "expected": COUNTS, "folders": ["toy"], "videos": rules}
    return Dataset(name="toy", **{**defaults, **keys})


def png(seed, size=SIZE, recipe=None):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    return add_recipe(data, Recipe(recipe)) if recipe else data


class Tree:
    """Items made by hand, with their faces on disk."""

    def __init__(self, root):
        self.root, self.seed, self.items = root, 0, {}

    def add(self, path, splits=("test",), frames=3, fake=None, **keys):
        fake = "/fake/" in path if fake is None else fake
        folder, _, name = path.rpartition("/")
        files = [self.root / folder / "frames" / name / f"{index:03d}.png" for index in range(frames)]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(self.seed))
            self.seed += 1
        label = "toy_fake" if fake else "toy_real"
        self.items[path] = Item(path, label, fake, splits, name, frames=tuple(files), **keys)

    def file(self, path, index):
        return self.items[path].frames[index]

    def change(self, path, **keys):
        self.items[path] = replace(self.items[path], **keys)

    def audit(self, data=None, videos=(), **settings):
        options = AuditOptions(**{"frames": 3, "size": SIZE, "workers": 1, "progress": False, **settings})
        return audit(data or dataset(), list(self.items.values()), options, videos=videos)


@pytest.fixture
def tree(tmp_path):
    """Two pairs of test videos, without a fault."""
    tree = Tree(tmp_path)
    for name in ("a", "b"):
        tree.add(f"toy/real/{name}", ids=(name,))
        tree.add(f"toy/fake/{name}_x", ids=(name, "x"), method="swap", pair=f"toy/real/{name}")
    return tree


def found(report, name):
    """The findings of one name, as ``(status, count)``."""
    return [(finding.status, finding.count) for finding in report.findings if finding.name == name]


def the(report, name):
    (finding,) = [finding for finding in report.findings if finding.name == name]
    return finding


def faults(report):
    """What is not in order, but for the number of videos: the trees are small."""
    return [finding.name for finding in report.findings if finding.status != "ok" and finding.name != VIDEOS]


@pytest.mark.parametrize("quick", [False, True])
def test_a_sound_dataset_is_fit(tree, quick):
    report = tree.audit(quick=quick)
    assert report.fit and not faults(report)
    assert report.counts == {"test": {"toy_fake": {"swap": 2}, "toy_real": {"real": 2}}}
    assert report.frames == {"min": 3, "median": 3, "max": 3}
    assert found(report, "images") == [("ok", 4 if quick else 12)]
    assert the(report, "pairs").found == "2 fakes with their real, 0 reals without a fake"
    assert str(report).splitlines()[1] == "  test   toy_fake swap 2; toy_real real 2"


def test_a_dataset_is_fit_for_the_leaderboard_only_with_enough_videos(tmp_path):
    tree = Tree(tmp_path)
    for index in range(20):
        tree.add(f"toy/real/{index}")
        tree.add(f"toy/fake/{index}")
    assert str(tree.audit(dataset(expected=None))).startswith("toy: fit for the leaderboard\n")
    tree.change("toy/fake/0", splits=("val",))
    tree.change("toy/real/0", splits=("val",))
    report = tree.audit(dataset(expected=None))
    assert str(report).startswith("toy: no problem, but too few videos for the leaderboard\n") and report.fit
    shown = [finding.found for finding in report.findings if finding.name == VIDEOS]
    assert [text.partition(";")[0] for text in shown] == [
        "val has few videos (1 real, 1 fake",
        "test has few videos (19 real, 19 fake",
    ]


def test_nothing_is_said_of_sources_that_nobody_knows(tmp_path):
    tree = Tree(tmp_path)
    for split in ("train", "test"):
        for path in (f"toy/real/{split}", f"toy/fake/{split}"):
            tree.add(path, splits=(split,))
    leakage = the(tree.audit(dataset(expected=None)), "leakage")
    assert leakage.status == "warning" and "whether they share people is not known" in leakage.found
    tree.change("toy/real/test", ids=("a",))
    leakage = the(tree.audit(dataset(expected=None)), "leakage")
    assert (
        leakage.status == "ok" and leakage.found == "splits share no video or source; 1 of 4 videos have known sources"
    )
    for path in ("toy/real/train", "toy/fake/train"):
        del tree.items[path]
    assert "one split" in the(tree.audit(dataset(expected=None)), "leakage").found


def test_processes_see_what_one_sees(tree):
    tree.file("toy/real/a", 1).write_bytes(b"")
    assert tree.audit(workers=2) == tree.audit(workers=1)


def test_the_report_is_json(tree, tmp_path):
    tree.file("toy/real/a", 1).write_bytes(b"")
    tree.audit().write(tmp_path / "out" / "audit.json")
    report = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert report["fit"] is False and report["dataset"] == "toy" and report["recipes"] == {"foreign": 11}
    (images,) = [finding for finding in report["findings"] if finding["name"] == "images"]
    assert (images["status"], images["count"]) == ("problem", 1) and len(images["examples"]) == 1


# --- counts -----------------------------------------------------------------------------------------------------------


def test_missing_and_surplus_videos_are_counted(tree):
    tree.add("toy/real/c")
    del tree.items["toy/fake/a_x"]
    report = tree.audit()
    finding = the(report, "counts")
    assert not report.fit and (finding.status, finding.count) == ("problem", 2)
    assert finding.found == "test by label: toy_real 3 of 2, toy_fake 1 of 2"


@pytest.mark.parametrize(("wanted", "status"), [(2, "ok"), (3, "warning"), (4, "problem"), (1, "problem")])
def test_few_missing_videos_are_a_warning_and_more_or_surplus_ones_a_problem(tree, monkeypatch, wanted, status):
    monkeypatch.setattr(module, "MAX_MISSING", 0.4)
    report = tree.audit(dataset(expected={"source": "x", "labels": {"test": {"toy_real": wanted}}}))
    assert [status for status, _ in found(report, "counts")] == [status] and report.fit is (status != "problem")


def test_raw_videos_are_what_is_counted_where_they_are_there(tree, monkeypatch):
    monkeypatch.setattr(module, "MAX_MISSING", 0.4)
    raw = [replace(item, frames=()) for item in tree.items.values()]
    del tree.items["toy/fake/b_x"]
    report = tree.audit(videos=raw)
    assert report.fit and found(report, "counts") == [("ok", 4)] and found(report, "faces")[0] == ("warning", 1)


def test_methods_are_counted_too(tree):
    expected = {**COUNTS, "methods": {"test": {"swap": 1, "lips": 1}}}
    report = tree.audit(dataset(expected=expected))
    assert found(report, "counts") == [("ok", 4), ("problem", 2)]
    assert "test by method: swap 2 of 1, lips 0 of 1" in str(report)


def test_a_split_that_is_not_on_disk_is_a_warning(tree):
    expected = {"source": "x", "labels": {**COUNTS["labels"], "train": {"toy_real": 9}, "all": {"toy_real": 11}}}
    report = tree.audit(dataset(expected=expected))
    assert report.fit and sorted(found(report, "counts")) == [("ok", 4), ("warning", 0), ("warning", 9)]


def test_the_whole_sets_count_is_binding_where_it_is_all_that_is_known(tree):
    report = tree.audit(dataset(expected={"source": "x", "labels": {"all": {"toy_real": 11}}}))
    assert not report.fit and found(report, "counts") == [("problem", 9)]


def test_unused_videos_count_for_the_whole_set_only(tree):
    tree.add("toy/real/c", splits=())
    expected = {"source": "x", "labels": {**COUNTS["labels"], "all": {"toy_real": 3}}}
    report = tree.audit(dataset(expected=expected))
    assert report.fit and found(report, "counts") == [("ok", 4), ("ok", 3)]
    assert report.counts["unused"] == {"toy_real": {"real": 1}}


def test_counts_are_those_of_one_level(tree):
    for path, item in list(tree.items.items()):
        tree.change(path, level="c23")
        tree.add(f"{path}_raw", fake=item.fake, level="raw")
    assert found(tree.audit(), "counts") == [("ok", 4), ("ok", 4)]
    del tree.items["toy/real/a_raw"]
    assert found(tree.audit(), "counts") == [("ok", 4), ("problem", 1)]
    assert "raw test by label: toy_real 1 of 2" in str(tree.audit())


def test_unknown_counts_are_said_to_be(tree):
    finding = the(tree.audit(dataset(expected=None)), "counts")
    assert finding.status == "ok" and finding.found == "4 videos; how many the release has is not known"


def test_a_combination_counts_what_it_draws(tree):
    parts = [{"dataset": "other", "splits": ["train"], "videos": 3}]
    combined = Dataset(name="mix", combine={"seed": 0, "splits": ["val"], "parts": parts})
    report = tree.audit(combined)
    assert the(report, "counts") == Finding("counts", "warning", "4 of the 6 videos that its YAML draws", count=4)


def test_a_combination_is_in_its_splits_alike_without_a_leak(tree):
    for path in tree.items:
        tree.change(path, splits=("val", "test"))
    tree.add("toy/fake/a", splits=("val", "test"))
    parts = [{"dataset": "other", "splits": ["train"], "videos": 3}]
    report = tree.audit(Dataset(name="mix", combine={"seed": 0, "splits": ["val", "test"], "parts": parts}))
    assert report.fit and the(report, "leakage").found == "every video is in val and test, as its YAML says"
    assert found(report, "names") == [("warning", 1)]


def test_notes_and_an_unchecked_layout_are_stated(tree):
    report = tree.audit(dataset(layout_checked=False, notes=["One line of the list is blank."]))
    assert found(report, "layout") == [("warning", 0)] and the(report, "note").found == "One line of the list is blank."
    assert report.fit


# --- frames and images ------------------------------------------------------------------------------------------------


def test_short_videos_are_a_warning_and_videos_without_a_face_a_problem(tree):
    tree.change("toy/real/a", frames=tree.items["toy/real/a"].frames[:1])
    report = tree.audit()
    assert report.fit and found(report, "faces") == [("warning", 1)]
    assert the(report, "faces").examples == ("toy/real/a (1)",)
    assert the(report, "faces").found.startswith("1 to 3 a video, median 3; 1 of 4 videos have fewer than 3")
    tree.change("toy/real/a", frames=())
    report = tree.audit()
    assert not report.fit and found(report, "faces") == [("problem", 1), ("ok", 9)]


def test_raw_videos_tell_which_have_no_face(tree):
    raw = [replace(item, frames=()) for item in tree.items.values()]
    del tree.items["toy/real/a"]
    tree.change("toy/fake/a_x", pair=None)
    report = tree.audit(videos=raw)
    assert found(report, "faces") == [("problem", 1), ("ok", 9)] and found(report, "pairs") == [("ok", 1), ("ok", 1)]
    assert "problem faces: 1 videos have none; see why in the manifest\n          toy/real/a\n" in str(report)
    assert "1 fakes lack the faces of their real\n          toy/fake/a_x of toy/real/a\n" in str(report)


def test_no_face_at_all_is_a_problem(tree):
    for path in tree.items:
        tree.change(path, frames=())
    report = tree.audit()
    assert not report.fit and [status for status, _ in found(report, "faces")] == ["problem", "problem"]


def jpeg():
    return cv2.imencode(".jpg", np.zeros((SIZE, SIZE, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    "damage", [b"", b"no image", png(5)[:-20], png(5)[:60], jpeg(), png(5)[:50] + b"\0" + png(5)[51:], None]
)
def test_images_that_do_not_decode_are_counted(tree, damage):
    for path in ("toy/real/a", "toy/fake/b_x"):
        tree.file(path, 2).unlink()
        if damage is not None:
            tree.file(path, 2).write_bytes(damage)
    report = tree.audit()
    assert not report.fit and faults(report) == ["images"] and found(report, "images") == [("problem", 2)]
    assert str(tree.file("toy/fake/b_x", 2)) in the(report, "images").examples[0]
    assert tree.audit(quick=True).fit


def test_images_of_another_size_are_counted(tree):
    tree.file("toy/real/a", 0).write_bytes(png(50, size=24))
    tree.file("toy/fake/a_x", 1).write_bytes(png(51, size=8))
    report = tree.audit()
    assert not report.fit and faults(report) == ["image size"] and found(report, "image size") == [("problem", 2)]
    assert the(report, "image size").examples[1].endswith("real/frames/a/000.png (24×24)")
    assert tree.audit(size="native").fit


def test_of_native_crops_those_that_are_not_square_are_counted(tree):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    tree.file("toy/real/a", 0).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    report = tree.audit(size="native")
    assert faults(report) == ["image size"] and "1 of 12 images are not square" in the(report, "image size").found
    with pytest.raises(LNCLIPError, match="size: 'own' received; accepted is an integer, 1 or more, or native"):
        tree.audit(size="own")


@pytest.mark.parametrize("mode", [cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR])
def test_images_of_any_kind_of_pixel_decode(tree, mode):
    gray = cv2.imencode(".png", cv2.imdecode(np.frombuffer(png(60), np.uint8), mode))[1].tobytes()
    tree.file("toy/real/a", 0).write_bytes(gray)
    assert tree.audit().fit


def test_mixed_recipes_are_a_problem(tree):
    recipes = [{"size": 256}, {"size": 256, "scale": 1.3}]
    for seed, file in enumerate(file for item in tree.items.values() for file in item.frames):
        file.write_bytes(png(seed, recipe=recipes[0]))
    report = tree.audit()
    assert report.fit and list(report.recipes.values()) == [12] and "foreign" not in report.recipes
    tree.file("toy/real/a", 0).write_bytes(png(70, recipe=recipes[1]))
    assert found(tree.audit(), "recipes") == [("problem", 2)]
    tree.file("toy/real/a", 2).write_bytes(png(71))
    report = tree.audit()
    assert not report.fit and faults(report) == ["recipes"] and found(report, "recipes") == [("problem", 3)]
    assert list(report.recipes.values()) == [10, 1, 1] and report.recipes["foreign"] == 1


def test_recipes_that_only_take_other_frames_are_no_problem(tree):
    cut = {"size": 256, "face": "largest"}
    for seed, (path, item) in enumerate(tree.items.items()):
        sampling = {"mode": "fixed_num_frames", "frames": 8 if "fake" in path else 32}
        for index, file in enumerate(item.frames):
            file.write_bytes(png(10 * seed + index, recipe=cut | {"sampling": sampling}))
    report = tree.audit()
    assert report.fit and found(report, "recipes") == [("ok", 2)] and "cut faces alike" in str(report)
    tree.file("toy/fake/a_x", 0).write_bytes(png(99, recipe=cut | {"size": 128, "sampling": sampling}))
    assert found(tree.audit(), "recipes") == [("problem", 3)] and "size 256, now 128" in str(tree.audit())


def test_each_dataset_of_a_combination_may_have_its_own_recipe(tree):
    tree.add("other/real/a")
    for path, item in tree.items.items():
        for seed, file in enumerate(item.frames):
            file.write_bytes(png(seed, recipe={"face": path.split("/")[0]}))
    parts = [{"dataset": name, "splits": ["train"], "videos": 3} for name in ("toy", "other")]
    mix = Dataset(name="mix", combine={"seed": 0, "splits": ["test"], "parts": parts})
    assert found(tree.audit(mix), "recipes") == [("ok", 2)] and found(tree.audit(), "recipes") == [("problem", 2)]
    tree.file("other/real/a", 0).write_bytes(png(0, recipe={"face": "toy"}))
    assert found(tree.audit(mix), "recipes") == [("problem", 2)]


# --- what videos share ------------------------------------------------------------------------------------------------


def copy(tree, source, target, index=0):
    tree.file(target, index).write_bytes(tree.file(source, index).read_bytes())


def test_an_image_in_two_splits_is_a_problem(tree):
    tree.add("toy/real/c", splits=("train",))
    copy(tree, "toy/real/a", "toy/real/c", 0)
    copy(tree, "toy/real/a", "toy/real/c", 2)
    report = tree.audit()
    assert not report.fit and faults(report) == ["duplicates across splits"]
    assert found(report, "duplicates across splits") == [("problem", 2)]
    assert "toy/real/a/000.png = toy/real/c/000.png" in the(report, "duplicates across splits").examples


def test_an_image_that_is_often_in_one_video_is_named_in_the_other_too(tree):
    for index in (1, 2):
        tree.file("toy/real/a", index).write_bytes(tree.file("toy/real/a", 0).read_bytes())
    copy(tree, "toy/real/a", "toy/fake/b_x", 1)
    report = tree.audit()
    assert the(report, "duplicates across labels").examples == ("toy/fake/b_x/001.png = toy/real/a/000.png",)
    assert found(report, "duplicates in a video") == [("ok", 2)]


def test_an_image_that_is_real_and_fake_is_a_problem(tree):
    copy(tree, "toy/real/a", "toy/fake/b_x")
    report = tree.audit()
    assert not report.fit and faults(report) == ["duplicates across labels"]
    assert found(report, "duplicates across labels") == [("problem", 1)]


def test_images_of_one_colour_and_other_sizes_are_no_duplicates(tree):
    for path, shape in (("toy/real/a", (8, 32, 3)), ("toy/fake/b_x", (32, 8, 3))):
        tree.file(path, 0).write_bytes(cv2.imencode(".png", np.zeros(shape, np.uint8))[1].tobytes())
    assert faults(tree.audit()) == ["image size"]


def test_duplicates_are_found_by_pixels_whatever_the_encoding(tree):
    pixels = cv2.imread(str(tree.file("toy/real/a", 0)))
    data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
    assert data != tree.file("toy/real/a", 0).read_bytes()
    tree.file("toy/fake/b_x", 1).write_bytes(data)
    assert found(tree.audit(), "duplicates across labels") == [("problem", 1)]


def test_images_between_videos_of_one_kind_are_a_warning_and_within_a_video_a_count(tree):
    copy(tree, "toy/real/a", "toy/real/b")
    tree.file("toy/real/a", 1).write_bytes(tree.file("toy/real/a", 2).read_bytes())
    report = tree.audit()
    assert report.fit and faults(report) == ["duplicates between videos"]
    assert found(report, "duplicates between videos") == [("warning", 1)]
    assert found(report, "duplicates in a video") == [("ok", 1)]


def test_a_still_video_is_no_fault(tree):
    for index in (1, 2):
        tree.file("toy/real/a", index).write_bytes(tree.file("toy/real/a", 0).read_bytes())
    report = tree.audit()
    assert not faults(report) and found(report, "duplicates in a video") == [("ok", 2)]


@pytest.mark.parametrize(("split", "status"), [("train", "problem"), ("val", "problem")])
def test_sources_and_pairs_shared_with_test_are_leaks(tree, split, status):
    tree.change("toy/real/a", splits=(split,))
    report = tree.audit(dataset(expected=None))
    assert not report.fit and faults(report) == ["shared pairs", "shared sources"]
    assert found(report, "shared pairs") == [(status, 1)] and found(report, "shared sources") == [(status, 1)]
    assert the(report, "shared pairs").examples == ("toy/fake/a_x of toy/real/a",)
    pair = sorted([("train", "val", "test").index(split), 2])
    order = [("toy/real/a" if index < 2 else "toy/fake/a_x") for index in pair]
    assert the(report, "shared sources").examples == (f"a ({', '.join(order)})",)


def test_what_train_and_val_share_is_a_warning(tree):
    for path in tree.items:
        tree.change(path, splits=("train" if "/real/" in path else "val",))
    report = tree.audit(dataset(expected=None))
    assert report.fit and found(report, "shared pairs") == [("warning", 2)]
    assert found(report, "shared sources") == [("warning", 2)]


def test_published_overlaps_are_facts(tree):
    tree.change("toy/real/a", splits=("train",))
    report = tree.audit(dataset(expected=None, overlaps=["One of two test fakes has its real in train."]))
    assert report.fit and the(report, "published overlap").found == "One of two test fakes has its real in train."
    assert found(report, "shared pairs") == [("warning", 1)] and found(report, "shared sources") == [("warning", 1)]


def test_a_video_in_two_splits_is_a_problem_whatever_is_published(tree):
    tree.change("toy/real/a", splits=("train", "test"))
    report = tree.audit(dataset(expected=None, overlaps=["All of it."]))
    assert not report.fit and found(report, "shared videos") == [("problem", 1)]
    assert not found(report, "shared pairs")


def test_unused_videos_leak_nothing(tree):
    tree.add("toy/real/c", splits=(), ids=("a",))
    copy(tree, "toy/real/a", "toy/real/c")
    assert not faults(tree.audit())


@pytest.mark.parametrize(("split", "status"), [("train", "warning"), ("test", "ok")])
def test_fakes_without_their_real_are_a_warning_where_they_are_trained_on(tree, split, status):
    del tree.items["toy/real/b"]
    for path in tree.items:
        tree.change(path, splits=(split,))
    report = tree.audit(dataset(expected=None))
    assert report.fit and found(report, "pairs") == [(status, 1), ("ok", 1)]
    assert "1 fakes lack the faces of their real" in str(report)
    tree.change("toy/fake/b_x", pair=None)
    report = tree.audit(dataset(expected=None))
    assert found(report, "pairs") == [(status, 1), ("ok", 1)]
    assert "of 1 fakes no real is known or on disk" in str(report)


def test_reals_without_a_fake_are_counted(tree):
    tree.add("toy/real/c")
    report = tree.audit(dataset(expected=None))
    assert not faults(report) and the(report, "pairs").found == "2 fakes with their real, 1 reals without a fake"


def test_a_set_without_known_pairs_has_no_fault(tree):
    for path in tree.items:
        tree.change(path, pair=None)
    report = tree.audit()
    assert not faults(report) and the(report, "pairs").found == "of 2 fakes no real is known or on disk"


def test_names_that_deepfakebench_merges_are_a_warning(tree):
    tree.add("toy/fake/other/a_x", method="lips", pair="toy/real/a")
    tree.add("toy/fake/a", method="lips", pair="toy/real/a")
    tree.add("toy/fake/b", splits=("train",))
    report = tree.audit(dataset(expected=None))
    assert report.fit and found(report, "names") == [("warning", 2)]
    assert the(report, "names").found == "2 names are of several videos, 1 of them real and fake"
    assert the(report, "names").examples == ("toy/fake/a = toy/real/a", "toy/fake/a_x = toy/fake/other/a_x")


def test_examples_are_five_at_most(tree):
    for number in range(9):
        tree.add(f"toy/real/{number}", frames=1)
    finding = the(tree.audit(dataset(expected=None)), "faces")
    assert finding.count == 9 and len(finding.examples) == 5


def test_names_with_line_breaks_and_escapes_stay_in_their_line(tree):
    tree.add("toy/real/x\n\x1b[2J", frames=1)
    assert "          toy/real/x\\n\\x1b[2J (1)\n" in str(tree.audit(dataset(expected=None)))


@pytest.mark.parametrize("setting", ["frames", "size", "workers"])
def test_settings_out_of_range_are_named(tree, setting):
    with pytest.raises(LNCLIPError, match=rf"{setting}: 0 received; accepted is an integer, 1 or more"):
        tree.audit(**{setting: 0})


def test_the_order_of_the_items_does_not_matter(tree):
    tree.file("toy/real/a", 1).write_bytes(b"")
    expected = tree.audit()
    tree.items = dict(reversed(tree.items.items()))
    assert tree.audit() == expected


def test_nothing_is_written(tree, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    tree.audit()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


# --- the packaged datasets, in miniature ------------------------------------------------------------------------------


def miniature(root, name):
    """A dataset's miniature tree with faces that all differ."""
    build_faces(root, TREES[name])
    for seed, file in enumerate(sorted(root.rglob("frames/*/*.png"))):
        file.write_bytes(png(seed))
    for file in root.rglob("landmarks/*/*.npy"):
        np.save(file, np.zeros((5, 2), np.float32))
    return scan_faces(name, root)


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_miniature_release_lacks_nothing_but_videos(tmp_path, name):
    report = audit(name, miniature(tmp_path, name), AuditOptions(frames=3, size=SIZE, workers=1, progress=False))
    problems = {finding.name for finding in report.findings if finding.status == "problem"}
    counted = {"counts"} if load_dataset(name).expected else set()
    assert problems - {"shared pairs", "shared sources"} == counted and found(report, "layout") == [("warning", 0)]
    assert [finding.status for finding in report.findings if finding.name == "note"]


def test_from_a_miniature_release_to_pairs_and_database(tmp_path):
    rgb = tmp_path / "datasets" / "rgb"
    items = miniature(rgb, "FaceForensics++")
    folder = tmp_path / "preprocessing" / "dataset_json"
    rearrange("FaceForensics++", rgb, folder, relative_to=tmp_path)
    summary = write_pairs(folder / "FaceForensics++.json", items)
    assert summary.reals == 1 and sum(summary.fakes.values()) == 4
    config = load_config("lnclip.yaml", [f"lnclip.data_root={tmp_path}", "lmdb=true"])
    for file, videos in (("FaceForensics++", 10), (summary.paired.stem, 5), (summary.unpaired.stem, 5)):
        written = write_lmdb(
            folder / f"{file}.json", tmp_path / "datasets" / "lmdb", data_root=tmp_path, progress=False
        )
        assert written.masks and not written.landmarks and written.left_out == written.frames
        train = read_videos(config, [file], "train")
        assert len(train) == videos
        for frame in (frame for video in train for frame in video.frames):
            expected = cv2.cvtColor(cv2.imread(str(tmp_path / frame)), cv2.COLOR_BGR2RGB)
            assert (read_frame(config, file, frame) == expected).all()
