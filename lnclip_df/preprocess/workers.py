"""Carry out the jobs of a run: in this process, in several, or on a Dask cluster."""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.processes import DIED, worker_pool
from lnclip_df.preprocess.records import Record
from lnclip_df.preprocess.video_job import Job, give_up, process_video

IN_FLIGHT = 2  # jobs per process that are handed out and not finished: all of them are tried again where one dies
ON_CLUSTER = 4  # the same for each core of a cluster, where a record comes back later


def work_off(jobs: Iterable[Job], workers: int, scheduler: str | None = None) -> Iterator[Record]:
    """Yield the record of every job as it is finished; the order is that of the jobs with one worker alone.

    At most ``IN_FLIGHT`` jobs per worker (``ON_CLUSTER`` there) are taken from ``jobs`` before one of them is finished.

    Args:
        workers: number of processes; 1 works in this one.
        scheduler: address of a Dask scheduler, which is used instead.

    Raises:
        LNCLIPError: the output cannot be written, or there is no scheduler at that address.
    """
    if scheduler is not None:
        return _on_cluster(iter(jobs), scheduler)
    return map(process_video, jobs) if workers == 1 else _in_processes(iter(jobs), workers)


def _in_processes(jobs, workers):
    """Yield records as they come; where a process dies, its videos are tried again one by one, then given up."""
    for first in jobs:
        lost = yield from _until_a_process_dies(chain([first], jobs), workers)
        while lost:
            yield from _one_by_one(lost)


def _one_by_one(jobs):
    """Work jobs off in one process and remove them from the list, until it is empty or the process dies."""
    with worker_pool(1) as pool:
        while jobs:
            job = jobs.pop(0)
            try:
                yield pool.submit(process_video, job).result()
            except BrokenProcessPool:
                yield give_up(job, DIED)
                return


def _until_a_process_dies(jobs, workers):
    """Work jobs off in order; return those that were in progress when a process died, if one did."""
    lost = []
    with worker_pool(workers) as pool:
        in_progress = {}
        while True:
            for job in islice(jobs, 0 if lost else IN_FLIGHT * workers - len(in_progress)):
                try:
                    in_progress[pool.submit(process_video, job)] = job
                except BrokenProcessPool:
                    lost.append(job)
                    break
            if not in_progress:
                return lost
            for future in wait(in_progress, return_when=FIRST_COMPLETED).done:
                job = in_progress.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(job)


def _on_cluster(jobs, scheduler):
    """Yield records as a Dask cluster returns them."""
    try:
        from distributed import Client, KilledWorker
    except ModuleNotFoundError as error:
        raise LNCLIPError("a scheduler needs Dask; install the extra: pip install 'lnclip-df[cluster]'") from error
    try:
        client = Client(scheduler)
    except (OSError, ValueError, TimeoutError) as error:
        raise LNCLIPError(f"scheduler: no Dask scheduler at {scheduler}: {one_line(error)}") from error
    with client, client.get_executor() as executor:
        in_progress: dict[Future, Job] = {}
        try:
            while True:
                room = ON_CLUSTER * max(1, sum(client.ncores().values())) - len(in_progress)  # workers come and go
                in_progress |= {executor.submit(process_video, job): job for job in islice(jobs, max(0, room))}
                if not in_progress:
                    return
                for future in wait(in_progress, return_when=FIRST_COMPLETED).done:
                    job = in_progress.pop(future)
                    try:
                        yield future.result()
                    except KilledWorker:
                        yield give_up(job, DIED)
        except BaseException:
            executor.shutdown(wait=False)  # cancels what waits
            raise
