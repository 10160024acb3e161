"""However a run is spread or ended: the same files, and a process that dies costs its video alone."""

import json
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from clips import contents, cv2, portrait, run, write_clip

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.preprocess import CropSettings, video_job, workers
from lnclip_df.preprocess.paths import Source
from lnclip_df.preprocess.records import Record
from lnclip_df.preprocess.video_job import Job
from lnclip_df.preprocess.workers import DIED

retinaface = pytest.importorskip("retinaface")

RUN = (
    "import sys; from lnclip_df.preprocess import *;"
    "preprocess(*sys.argv[1:3], CropSettings(frames=8), RunOptions(int(sys.argv[3]), progress=False))"
)


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_and_is_resumed(copies, tmp_path):
    source = copies(*(f"{number}.mp4" for number in range(6)))
    process = subprocess.Popen([sys.executable, "-c", RUN, str(source), str(tmp_path / "out"), "1"])
    records, deadline = tmp_path / "out" / "records", time.monotonic() + 60
    while len(list(records.glob("[!.]*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.stem for path in records.glob("[!.]*.json")}
    assert 2 <= len(finished) < 6
    for key in finished:
        assert len(list((tmp_path / "out" / "frames" / key).glob("[0-9]*.png"))) == 8
    summary = run(source, tmp_path / "out", frames=8)
    assert summary.resumed == len(finished) and summary.counts == {"done": 6}
    run(source, tmp_path / "clean", frames=8)
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


@pytest.mark.slow
def test_workers_do_not_change_a_byte(copies, tmp_path):
    source = copies("a.mp4", "b.mp4", "c/d.mp4")
    run(source, tmp_path / "one", workers=1)
    run(source, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same(several, tmp_path):
    distributed = pytest.importorskip("distributed")
    run(several, tmp_path / "local")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        summary = run(several, tmp_path / "cluster", scheduler=cluster.scheduler_address)
        assert summary.counts == {"done": 4, "no face": 1, "unreadable": 2}
        assert contents(tmp_path / "cluster") == contents(tmp_path / "local")
        assert run(several, tmp_path / "cluster", scheduler=cluster.scheduler_address).resumed == 5
        (tmp_path / "full" / "records").mkdir(parents=True)
        (tmp_path / "full" / "records" / "Ä 顔").symlink_to("/proc")  # where nothing can be written
        with pytest.raises(LNCLIPError, match="cannot write"):
            run(several, tmp_path / "full", scheduler=cluster.scheduler_address)


def records_at_once(job):
    return Record(job.source.key, "done")


def handed_out(jobs, counts):
    """The jobs, counting those that were taken from here."""
    for job in jobs:
        counts.update(taken=1)
        yield job


@pytest.mark.parametrize("where", ["processes", "cluster"])
@pytest.mark.slow
def test_few_jobs_are_handed_out_at_a_time_however_many_there_are(tmp_path, monkeypatch, where):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "process_video", records_at_once)
    jobs = [Job(Source(str(number), "x"), str(tmp_path), CropSettings(), "", 1) for number in range(40)]
    counts, most, keys = Counter(), 0, set()
    with ExitStack() as stack:
        scheduler = None
        if where == "cluster":
            cluster = distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
            )
            scheduler = stack.enter_context(cluster).scheduler_address
        for record in workers.work_off(handed_out(jobs, counts), 2, scheduler):
            most = max(most, counts["taken"] - len(keys))
            keys.add(record.key)
    assert len(keys) == 40 and 2 <= most <= 2 * {"processes": 2, "cluster": 4}[where]


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_a_line(clip, tmp_path):
    distributed = pytest.importorskip("distributed")
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(LNCLIPError, match=r"scheduler: no Dask scheduler at tcp://127\.0\.0\.1:9"),
    ):
        run(clip, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert distributed.__version__


@pytest.mark.slow
def test_killed_twenty_times_a_run_ends_as_if_undisturbed(tmp_path):
    source, out = tmp_path / "videos", tmp_path / "out"
    for number in range(72):
        write_clip(source / f"{number}-{'x' * 45}.mp4", [portrait(number + shift, 160, 240) for shift in range(8)])
    run(source, tmp_path / "clean", frames=8)
    rng = np.random.default_rng(0)
    seen, left = [], 0
    for kill in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(source), str(out), "1" if kill % 5 else "2"], start_new_session=True
        )
        wait_for, deadline = ("records/[!.]*.json", "landmarks/*/*.npy")[kill % 2], time.monotonic() + 60
        before = set(out.glob(wait_for))
        while all(path in before for path in out.glob(wait_for)) and time.monotonic() < deadline:
            time.sleep(0.005)  # until it has begun to write, so that the kill comes in the middle of it
        time.sleep(float(rng.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        _wait_for_the_end_of(process.pid)
        seen.append(len(list(out.glob("records/[!.]*.json"))))
        for path in out.glob("frames/*/[0-9]*.png"):
            assert cv2.imread(str(path)).shape == (256, 256, 3)
        for folder in out.glob("frames/*"):
            if not (out / "records" / f"{folder.name}.json").exists():
                (folder / ".003-0123abcd.png").write_bytes(b"half")
                left += 1
    assert seen == sorted(seen) and seen[0] < seen[-1] < 72 and left > 5
    assert run(source, out, frames=8).counts == {"done": 72}
    assert contents(out) == contents(tmp_path / "clean")


def _wait_for_the_end_of(group, seconds=20):
    """Workers of a killed run end with it: wait until none of its process group is left."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("workers outlive the run that started them")


def dies(job):
    if "killer" in job.source.key:
        os.kill(os.getpid(), signal.SIGKILL)
    return video_job.process_video(job)


def dies_once(job):
    mark = Path(f"{job.out}.died")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return video_job.process_video(job)


@pytest.mark.parametrize("function", [dies, dies_once])
@pytest.mark.slow
def test_a_process_that_dies_costs_its_video_alone(copies, tmp_path, monkeypatch, function):
    source = copies(*(f"{name}.mp4" for name in ("a", "b", "killer", "m", "n", "o", "p")))
    monkeypatch.setattr(workers, "process_video", function)
    pools, genuine = Counter(), workers.worker_pool
    monkeypatch.setattr(workers, "worker_pool", lambda count: pools.update([count]) or genuine(count))
    summary = run(source, tmp_path / "out", workers=2)
    assert 1 <= pools[1] <= (1 if function is dies_once else 2)  # not one for each lost video
    if function is dies_once:
        assert summary.counts == {"done": 7}
    else:
        assert summary.counts == {"done": 6, "unreadable": 1} and summary.failures == [("killer", DIED)]
        assert json.loads((tmp_path / "out" / "records" / "killer.json").read_text())["reason"] == DIED
    monkeypatch.undo()
    again = run(source, tmp_path / "out", workers=2)
    assert again.counts == {"done": 7} and again.resumed == (7 if function is dies_once else 6)


UNGUARDED = (
    "import sys; from lnclip_df.preprocess import *\n"
    "print(preprocess(*sys.argv[1:], CropSettings(frames=2), RunOptions(2, progress=False)))"
)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["file", "standard input"])
def test_a_script_needs_no_main_guard(copies, tmp_path, how):
    source = copies("a.mp4", "b.mp4")
    (tmp_path / "script.py").write_text(UNGUARDED)
    script, given = ("-", UNGUARDED) if how == "standard input" else (str(tmp_path / "script.py"), None)
    command = [sys.executable, script, str(source), str(tmp_path / "out")]
    result = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stdout.startswith("2 videos: 2 done"), result.stderr


@pytest.mark.slow
def test_workers_that_cannot_be_started_are_no_fault_of_the_videos(copies, tmp_path, monkeypatch):
    source = copies("a.mp4", "b.mp4")
    monkeypatch.setattr(multiprocessing.spawn, "get_executable", lambda: b"/bin/false")
    with pytest.raises(LNCLIPError, match="no worker process can be started"):
        run(source, tmp_path / "out", workers=2)
    assert not list((tmp_path / "out").glob("records/*"))
