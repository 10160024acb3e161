"""Several processes find faces like one: in order, a few files at a time, and a bad file costs itself alone."""

import os
import signal
import time
from itertools import count

import pytest
from scored_clips import results_of

from lnclip_df import LNCLIPError
from lnclip_df.core.processes import DIED
from lnclip_df.scoring.find_faces import FoundFaces
from lnclip_df.scoring.finder_process import IN_FLIGHT, FinderProcess, find_in_processes
from lnclip_df.scoring.inputs import InputFile
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.results import Result
from lnclip_df.scoring.results_log import ResultsLog
from lnclip_df.scoring.score_files import score_files

pytestmark = pytest.mark.slow

FIND = "lnclip_df.scoring.finder_process.find_here"
ALIGNED = ScoreOptions(aligned=True)  # the processes load no detector


def files(folder, *names):
    return [InputFile(name, folder / name) for name in names]


def wait_for(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.01)


def assert_gone(pid):
    """The process is gone soon, and not only told to end."""
    with pytest.raises(ProcessLookupError):
        for _ in range(3000):
            os.kill(pid, 0)
            time.sleep(0.01)


def acts_by_name(file, options, threads):
    """Instead of finding faces: die (always, or the first time), hang, or wait for a file that somebody writes."""
    second = file.path.with_suffix(".pid").exists()
    file.path.with_suffix(".pid").write_text(str(os.getpid()))
    if file.name.startswith("killer") or (file.name.startswith("unlucky") and not second):
        os.kill(os.getpid(), signal.SIGKILL)
    if file.name.startswith("hangs"):
        time.sleep(600)
    if "waits_for_" in file.name:
        wait_for(file.path.with_name(file.name.partition("waits_for_")[2]))
    return FoundFaces(Result(str(file.path), "scored", str(threads)), [])


def test_the_results_are_those_of_one_process(scorer, clips):
    pytest.importorskip("retinaface")
    paths = [clips / name for name in ("one.mp4", "none.mp4", "broken.mp4", "still.png")]
    one, two = (results_of(scorer, paths, workers=workers, keep_crops=True, frames=4) for workers in (1, 2))
    assert one == two and {result.outcome for result in two} == {"scored", "no face", "unreadable"}
    for result, other in zip(one, two, strict=True):
        for person, same in zip(result.persons, other.persons, strict=True):
            assert all((a.crop == b.crop).all() for a, b in zip(person.frames, same.frames, strict=True))


def test_processes_work_side_by_side_and_while_results_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr(FIND, acts_by_name)
    names = ["a_waits_for_b.pid", "b", "c_waits_for_used", "d"]
    found = find_in_processes(files(tmp_path, *names), ALIGNED, 2)
    paths = [next(found).result.path for _ in range(2)]
    wait_for(tmp_path / "d.pid")  # the other process is not held up
    (tmp_path / "used").touch()
    assert [*paths, *(each.result.path for each in found)] == [str(tmp_path / name) for name in names]


def test_a_file_that_ends_its_process_costs_itself_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(FIND, acts_by_name)
    given = files(tmp_path, "a", "killer", "unlucky", "c")
    results = [found.result for found in find_in_processes(given, ALIGNED, 2)]
    assert [result.path for result in results] == [str(file.path) for file in given]
    assert [result.outcome for result in results] == ["scored", "unreadable", "scored", "scored"]
    assert results[1].reason == DIED


class EndsItsReader:
    """Options that end the process which reads them."""

    aligned = True

    def __reduce__(self):
        return os._exit, (1,)


def test_a_process_that_dies_before_it_has_a_file_ends_the_run(tmp_path):
    with pytest.raises(LNCLIPError, match="a worker process died"):
        list(find_in_processes(files(tmp_path, "a", "b"), EndsItsReader(), 1))


def test_a_file_that_hangs_is_given_up_and_the_next_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(FIND, acts_by_name)
    finder = FinderProcess(seconds=0.2)
    try:
        hung = finder(InputFile("hangs", tmp_path / "hangs"), ALIGNED).result
        finder.seconds = 60
        good = finder(InputFile("d", tmp_path / "d"), ALIGNED).result
    finally:
        finder.close()
    assert (hung.outcome, hung.reason, good.outcome) == ("unreadable", "not read within 0.2 s", "scored")


def test_few_files_are_taken_and_an_early_end_waits_for_none(tmp_path, monkeypatch):
    monkeypatch.setattr(FIND, acts_by_name)
    taken = []

    def endless():
        for number in count():
            taken.append(number)
            yield InputFile("hangs" if number else "first", tmp_path / f"{number}")

    found = find_in_processes(endless(), ALIGNED, 1)
    next(found)
    wait_for(tmp_path / "1.pid")
    pid = int((tmp_path / "1.pid").read_text())
    found.close()
    assert len(taken) == IN_FLIGHT and not (tmp_path / "2.pid").exists()
    assert_gone(pid)


def test_an_error_while_results_are_used_ends_the_processes(scorer, tmp_path, monkeypatch):
    def full(self, path, row):
        raise LNCLIPError("the disk is full")

    monkeypatch.setattr(FIND, acts_by_name)
    monkeypatch.setattr(ResultsLog, "add", full)
    given = files(tmp_path, "a_waits_for_hangs.pid", "hangs")
    with pytest.raises(LNCLIPError, match="disk is full"):
        score_files(lambda: scorer, given, ALIGNED, out=tmp_path / "s.csv", workers=2, progress=False)
    assert_gone(int((tmp_path / "hangs.pid").read_text()))
