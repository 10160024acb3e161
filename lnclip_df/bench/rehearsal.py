"""Run DeepfakeBench's two scripts on two items per data set, on the CPU and without writing: do they stop, and why?"""

import io
import logging
import os
import runpy
import sys
import traceback
from contextlib import redirect_stdout
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line

STEPS = 2  # of a training epoch; one alone divides by zero in the second epoch


def rehearse(script: str, detector_path: str) -> str | None:
    """Run a script's own code from its configuration to the metrics of its test sets, in the root of a checkout.

    Left out are the other batches (the labels and names of all frames reach the metrics, with made-up predictions), the
    other epochs (the last one runs), and all that is written. ``lnclip_df.bench.launch.prepare`` must have run.

    Args:
        script: ``training/train.py`` or ``training/test.py``.
        detector_path: the script's argument of that name.

    Returns:
        Why the script stops; None if it does not.
    """
    no_weights = ["--weights_path", ""] if script.endswith("test.py") else []
    sys.argv = [script, "--detector_path", detector_path, *no_weights]
    printed = io.StringIO()
    facts: dict[str, Any] = {}
    try:
        with redirect_stdout(printed):
            main = runpy.run_path(script, run_name="rehearsed")["main"]
            _shorten(main.__globals__, facts)
            main()
    except _Rehearsed:
        return None
    except (Exception, SystemExit) as error:
        return _explained(error, facts, printed.getvalue())
    return None


class _Rehearsed(Exception):
    """The last epoch has run."""


def _shorten(script, facts):
    """Replace in a script's globals what takes long or writes."""
    quiet = SimpleNamespace(**{**vars(os), "makedirs": lambda *_, **__: None})
    script["os"] = sys.modules[script["Trainer"].__module__].os = quiet
    script["create_logger"] = lambda path: logging.getLogger("rehearsal")
    script["Trainer"] = _short_trainer(script["Trainer"], facts)
    if test := script.get("test_one_dataset"):
        script["test_one_dataset"] = lambda model, loader: _tested(loader, facts, partial(test, model))[1:]


def _short_trainer(trainer, facts):
    class ShortTrainer(trainer):
        def train_epoch(self, epoch, train_data_loader, test_data_loaders=None):
            facts["config"] = self.config
            super().train_epoch(self.config["nEpochs"], _FewItems(train_data_loader, STEPS), test_data_loaders)
            raise _Rehearsed

        def test_one_dataset(self, data_loader):
            return _tested(data_loader, facts, super().test_one_dataset)

        def get_writer(self, *_):
            return SimpleNamespace(add_scalar=lambda *_, **__: None)

        def _write_nothing(self, *_, **__):
            pass

        save_ckpt = save_feat = save_data_dict = save_metrics = save_swa_ckpt = _write_nothing

    return ShortTrainer


class _FewItems:
    """A loader of which the first two items come as each of a few batches."""

    def __init__(self, loader, batches):
        self.dataset, self.collate, self.batches = loader.dataset, loader.collate_fn, min(batches, len(loader))

    def __len__(self):
        return self.batches

    def __iter__(self):
        for _ in range(self.batches):
            yield self.collate([self.dataset[index] for index in range(min(2, len(self.dataset)))])


def _tested(loader, facts, test):
    """What the host's test of a loader returns: losses of two items, labels and made-up predictions of all frames."""
    facts["tested"] = None
    result = test(_FewItems(loader, 1))
    facts["tested"] = loader
    seen = len(loader) * loader.batch_size if loader.drop_last else len(loader.dataset)
    labels = (np.array(loader.dataset.label_list[:seen]) != 0).astype(int)
    return result[0], np.linspace(0, 1, seen), labels, np.zeros((seen, 1))


def _explained(error, facts, printed):
    """Why a script stopped, in our words where the host's say little."""
    loader, config = facts.get("tested"), facts.get("config", {})
    unread = [line for line in printed.splitlines() if line.startswith("Error loading image")]
    if isinstance(error, LNCLIPError):
        return str(error)
    if isinstance(error, RecursionError) and unread:
        return f"a frame cannot be read, nor the one that stands in for it: {unread[-1]}"
    if config.get("SWA") and isinstance(error, AttributeError | KeyError):
        return "SWA: true needs a model that train.py does not build; set it to false"
    if loader is not None:
        name, labels = loader.dataset.config["test_dataset"], {label != 0 for label in loader.dataset.label_list}
        if len(labels) == 1:
            return f"all frames of {name} are {'fake' if labels == {True} else 'real'}; its metrics need both classes"
        left = len(loader.dataset) % loader.batch_size
        if loader.drop_last and left:
            return (
                f"it leaves out the last {left} frames of {name} (drop_last), but expects their predictions; test it "
                "with test.py alone, or set test_batchSize to a divisor of the number of its frames"
            )
    files = [frame for frame in traceback.extract_tb(error.__traceback__) if _in_checkout(frame.filename)]
    place = f" ({os.path.relpath(files[-1].filename)}:{files[-1].lineno})" if files else ""
    return f"{type(error).__name__}: {one_line(error)}{place}"


def _in_checkout(name):
    return os.path.isfile(name) and os.path.abspath(name).startswith(os.getcwd() + os.sep)
