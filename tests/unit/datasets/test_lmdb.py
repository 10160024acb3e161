"""Dataset JSON to LMDB: what both readers get back, what is refused before a byte is written, and runs cut short."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import lmdb
import numpy as np
import pytest
from crops_on_disk import on_disk, write_crops

from lnclip_df.config.loading import load_config
from lnclip_df.core import iteration
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets import lmdb as database
from lnclip_df.datasets.dataset_json import COMPRESSED, read_frame_paths
from lnclip_df.datasets.frames import read_frame
from lnclip_df.datasets.lmdb import database_path, lmdb_key, write_lmdb

pytestmark = pytest.mark.slow

SIZE = 256
SCRIPT = Path(__file__).parents[3] / "preprocessing" / "to_lmdb.py"
PATH = "./datasets/rgb/UADFV/{label}/frames/{video}/{index:03d}.png"


def picture(seed, size=SIZE):
    noise = np.random.default_rng(seed).integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8)
    return cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)


def make_faces(root, path=PATH, size=SIZE, **options):
    """A dataset of two videos a class in the test split and one in train, all frames different; its JSON."""
    splits = {"train": ("0002",), "val": (), "test": ("0000", "0001")}
    return write_crops(
        root, lambda seed: cv2.imencode(".png", picture(seed, size))[1].tobytes(), splits, path, **options
    )


def to_lmdb(root, file, **settings):
    return write_lmdb(file, root / "datasets" / "lmdb", **{"data_root": root, "progress": False, **settings})


def contents(path):
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): value for key, value in transaction.cursor()}


def configured(root, *overrides):
    return load_config("lnclip.yaml", [f"lnclip.data_root={root}", "lmdb=true", *overrides])


@pytest.fixture(autouse=True)
def closed_databases():
    """A process opens a database once: the reader's handle has to go before the next write."""
    yield
    database.close_databases()


@pytest.mark.parametrize(
    ("frame", "key"),
    [
        ("./datasets\\UADFV\\0.png", "UADFV\\0.png"),
        ("./datasets/UADFV/0.png", "./datasets/UADFV/0.png"),
        ("UADFV\\x\\0.png", "UADFV\\x\\0.png"),
        ("x/./datasets\\0.png", "x/./datasets\\0.png"),
    ],
)
def test_the_lmdb_key_is_the_path_byte_for_byte(frame, key):
    assert lmdb_key(frame) == key


@pytest.mark.parametrize("name", [*sorted(COMPRESSED), "UADFV", "FF-DF_c40"])
def test_the_faceforensics_family_has_one_database_path(tmp_path, name):
    expected = "FaceForensics++" if name in COMPRESSED else name
    assert database_path(tmp_path, name) == tmp_path / f"{expected}_lmdb"


# --- what is read back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        "UADFV/{label}/frames/{video}/{index:03d}.png",
        "UADFV\\{label}\\frames\\{video}\\{index}.png",
        "ROOT/elsewhere/{label}/{video}/{index:03d}.png",
    ],
)
def test_every_frame_is_read_back_whichever_way_its_path_is_written(tmp_path, path):
    file = make_faces(tmp_path, path.replace("ROOT", str(tmp_path)))
    summary = to_lmdb(tmp_path, file)
    assert summary.path == tmp_path / "datasets/lmdb/UADFV_lmdb"
    assert (summary.written, summary.unchanged, summary.frames) == (18, 0, 18)
    for frame in read_frame_paths(file):
        expected = cv2.cvtColor(cv2.imread(str(on_disk(tmp_path, frame))), cv2.COLOR_BGR2RGB)
        assert (read_frame(configured(tmp_path), "UADFV", frame) == expected).all()


def test_keys_and_values_are_the_paths_and_files_byte_for_byte(tmp_path):
    file = make_faces(tmp_path, frames=2)
    to_lmdb(tmp_path, file)
    stored = contents(tmp_path / "datasets/lmdb/UADFV_lmdb")
    assert stored == {frame: on_disk(tmp_path, frame).read_bytes() for frame in read_frame_paths(file)}


def test_the_windows_prefix_is_dropped_as_by_both_readers(tmp_path):
    to_lmdb(tmp_path, make_faces(tmp_path, "./datasets\\UADFV\\{label}\\frames\\{video}\\{index:03d}.png", frames=1))
    assert set(contents(tmp_path / "datasets/lmdb/UADFV_lmdb")) == {
        f"UADFV\\UADFV_{label}\\frames\\000{video}\\000.png" for label in ("Real", "Fake") for video in range(3)
    }


def test_a_video_in_several_splits_is_written_once(tmp_path):
    file = make_faces(tmp_path)
    content = json.loads(file.read_text())
    for splits in content["UADFV"].values():
        splits["train"] = splits["val"] = splits["test"]
    file.write_text(json.dumps(content))
    assert to_lmdb(tmp_path, file).written == 12


def add_landmarks(root, frame, points, folder="landmarks"):
    path = Path(str(on_disk(root, frame)).replace("/frames/", f"/{folder}/")).with_suffix(".npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, points)
    return path


def add_mask(root, frame, value):
    path = Path(str(on_disk(root, frame)).replace("/frames/", "/masks/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((SIZE, SIZE), value, np.uint8))
    return path


def test_landmarks_of_81_points_are_stored_as_uint32_and_others_are_left_out_and_counted(tmp_path):
    file = make_faces(tmp_path)
    first, second, third, *_ = read_frame_paths(file)
    points = np.random.default_rng(0).uniform(0, 255, (81, 2))
    points[0] = (-3.2, 254.6)
    add_landmarks(tmp_path, first, points)
    add_landmarks(tmp_path, second, points[:5].astype(np.float32))
    add_landmarks(tmp_path, third, points.round().astype(np.int64).clip(0))
    summary = to_lmdb(tmp_path, file)
    assert (summary.landmarks, summary.left_out, summary.written) == (2, 1, 20)
    assert "1 landmark files left out" in str(summary)
    stored = contents(summary.path)
    assert first.replace("frames", "landmarks").replace(".png", ".npy") in stored
    assert second.replace("frames", "landmarks").replace(".png", ".npy") not in stored
    for frame in (first, third):
        raw = stored[frame.replace("frames", "landmarks").replace(".png", ".npy")]
        assert (np.frombuffer(raw, np.uint32).reshape(81, 2) == points.round().clip(0)).all()


def test_masks_are_stored_as_they_are(tmp_path):
    file = make_faces(tmp_path)
    frame = read_frame_paths(file)[0]
    mask = add_mask(tmp_path, frame, 255)
    summary = to_lmdb(tmp_path, file)
    assert (summary.masks, summary.written) == (1, 19)
    assert contents(summary.path)[frame.replace("frames", "masks")] == mask.read_bytes()


def test_the_key_of_a_mask_is_deepfakebenchs_where_frames_is_in_another_folders_name(tmp_path):
    file = make_faces(tmp_path, PATH.replace("UADFV/", "my_frames/"), frames=1)
    frame = read_frame_paths(file)[0]
    add_mask(tmp_path, frame, 255)
    stored = contents(to_lmdb(tmp_path, file).path)
    assert "./datasets/rgb/my_masks/UADFV_Real/masks/0002/000.png" in stored


def test_the_masks_of_a_tree_below_another_folder_named_frames_are_found(tmp_path):
    file = make_faces(tmp_path, PATH.replace("UADFV/", "frames/"), frames=1)
    frame = read_frame_paths(file)[0]
    path = on_disk(tmp_path, frame)
    mask = path.parents[2] / "masks" / path.parent.name / path.name
    mask.parent.mkdir(parents=True)
    cv2.imwrite(str(mask), np.full((SIZE, SIZE), 255, np.uint8))
    assert frame.replace("frames", "masks") in contents(to_lmdb(tmp_path, file).path)


# --- several files, and further runs ----------------------------------------------------------------------------------


def test_the_faceforensics_family_shares_a_database(tmp_path):
    path = "./datasets/rgb/FaceForensics++/{label}/c23/frames/{video}/{index:03d}.png"
    first = make_faces(tmp_path, path, dataset="FF-DF", labels=("FF-real", "FF-DF"), level="c23")
    second = make_faces(tmp_path, path, dataset="FF-F2F", labels=("FF-real", "FF-F2F"), level="c23")
    assert to_lmdb(tmp_path, first).written == 18
    summary = to_lmdb(tmp_path, second)
    assert summary.path == tmp_path / "datasets/lmdb/FaceForensics++_lmdb"
    assert (summary.written, summary.unchanged) == (9, 9)
    assert len(contents(summary.path)) == 27


def test_a_second_run_writes_what_is_new_or_changed(tmp_path):
    file = make_faces(tmp_path)
    to_lmdb(tmp_path, file)
    again = to_lmdb(tmp_path, file)
    assert (again.written, again.unchanged) == (0, 18)
    frame = read_frame_paths(file)[4]
    cv2.imwrite(str(on_disk(tmp_path, frame)), picture(99))
    add_mask(tmp_path, frame, 0)
    again = to_lmdb(tmp_path, file)
    assert (again.written, again.unchanged) == (2, 17)
    assert contents(again.path)[frame] == on_disk(tmp_path, frame).read_bytes()


def test_the_map_grows_as_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "MAP_SIZE", 1 << 16)
    monkeypatch.setattr(iteration, "BATCH", 5)
    file = make_faces(tmp_path)
    summary = to_lmdb(tmp_path, file)
    stored = contents(summary.path)
    assert sum(map(len, stored.values())) > 10 << 16 and set(stored) == set(read_frame_paths(file))


def in_a_process(root, file, code):
    """Run ``write_lmdb`` in a process of its own, after ``code``."""
    call = f"database.write_lmdb({str(file)!r}, {str(root / 'datasets/lmdb')!r}, data_root={str(root)!r})"
    imports = "import os, resource, signal\nfrom lnclip_df.core import iteration"
    program = f"{imports}\nfrom lnclip_df.datasets import lmdb as database\n{code}\n{call}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("place", ["before", "inside", "after"])
def test_a_killed_run_is_finished_by_the_next(tmp_path, place):
    file = make_faces(tmp_path)
    code = f"""
iteration.BATCH, put, batches = 4, database.put, []
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
def killing(environment, batch):
    batches.append(batch)
    if len(batches) == 3 and {place!r} == "before": kill()
    if len(batches) == 3 and {place!r} == "inside":
        with environment.begin(write=True) as transaction:
            for key, value in batch.items(): transaction.put(key, value)
            kill()
    done = put(environment, batch)
    if len(batches) == 3 and {place!r} == "after": kill()
    return done
database.put = killing
"""
    assert in_a_process(tmp_path, file, code).returncode == -signal.SIGKILL
    before = 12 if place == "after" else 8
    assert len(contents(tmp_path / "datasets/lmdb/UADFV_lmdb")) == before
    summary = to_lmdb(tmp_path, file)
    assert (summary.written, summary.unchanged) == (18 - before, before)
    assert contents(summary.path) == {frame: on_disk(tmp_path, frame).read_bytes() for frame in read_frame_paths(file)}


def test_a_disk_that_takes_no_more_is_one_line_and_what_was_written_stays(tmp_path):
    file = make_faces(tmp_path)
    size = sum(on_disk(tmp_path, frame).stat().st_size for frame in read_frame_paths(file)) // 2
    code = f"iteration.BATCH = 2\nresource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    child = in_a_process(tmp_path, file, code)
    *_, last = child.stderr.strip().splitlines()
    assert child.returncode == 1
    assert (
        last.startswith("lnclip_df.core.errors.LNCLIPError: cannot write ")
        and "fix that and run again to continue" in last
    )
    before = contents(tmp_path / "datasets/lmdb/UADFV_lmdb")
    assert 2 <= len(before) < 18
    assert to_lmdb(tmp_path, file).unchanged == len(before)


def test_a_full_disk_is_called_that(tmp_path, monkeypatch):
    file = make_faces(tmp_path)

    def cut_short(*_):
        raise lmdb.DiskError("Input/output error")

    monkeypatch.setattr(database, "put", cut_short)
    monkeypatch.setattr(database.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(LNCLIPError, match=r"UADFV_lmdb: no space left on the disk; fix that and run again to continue"):
        to_lmdb(tmp_path, file)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, "No such file or directory"),
        (lambda data: b"", "not a PNG"),
        (lambda data: b"\xff\xd8\xff" + data, "not a PNG"),
        (lambda data: data[:-3], "a broken PNG"),
        (lambda data: data[: len(data) // 2], "a broken PNG"),
        (lambda data: data[:8], "a broken PNG"),
        (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "a broken PNG"),
    ],
)
def test_frames_that_are_missing_or_no_png_are_counted_and_nothing_is_written(tmp_path, damage, message):
    file = make_faces(tmp_path)
    for frame in sorted(read_frame_paths(file))[2:5]:
        target = on_disk(tmp_path, frame)
        data = target.read_bytes()
        target.unlink()
        if damage:
            target.write_bytes(damage(data))
    expected = rf"3 of the 18 files .* the first is \S*UADFV_Fake/frames/0000/002.png: {message}; nothing was written"
    with pytest.raises(LNCLIPError, match=expected):
        to_lmdb(tmp_path, file)
    assert not (tmp_path / "datasets/lmdb").exists()


def test_a_pipe_in_a_frames_place_is_not_waited_for(tmp_path):
    file = make_faces(tmp_path)
    frame = on_disk(tmp_path, read_frame_paths(file)[0])
    frame.unlink()
    os.mkfifo(frame)
    with pytest.raises(LNCLIPError, match=r"1 of the 18 files"):
        to_lmdb(tmp_path, file)


@pytest.mark.parametrize("points", [b"no array", np.full((81, 2), np.nan), np.full((81, 2), "x"), np.array([{}])])
def test_landmarks_that_are_no_points_are_refused_or_left_out(tmp_path, points):
    file = make_faces(tmp_path)
    path = add_landmarks(tmp_path, read_frame_paths(file)[0], np.zeros((81, 2)))
    if isinstance(points, bytes):
        path.write_bytes(points)
    else:
        np.save(path, points, allow_pickle=True)
    with pytest.raises(LNCLIPError, match=r"1 of the 19 files.*000.npy: (not a NumPy array|landmarks that are not)"):
        to_lmdb(tmp_path, file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"UADFV.json is not JSON"),
        ("{}", r"names no frame; make it again"),
        (
            '{"UADFV": {"UADFV_Real": {"test": {"0000": {"label": "UADFV_Real", "frames": [3]}}}}}',
            r"0000.frames is \[3",
        ),
        ('{"UADFV": {"UADFV_Real": {"test": {"0": {"label": "UADFV_Real", "frames": "x"}}}}}', r"0.frames is 'x'"),
        ('{"UADFV": {"r": {"test": {"0": {"label": "r", "frames": ["\\ud800.png"]}}}}}', r"cannot be a key"),
    ],
)
def test_an_invalid_json_is_one_line(tmp_path, content, message):
    file = make_faces(tmp_path)
    file.write_text(content)
    with pytest.raises(LNCLIPError, match=message):
        to_lmdb(tmp_path, file)
    assert not (tmp_path / "datasets/lmdb").exists()


def test_a_path_longer_than_a_key_is_named(tmp_path):
    file = make_faces(tmp_path)
    long = "./" + "x" * 200 + "/" + "y" * 200 + "/" + "z" * 109 + "/000.png"
    file.write_text(file.read_text().replace(read_frame_paths(file)[0], long))
    with pytest.raises(LNCLIPError, match=r"has 521 bytes, more than the 511 of a key; write paths relative"):
        to_lmdb(tmp_path, file)


def test_two_files_for_one_key_are_named(tmp_path):
    file = make_faces(tmp_path)
    first, second, *_ = read_frame_paths(file)
    text = file.read_text().replace(first, "./datasets\\\\x.png").replace(second, "x.png")
    file.write_text(text)
    with pytest.raises(LNCLIPError, match=r"would have one key"):
        to_lmdb(tmp_path, file)


@pytest.mark.parametrize("obstacle", ["file", "garbage"])
def test_a_place_that_is_no_database_is_one_line(tmp_path, obstacle):
    file = make_faces(tmp_path)
    place = tmp_path / "datasets" / "lmdb" / "UADFV_lmdb"
    if obstacle == "file":
        place.parent.mkdir(parents=True)
        place.touch()
    else:
        place.mkdir(parents=True)
        (place / "data.mdb").write_bytes(b"x" * 10_000)
    with pytest.raises(LNCLIPError, match=r"cannot write .*UADFV_lmdb: "):
        to_lmdb(tmp_path, file)


# --- the script, and DeepfakeBench ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_script_writes_several_files_and_fails_in_one_line(tmp_path):
    path = "./datasets/rgb/{label}/frames/{video}/{index:03d}.png"
    files = [
        make_faces(tmp_path, path, dataset=name, labels=("FF-real", name), frames=1, level="c23")
        for name in ("FF-DF", "FF-F2F")
    ]
    command = [sys.executable, str(SCRIPT), *map(str, files)]
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split("(")[1] for line in child.stdout.splitlines()] == [
        "6 written, 0 there before)",
        "3 written, 3 there before)",
    ]
    on_disk(tmp_path, read_frame_paths(files[1])[0]).unlink()
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert child.returncode == 1 and child.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(("dataset", "level"), [("UADFV", None), ("FF-DF", "c23")])
def test_deepfakebench_reads_the_same_from_png_and_database(tmp_path, monkeypatch, deepfakebench, dataset, level):
    labels = ("UADFV_Real", "UADFV_Fake") if level is None else ("FF-real", "FF-DF")
    file = make_faces(tmp_path, dataset=dataset, labels=labels, level=level)
    rng = np.random.default_rng(0)
    for frame in read_frame_paths(file):
        add_landmarks(tmp_path, frame, rng.integers(0, 256, (81, 2)))
        add_mask(tmp_path, frame, int(rng.integers(0, 256)))
    to_lmdb(tmp_path, file)
    monkeypatch.chdir(tmp_path)
    png, stored = (
        theirs(deepfakebench, dataset, source, with_mask=True, with_landmark=True) for source in ("false", "true")
    )
    assert set(png) == set(stored) and len(png) == 12
    for frame, (image, label, points, mask) in png.items():
        assert (image == stored[frame][0]).all() and label == stored[frame][1]
        np.testing.assert_allclose(stored[frame][2], np.asarray(points) * 224 / 256, rtol=1e-6)  # theirs scales these
        assert (mask == stored[frame][3]).all()


def theirs(kind, dataset, lmdb_source, **settings):
    config = load_config("lnclip.yaml", ["lnclip.data_root=.", f"lmdb={lmdb_source}", "resolution=224"])
    items = kind({**config.to_dict(), "test_dataset": dataset, **settings}, mode="test")
    found = {items.data_dict["image"][i]: items[i] for i in range(len(items))}
    if config.lmdb:
        items.env.close()
    return found
