"""What is to be reproduced: the detectors, the datasets that they need, and where everything lies."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import sha256
from lnclip_df.core.provenance import digest
from lnclip_df.datasets.dataset_json import SPLITS
from lnclip_df.datasets.scan import NotOnDisk, scan_faces, scan_videos, silent
from lnclip_df.datasets.schema import Dataset, load_dataset
from lnclip_df.evaluation.reference import dataset_of, reference
from lnclip_df.faces.settings import CropSettings
from lnclip_df.leaderboard.board import AGAINST
from lnclip_df.weights import Checkpoint


@dataclass(frozen=True)
class Detector:
    """A detector of the table: its configuration, and its weights; None where it is trained."""

    config: Config
    weights: Checkpoint | None = None


@dataclass(frozen=True)
class Job:
    """What is to be reproduced.

    Attributes:
        root: folder that contains the datasets' folders, with videos, lists, or both.
        out: folder of the run.
        faces: folder that contains the datasets' folders with faces; None: each YAML's ``faces``, else ``root``.
        detectors: by the name of their folder below ``out``, which is their row of the leaderboard.
        datasets: every dataset that is needed, by name.
        splits: by dataset, the splits that are needed.
        crops: how faces are cut.
        against: name of the published row that the figures are compared with.
        folders: ``{folder of a dataset's YAML: path}``, where it lies elsewhere or has another name.
    """

    root: Path
    out: Path
    faces: Path | None
    detectors: dict[str, Detector]
    datasets: dict[str, Dataset]
    splits: dict[str, tuple[str, ...]]
    crops: CropSettings
    against: str
    folders: dict[str, str]

    @property
    def tests(self) -> list[str]:
        """The datasets to test on."""
        return [name for name, splits in self.splits.items() if "test" in splits]

    @property
    def data_root(self) -> Path:
        """The folder that paths in the dataset JSONs start from."""
        faces = self.faces or self.root
        return self.out if faces.is_relative_to(self.out) else faces

    @cached_property
    def cutting(self) -> dict[str, Any]:
        """The settings of the crops that are not the default; a file's value is the digest of its content."""
        default = CropSettings(name=self.crops.name).to_dict()
        changed = {key: value for key, value in self.crops.to_dict().items() if value != default[key]}
        files = {key for key in ("detector", "predictor") if key in changed and Path(changed[key]).is_file()}
        return {key: sha256(value) if key in files else value for key, value in changed.items()}

    def paths(self, name: str) -> Literal["relative", "absolute"]:
        """The form of the paths in a dataset's JSON: absolute where its YAML or a map puts faces elsewhere."""
        folders = [(part.faces, part.folders) for part in self._parts(name)]
        named = [
            path for faces, parts in folders
            for path in ([faces] if faces else [self.folders.get(folder.name, folder.path) for folder in parts])
        ]  # fmt: skip
        outside = any(path and not Path(path).resolve().is_relative_to(self.data_root) for path in named)
        return "absolute" if self.faces is None and outside else "relative"

    def _parts(self, name):
        spec = self.datasets[name]
        return [load_dataset(part.dataset) for part in spec.combine.parts] if spec.combine else [spec]

    def scanned(self, name: str) -> dict[str, Any]:
        """Arguments of ``scan_videos``, ``scan_faces`` and what calls them, for a dataset."""
        spec, config = self.datasets[name], next(iter(self.detectors.values())).config
        known = {folder.name for part in self._parts(name) for folder in part.folders}
        return {
            "level": config.compression if spec.levels and spec.levels.in_json else None,
            "folders": {folder: path for folder, path in self.folders.items() if folder in known},
            "allow_missing": True,
        }


def make_job(
    detectors: Mapping[str, Detector], root, out, *, datasets: Iterable = (), faces=None,
    crops: CropSettings | None = None, against: str = AGAINST, folders: dict[str, str] | None = None,
) -> Job:  # fmt: skip
    """Find out which datasets are needed, and point the configurations to the run's data.

    Args:
        detectors: by name.
        root, out, against, folders: see :class:`Job`.
        datasets: those to test on, as ``load_dataset`` takes them, or by their column (``CDFv2``); otherwise
            ``lnclip.benchmarks`` of the first configuration, else the columns of the paper.
        faces: see :class:`Job`.
        crops: how faces are cut; by default as many frames per video as the configurations need.

    Raises:
        LNCLIPError: a dataset or the published row is not known, or ``root`` is no folder.
    """
    configs = [detector.config for detector in detectors.values()]
    root, out = Path(root).resolve(), Path(out).resolve()
    if not root.is_dir():
        raise LNCLIPError(f"root: {root} is not a folder; name the folder that contains the datasets' folders")
    reference().row(against)
    paper = [column.dataset for column in reference().columns if column.part_of is None]
    names = [dataset_of(name) if isinstance(name, str) else name for name in datasets]
    specs = {spec.name: spec for spec in map(load_dataset, names or configs[0].lnclip.benchmarks or paper)}
    splits = {name: {"test"} for name in specs}
    for detector in detectors.values():
        for split, name in training_sets(detector.config) if detector.weights is None else ():
            specs[name] = specs.get(name) or load_dataset(name)
            splits.setdefault(name, set()).add(split)
    frames = max(max(config.frame_num.train, config.frame_num.test) for config in configs)
    job = Job(
        root, out, None if faces is None else Path(faces).resolve(), {}, specs,
        {name: tuple(split for split in SPLITS if split in splits[name]) for name in specs},
        crops or CropSettings(frames=frames), against, folders or {},
    )  # fmt: skip
    data = {"lnclip.data_root": str(job.data_root), "dataset_json_folder": str(out / "dataset_json")}
    for name, detector in detectors.items():
        job.detectors[name] = Detector(detector.config.replace(data), detector.weights)
    return job


def row_of(yaml: str) -> str:
    """The published row of a detector YAML; the paper's own where there is none."""
    rows = (name for name, row in reference().rows.items() if row.yaml == yaml)
    return next(rows, AGAINST)


def training_sets(config: Config) -> list[tuple[str, str]]:
    """``(split, dataset)`` of everything that a training reads."""
    ours = config.lnclip
    trained = [*config.train_dataset, *ours.replay.datasets]
    return [*(("train", name) for name in trained), *(("val", name) for name in ours.val_dataset)]


@dataclass(frozen=True)
class OnDisk:
    """What is on disk of a dataset's splits that are needed.

    Attributes:
        count: number of videos, raw or with faces, of each split that has real and fake ones.
        videos, faces: number of raw videos, and of videos with faces.
        crops: number of face images.
        source: by split, the digest of its videos (labels, sizes, times); of its faces' paths where there are none.
        cut: digest of the paths and splits of the face images.
        fault: why it cannot be used: it is absent or invalid; empty where it can.
        absent: whether it is simply not there.
    """

    count: Counter
    videos: int = 0
    faces: int = 0
    crops: int = 0
    source: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    fault: str = ""
    absent: bool = False


def look(job: Job, name: str) -> OnDisk:
    """See what is on disk of a dataset; nothing is decoded."""
    videos, why = _scan(scan_videos, job, name)
    faces, why_no_faces = _scan(scan_faces, job, name, faces=job.faces)
    of_split = {split: [item for item in videos or faces if split in item.splits] for split in job.splits[name]}
    if not any(map(_both_classes, of_split.values())):
        faults = [error for error in (why, why_no_faces) if error is not None and not (videos or faces)]
        absent = all(isinstance(fault, NotOnDisk) for fault in faults)
        fault = next((str(fault) for fault in faults if absent or not isinstance(fault, NotOnDisk)), None)
        fault = fault or f"no split has real and fake videos: {', '.join(of_split)}"
        return OnDisk(Counter(), fault=fault, absent=absent)
    return OnDisk(
        Counter({split: len(items) for split, items in of_split.items() if _both_classes(items)}),
        len(videos),
        len(faces),
        sum(len(item.frames) for item in faces),
        {split: digest([_state(item) for item in items]) for split, items in of_split.items()},
        digest([(*_state(item), item.splits) for item in faces]),
    )


def _both_classes(items):
    return len({item.fake for item in items}) == 2


def _state(item):
    """What tells whether a video, or its list of faces, has changed: what it is, and its file."""
    what = item.path, item.label, item.name, item.method
    if item.file is None:
        return *what, item.frames.names
    status = item.file.stat()
    return *what, status.st_size, status.st_mtime_ns


def _scan(scan, job, name, **where):
    """The items of the needed splits, and the error where there are none."""
    try:
        with silent():
            items = scan(job.datasets[name], job.root, **job.scanned(name), **where)
    except LNCLIPError as error:
        return [], error
    return [item for item in items if set(item.splits) & set(job.splits[name])], None
