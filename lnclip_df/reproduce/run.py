"""Carry a plan out: each stage by the function behind its command, recorded when it is finished."""

import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lnclip_df.core.devices import device_names
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable, read_json, write_json
from lnclip_df.datasets.audit import AuditOptions, audit_dataset
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.rearrange import rearrange
from lnclip_df.evaluation.parts import parts_folder
from lnclip_df.evaluation.predict import LoadedDetector, load_detector
from lnclip_df.evaluation.test import test
from lnclip_df.leaderboard import leaderboard
from lnclip_df.preprocess import RunOptions, preprocess_dataset
from lnclip_df.preprocess.records import OtherCrops
from lnclip_df.reproduce.job import Job, look
from lnclip_df.reproduce.plan import KINDS, Plan, Record, digest_of_output, make_plan
from lnclip_df.reproduce.report import make_report, write_report

logger = logging.getLogger(__name__)


def reproduce(
    job: Job, kinds: Iterable[str] = KINDS, run: RunOptions | None = None, trainer: Mapping[str, Any] | None = None
) -> dict:
    """Carry out what is not finished of a job, and report it.

    Every finished stage has a record in ``stages.json``: what it was made from, and its time. It is not repeated
    unless that has changed. An interrupted stage continues as its command does. What concerns one dataset stops no
    other; a dataset whose stage fails is left out of the later ones.

    Args:
        job: see ``lnclip_df.reproduce.job.make_job``. ``job.out`` gets ``dataset_json/``, ``audit/``, a folder for each
            detector (as ``train`` and ``test`` write it), ``leaderboard/``, ``stages.json``, ``report.json`` and
            ``report.md``.
        kinds: the kinds of stages to carry out.
        run: workers of the preprocessing, shard of the preprocessing or of the tests, and whether bars are shown.
        trainer: ``accelerator``, ``devices`` and ``strategy`` of ``train``; detectors are tested on these devices too.

    Returns:
        The content of ``report.json``, see ``lnclip_df.reproduce.report``.

    Raises:
        LNCLIPError: an option is invalid, or ``job.out`` cannot be written.
    """
    kinds, run = list(kinds), run or RunOptions()
    if run.shard and kinds not in (["preprocess"], ["test"]):
        raise LNCLIPError("shard: a part can only be preprocessed or tested; choose the stage preprocess or test alone")
    check_writable(job.out, folder=True)
    work = _Work(job, run, dict(trainer or {}))
    plan = plan_of(job, kinds)
    if os.environ.get("LOCAL_RANK", "0") != "0":  # Lightning has started this process to train with the first one
        for stage in plan.to_do("train"):
            work.train(stage)
        raise SystemExit
    work.carry_out(plan)
    report = make_report(job, plan_of(job, kinds), work.records, work.failures)
    write_report(job, report)
    return report


def plan_of(job: Job, kinds: Iterable[str] = KINDS) -> Plan:
    """The plan of a job, by what is on disk now."""
    return make_plan(job, {name: look(job, name) for name in job.datasets}, read_records(job), kinds)


def read_records(job: Job) -> dict[str, Record]:
    """The records of finished and begun stages, by id; none where nothing was begun.

    Raises:
        LNCLIPError: the file is damaged.
    """
    path = job.out / "stages.json"
    try:
        return TypeAdapter(dict[str, Record]).validate_python(read_json(path)) if path.is_file() else {}
    except ValidationError as error:
        raise LNCLIPError(
            f"{path} has no records of stages; remove it: what is finished is then checked anew"
        ) from error


class _Work:
    """Carries stages out, and keeps their records."""

    def __init__(self, job: Job, run: RunOptions, trainer: dict):
        self.job, self.run, self.trainer = job, run, trainer
        self.records = read_records(job)
        self.failures: dict[str, str] = {}
        self.loaded: tuple[str, LoadedDetector] | None = None

    def carry_out(self, plan: Plan):
        """Carry out every stage that is to be done, and whose needs have not failed."""
        for stage in (stage for kind in KINDS for stage in plan.to_do(kind)):
            if failed := [need for need in stage.needs if need in self.failures]:
                self.failures[stage.id] = f"{failed[0]} failed"
                continue
            logger.info("%s …", stage.id)
            started, begun = time.monotonic(), stage.id in self.records
            try:
                self._begin(stage)
                images, note = getattr(self, stage.kind)(stage)
            except LNCLIPError as error:
                self.failures[stage.id] = str(error)
                logger.warning("%s: %s", stage.id, error)
                continue
            self._finish(stage, time.monotonic() - started, 0 if begun else images, note)

    def _begin(self, stage):
        """Record what a stage is made from. Predictions of other videos are removed, a training on others refused."""
        before = self.records.get(stage.id, Record(stage.made_from)).made_from
        other = sorted(name for name in before if name != "settings" and before[name] != stage.made_from.get(name))
        folder = self.job.out / stage.detector
        if stage.kind == "train" and other and folder.exists():
            raise LNCLIPError(
                f"{folder} was trained on other videos or crops of {', '.join(other)}; "
                "give another out, or remove that folder"
            )
        if stage.kind == "test" and before != stage.made_from:
            if self.run.shard:  # another shard may be at work on the new videos
                raise LNCLIPError(f"{stage.id}: videos or settings have changed; test it once without shard")
            for path in stage.outputs:
                path.unlink(missing_ok=True)
            shutil.rmtree(parts_folder(folder, stage.dataset), ignore_errors=True)
        self._record(stage, Record(stage.made_from))

    def _finish(self, stage, seconds, images, note):
        if self.run.shard:  # the other shards are not finished
            return
        disk = {stage.dataset: look(self.job, stage.dataset)} if stage.kind == "preprocess" else {}
        made_from = {name: of for name, of in stage.made_from.items() if name not in self.failures}  # tests, of a board
        self._record(stage, Record(made_from, digest_of_output(stage, disk), round(seconds, 3), images, note))

    def _record(self, stage, record):
        self.records = read_records(self.job) | {stage.id: record}  # other shards have recorded stages meanwhile
        write_json(self.job.out / "stages.json", {name: asdict(record) for name, record in self.records.items()})

    # Each returns the number of images that it worked on, and a note for the report.

    def preprocess(self, stage):
        job, name = self.job, stage.dataset
        try:
            summary = preprocess_dataset(
                job.datasets[name], job.root, job.faces, job.crops, self.run,
                splits=job.splits[name], **job.scanned(name),
            )  # fmt: skip
        except OtherCrops as error:
            raise LNCLIPError(
                f"{error}; or leave out the stage preprocess to use them as they are: of more frames than a training "
                "or test takes, it takes evenly spaced ones, which are others than those of new crops"
            ) from error
        made = sum(len(record.saved) for record in summary.results if not record.resumed)
        failures = [f"{key}: {reason}" for key, reason in summary.failures]
        return made, f"{len(failures)} videos without faces, first {failures[0]}" if failures else ""

    def rearrange(self, stage):
        job, name = self.job, stage.dataset
        where = {"faces": job.faces, "relative_to": job.data_root, "paths": job.paths(name), **job.scanned(name)}
        rearrange(job.datasets[name], job.root, stage.outputs[0].parent, **where)
        return stage.images, ""

    def audit(self, stage):
        job, name = self.job, stage.dataset
        expected = AuditOptions(job.crops.frames, job.crops.size, workers=self.run.workers, progress=self.run.progress)
        where = {"faces": job.faces, "splits": job.splits[name], **job.scanned(name)}
        report = audit_dataset(job.datasets[name], job.root, expected, **where)
        report.write(stage.outputs[0])
        problems = [f"{finding.name}: {finding.found}" for finding in report.findings if finding.status == "problem"]
        return stage.images, "; ".join(problems)

    def train(self, stage):
        from lnclip_df.training.train import train

        config, folder = self.job.detectors[stage.detector].config, self.job.out / stage.detector
        train(config, folder, resume=folder.exists(), progress=self.run.progress, **self.trainer)
        return stage.images, ""

    def test(self, stage):
        name = stage.dataset
        config = self.job.detectors[stage.detector].config
        if len({video.label for video in read_videos(config, [name], "test")}) < 2:
            raise LNCLIPError(f"the test split of {name} has videos of one class; an AUROC needs both")
        folder, detector = self.job.out / stage.detector, self._detector(stage.detector)
        results = test(
            config, detector, folder, datasets=[name], progress=self.run.progress, shard=self.run.shard,
            devices=self.trainer.get("devices", 1),
        )  # fmt: skip
        return results[name]["frames"] if name in results else 0, ""

    def _detector(self, name):
        """A detector with its weights, which are read once for all datasets."""
        if self.loaded is None or self.loaded[0] != name:
            detector = self.job.detectors[name]
            weights = detector.weights or self.job.out / name / "best.safetensors"
            device = "cpu" if self.trainer.get("accelerator") == "cpu" else None
            first = device_names(device, self.trainer.get("devices", 1))[0]
            self.loaded = name, load_detector(detector.config, weights, first)
        return self.loaded[1]

    def leaderboard(self, stage):
        runs = [self.job.out / name for name in self.job.detectors]
        leaderboard(
            [run for run in runs if any(run.glob("predictions/*.parquet"))], stage.outputs[0].parent,
            against=self.job.against, crops=self.job.data_root,
        )  # fmt: skip
        return 0, ""
