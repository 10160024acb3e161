"""However a command ends, it gives the right status and at most one line, which says how to go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call, own_process
from tiny import make_toy, toy_with_weights, toy_yaml

from lnclip_df.cli.ending import KEPT
from lnclip_df.core.errors import LNCLIPError

pytestmark = pytest.mark.usefixtures("sigint")


def run_cli(before: str, *arguments, **options) -> subprocess.CompletedProcess:
    """Run the command line in another process, after the statements ``before``."""
    command = own_process(*arguments, before=before)
    return subprocess.run(command, **({"capture_output": True, "text": True, "timeout": 60} | options))


def ending(result: subprocess.CompletedProcess) -> str:
    """The one line that says how a training ended, after what it says before the first epoch."""
    *notes, line = result.stderr.splitlines()
    assert len(notes) == 2 and notes[0].startswith("the validation set has few videos"), notes
    assert notes[1].startswith("training on cpu"), notes
    return line


WHILE_CONFIGS = """
import lnclip_df.config.loading as loading
def bench_configs():
    {}
loading.bench_configs = bench_configs
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_command_with_its_status_and_one_line(name):
    result = run_cli(WHILE_CONFIGS.format(f"signal.raise_signal(signal.{name})"), "configs")
    assert result.returncode == 128 + getattr(signal, name)
    assert result.stderr == f"ended by {name}: nothing is half written; run it again\n"


def test_closed_standard_streams_lead_nowhere():
    write = "sys.stderr.write('x'); os.write(1, b'x'); os.write(2, b'x'); sys.stdout.flush(); os._exit(7)"
    code = f"import os, sys\n{WHILE_CONFIGS.format(write)}\nfrom lnclip_df.cli import main\nmain()"
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code, "configs"]
    assert subprocess.run(command, timeout=60).returncode == 7


def test_what_an_encoding_does_not_have_is_escaped():
    result = run_cli(WHILE_CONFIGS.format("print('–', flush=True); os._exit(7)"), "configs",
                     env={**os.environ, "PYTHONIOENCODING": "latin-1"})  # fmt: skip
    assert (result.returncode, result.stdout) == (7, "\\u2013\n")


def test_a_signal_that_is_ignored_stays_so():
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)" + WHILE_CONFIGS.format(
        "signal.raise_signal(signal.SIGHUP); raise ZeroDivisionError"
    )
    result = run_cli(before, "configs")
    assert result.returncode == 1 and result.stderr.endswith("ZeroDivisionError\n")


def test_a_signal_during_the_cleanup_of_another_changes_nothing():
    body = """
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal(signal.SIGHUP)
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")
    """
    result = run_cli(WHILE_CONFIGS.format(body), "configs")
    assert result.returncode == 143 and result.stderr.startswith("ended by SIGTERM: ")


def test_every_command_that_keeps_something_exists():
    for command in KEPT:
        assert call(command, "--help").exit_code == 0, command


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (LNCLIPError("x is 3, not 4"), "error: x is 3, not 4"),
        (OSError(28, "No space left on device", "runs/a"), "error: runs/a: No space left on device"),
        (MemoryError("std::bad_alloc"), "error: not enough memory (std::bad_alloc): free some, "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "error: not enough memory (Default"),
        (ImportError("libx.so: failed to map segment from shared object"), "error: not enough memory (libx.so"),
    ],
)
def test_errors_become_a_status_and_one_line(monkeypatch, raised, line):
    import lnclip_df.config.loading as config

    def fail():
        raise raised

    monkeypatch.setattr(config, "bench_configs", fail)
    result = call("configs")
    assert result.exit_code == 1 and result.stderr.startswith(line) and result.stderr.count("\n") == 1


def test_a_long_message_is_cut_in_its_middle():
    message = str(LNCLIPError(f"the name {'x' * 9999} is not known; rename the file"))
    assert (
        len(message) <= 600
        and message.startswith("the name xxx")
        and message.endswith("xx is not known; rename the file")
    )


def test_a_closed_pipe_is_quiet():
    command = f"{{ sleep 0.2; {sys.executable} -m lnclip_df configs; echo $? >&2; }} | true"
    assert subprocess.run(["bash", "-c", command], capture_output=True, text=True).stderr == "141\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [["configs"], ["--help"], ["train", "--help"]])
def test_a_full_disk_behind_standard_output_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        result = run_cli("", *arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    where = "standard output" if arguments == ["configs"] else "input or output failed"
    assert result.stderr == f"error: {where}: No space left on device\n"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_yaml(make_toy(tmp_path_factory.mktemp("toy")), "nEpochs=0", "workers=1")


def training(toy, out):
    return ["train", "--config", toy, "--out", out, "--accelerator", "cpu", "--quiet"]


STEP = """
from lnclip_df.training.module import LNCLIPModule
def training_step(self, batch, batch_idx):
    signal.raise_signal(signal.{})
LNCLIPModule.training_step = training_step
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_training_that_a_signal_ends_is_no_success(toy, tmp_path, name):
    result = run_cli(STEP.format(name), *training(toy, tmp_path / "run"))
    assert result.returncode == 128 + getattr(signal, name)
    line = f"ended by {name}: finished epochs are kept, and the same command with --resume continues"
    assert ending(result) == line
    assert not (tmp_path / "run" / "best.safetensors").exists()


LOST = """
from lnclip_df.datasets.frame_dataset import FrameDataset
def read(self, video, frame):
    os.kill(os.getpid(), signal.SIGKILL)
FrameDataset.read = read
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_line(toy, tmp_path):
    result = run_cli(LOST, *training(toy, tmp_path / "run"))
    assert result.returncode == 1
    line = ending(result)
    assert line.startswith("error: a worker that reads frames was lost: ") and "set workers to 0" in line


NO_ROOM = """
import torch
def share_memory_(self):
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")
torch.Tensor.share_memory_ = share_memory_
"""


@pytest.mark.slow
def test_shared_memory_that_fills_up_is_one_line_and_no_wait(toy, tmp_path):
    result = run_cli(NO_ROOM, *training(toy, tmp_path / "run"))
    assert result.returncode == 1
    assert ending(result) == "error: /dev/shm is full: set workers to 0, or give it more room"


def test_an_output_that_cannot_be_written_is_said_before_the_work(toy, tmp_path):
    (tmp_path / "file").write_text("mine")
    bad, missing = tmp_path / "file" / "x", tmp_path / "missing"
    _, weights = toy_with_weights(tmp_path / "toy")
    commands = [
        ["leaderboard", missing, "--out", bad],
        ["demo", "--out", bad],
        ["study", "ablation", "--out", bad],
        ["preprocess", tmp_path / "toy" / "frames", "--out", bad],
        ["rearrange", "UADFV", "--root", missing, "--out", bad],
        ["lmdb", missing, "--lmdb-dir", bad],
        ["pack", missing, "--pack-dir", bad],
        ["audit", "UADFV", "--root", missing, "--out", bad],
        ["predict", missing, "--weights", weights, "--out", bad],
        ["predict", missing, "--weights", weights, "--annotate", bad],
        ["predict", missing, "--weights", weights, "--explain", bad],
        ["export", weights, "--format", "delta", "--out", bad.with_suffix(".safetensors")],
        ["test", "--weights", weights, "--datasets", "toy", "--out", bad, "--config", toy],
        ["robustness", "--weights", weights, "--datasets", "toy", "--attacks", "none", "--out", bad],
    ]
    for command in commands:
        result = call(*command)
        assert result.exit_code == 1, command
        assert result.stderr.startswith(f"error: cannot write {bad.with_suffix('')}"), (command, result.stderr)
        assert "Not a directory" in result.stderr
    assert (tmp_path / "file").read_text() == "mine" and {*os.listdir(tmp_path)} == {"file", "toy"}


def test_a_library_that_finds_no_memory_is_not_called_missing(monkeypatch):
    def new_module(name, *rest, **more):
        raise ImportError(f"{name}.so: failed to map segment from shared object")

    from lnclip_df.core.plots import new_figure

    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    monkeypatch.setattr("builtins.__import__", new_module)
    with pytest.raises(ImportError, match="failed to map segment"):
        new_figure(1, 1)
