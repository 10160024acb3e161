"""Trials: trainings of a study, each trained and tested once."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, sha256, write_json
from lnclip_df.core.logs import log_from
from lnclip_df.datasets.dataset_json import dataset_digest, json_of, read_videos
from lnclip_df.datasets.schema import own_datasets

MEASURES = ("auroc", "ap", "eer", "accuracy")
COUNTS = ("reals", "fakes")  # videos of each class
RECORD = "trial.json"
SILENCED = ("lnclip_df.training", "lnclip_df.evaluation", "lnclip_df.weights")  # a study has many trainings and tests

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

    def weights(self, out) -> str:
        """The path of its weights in the study's folder ``out``."""
        return str(Path(out).resolve() / self.folder / "best.safetensors")


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


def read_result(trial: Trial, out, digests: Mapping[Path, str]) -> Result | None:
    """The result that a study in ``out`` has of a trial; None if it is not finished, or was damaged.

    Args:
        digests: see :func:`check_data`.

    Raises:
        LNCLIPError: a trial of the same name was made with another configuration, other data or other starting weights.
    """
    from lnclip_df.training.outputs import read_last

    folder, weights, stored = Path(out) / trial.folder, Path(trial.weights(out)), _stored(trial, out, digests)
    state, epochs = read_last(folder, trial.config), trial.config.nEpochs
    if state is not None and state["epoch"] > epochs:
        raise LNCLIPError(f"{folder}: trained to epoch {state['epoch']}, nEpochs is {epochs}; give another out folder")
    if state is None or state["epoch"] < epochs or "result" not in stored or not weights.is_file():
        return None
    if sha256(weights) != stored["weights"] or not _tested(trial, digests).items() <= stored["tested"].items():
        return None
    before = Result(**stored["result"])
    return replace(before, tests={name: before.tests[name] for name in trial.tests})


def finished_before(trials: Iterable[Trial], out, digests: Mapping[Path, str]) -> dict[str, Result]:
    """The results that a study in ``out`` already has, by the trial's folder; raises as :func:`read_result`."""
    found, unmade = {}, set()
    for trial in trials:
        result = None if trial.config.lnclip.start_from in unmade else read_result(trial, out, digests)
        if result is None:
            unmade.add(trial.weights(out))
        else:
            logger.info("%s: finished before", trial.folder)
            found[trial.folder] = result
    return found


def run_trial(
    trial: Trial, out, digests: Mapping[Path, str], *, accelerator: str = "auto", progress: bool = True
) -> Result:
    """Train and test one trial, from where an earlier run of it was ended.

    Args:
        out: the study's folder; the trial gets ``group/seed-N`` below it, with all that ``train`` and ``test`` write.
        digests: see :func:`check_data`.
        accelerator: Lightning's; a trial uses one device.

    Raises:
        LNCLIPError: the training or a test fails; or as :func:`read_result`.
    """
    from lnclip_df.evaluation.test import test
    from lnclip_df.training.outputs import read_last
    from lnclip_df.training.train import train

    started, folder, stored = time.monotonic(), Path(out) / trial.folder, _stored(trial, out, digests)
    write_json(folder / RECORD, {"made_from": stored["made_from"]})
    with log_from(logging.WARNING, *SILENCED):
        made = train(trial.config, folder, resume=True, accelerator=accelerator, devices=1, progress=progress)
        device = "cpu" if accelerator == "cpu" else None
        metrics = test(trial.config, trial.weights(out), folder, datasets=trial.tests, device=device, progress=progress)
    state = read_last(folder, trial.config)
    assert state is not None  # train has just written it
    before = stored["result"]["seconds"] if "result" in stored else 0.0
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
        seconds=round(before + time.monotonic() - started, 1),
    )
    facts = {"weights": sha256(trial.weights(out)), "tested": _tested(trial, digests), "result": asdict(result)}
    write_json(folder / RECORD, {"made_from": stored["made_from"], **facts})
    return result


def _made_from(trial, digests) -> dict[str, str]:
    """Digests of what a training is made from: its data sets and the weights that it starts from."""
    ours = trial.config.lnclip
    names = [*trial.config.train_dataset, *ours.replay.datasets, *ours.val_dataset]
    made = {}
    for name in dict.fromkeys(names):
        file = json_of(trial.config, name)
        made[file.name if file.is_file() else name] = digests[file]
    return made | ({} if ours.start_from is None else {"lnclip.start_from": sha256(ours.start_from)})


def _stored(trial, out, digests):
    """What a trial's folder says of it; LNCLIPError if it was made from something else."""
    folder, sources = Path(out) / trial.folder, _made_from(trial, digests)
    file = folder / RECORD
    stored = read_json(file) if file.is_file() else {"made_from": sources}
    for name in [*stored["made_from"], *sources]:
        if stored["made_from"].get(name) != sources.get(name):
            raise LNCLIPError(f"{folder} was made from another {name}; restore it, or give another folder (out)")
    return stored


def _tested(trial, digests):
    return {name: digests[json_of(trial.config, name)] for name in trial.tests}


def check_data(trials: Iterable[Trial]) -> dict[Path, str]:
    """Read every split that the trials need once.

    Returns:
        The digest of each data set, by the path of its JSON, which may be absent. A study computes it once: a user's
        faces may be many, and what changes during the study is noticed by its next call.

    Raises:
        LNCLIPError: a JSON is invalid or absent (a user's dataset needs none), or a trial has nothing to test on.
    """
    needed: dict[tuple[Path, str, str], Config] = {}
    for trial in trials:
        config, ours = trial.config, trial.config.lnclip
        if not trial.tests:
            raise LNCLIPError("no data set to test on: name one with datasets, lnclip.benchmarks or test_dataset")
        splits = {"train": [*config.train_dataset, *ours.replay.datasets], "val": ours.val_dataset}
        for split, names in (splits | {"test": trial.tests}).items():
            needed |= {(json_of(config, name), name, split): config for name in names}
    files = {path: (config, name) for (path, name, _), config in needed.items()}
    if absent := sorted(path for path, (_, name) in files.items() if not path.is_file() and name not in own_datasets()):
        raise LNCLIPError(
            f"no {', '.join(path.name for path in absent)} in {absent[0].parent}; write what is missing with "
            "lnclip-df rearrange, or name other data with datasets (tests) and lnclip.val_dataset"
        )
    for (_, name, split), config in needed.items():
        read_videos(config, [name], split)
    return {path: dataset_digest(*of) for path, of in files.items()}
