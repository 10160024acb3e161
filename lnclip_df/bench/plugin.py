"""The detector as DeepfakeBench's scripts drive it: its learning rate is set from inside, train.py stays untouched."""

import logging

from torch import distributed

from lnclip_df.bench.dataset_json import steps_per_epoch
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.models.schedule import cyclic_lr, drive_optimizer

_logger = logging.getLogger(__name__)


class BenchDetector(LNCLIPDetector):
    """``LNCLIPDetector`` with the cyclic learning rate, for a training loop that steps no scheduler.

    The rate is set before every step of the optimizer that owns the parameters, in every process. What it needs of the
    data is read at the first step, so that testing asks for no training set.

    Args:
        config: the configuration that ``training/train.py`` or ``training/test.py`` has merged.

    Raises:
        LNCLIPError: the ``lnclip`` section is wrong.
    """

    def __init__(self, config: dict):
        super().__init__(config)
        schedule = _EpochSchedule(config, self.settings.schedule)
        drive_optimizer(self, schedule.rate, schedule.log)
        _log(
            "lnclip: DeepfakeBench's dataset class resizes and augments here; "
            "lnclip.resize and lnclip.augmentation have no say"
        )

    def load_state_dict(self, state_dict, *args, **kwargs):
        """As ``Module.load_state_dict``; also takes a checkpoint that DeepfakeBench saved from its DDP wrapper."""
        if state_dict and all(key.startswith("module.") for key in state_dict):
            state_dict = {key.removeprefix("module."): value for key, value in state_dict.items()}
        return super().load_state_dict(state_dict, *args, **kwargs)


class _EpochSchedule:
    """The rate of a step, by its number; holds no module, so that the global hook keeps none alive."""

    def __init__(self, config, schedule):
        self.config = config
        self.start = config.get("start_epoch") or 0
        self.cycle = schedule.model_dump()
        self.steps = None

    def epoch(self, step):
        if self.steps is None:
            world = distributed.get_world_size() if _is_distributed() else 1
            self.steps = steps_per_epoch(self.config, world)
            _log(f"lnclip: {self.steps} steps an epoch in each of {world} processes")
        return self.start + step / self.steps

    def rate(self, step):
        return cyclic_lr(self.epoch(step), **self.cycle)

    def log(self, step, lr):
        _log(f"lnclip step {step} epoch {self.epoch(step):.4f} lr {lr:.2e}")


def _is_distributed():
    return distributed.is_available() and distributed.is_initialized()


def _log(message):
    """One line from the first process; the others say it at DEBUG."""
    first = not _is_distributed() or distributed.get_rank() == 0
    _logger.log(logging.INFO if first else logging.DEBUG, message)
