"""Trials: trainings of a study, each trained and tested once."""

import logging
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, sha256, write_json

MEASURES = ("auroc", "ap", "eer", "accuracy")
COUNTS = ("reals", "fakes")  # videos of each class

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One training and its tests.

    Attributes:
        group: the row of the study's table that it belongs to.
        tests: data sets that are tested.
        before: data sets that the weights it starts from were trained on.
    """

    group: str
    seed: int
    config: Config
    tests: tuple[str, ...]
    before: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its folder below the study's."""
        return f"{self.group}/seed-{self.seed}"


@dataclass(frozen=True)
class Result:
    """What a trial gave.

    Attributes:
        trained: data sets that the weights were trained on.
        history: one dict per epoch, see ``lnclip_df.training.module``.
        best: the epoch of ``history`` whose weights were tested.
        steps_per_epoch: optimisation steps.
        tests: ``{dataset: {auroc, ap, eer, accuracy, reals, fakes}}`` over videos.
        seconds: for training and testing.
    """

    group: str
    seed: int
    trained: list[str]
    history: list[dict[str, Any]]
    best: dict[str, Any]
    steps_per_epoch: int
    tests: dict[str, dict[str, float | None]]
    seconds: float


def run_trial(trial: Trial, out, number: str = "", *, accelerator: str = "auto", progress: bool = True):
    """Train and test one trial, or read what it left.

    Args:
        out: the study's folder; the trial gets ``group/seed-N`` below it, with all that ``train`` and ``test`` write.
        number: of the trial in the study, for the log.
        accelerator: Lightning's; a trial uses one device.

    Returns:
        The ``Result``, and whether anything was computed.

    Raises:
        LNCLIPError: a trial of the same name was made with another configuration, other data or other starting weights.
    """
    from lnclip_df.evaluation.test import test
    from lnclip_df.training.outputs import read_last
    from lnclip_df.training.train import train

    folder = Path(out) / trial.folder
    file, weights = folder / "trial.json", folder / "best.safetensors"
    sources = made_from(trial)
    stored = read_json(file) if file.is_file() else {"made_from": sources}
    _check_same(stored["made_from"], sources, folder)
    state = read_last(folder, trial.config)
    epochs = trial.config.nEpochs
    if state is not None and state["epoch"] > epochs:
        raise LNCLIPError(f"{folder}: trained to epoch {state['epoch']}, nEpochs is {epochs}; give another out folder")
    tested = {name: sha256(dataset_json(trial.config, name)) for name in trial.tests}
    before = Result(**stored["result"]) if "result" in stored else None
    trained = state is not None and state["epoch"] == epochs and weights.is_file()
    if before and trained and sha256(weights) == stored["weights"] and tested.items() <= stored["tested"].items():
        logger.info("%s %s, seed %d: finished before", number, trial.group, trial.seed)
        return replace(before, tests={name: before.tests[name] for name in trial.tests}), False
    logger.info("%s %s, seed %d: training and testing …", number, trial.group, trial.seed)
    started = time.monotonic()
    write_json(file, {"made_from": stored["made_from"]})
    with _only_warnings():
        made = train(trial.config, folder, resume=True, accelerator=accelerator, devices=1, progress=progress)
        device = "cpu" if accelerator == "cpu" else None
        metrics = test(trial.config, weights, folder, datasets=trial.tests, device=device, progress=progress)
    state = read_last(folder, trial.config)
    assert state is not None  # train has just written it
    result = Result(
        trial.group,
        trial.seed,
        trained=[*trial.before, *trial.config.train_dataset],
        history=made["history"],
        best=made["best"],
        steps_per_epoch=state["steps_per_epoch"],
        tests={
            name: {key: metrics[name]["video"][key] for key in MEASURES} | {key: metrics[name][key] for key in COUNTS}
            for name in trial.tests
        },
        seconds=round((before.seconds if before else 0.0) + time.monotonic() - started, 1),
    )
    facts = {"weights": sha256(weights), "tested": tested, "result": asdict(result)}
    write_json(file, {"made_from": stored["made_from"], **facts})
    return result, True


def made_from(trial: Trial) -> dict[str, str]:
    """SHA-256 of the files that a training is made from: its data sets' JSONs and the weights that it starts from."""
    ours = trial.config.lnclip
    names = [*trial.config.train_dataset, *ours.replay.datasets, *ours.val_dataset]
    files = {f"{name}.json": sha256(dataset_json(trial.config, name)) for name in dict.fromkeys(names)}
    return files | ({} if ours.start_from is None else {"lnclip.start_from": sha256(ours.start_from)})


def dataset_json(config: Config, name: str) -> Path:
    """The path of a data set's JSON."""
    return Path(config.lnclip.data_root) / config.dataset_json_folder / f"{name}.json"


def check_data(trials: Iterable[Trial]):
    """Read every split that the trials need once.

    Raises:
        LNCLIPError: a JSON is absent or invalid, or a trial has nothing to test on.
    """
    from lnclip_df.datasets.dataset_json import read_videos

    needed: dict[tuple[str, str], Config] = {}
    for trial in trials:
        config, ours = trial.config, trial.config.lnclip
        if not trial.tests:
            raise LNCLIPError("no data set to test on: name one with datasets, lnclip.benchmarks or test_dataset")
        splits = {"train": [*config.train_dataset, *ours.replay.datasets], "val": ours.val_dataset}
        for split, names in (splits | {"test": trial.tests}).items():
            needed |= {(name, split): config for name in names}
    paths = {dataset_json(config, name) for (name, _), config in needed.items()}
    if absent := sorted(path for path in paths if not path.is_file()):
        raise LNCLIPError(
            f"no {', '.join(path.name for path in absent)} in {absent[0].parent}; write what is missing with "
            "lnclip-df rearrange, or name other data with datasets (tests) and lnclip.val_dataset"
        )
    for (name, split), config in needed.items():
        read_videos(config, [name], split)


def _check_same(before, now, folder):
    for name in [*before, *now]:
        if before.get(name) != now.get(name):
            raise LNCLIPError(f"{folder} was made from another {name}; restore that file, or give another folder (out)")


@contextmanager
def _only_warnings():
    """Leave out the messages of each training and test: a study has many."""
    loggers = [logging.getLogger(f"lnclip_df.{room}") for room in ("training", "evaluation", "weights")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
