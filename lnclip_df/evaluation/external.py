"""Any detector under this evaluator: a Python file with a function, or a class, that predicts RGB images."""

import importlib.util
import logging
import sys
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lnclip_df.config.schema import Config
from lnclip_df.core.devices import choose_device, device_name
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import sha256
from lnclip_df.core.provenance import digest
from lnclip_df.evaluation.predict import LoadedDetector
from lnclip_df.weights import Checkpoint
from lnclip_df.weights.facts import Facts

logger = logging.getLogger(__name__)


class ExternalDetector(torch.nn.Module):
    """A detector of another project, in the form in which this package predicts frames.

    Args:
        predict: list of B uint8 H×W×3 RGB images → their B probabilities of *fake*, in [0, 1].
        path: the file that defines it.
    """

    def __init__(self, predict: Callable, path: Path):
        super().__init__()
        self.predict = predict
        self.path = path

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        """``prob``, float64 B, of the list of images in ``batch["image"]``; LNCLIPError if ``predict`` fails."""
        images = batch["image"]
        with _faults_of(self.path):
            prob = self.predict(images)
            prob = torch.as_tensor(prob if isinstance(prob, torch.Tensor) else np.asarray(prob, np.float64)).double()
        if prob.shape != (len(images),):
            shape = tuple(prob.shape)
            raise LNCLIPError(f"{self.path}: predict returned shape {shape}; expected one probability per image, "
                              f"({len(images)},)")  # fmt: skip
        return {"prob": prob}


class ExternalFile(Checkpoint):
    """What identifies an external detector's predictions: its file, the name in it, and its weights."""

    def __init__(self, path: Path, name: str, weights: Path | None):
        super().__init__(path, f"{path}:{name}")
        self.sha256 = digest([sha256(path), name, None if weights is None else sha256(weights)])
        self.facts = Facts()


def load_external(source, config: Config, weights=None, device: str | None = None) -> LoadedDetector:
    """Load the detector that a Python file defines. The file is run.

    Args:
        source: the file, ``detector.py``, or ``detector.py:NAME``. ``NAME`` (by default ``predict``) is a function as
            ``ExternalDetector`` takes it, or a class with ``load(weights, device)``, which returns an object with such
            a method ``predict``. ``train_dataset``, a list of names in the file, says what it was trained on.
        weights: passed to ``load``, as a path; a function takes none.
        device: passed to ``load``, by default the GPU where there is one.

    Raises:
        LNCLIPError: there is no such file or name, its code fails, or the weights are missing.
    """
    path, name = _path_and_name(str(source))
    chosen = choose_device(device)
    logger.info("computing on %s", device_name(chosen))
    weights = None if weights is None else Path(weights)
    if weights is not None and not weights.is_file():
        raise LNCLIPError(f"no weights file {weights}")
    module = _run(path)
    found = getattr(module, name, None)
    if isinstance(found, type) and hasattr(found, "load"):
        with _faults_of(path):
            predict = found.load(weights, chosen).predict
    elif callable(found) and not isinstance(found, type):
        if weights is not None:
            raise LNCLIPError(f"{path}: {name} is a function, which takes no weights; define a class with load")
        predict = found
    else:
        raise LNCLIPError(f"{path} has no function {name}(images) and no class {name} with load(weights, device)")
    config = config.replace({"train_dataset": list(getattr(module, "train_dataset", []))})
    checkpoint, again = ExternalFile(path, name, weights), partial(load_external, source, config, weights)
    return LoadedDetector(ExternalDetector(predict, path), config, chosen, checkpoint, _as_read, again)


def _as_read(image: np.ndarray, seed: int) -> np.ndarray:
    return image


def _path_and_name(source):
    path, _, name = (source, "", "") if source.endswith(".py") else source.rpartition(":")
    if not path.endswith(".py"):
        raise LNCLIPError(f"{source!r} names no detector; expected FILE.py or FILE.py:NAME")
    if not Path(path).is_file():
        raise LNCLIPError(f"no detector file {path}")
    return Path(path), name or "predict"


def _run(path):
    """The module of a file, which may import its neighbours, as with ``python FILE.py``."""
    name = f"external_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    with _faults_of(path):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _faults_of(path):
    """Reduce an exception of an external file to one line that names its place in the file."""
    try:
        yield
    except LNCLIPError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        place = f"{path}:{lines[-1]}" if lines else str(path)
        raise LNCLIPError(f"{place}: {type(error).__name__}: {one_line(error)}") from error
