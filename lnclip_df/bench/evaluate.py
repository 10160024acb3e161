"""Test any detector of a DeepfakeBench checkout: its model and its data set class, our keys, video scores and files.

``python -m lnclip_df.bench.evaluate`` runs in the root of the checkout, with the options as JSON.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lnclip_df.bench.checkout import open_checkout, test_settings
from lnclip_df.bench.edits import user_labels
from lnclip_df.bench.run_script import run_module
from lnclip_df.config.files import read_yaml
from lnclip_df.config.loading import labels, load_config
from lnclip_df.config.validation import overridden
from lnclip_df.core.errors import LNCLIPError, enough_memory, is_out_of_memory, one_line
from lnclip_df.core.files import check_writable
from lnclip_df.media.limits import reason_of


@dataclass(frozen=True)
class BenchTest:
    """What to test: paths are absolute, or relative to the root of the checkout.

    Attributes:
        detector_path: the detector's YAML, as DeepfakeBench's test.py takes it.
        weights_path: its weights; without them it is tested as it is built (the YAML's own pretrained weights).
        datasets: names of dataset JSONs; by default ``test_dataset`` of the YAML.
        out: folder for predictions and metrics, as ``lnclip_df.evaluation.test.test`` writes them.
        overrides: ``key=value`` for single keys of the settings, for example ``lmdb=false``.
        progress: show a progress bar.
        labels: further labels of dataset JSONs; ``bench_test`` adds those of the user's datasets.
    """

    detector_path: str
    out: str
    weights_path: str | None = None
    datasets: Sequence[str] = ()
    overrides: Sequence[str] = ()
    progress: bool = True
    labels: Mapping[str, int] = field(default_factory=dict)


def bench_test(checkout, options: BenchTest) -> int:
    """Test a detector in its checkout, in a process of its own. A finished data set is not tested again.

    Returns:
        The exit status; 128 + n if signal n ended it.

    Raises:
        LNCLIPError: not a checkout.
    """
    root = open_checkout(checkout)
    options = dataclasses.replace(options, labels=user_labels(root) | dict(options.labels))
    return run_module(root, "lnclip_df.bench.evaluate", json.dumps(dataclasses.asdict(options)))


def settings_of(root, options: BenchTest) -> dict[str, Any]:
    """The settings with which ``test.py`` runs, with every label that a dataset JSON may have."""
    settings = test_settings(root, options.detector_path)
    known = read_yaml(options.detector_path).get("label_dict") or {}
    settings["label_dict"] = labels() | dict(options.labels) | (settings.get("label_dict") or {}) | known
    return overridden(settings, options.overrides)


def _run(options):
    from lnclip_df.bench.launch import prepare
    from lnclip_df.core.devices import choose_device
    from lnclip_df.core.provenance import Provenance, WeightsRecord, digest, versions
    from lnclip_df.datasets.dataset_json import read_videos
    from lnclip_df.datasets.frames import crop_recipes
    from lnclip_df.evaluation.metrics import VIDEO_SCORE
    from lnclip_df.evaluation.predict import videos_digest
    from lnclip_df.evaluation.test import finished_result, report, write_result

    check_writable(options.out, folder=True)
    prepare()
    root = Path.cwd()
    sys.path.insert(0, str(root / "training"))
    settings = settings_of(root, options)
    names = list(options.datasets) or settings.get("test_dataset") or []
    names = [names] if isinstance(names, str) else names
    sha256, device, detector = _sha256(options.weights_path), choose_device(), None
    keys = ("dataset_json_folder", "rgb_dir", "lmdb_dir", "compression", "label_dict")
    ours = load_config("lnclip.yaml").replace(
        {key: settings[key] for key in keys}
        | {"lnclip.data_root": str(root), "lnclip.pack_dir": None, "lmdb": bool(settings.get("lmdb"))}
    )
    results = {}
    for name in names:
        videos = read_videos(ours, [name], "test")
        crops, recipes = crop_recipes(ours, videos)
        provenance = Provenance(
            weights=WeightsRecord(options.weights_path, sha256), dataset=name, split="test",
            train_dataset=settings.get("train_dataset") or [], predicted=_flat(settings),
            config_sha256=digest(settings | {"test_dataset": None}), metric=VIDEO_SCORE, versions=versions(),
            videos_sha256=videos_digest(videos),
            crops=crops, recipes=recipes, device=str(device),
        )  # fmt: skip
        results[name] = finished_result(options.out, provenance)
        if results[name] is None:
            detector = detector or _build(settings, options.weights_path, device)
            table = _predict(detector, settings | {"test_dataset": name}, videos, device, options.progress)
            results[name] = write_result(options.out, provenance, table, videos)
    print(report(results))


def _flat(settings):
    """The plain values among the settings, for comparison."""
    return {key: value for key, value in settings.items() if isinstance(value, str | int | float | bool)}


def _sha256(path):
    from lnclip_df.core.files import sha256

    if path is not None and not Path(path).is_file():
        raise LNCLIPError(f"weights_path: no file {path}")
    return None if path is None else sha256(path)


def _build(settings, weights, device):
    """The detector of the checkout's registry with its weights, on the device."""
    import torch
    from detectors import DETECTOR

    name = settings.get("model_name")
    if name not in DETECTOR.data:
        raise LNCLIPError(f"model_name: the checkout has no detector {name!r}")
    try:
        detector = DETECTOR[name](settings).to(device).eval()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise LNCLIPError(f"{name} cannot be built: {type(error).__name__}: {one_line(error)}") from error
    if weights is not None:
        try:
            state = torch.load(weights, map_location=device, weights_only=True)
            state = state.get("state_dict", state)
            detector.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise LNCLIPError(f"{weights} are no weights of {name}: {one_line(error)[:300]}") from error
    return detector


def _predict(detector, settings, videos, device, progress):
    """Probabilities of the frames, or of the clips under their first frame, that DeepfakeBench's data set class takes.

    Returns the columns of ``lnclip_df.evaluation.predict.score``.
    """
    import torch
    from tqdm import tqdm

    from lnclip_df.evaluation.predict import join

    frames = _Frames(settings)
    loader = torch.utils.data.DataLoader(
        frames, batch_size=settings["test_batchSize"], num_workers=int(settings["workers"]), collate_fn=frames.collate
    )
    video_of = {frame: index for index, video in enumerate(videos) for frame in video.frames}
    tables = []
    for indices, batch in tqdm(loader, desc=settings["test_dataset"], unit="batch", disable=not progress):
        batch["label"] = torch.where(batch["label"] != 0, 1, 0)
        batch = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        with torch.inference_mode():
            prob = detector(batch, inference=True)["prob"].reshape(-1).double().cpu().tolist()
        if len(prob) != len(indices):
            raise LNCLIPError(f"{settings['model_name']} gave {len(prob)} probabilities for {len(indices)} items")
        paths = [frames.first_frame(index) for index in indices]
        rows = [video_of[path] for path in paths]
        tables.append({
            "index": indices, "video": rows, "frame": paths, "prob": prob, "skipped": [],
            "label": [videos[row].label for row in rows],
        })  # fmt: skip
    return join(tables)


class _Frames:
    """DeepfakeBench's test set, of which a frame that cannot be read stops the test instead of becoming item 0."""

    def __init__(self, settings):
        from dataset.abstract_dataset import DeepfakeAbstractBaseDataset

        try:
            self.inner = DeepfakeAbstractBaseDataset(config=dict(settings), mode="test")
        except Exception as error:
            raise LNCLIPError(f"{settings['test_dataset']}: DeepfakeBench cannot read it: {one_line(error)}") from error
        self.size, self.load, self.fault = settings["resolution"], self.inner.load_rgb, None
        self.inner.load_rgb = self._load

    def _load(self, path):
        from PIL import Image

        try:
            return self.load(path)
        except Exception as error:
            self.fault = self.fault or f"{path}: {reason_of(error)}"
            return Image.new("RGB", (self.size, self.size))

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        self.fault = None
        item = self.inner[index]
        return index, self.fault, item

    def first_frame(self, index) -> str:
        frames = self.inner.data_dict["image"][index]
        return frames if isinstance(frames, str) else frames[0]

    def collate(self, batch):
        indices, faults, items = zip(*batch, strict=True)
        for fault in filter(None, faults):
            raise LNCLIPError(f"a frame cannot be read: {fault}")
        return list(indices), self.inner.collate_fn(items)


if __name__ == "__main__":
    from lnclip_df.bench.launch import all_packages
    from lnclip_df.evaluation.loading import one_line_errors

    try:
        with enough_memory("lower test_batchSize or workers"), all_packages(), one_line_errors():
            _run(BenchTest(**json.loads(sys.argv[1])))
    except LNCLIPError as error:
        sys.exit(f"error: {error}")
