"""Predictions of a run: the videos of each dataset with their scores, and what made them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lnclip_df.core import enough
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, sha256
from lnclip_df.core.provenance import Provenance
from lnclip_df.evaluation.metrics import VIDEO_SCORE, aggregate
from lnclip_df.evaluation.predictions import TRAINED_ON, read_coded, read_csv
from lnclip_df.evaluation.reference import dataset_of, reference


@dataclass(frozen=True)
class Scores:
    """The videos of one dataset: arrays with one entry per video (V), and with one per frame (N).

    Attributes:
        video: V names.
        label: int V, 0 real or 1 fake.
        score: float V, the mean probability of fake.
        label_name: V strings, empty where not known.
        group: V strings: how a fake was made (its ``method``, else its label name), empty where not known.
        frame_video: int N, the index of each frame's video.
        frame_prob: float N, the probability of fake.
    """

    video: np.ndarray
    label: np.ndarray
    score: np.ndarray
    label_name: np.ndarray
    group: np.ndarray
    frame_video: np.ndarray
    frame_prob: np.ndarray

    @property
    def frames(self) -> int:
        """Number of scored frames."""
        return len(self.frame_prob)

    @property
    def few(self) -> str:
        """A mark where there are too few videos; see ``lnclip_df.core.enough``."""
        return enough.mark(*np.bincount(self.label, minlength=2))

    @property
    def frame_label(self) -> np.ndarray:
        """The label of each frame's video."""
        return self.label[self.frame_video]

    def select(self, keep: np.ndarray) -> "Scores":
        """The videos where ``keep`` (bool V) is true."""
        frames = keep[self.frame_video]
        return replace(
            self,
            frame_video=(np.cumsum(keep) - 1)[self.frame_video[frames]],
            frame_prob=self.frame_prob[frames],
            **{name: getattr(self, name)[keep] for name in ("video", "label", "score", "label_name", "group")},
        )


@dataclass(frozen=True)
class Run:
    """A detector's predictions: its name, and by dataset the videos and the provenance of their scores.

    ``files`` are the Parquet files, by dataset; a CSV has none.
    """

    name: str
    sets: dict[str, Scores]
    provenance: dict[str, Provenance]
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def train_datasets(self) -> set[str]:
        """The training sets that the metadata name; empty where they name none."""
        return {name for made in self.provenance.values() for name in made.train_dataset or []}

    @property
    def recipes(self) -> dict[str, dict]:
        """What the recipes of all crops say, by fingerprint, as far as it is recorded."""
        return {name: said for made in self.provenance.values() for name, said in (made.recipes or {}).items()}

    @property
    def is_csv(self) -> bool:
        """Whether another tool's CSV file was read."""
        return any(made.predictions for made in self.provenance.values())

    def pooled(self, field: str) -> np.ndarray:
        """A field of ``Scores`` over all datasets, one after the other."""
        return np.concatenate([getattr(scores, field) for scores in self.sets.values()])


def read_runs(paths: Iterable[str | Path]) -> list[Run]:
    """Read several runs, each a folder with ``predictions/*.parquet`` or another tool's CSV.

    Where two share a name, as those of a study do (``GROUP/seed-0``), all names begin with the folders above.

    Raises:
        LNCLIPError: a run is given twice, or as ``read_run``.
    """
    given = list(map(Path, paths))
    names, above = list(map(run_name, given)), 0
    while len(set(names)) < len(names):
        second = next(path for number, path in enumerate(given) if names[number] in names[:number])
        if above == len(second.resolve().parent.parts):
            raise LNCLIPError(f"two runs have the name of {second}; leave one out, or rename it")
        above += 1
        names = ["/".join((*path.resolve().parent.parts[-above:], run_name(path))) for path in given]
    return [replace(read_run(path), name=name) for path, name in zip(given, names, strict=True)]


def run_name(path: str | Path) -> str:
    """A run's name: its folder's, or its CSV file's without the suffix."""
    path = Path(path)
    return path.stem if _is_csv(path) else path.resolve().name


def read_run(path: str | Path) -> Run:
    """Read a run: a folder with ``predictions/*.parquet``, or a CSV (``lnclip_df.evaluation.predictions.read_csv``).

    Beside each dataset's metadata, ``metrics/<dataset>.json`` gives further facts where it is of the same test.

    Raises:
        LNCLIPError: there are no predictions, or invalid ones; a dataset has one class only; a video has two labels or
            two methods; or the datasets were predicted with several checkpoints.
    """
    path = Path(path)
    run = _read_csv_run(path) if _is_csv(path) else _read_folder(path)
    _check_one_checkpoint(path, run)
    return run


def read_scores(file: str | Path) -> tuple[Scores, dict]:
    """Read one file of predictions, ``predictions/<dataset>.parquet``: its videos and its metadata.

    Raises:
        LNCLIPError: the file is absent or invalid, has one class only, or a video has two labels or two methods.
    """
    table, metadata = read_coded(file)
    return _scores(str(file), table), metadata


def columns_of(run: Run) -> dict[str, Scores]:
    """A run's datasets, and those parts of a dataset that are columns of their own (FF-DF of FaceForensics++)."""
    sets = dict(run.sets)
    for column in reference().columns:
        whole = run.sets.get(column.part_of or "")
        if whole is None or column.dataset in sets:
            continue
        fakes = np.isin(whole.label_name, column.fakes) | np.isin(whole.group, column.fakes)
        if (fakes & (whole.label == 1)).any():
            sets[column.dataset] = whole.select(fakes | (whole.label == 0))
    return sets


def methods_of(scores: Scores) -> dict[str, Scores]:
    """``{how the fakes were made: all reals and those fakes}``; empty unless at least two ways are known."""
    names = sorted({*scores.group[scores.label == 1]})
    if len(names) < 2:
        return {}
    return {name or "unknown": scores.select((scores.label == 0) | (scores.group == name)) for name in names}


def _is_csv(path):
    return path.suffix.lower() == ".csv" and not path.is_dir()


def _read_csv_run(path):
    tables = read_csv(path)
    names = {name: dataset_of(name) for name in tables}
    if len(set(names.values())) < len(names):
        raise LNCLIPError(f"{path}: one dataset has two names; use one of {', '.join(sorted(names))}")
    trained = _trained_on(path, tables.values())
    sets = {names[name]: _scores(f"{path}: {name}", table) for name, table in tables.items()}
    file = {"path": str(path), "sha256": sha256(path)}
    made = Provenance(train_dataset=trained, predictions=file, metric=VIDEO_SCORE)
    return Run(run_name(path), sets, dict.fromkeys(sets, made))


def _trained_on(path, tables) -> list[str] | None:
    """The training sets that a CSV names, the same in every row; None where it names none."""
    columns = [table.pop(TRAINED_ON) for table in tables if TRAINED_ON in table]
    found = sorted({column.values[code] for column in columns for code in np.unique(column.code)})
    if len(found) > 1:
        shown = " and ".join(map(repr, found[:2]))
        raise LNCLIPError(f"{path}: {TRAINED_ON} is {shown}; a file is one detector's, write the same in every row")
    return [dataset_of(name.strip()) for text in found for name in text.split("|") if name.strip()] or None


def _read_folder(path):
    files = sorted((path / "predictions").glob("*.parquet"))
    if not files:
        raise LNCLIPError(f"no predictions/*.parquet in {path}; write them with lnclip-df test, or name a .csv file")
    sets, provenance = {}, {}
    for file in files:
        sets[file.stem], metadata = read_scores(file)
        metrics = _metrics_file(path / "metrics" / f"{file.stem}.json", metadata)
        provenance[file.stem] = Provenance.from_json(metadata | metrics)
    return Run(run_name(path), sets, provenance, {file.stem: file for file in files})


def _metrics_file(file, metadata):
    """What the metrics file adds to the metadata, where both are of the same test."""
    if not metadata or not file.is_file():
        return {}
    try:
        facts = read_json(file)
    except LNCLIPError:  # the predictions alone are needed
        return {}
    same = isinstance(facts, dict) and all(facts.get(key) == value for key, value in metadata.items())
    return facts if same else {}


def _scores(where, table):
    """The videos of a coded table; both classes are needed."""
    codes = table["video"].code
    try:
        present, label, score = aggregate(codes, table["label"], table["prob"])
    except ValueError as error:
        raise LNCLIPError(f"{where}: {_named(error, table, codes)}") from error
    if label.min() == label.max():
        kind = ("real", "fake")[label[0]]
        raise LNCLIPError(
            f"{where}: all {len(label)} videos are {kind}, and an AUROC needs both classes; test a split that has both"
        )
    videos = np.asarray(table["video"].values, dtype=object)
    frame_video = np.searchsorted(present, codes)
    names = {
        name: _of_video(where, name, table.get(name), frame_video, videos[present]) for name in ("label_name", "method")
    }
    group = np.where(names["method"] == "", names["label_name"], names["method"])
    return Scores(videos[present], label, score, names["label_name"], group, frame_video, table["prob"])


def _named(error, table, codes):
    """The metrics know videos by number: put the video's name into the message."""
    fakes, frames = np.bincount(codes, weights=table["label"]), np.bincount(codes)
    mixed = np.flatnonzero((fakes > 0) & (fakes < frames))
    if not len(mixed):
        return error
    return f"the video {table['video'].values[mixed[0]]} has frames of two labels, real and fake"


def _of_video(where, name, column, frame_video, videos):
    """A column of strings by video; a video that has two of them is an error."""
    if column is None:
        return np.full(len(videos), "", dtype=object)
    code = np.zeros(len(videos), dtype=np.int64)
    code[frame_video] = column.code
    other = np.flatnonzero(code[frame_video] != column.code)
    if len(other):
        first = frame_video[other[0]]
        both = " and ".join(sorted({column.values[code[first]], column.values[column.code[other[0]]]}))
        raise LNCLIPError(f"{where}: the video {videos[first]} has frames of two {name}s, {both}")
    return np.asarray(column.values, dtype=object)[code]


def _check_one_checkpoint(path, run):
    """Refuse a run whose datasets were predicted with different weights."""
    of_weights = {}
    for dataset, made in run.provenance.items():
        if made.weights.sha256:
            of_weights.setdefault(made.weights.sha256, []).append(dataset)
    if len(of_weights) > 1:
        shown = "; ".join(f"{key[:10]} for {', '.join(datasets)}" for key, datasets in of_weights.items())
        raise LNCLIPError(
            f"{path} mixes checkpoints: {shown}; test all datasets with one, or give each checkpoint its own folder"
        )
