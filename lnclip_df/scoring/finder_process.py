"""Find faces in other processes: of several files at once, or with limited memory for the files of strangers."""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue

from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.processes import DIED, worker_pool
from lnclip_df.faces.detectors import shared_detector
from lnclip_df.scoring.find_faces import FoundFaces, find_faces, read_aligned_faces
from lnclip_df.scoring.inputs import InputFile
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.results import UNREADABLE, Result

STATUS = Path("/proc/self/status")  # of Linux; elsewhere the process has no limit
SECONDS = 3600.0  # after which a file is given up; a film of two hours is read in a few minutes
TOO_LONG = "not read within"  # the beginning of that reason
IN_FLIGHT = 4  # files per process that are searched or wait to be scored; 32 crops of one take 6 MB


class FinderProcess:
    """Finds the faces of files in another process. A file that ends the process, or takes too long, is ``unreadable``.

    The process is started for the first file, and again after one that is unreadable. A file whose process died is
    tried once more. A call is not thread-safe; :meth:`close` may come from another thread.

    Args:
        megabytes: memory that the process may allocate beside its detector, after which a file is not tried again; None
            sets no limit.
        threads: of the decoder and the detector; by default the usable cores.
        seconds: the longest time for one file.
    """

    def __init__(self, megabytes: int | None = None, threads: int | None = None, seconds: float = SECONDS):
        self.megabytes, self.threads, self.seconds = megabytes, threads or usable_cores(), seconds
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None
        self._pid: int | None = None
        self._closed = False

    def __call__(self, file: InputFile, options: ScoreOptions) -> FoundFaces:
        """The faces of a file; LNCLIPError where no process can be started, or it dies before it has the file."""
        for _ in range(1 if self.megabytes else 2):
            pool = self._pool or self._start(options)
            try:
                found = pool.submit(find_here, file, options, self.threads).result(self.seconds)
            except BrokenProcessPool:
                self._pid = None
                reason = DIED
                if self.megabytes:
                    reason = f"it ends its decoder, or needs more than {self.megabytes} MB of memory"
                found = FoundFaces(Result(str(file.path), UNREADABLE, reason), [])
            except TookTooLong:
                found = FoundFaces(Result(str(file.path), UNREADABLE, f"{TOO_LONG} {self.seconds:g} s"), [])
            if found.result.outcome == UNREADABLE:  # what its decoder holds is freed with the process
                self._end()
            if found.result.reason != DIED or self._closed:
                break
        return found

    def _start(self, options):
        with ExitStack() as stack:
            pool = stack.enter_context(worker_pool(1))
            self._pid = pool.submit(_prepare, self.megabytes, options, self.threads).result()
            if self._closed:
                raise LNCLIPError("the process that finds faces was closed while it started")
            self._pool, self._stack = pool, stack.pop_all()
        return pool

    def _end(self):
        pid, self._pid, self._pool = self._pid, None, None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)  # ends also a decoder that hangs
        self._stack.close()

    def close(self):
        """End the process, whatever it does, for good."""
        self._closed = True
        self._end()


def to_try_again(row: dict) -> bool:
    """Whether a file of this row, as JSON, was not read because its process died or took too long."""
    return row["outcome"] == UNREADABLE and (row["reason"] == DIED or row["reason"].startswith(TOO_LONG))


def find_in_processes(files: Iterable[InputFile], options: ScoreOptions, count: int) -> Iterator[FoundFaces]:
    """The faces of files in order, found by ``count`` processes that share the usable cores.

    At most ``IN_FLIGHT`` files per process are taken from ``files`` before the first of them is used.
    """
    finders = [FinderProcess(threads=max(1, usable_cores() // count)) for _ in range(count)]
    idle: SimpleQueue[FinderProcess] = SimpleQueue()
    for finder in finders:
        idle.put(finder)

    def find(file):
        finder = idle.get()
        try:
            return finder(file, options)
        finally:
            idle.put(finder)

    in_flight: deque[Future[FoundFaces]] = deque()
    threads = ThreadPoolExecutor(count)
    try:
        for file in files:
            in_flight.append(threads.submit(find, file))
            if len(in_flight) == IN_FLIGHT * count:
                yield in_flight.popleft().result()
        while in_flight:
            yield in_flight.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for finder in finders:
            finder.close()


def _prepare(megabytes, options, threads) -> int:
    """In the process: load the detector, then allow it so much more memory. Returns the process's id."""
    if not options.aligned:
        shared_detector(options.crops, threads)
    if megabytes is not None and STATUS.is_file():
        import resource

        (used,) = (int(line.split()[1]) << 10 for line in STATUS.read_text().splitlines() if line.startswith("VmData:"))
        limit = used + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return os.getpid()


def find_here(file: InputFile, options: ScoreOptions, threads: int) -> FoundFaces:
    """The faces of a file, found in this process."""
    if options.aligned:
        return read_aligned_faces(file, options)
    detector = shared_detector(options.crops, threads)
    return find_faces(file, detector, options, threads)
