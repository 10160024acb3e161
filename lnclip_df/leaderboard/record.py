"""What made a figure, field by field from cause to effect, and the first field in which two runs depart."""

from dataclasses import dataclass
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.nested import flatten
from lnclip_df.core.tables import MISSING, aligned_lines, percent, show
from lnclip_df.evaluation.reference import Row, column_of, recipe, reference
from lnclip_df.evaluation.runs import Run, columns_of, read_run
from lnclip_df.leaderboard.figures import cell, compare_two, line, ordered, published, published_mean

# Keys of a training's YAML that cannot change what is learnt: where things lie, how fast, what is kept.
NO_CAUSE = {
    "model_name", "backbone_name", "backbone_config", "pretrained", "weights_path", "all_dataset", "test_dataset",
    "train_dataset", "rgb_dir", "lmdb", "lmdb_dir", "dataset_json_folder", "label_dict", "frame_num.test",
    "frame_num.val", "with_mask", "with_landmark", "video_mode", "clip_size", "dataset_type", "test_batchSize",
    "workers", "optimizer.adam.lr", "optimizer.sgd", "lr_scheduler", "save_epoch", "rec_iter", "log_dir", "logdir",
    "manualSeed", "save_ckpt", "save_feat", "save_avg", "SWA", "swa_start", "dry_run", "mode", "ddp", "local_rank",
    "task_target", "loss_func", "losstype", "metric_scoring", "cuda", "cudnn", "lnclip.benchmarks", "lnclip.data_root",
    "lnclip.activation_checkpointing", "lnclip.compile", "use_data_augmentation",
}  # fmt: skip
# The order of the others: data, model, loss, optimisation; what is not named here comes before the last.
ORDER = (
    "compression", "frame_num", "resolution", "mean", "std", "lnclip.resize", "lnclip.missing_frames",
    "lnclip.augmentation", "data_aug", "lnclip.backbone", "lnclip.tune", "lnclip.normalize", "lnclip.loss",
    "lnclip.slerp", "optimizer", "lnclip.schedule", "train_batchSize", "start_epoch", "nEpochs", "lnclip.precision",
    "", "lnclip.val_dataset",
)  # fmt: skip
PLACES = {"rgb_dir", "lmdb", "lmdb_dir"}  # of a test's settings: where the frames lie
OF_DATASET = ("crops", "video list", "videos", "frames", "unreadable frames", "faces missing")


def record(run: Run, dataset: str) -> dict:
    """What made a run's figure on a dataset, as far as it was recorded: ``{field: value}`` in the order of causes."""
    facts, scores = run.facts[dataset], run.sets[dataset]
    trained = facts.get("trained") or {}
    fields = {
        "train_dataset": facts.get("train_dataset"),
        "train crops": sorted(facts.get("train_crops") or {}) or None,
    }
    fields |= _training(trained.get("config") or {})
    fields |= {key: trained.get(key) for key in ("seed", "selection")}
    weights = facts.get("weights") or {}
    fields |= {"epoch": weights.get("epoch"), "weights": weights.get("sha256")}
    fields |= {f"test.{key}": value for key, value in _recorded(facts.get("predicted") or {}) if key not in PLACES}
    fields |= {
        "test settings": facts.get("config_sha256"),
        "crops": sorted(facts.get("crops") or {}) or None,
        "video list": facts.get("videos_sha256"),
        "videos": len(scores.label),
        "frames": scores.frames,
        "unreadable frames": len(facts["skipped_frames"]) if "skipped_frames" in facts else None,
        "faces missing": facts.get("faces_missing"),
        "predictions": (facts.get("predictions") or {}).get("sha256"),
        "metric": facts.get("metric"),
    }
    fields |= {f"version of {name}": value for name, value in (facts.get("versions") or {}).items()}
    fields["device"] = facts.get("device")
    return {field: value for field, value in fields.items() if value is not None}


def summary(run: Run, dataset: str) -> dict[str, str]:
    """A record's most important fields in short, for a table: hashes in ten digits, a dash for what is not known."""
    fields = record(run, dataset)
    versions = [f"{key.removeprefix('version of ')} {fields[key]}" for key in fields if key.startswith("version of ")]
    return {
        "weights": _short(fields.get("weights")),
        "epoch": _short(fields.get("epoch")),
        "selection": _short(fields.get("selection")),
        "trained on": _short(fields.get("train_dataset")),
        "seed": _short(fields.get("seed")),
        "crops": _short(fields.get("crops")),
        "video list": _short(fields.get("video list")),
        "videos": _short(fields["videos"]),
        "frames": _short(fields["frames"]),
        "unreadable frames": _short(fields.get("unreadable frames")),
        "faces missing": _short(fields.get("faces missing")),
        "test settings": _short(fields.get("test settings")),
        "metric definition": _short(fields.get("metric")),
        "versions": ", ".join(versions) or MISSING,
    }


@dataclass(frozen=True)
class Departure:
    """A field in which two runs differ: both values, and the datasets where they do (none named: everywhere)."""

    field: str
    a: object
    b: object
    datasets: tuple[str, ...] = ()

    def __str__(self):
        where = f" ({', '.join(self.datasets)})" if self.datasets else ""
        return f"{self.field}{where}: {_short(self.a)} | {_short(self.b)}"


@dataclass(frozen=True)
class Report:
    """What ``compare`` found: departures in the order of causes, fields one side has no record of, and the figures."""

    a: str
    b: str
    departures: list[Departure]
    unrecorded: dict[str, list[str]]
    words: dict[str, str]
    figures: list[list[str]]

    def __str__(self):
        return "\n".join(map(printable, [*self._causes(), "", *aligned_lines(self.figures)]))

    def _causes(self):
        if self.departures:
            yield f"first difference, {self.a} | {self.b}:"
            yield f"  {self.departures[0]}"
        else:
            yield f"no recorded field differs between {self.a} and {self.b}"
        if self.departures[1:]:
            yield "then:"
            yield from (f"  {departure}" for departure in self.departures[1:])
        for name, fields in self.unrecorded.items():
            yield f"not recorded by {name}: {', '.join(fields)}"
        for field, words in self.words.items():
            yield f"published in words, to be checked by eye – {field}: {words}"


def compare(a, b) -> Report:
    """Compare what made the figures of two runs, or of a run and a published row.

    Args:
        a: a run's folder or CSV.
        b: another, or the name of a row of ``bench_configs/reference.yaml``.

    Raises:
        LNCLIPError: no such run or row, or as ``read_run``.
    """
    run = read_run(a)
    if Path(b).exists():
        return _compare_runs(run, read_run(b))
    if str(b) not in reference().rows:
        raise LNCLIPError(f"{b} is neither a run nor a published row; there are {', '.join(reference().rows)}")
    return _compare_published(run, str(b), reference().row(str(b)))


def _compare_runs(a, b):
    shared = ordered(set(a.sets) & set(b.sets))
    if shared:
        pairs = {name: (record(a, name), record(b, name)) for name in shared}
    else:  # what is not of a dataset can be compared all the same
        pairs = {"": tuple(_without_dataset(record(run, next(iter(run.sets)))) for run in (a, b))}
    names = _distinct(a.name, b.name)
    departures, unrecorded = _departures(pairs, names)
    return Report(*names, departures, unrecorded, {}, list(_figures_of_runs(a, b, names)))


def _compare_published(run, name, row):
    stated = recipe(row)
    if stated is None:
        departures, unrecorded, words = [], {name: ["its recipe (we hold none)"]}, {}
    else:
        theirs = stated["train"] | {f"test.{key}": value for key, value in stated["test"].items()}
        pairs = {
            dataset: ({key: value for key, value in record(run, dataset).items() if key in theirs}, theirs)
            for dataset in ordered(run.sets)
        }
        departures, unrecorded = _departures(pairs, (run.name, name))
        words = reference().stated.words
    return Report(run.name, name, departures, unrecorded, words, list(_figures_of_row(run, name, row)))


def _departures(pairs, names):
    """Fields that differ, those that differ alike in every dataset once; and fields that one side lacks."""
    found, unrecorded = [], {}
    fields = _merged([list(fields) for pair in pairs.values() for fields in pair])
    for field in fields:
        for name, side in zip(names, (0, 1), strict=True):
            if any(field not in pair[side] for pair in pairs.values()):
                unrecorded.setdefault(name, []).append(field)
        differ = {
            dataset: (a[field], b[field])
            for dataset, (a, b) in pairs.items()
            if field in a and field in b and a[field] != b[field]
        }
        values = list(differ.values())
        if len(differ) == len(pairs) and all(value == values[0] for value in values) and field not in OF_DATASET:
            found.append(Departure(field, *values[0]))
        else:
            found += [Departure(field, *value, (dataset,)) for dataset, value in differ.items()]
    return found, unrecorded


def _merged(lists):
    """The union of ordered lists of fields, in the order of the causes."""
    seen = dict.fromkeys(field for fields in sorted(lists, key=len, reverse=True) for field in fields)
    return list(seen)


def _figures_of_runs(a, b, names):
    columns = columns_of(a), columns_of(b)
    yield ["column", *names, "difference", "p (DeLong)", "videos of both"]
    for name in ordered(columns[0].keys() | columns[1].keys()):
        values = [_auroc(sets.get(name)) for sets in columns]
        row = [column_of(name), *(percent(value, 2) for value in values)]
        both = name in columns[0] and name in columns[1]
        for found in compare_two(*names, name, columns[0][name], columns[1][name]) if both else []:
            row += [f"{100 * found.test.difference:+.2f}", show(found.test.p, ".2g"), str(found.videos)]
        yield row + [MISSING] * (6 - len(row))


def _figures_of_row(run, name, row: Row):
    of_run = line(run, resamples=0, seed=0)
    yield ["column", run.name, name, "difference", "source"]
    for dataset in ordered(of_run.cells.keys() | {column.dataset for column in reference().columns}):
        value = of_run.cells[dataset].auroc if dataset in of_run.cells else None
        figure, difference = published(row, column_of(dataset), value)
        if value is not None or figure is not None:
            source = row.figure(column_of(dataset)).source if figure is not None else MISSING
            yield [column_of(dataset), percent(value, 2), show(figure, ".1f"), show(difference, "+.2f"), source]
    figure, difference = published_mean(row, of_run.crossed)
    if figure is not None:
        counted = f" ({len(of_run.crossed.datasets)} of {of_run.crossed.of})" if of_run.crossed.short else ""
        value, shown, sign = percent(of_run.crossed.value, 2) + counted, show(figure, ".1f"), show(difference, "+.2f")
        yield ["cross-dataset mean", value, shown, sign, row.figure("mean").source]


def _training(config):
    flat = {key: value for key, value in _recorded(config) if key not in NO_CAUSE}
    if flat.get("lnclip.augmentation") != "deepfakebench":
        flat = {key: value for key, value in flat.items() if not key.startswith("data_aug")}
    return dict(sorted(flat.items(), key=lambda item: _rank(item[0])))


def _rank(key):
    for place, prefix in enumerate(ORDER):
        if prefix and (key == prefix or key.startswith(f"{prefix}.")):
            return place
    return ORDER.index("")


def _recorded(settings):
    """The dotted keys of nested settings and their values; None, which is a setting too, as a word."""
    return [(key, "none" if value is None else value) for key, value in flatten(settings).items()]


def _without_dataset(fields):
    return {key: value for key, value in fields.items() if key not in OF_DATASET}


def _distinct(a, b):
    return (a, b) if a != b else (f"{a} (first)", f"{b} (second)")


def _auroc(scores):
    return None if scores is None else cell(scores, resamples=0, seed=0).auroc


def _short(value) -> str:
    """A value as a table shows it; a hash in ten digits."""
    if value is None:
        return MISSING
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    text = str(value)
    is_hash = len(text) == 64 and not set(text) - set("0123456789abcdef")
    return text[:10] if is_hash else text
