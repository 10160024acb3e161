"""Find faces in a process of its own whose memory is limited, for files of strangers."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path

from lnclip_df.core.devices import usable_cores
from lnclip_df.core.processes import worker_pool
from lnclip_df.faces.detectors import shared_detector
from lnclip_df.scoring.find_faces import FoundFaces, find_faces
from lnclip_df.scoring.inputs import InputFile
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.results import UNREADABLE, Result

STATUS = Path("/proc/self/status")  # of Linux; elsewhere the process has no limit


class LimitedFinder:
    """Finds the faces of files in another process, which may allocate ``megabytes`` beside its detector.

    The process is started for the first file, and again after one that is unreadable. A call is not thread-safe.
    """

    def __init__(self, megabytes: int):
        self.megabytes = megabytes
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, file: InputFile, options: ScoreOptions) -> FoundFaces:
        """The faces of a file; a file that needs more memory than there is, is ``unreadable``."""
        try:
            if self._pool is None:
                self._pool = self._stack.enter_context(worker_pool(1))
                self._pool.submit(_limit, self.megabytes, options).result()
            found = self._pool.submit(find_in_process, file, options).result()
        except BrokenProcessPool:
            self.close()
            reason = f"it ends its decoder, or needs more than {self.megabytes} MB of memory"
            return FoundFaces(Result(str(file.path), UNREADABLE, reason), [])
        if found.result.outcome == UNREADABLE:  # what its decoder holds is freed with the process
            self.close()
        return found

    def close(self):
        """End the process."""
        self._pool = None
        self._stack.close()


def _limit(megabytes, options):
    """In the process: load the detector, then allow it so much more memory."""
    import resource

    shared_detector(options.crops, usable_cores())
    if not STATUS.is_file():
        return
    (used,) = (int(line.split()[1]) << 10 for line in STATUS.read_text().splitlines() if line.startswith("VmData:"))
    limit = used + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def find_in_process(file: InputFile, options: ScoreOptions) -> FoundFaces:
    """The faces of a file, in this process."""
    threads = usable_cores()
    detector = shared_detector(options.crops, threads)
    return find_faces(file, detector, options.crops.recipe(detector), options, threads)
