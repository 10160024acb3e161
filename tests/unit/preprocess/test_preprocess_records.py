"""What is finished is skipped until something changes; crops of another recipe are refused."""

import os
from pathlib import Path

import pytest
from clips import contents, cv2, portrait, run, write_clip
from embedding import needs_embedding

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.preprocess import video_job
from lnclip_df.preprocess.records import pending_path

retinaface = pytest.importorskip("retinaface")


@pytest.mark.slow
def test_a_finished_video_is_passed_over_until_it_changes(clip, tmp_path):
    source, out = tmp_path / "a.mp4", tmp_path / "out"
    source.write_bytes(clip.read_bytes())
    assert run(source, out).resumed == 0
    face, before = out / "frames" / "a" / "000.png", contents(out)
    face.write_bytes(face.read_bytes() + b"untouched")
    assert run(source, out).resumed == 1 and face.read_bytes().endswith(b"untouched")
    os.utime(source, (1, 1))
    assert run(source, out).resumed == 0 and not face.read_bytes().endswith(b"untouched")
    (out / "records" / "a.json").write_text("{")
    assert run(source, out).resumed == 0
    write_clip(source, [portrait(shift) for shift in range(6)])
    assert run(source, out).resumed == 0 and {p.name for p in face.parent.iterdir()} == {
        "000.png",
        "002.png",
        "005.png",
    }
    assert contents(out).keys() != before.keys()


@pytest.mark.slow
def test_faces_that_were_deleted_are_made_again(clip, tmp_path):
    run(clip, tmp_path)
    before = contents(tmp_path)
    for name in ("frames/face/005.png", "landmarks/face/005.npy"):
        (tmp_path / name).unlink()
        assert run(clip, tmp_path).resumed == 0 and contents(tmp_path) == before
    (tmp_path / "frames/face/005.png").rename(tmp_path / "frames/face/006.png")
    assert run(clip, tmp_path).resumed == 0 and contents(tmp_path) == before
    assert run(clip, tmp_path).resumed == 1


@pytest.mark.parametrize(
    "setting, said",
    [
        ({"size": 128}, "size 256, now 128"),
        ({"frames": 2}, "sampling.frames 3, now 2"),
        ({"scale": 1.5}, "scale 1.3, now 1.5"),
        pytest.param({"face": "track"}, "face largest, now track", marks=needs_embedding),
        ({"sampling": "fixed_stride"}, "sampling.mode fixed_num_frames, now fixed_stride"),
    ],
)
def test_changed_settings_refuse_to_mix_with_old_crops(clip, tmp_path, setting, said):
    run(clip, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(LNCLIPError, match="another recipe") as caught:
        run(clip, tmp_path, **setting)
    assert said in str(caught.value) and "another output folder" in str(caught.value) and contents(tmp_path) == before


def test_crops_made_elsewhere_are_refused_and_kept(clip, tmp_path):
    folder = tmp_path / "frames" / "face"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "000.png"), portrait())
    before = contents(tmp_path)
    with pytest.raises(LNCLIPError, match="they are foreign"):
        run(clip, tmp_path)
    assert contents(tmp_path) == before


def test_what_a_killed_process_left_of_a_video_goes(clip, tmp_path):
    run(clip, tmp_path / "clean")
    run(clip, tmp_path / "out")
    record = tmp_path / "out" / "records" / "face.json"
    record.rename(pending_path(record))
    for name in ("frames/face/.005-0123abcd.png", "landmarks/face/.005-89abcdef.npy", "frames/face/007.png"):
        (tmp_path / "out" / name).write_bytes((tmp_path / "out" / "frames" / "face" / "000.png").read_bytes()[:100])
    (tmp_path / "out" / "landmarks" / "face" / "007.npy").touch()
    assert run(clip, tmp_path / "out").resumed == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


def test_a_record_under_way_is_no_other_videos():
    pending = {pending_path(Path("r", f"{key}.json")) for key in ("a", "a-b", "x" * 60, "x" * 61, "a-01234567")}
    assert len(pending) == 5 and all(len(os.fsencode(path.name)) < 32 for path in pending)


def test_a_file_that_changes_while_it_is_read_is_done_again(clip, tmp_path, monkeypatch):
    source = tmp_path / "a.mp4"
    source.write_bytes(clip.read_bytes())
    original = video_job.open_frames

    def touched(*args, **options):
        os.utime(source, (1, 1))
        return original(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(video_job, "open_frames", touched)
        assert run(source, tmp_path / "out").counts == {"done": 1}
    assert run(source, tmp_path / "out").resumed == 0 and run(source, tmp_path / "out").resumed == 1
