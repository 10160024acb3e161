"""A study's trainings side by side: one process per device takes the next training that can begin."""

import logging
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path

from lnclip_df.core.devices import process_environment
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.processes import worker_pool
from lnclip_df.studies.trials import Result, Trial, run_trial

DIED = "its process died (ended from outside, a fault in a library, or no memory)"

logger = logging.getLogger(__name__)


def run_trials(
    trials: Sequence[Trial], out, digests: Mapping[Path, str], devices: Sequence[str | None], *,
    accelerator: str = "auto", progress: bool = True,
) -> Generator[tuple[Trial, Result | str], None, None]:  # fmt: skip
    """Train and test trials, each on one device as soon as one is free; what ends first comes first.

    A trial that starts from another one's weights waits for it. One that fails stops no other, but those that need its
    weights.

    Args:
        trials: in the order in which they begin; what one starts from is before it, or finished.
        out: the study's folder.
        digests: see ``lnclip_df.studies.trials.check_data``.
        devices: see ``lnclip_df.core.devices.device_names``; one that needs no process of its own is used in this one.
        accelerator: Lightning's.
        progress: show progress bars, or with several devices a line for each epoch.

    Yields:
        A trial and its ``Result``, or in one line why it failed.
    """
    left, failed = {trial.folder: trial for trial in trials}, set()
    running: dict[Future, tuple[Trial, _Device]] = {}
    made_by = {trial.weights(out): trial.folder for trial in trials}
    options = {"digests": digests, "accelerator": accelerator, "progress": progress}
    with ExitStack() as stack:
        free = [_Device(name, len(devices), stack) for name in devices]
        while left:
            begun = {trial.folder for trial, _ in running.values()}
            for trial in [trial for folder, trial in left.items() if folder not in begun]:
                source = made_by.get(trial.config.lnclip.start_from or "")
                if source in failed:
                    failed.add(trial.folder)
                    yield left.pop(trial.folder), f"not trained, because {source} failed"
                elif free and source not in left:
                    device = free.pop(0)
                    logger.info("%s: training and testing%s …", trial.folder, device.shown)
                    running[device.start(trial, out, options)] = trial, device
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                trial, device = running.pop(future)
                free.append(device)
                outcome = _outcome(future)
                if isinstance(outcome, str):
                    failed.add(trial.folder)
                yield left.pop(trial.folder), outcome


class _Device:
    """A device, and the process that trains on it; a new one is started where the last one died."""

    def __init__(self, name: str | None, count: int, stack: ExitStack):
        self.alone = count == 1 and name in (None, "cpu", "cuda")
        self.shown = "" if self.alone else f" on {name or 'cpu'}"
        self.environment, self.stack = process_environment(name, count), stack
        self.process: ProcessPoolExecutor | None = None
        self.last: Future = Future()

    def start(self, trial: Trial, out, options: dict) -> Future:
        """Start a trial; alone, it has ended when this returns."""
        if self.alone:
            self.last = Future()
            try:
                self.last.set_result(run_trial(trial, out, **options))
            except Exception as error:
                self.last.set_exception(error)
            return self.last
        if self.process is None or isinstance(self.last.exception(), BrokenProcessPool):
            self.process = self.stack.enter_context(worker_pool(1, environment=self.environment))
        self.last = self.process.submit(_run_quietly, trial, out, options)
        return self.last


def _run_quietly(trial: Trial, out, options: dict) -> Result:
    """Run a trial in a process of its own: its lines begin with its name, and one for each epoch replaces the bars."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"{trial.folder.replace('%', '%%')}: %(message)s"))
    logging.getLogger().handlers = [handler]
    if options["progress"]:
        logging.getLogger("lnclip_df.training.outputs").setLevel(logging.INFO)
    return run_trial(trial, out, **options | {"progress": False})


def _outcome(future: Future) -> Result | str:
    """The result of a trial, or why there is none."""
    try:
        return future.result()
    except BrokenProcessPool:
        return DIED
    except LNCLIPError as error:
        return str(error)
    except Exception as error:  # a fault of the code
        logger.debug("", exc_info=error)
        return f"{type(error).__name__}: {one_line(error)}"
