"""How every command ends: by its result, an error, a signal, a closed pipe, a full disk or a lack of memory."""

import atexit
import gc
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from lnclip_df.core.errors import LNCLIPError, NotEnoughMemory, is_out_of_memory, not_enough_memory, printable

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]
NOTHING = "nothing is half written; run it again"
CONTINUES = "the same command continues"
KEPT = {  # what is left of a command that was ended, and how to go on
    "preprocess": f"finished videos are kept, and {CONTINUES}",
    "lmdb": f"what is written is kept, and {CONTINUES}",
    "pack": f"what is written is kept, and {CONTINUES}",
    "rearrange": f"files that are finished are kept; {NOTHING}",
    "train": "finished epochs are kept, and the same command with --resume continues",
    "test": f"finished data sets and parts are kept, and {CONTINUES}",
    "predict": f"with --out, finished files are kept, and {CONTINUES}",
    "robustness": f"finished levels are kept, and {CONTINUES}",
    "demo": f"finished steps are kept, and {CONTINUES}",
    "reproduce": f"finished stages, videos and epochs are kept, and {CONTINUES}",
    "study": f"finished trainings and epochs are kept, and {CONTINUES}",
    "app": "uploads are deleted",
    "install": "run it again to finish it",
    "uninstall": "run it again to finish it",
    "bench-run": "what the script has saved is kept",
    "bench-test": f"finished data sets are kept, and {CONTINUES}",
}
TRAINING = "lower train_batchSize, test_batchSize or workers (--set KEY=VALUE)"
TESTING = "lower test_batchSize or workers (--set KEY=VALUE)"
SMALLER = {  # what to make smaller where memory is used up, by command
    "preprocess": "lower --workers",
    "audit": "lower --workers",
    "train": TRAINING,
    "study": TRAINING,
    "reproduce": TRAINING,
    "test": TESTING,
    "robustness": TESTING,
    "calibrate": TESTING,
    "bank": TESTING,
    "bench-test": TESTING,
    "predict": "lower --batch-size or --frames",
}


class Ended(SystemExit):
    """A signal ends the command. Not an ``Exception``: nobody on the way may take it for a fault of their own.

    asyncio lets no other exception through than this kind and ``KeyboardInterrupt``, which Lightning handles itself.
    """


class _Received:
    """Which signal, if any, was the first to end this process."""

    first: int | None = None


def prepare_streams() -> None:
    """Let closed standard streams lead nowhere, and escape what standard output's encoding does not have.

    The next file that is opened would get a closed stream's number, and whatever a library prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115 (it stays open; its number is the lowest free one, its own)
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def collect_seldom() -> None:
    """Search for cyclic garbage less often, since imports make many objects and none of it; and not at the end.

    With PyTorch the last search remains: its Triton would report what is left.
    """

    def end():
        if "torch" not in sys.modules:
            gc.freeze()

    gc.set_threshold(10_000)
    atexit.register(end)


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and Ctrl-C raise :class:`Ended` in the main thread, except those that are ignored (nohup).

    A second signal changes nothing, but a second Ctrl-C ends the process at once. A thread that is still decoding a
    video does not delay the end.
    """
    main = os.getpid()

    def end(number, frame):
        if os.getpid() != main:  # a copy of this process, a worker of a loader
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if _Received.first is None:
            _Received.first = number
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise Ended

    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    try:
        yield
    except SystemExit as ended:
        status = ended.code
    if _Received.first is not None:
        gc.collect()  # what was in use releases its files and semaphores
        os._exit(128 + _Received.first)
    sys.exit(status)


@contextmanager
def one_line_and_a_status(context: typer.Context | None = None) -> Iterator[None]:
    """Turn whatever ends a command into at most one line on stderr and an exit status, without a traceback.

    The status is 1 for an error, 128 + n for signal n, and 141 for a closed pipe. Other exceptions are faults of this
    package, and pass.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) and not isinstance(error, Ended):
            raise
        _wait_for_a_signal(error)
        _flush()
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else _Received.first
        if number is not None:
            status = 128 + number
            if os.environ.get("LOCAL_RANK", "0") == "0":
                _say(f"ended by {signal.Signals(number).name}: {KEPT.get(_command(context), NOTHING)}")
        elif isinstance(error, BrokenPipeError):
            status = 141
        elif (line := _line(error, _command(context))) is not None:
            status = 1
            _say(f"error: {line}")
        else:
            raise
        raise typer.Exit(status) from None


def _wait_for_a_signal(error):
    """Wait a moment: a signal to a whole process group may reach a worker, whose loss is an error, before this one."""
    if isinstance(error, Exception) and "worker" in str(error):
        with suppress(Ended):
            time.sleep(0.2)


def _line(error, command) -> str | None:
    """What is wrong, or None where it is a fault of this package."""
    if (memory := _out_of_memory(error)) is not None:
        return str(not_enough_memory(memory, SMALLER.get(command, "free some, or raise its limit")))
    if isinstance(error, LNCLIPError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        where = "input or output failed" if error.filename is None else error.filename
        return printable(f"{where}: {os.strerror(error.errno)}")
    return None


def _out_of_memory(error):
    """The exception that says that memory is used up, of which this one may be a misreading, without a cure yet."""
    if isinstance(error, NotEnoughMemory):
        return None
    if isinstance(error, LNCLIPError):  # its text may speak of memory, and name a cure
        cause = error.__cause__
        return None if cause is None or isinstance(cause, OSError) else _out_of_memory(cause)
    return error if is_out_of_memory(error) else None


def _command(context):
    return None if context is None else context.invoked_subcommand


def _say(line):
    with suppress(OSError):  # a full disk, or a terminal that is gone
        typer.echo(line, err=True)


def _flush():
    """Write what is buffered of standard output; where that fails, drop it: Python would complain at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
