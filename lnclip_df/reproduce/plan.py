"""The stages of a reproduction: what each is made from, what it writes, and whether that is done."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lnclip_df.config.schema import role_of
from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import sha256
from lnclip_df.core.nested import flatten
from lnclip_df.core.provenance import digest
from lnclip_df.evaluation.predict import config_digest
from lnclip_df.reproduce.job import Job, OnDisk, training_sets

KINDS = ("preprocess", "rearrange", "audit", "train", "test", "leaderboard")
FINISHED, TO_DO, NOT_CHOSEN, BLOCKED = "finished", "to do", "not chosen", "blocked"
CROP_BYTES = 100_000  # of a PNG with 256 × 256 pixels, about
# Core-seconds per image, as benchmarks/results measured them on two cores: 32 crops of a 1080p video, and ViT-L/14 in
# bf16. A GPU was not measured.
CORE_SECONDS = {"preprocess": 0.125, "train": 0.76, "test": 0.29}


@dataclass(frozen=True)
class Record:
    """What ``stages.json`` says of a stage that was begun.

    Attributes:
        made_from: see :class:`Stage`.
        gave: the digest of its output; None until it is finished.
        seconds: for its last part, where it was interrupted.
        images: how many it worked on in that time; 0 where that is not known.
        note: for the report.
    """

    made_from: dict[str, str]
    gave: str | None = None
    seconds: float = 0.0
    images: int = 0
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """One stage for one dataset, one detector, or both.

    Attributes:
        kind: one of :data:`KINDS`.
        dataset, detector: what it is for; empty where it is for all.
        made_from: the digest of each thing that its result depends on, by name.
        outputs: the files that it writes; none where these are face images.
        needs: ids of stages that come before; where one fails, this one is left out.
        images: number of images that it works on.
        state: ``finished``, ``to do``, ``not chosen`` or ``blocked`` (something that it needs is missing).
        why: what has changed since it was begun, or what is missing.
    """

    kind: str
    dataset: str = ""
    detector: str = ""
    made_from: dict[str, str] = field(default_factory=dict)
    outputs: tuple[Path, ...] = ()
    needs: tuple[str, ...] = ()
    images: int = 0
    state: str = TO_DO
    why: str = ""

    @property
    def id(self) -> str:
        """Its name: ``test trained UADFV``."""
        return " ".join(filter(None, (self.kind, self.detector, self.dataset)))

    @property
    def digest(self) -> str:
        """Digest of all that its result depends on."""
        return digest(self.made_from)


@dataclass(frozen=True)
class Plan:
    """Every stage in the order of work, and what is on disk of each dataset."""

    stages: tuple[Stage, ...]
    disk: dict[str, OnDisk]

    def to_do(self, kind: str) -> list[Stage]:
        """The stages of a kind that are to be carried out."""
        return [stage for stage in self.stages if stage.kind == kind and stage.state == TO_DO]


def make_plan(
    job: Job, disk: Mapping[str, OnDisk], records: Mapping[str, Record], kinds: Iterable[str] = KINDS,
    given: Callable[[Stage], str | None] | None = None,
) -> Plan:  # fmt: skip
    """Say what is to be done; nothing is changed.

    Args:
        job: what is to be reproduced.
        disk: what is on disk of each dataset.
        records: of earlier runs, by the stage's id.
        kinds: the kinds of stages to carry out.
        given: the digest of what a stage has written, None where that is not there; by default it is read from disk.

    Raises:
        LNCLIPError: a kind of stage is unknown.
    """
    kinds = list(kinds)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise LNCLIPError(f"stages: {unknown[0]!r} received; accepted are {', '.join(KINDS)}")
    given = given or (lambda stage: digest_of_output(stage, disk))
    there = [name for name in job.datasets if not disk[name].fault]
    source = {name: _source(job, name, disk[name], records.get(f"preprocess {name}")) for name in job.datasets}
    cut = {name: _cut(job, name, disk[name], source[name]) for name in there if disk[name].videos}
    listed = {name: _listed(job, name, disk[name], source[name], cut.get(name)) for name in there}
    audited = [_audited(job, stage) for stage in listed.values()]
    trained = {
        name: _trained(job, name, disk, source, listed) for name, made in job.detectors.items() if not made.weights
    }
    tested = [
        _tested(job, name, trained.get(name), listed[on], disk[on], source[on])
        for name in job.detectors for on in job.tests if on in listed and disk[on].count["test"]
    ]  # fmt: skip
    stages = [*cut.values(), *listed.values(), *audited, *trained.values(), *tested, _board(job, tested)]
    return Plan(tuple(_with_state(stage, records, kinds, given) for stage in stages), dict(disk))


def digest_of_output(stage: Stage, disk: Mapping[str, OnDisk]) -> str | None:
    """The digest of what a stage has written; None where a file is missing."""
    if stage.kind == "preprocess":
        return disk[stage.dataset].cut if disk[stage.dataset].faces else None
    return digest([sha256(path) for path in stage.outputs]) if all(path.is_file() for path in stage.outputs) else None


def seconds_for(kind: str, images: int, records: Mapping[str, Record], measured: bool) -> float | None:
    """How long a kind of stage will take, by the rate of this run's earlier stages, else by ``CORE_SECONDS``.

    None where no rate is known. ``measured`` says whether training and testing are what was measured: ViT-L/14 on CPUs.
    """
    if done := [record for name, record in records.items() if name.split()[0] == kind and record.images]:
        return images * sum(record.seconds for record in done) / sum(record.images for record in done)
    known = kind in CORE_SECONDS and (kind == "preprocess" or measured)
    return images * CORE_SECONDS[kind] / usable_cores() if known else None


def _source(job: Job, name: str, disk: OnDisk, cut: Record | None) -> dict[str, str]:
    """What the faces of each split of a dataset are made from: its videos, and settings that are not the default.

    Where the videos were removed after ``cut``, and the faces are those that it gave, it is what the record says.
    """
    crops = job.cutting if disk.videos else {}
    source = {f"{split} of {name}": digest([disk.source.get(split), crops]) for split in job.splits[name]}
    if cut and cut.gave == disk.cut and not disk.videos:
        return {key: cut.made_from.get(key, of) for key, of in source.items()}
    return source


def _cut(job: Job, name: str, disk: OnDisk, source: dict[str, str]) -> Stage:
    images = max(0, job.crops.frames * disk.videos - disk.crops)
    return Stage("preprocess", name, made_from=source, images=images)


def _listed(job: Job, name: str, disk: OnDisk, source: dict[str, str], cut: Stage | None) -> Stage:
    outputs, needs = (job.out / "dataset_json" / f"{name}.json",), (cut.id,) if cut else ()
    images = disk.crops + (cut.images if cut else 0)
    return Stage("rearrange", name, "", source, outputs, needs, images)


def _audited(job: Job, listed: Stage) -> Stage:
    expected = digest([job.crops.frames, job.crops.size, job.datasets[listed.dataset].model_dump()])
    made_from = {**listed.made_from, "what is expected": expected}
    return replace(listed, kind="audit", made_from=made_from, outputs=(job.out / "audit" / f"{listed.dataset}.json",))


def _trained(job: Job, name: str, disk: Mapping[str, OnDisk], source: Mapping, listed: Mapping[str, Stage]) -> Stage:
    config = job.detectors[name].config
    frames = {"train": config.frame_num.train, "val": config.frame_num.val or config.frame_num.test}
    pairs = training_sets(config)
    lacking = [f"{split} split of {dataset}" for split, dataset in pairs if not disk[dataset].count[split]]
    made_from = {"settings": digest({k: v for k, v in flatten(config.to_dict()).items() if role_of(k).trains})}
    made_from |= {(key := f"{split} of {dataset}"): source[dataset][key] for split, dataset in pairs}
    return Stage(
        "train", "", name, made_from, (job.out / name / "best.safetensors",),
        tuple(dict.fromkeys(listed[dataset].id for _, dataset in pairs if dataset in listed)),
        sum(frames[split] * disk[dataset].count[split] for split, dataset in pairs)
        * (config.nEpochs + 1 - config.start_epoch),
        BLOCKED if lacking else TO_DO,
        f"no real and fake videos are on disk of the {' and the '.join(lacking)}" if lacking else "",
    )  # fmt: skip


def _tested(job: Job, name: str, trained: Stage | None, listed: Stage, disk: OnDisk, source: Mapping) -> Stage:
    detector, dataset, folder = job.detectors[name], listed.dataset, job.out / name
    weights = detector.weights.sha256 if detector.weights else trained.digest if trained else ""
    tested = f"test of {dataset}"
    made_from = {"weights": weights, "settings": config_digest(detector.config), tested: source[tested]}
    outputs = (folder / "predictions" / f"{dataset}.parquet", folder / "metrics" / f"{dataset}.json")
    needs = (listed.id, trained.id) if trained else (listed.id,)
    images = disk.count["test"] * detector.config.frame_num.test
    blocked = trained is not None and trained.state == BLOCKED
    state, why = (BLOCKED, "there is no training") if blocked else (TO_DO, "")
    return Stage("test", dataset, name, made_from, outputs, needs, images, state, why)


def _board(job: Job, tested: list[Stage]) -> Stage:
    made_from = {stage.id: stage.digest for stage in tested if stage.state != BLOCKED}
    outputs = tuple(job.out / "leaderboard" / f"leaderboard.{kind}" for kind in ("md", "csv", "tex", "html"))
    state, why = (TO_DO, "") if made_from else (BLOCKED, "nothing is tested")
    return Stage("leaderboard", "", "", made_from, outputs, state=state, why=why)


def _with_state(stage: Stage, records: Mapping[str, Record], kinds: list[str], given) -> Stage:
    """The stage as its record and its output say."""
    record = records.get(stage.id, Record(stage.made_from))
    before = record.made_from
    changed = sorted(name for name in {*before, *stage.made_from} if before.get(name) != stage.made_from.get(name))
    if stage.state == BLOCKED:
        return stage
    if not changed and record.gave is not None and record.gave == given(stage):
        return replace(stage, state=FINISHED)
    if stage.kind not in kinds:
        return replace(stage, state=NOT_CHOSEN)
    return replace(stage, why=f"changed: {', '.join(changed)}") if changed else stage
