"""Worker processes: alike everywhere, gone as soon as their parent is, and one line where they cannot be started."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context, get_start_method, set_start_method
from threading import RLock, Thread
from types import ModuleType

from lnclip_df.core.errors import LNCLIPError, one_line

HIDING = RLock()  # a second thread would take the hidden module for the caller's; a forked process may enter again
DIED = "its process died (a fault of the decoder, or no memory)"  # the reason of a video whose worker died


@contextmanager
def worker_pool(
    count: int, *, at_once: bool = False, environment: Mapping[str, str] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of worker processes. They end with this process, however it ends, and at once where it is stopped.

    The workers do not import the caller's script: it needs no ``if __name__ == "__main__"``, and may come from a
    notebook or from standard input.

    Args:
        count: number of processes.
        at_once: end the workers at once on an error, too, instead of after the tasks that they work on.
        environment: variables that the processes have besides those of this one.

    Raises:
        LNCLIPError: no worker can be started, or one died and the caller does not handle ``BrokenProcessPool``.
    """
    context = get_context("spawn")
    end, lifeline = context.Pipe(duplex=False)
    with end, lifeline:
        try:
            pool = _Pool(count, context, initializer=_live_while, initargs=(end, environment or {}, get_start_method()))
            pool.submit(os.getpid).result()
        except (BrokenProcessPool, OSError, RuntimeError, ImportError) as error:
            raise LNCLIPError(f"no worker process can be started ({one_line(error)}); use one worker") from error
        try:
            yield pool
        except BaseException as error:
            if at_once or not isinstance(error, Exception):  # the user stops the run, or somebody stops the process
                lifeline.send_bytes(b"end")  # closing it tells them nothing while a forked process has it open
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise LNCLIPError(
                    "a worker process died (ended from outside, a fault in a library, or no memory); "
                    "run again with one worker to see where"
                ) from error
            raise
        pool.shutdown()


@contextmanager
def hidden_main() -> Iterator[None]:
    """Hide ``__main__`` while processes are started: multiprocessing would run it again in each that is not forked."""
    with HIDING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _Pool(ProcessPoolExecutor):
    def submit(self, fn, /, *args, **kwargs):
        with hidden_main():
            return super().submit(fn, *args, **kwargs)


def _live_while(end, environment, method):
    """In a worker: leave Ctrl-C to the parent, and end when this pipe has something to read, or its other end closes.

    Its own processes, a loader's, start by ``method`` as those of the parent do. Spawned, each would get the dataset
    through a pipe, and a worker that is ended would leave its semaphores.
    """
    set_start_method(method, force=True)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch():
        with suppress(OSError):
            end.poll(None)  # what is there is not read: it is for all workers
        os._exit(1)

    Thread(target=watch, daemon=True).start()
