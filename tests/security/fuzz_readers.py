"""Every reader of files that come from elsewhere, with small valid seeds."""

import io
import json
import random
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
import yaml
from clips import noise, write_clip
from fuzzing import Reader, mutate, mutate_value
from PIL import Image
from released import saved_weights, tiny_detector
from runs import write_dataset
from tiny import configured, make_toy, toy_with_weights

from lnclip_df.analysis.coverage import read_counts
from lnclip_df.analysis.subgroups import read_attributes
from lnclip_df.config.loading import load_config
from lnclip_df.core.provenance import Provenance
from lnclip_df.datasets.dataset_json import Video, read_frame_paths, read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.datasets.frames import read_frame
from lnclip_df.datasets.lmdb import write_lmdb
from lnclip_df.datasets.schema import load_dataset
from lnclip_df.datasets.tables import Rows
from lnclip_df.evaluation.calibration import read_calibration
from lnclip_df.evaluation.features import read_features, write_features
from lnclip_df.evaluation.parts import Parts
from lnclip_df.leaderboard.board import make_board
from lnclip_df.leaderboard.comparison import compare
from lnclip_df.leaderboard.page import page
from lnclip_df.leaderboard.text import details, figures_csv, latex, markdown
from lnclip_df.media.frames import open_frames, read_twice
from lnclip_df.media.images import read_image
from lnclip_df.media.png_check import check_png
from lnclip_df.media.recipe import Recipe, add_recipe, read_recipe
from lnclip_df.preprocess.paths import Source
from lnclip_df.preprocess.records import read_record
from lnclip_df.scoring.feature_bank import FeatureBank, read_bank
from lnclip_df.scoring.results_log import ResultsLog
from lnclip_df.training.module import LNCLIPModule
from lnclip_df.training.outputs import read_last
from lnclip_df.weights import Checkpoint, save_weights
from lnclip_df.weights.model_card import read_metrics

PARTS = ("pictures", "videos", "datasets", "tables", "predictions", "weights", "own files")


def make_readers(folder: Path, parts=PARTS) -> dict[str, Reader]:
    """The readers by name; their seeds and what they need beside their file are written into ``folder``.

    Libraries are kept to one thread: their threads do not survive the fork of a child.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    pa.set_cpu_count(1)
    made = dict(zip(PARTS, (_pictures, _videos, _datasets, _tables, _predictions, _weights, _others), strict=True))
    return {name: reader for part in parts for name, reader in made[part](folder).items()}


# --- media ------------------------------------------------------------------------------------------------------------


def _pictures(folder):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
    image = Image.fromarray(pixels)

    def saved(image, format, **options):
        data = io.BytesIO()
        image.save(data, format, **options)
        return data.getvalue()

    png = [saved(image.convert(mode), "PNG") for mode in ("RGB", "RGBA", "P", "L", "1")]
    png += [cv2.imencode(".png", pixels.astype(np.uint16) << 8)[1].tobytes(), add_recipe(png[0], Recipe({"size": 24}))]
    png += [saved(image, "PNG", save_all=True, append_images=[image, image])]
    others = {
        "jpeg": [saved(image, "JPEG"), saved(image, "JPEG", progressive=True)],
        "tiff": [saved(image.convert(mode), "TIFF", compression=how) for mode, how in
                 product(("RGB", "F", "I;16", "L"), (None, "tiff_lzw", "tiff_adobe_deflate"))],
        "webp": [saved(image, "WEBP"), saved(image, "WEBP", save_all=True, append_images=[image] * 3, duration=40)],
        "gif": [saved(image, "GIF", save_all=True, append_images=[image.rotate(90)] * 3)],
        "bmp": [saved(image, "BMP"), saved(image.convert("P"), "BMP")],
        "avif": [saved(image, "AVIF")] if "AVIF" in Image.SAVE else [],
    }  # fmt: skip

    def read_png(path):
        data = path.read_bytes()
        recipe = read_recipe(data)
        assert recipe is None or isinstance(recipe.fingerprint, str)
        for check in (check_png, read_image):
            try:
                check(data)
            except ValueError:
                assert check is check_png
                return

    readers = {"png": Reader(png, read_png, ".png", "png"), "pictures": Reader(png, _read_frames, ".png", "png")}
    return readers | {name: Reader(seeds, _read_frames, f".{name}") for name, seeds in others.items() if seeds}


def _read_frames(path):
    frames = open_frames(path, 1, max_seconds=60)

    def read():
        for index, image in frames.read(range(min(frames.count, 4))):
            assert image.dtype == np.uint8 and image.ndim == 3, index

    read_twice(frames, read)


def _videos(folder):
    readers = {}
    for suffix, codec in {".mp4": "libx264", ".avi": "mpeg4", ".mkv": "libx264", ".webm": "libvpx"}.items():
        path = folder / f"seed{suffix}"
        write_clip(path, noise(6, 48, 64), codec)
        readers[f"video{suffix}"] = Reader([path.read_bytes()], _read_frames, suffix)
    return readers


# --- data sets --------------------------------------------------------------------------------------------------------


def _datasets(folder):
    root = make_toy(folder / "toy")
    config = configured(root)
    target = root / "preprocessing" / "dataset_json" / "toy.json"
    seed = {"toy": {label: {split: dict([*videos.items()][:2]) for split, videos in splits.items()}
                    for label, splits in json.loads(target.read_bytes())["toy"].items()}}  # fmt: skip
    data = root / "frames" / "demo_real" / "0"

    def read_json(path):
        target.write_bytes(path.read_bytes())
        for split in ("train", "val", "test"):
            read_videos(config, ["toy"], split)
        read_frame_paths(target)

    def read_crop(path):
        (data / "000.png").write_bytes(path.read_bytes())
        read_frame(config, "toy", f"./{(data / '000.png').relative_to(root)}")

    database = root / "database"
    frames = root / "x" / "frames" / "v"
    landmarks = root / "x" / "landmarks" / "v"
    for each in (frames, landmarks):
        each.mkdir(parents=True)
    (frames / "000.png").write_bytes((data / "000.png").read_bytes())
    listing = root / "UADFV.json"
    listing.write_text(json.dumps({"UADFV": {"real": {"test": {"v": {"frames": ["./x/frames/v/000.png"]}}}}}))
    arrays = []
    for array in (np.ones((81, 2)), np.ones((81, 2), np.float32), np.zeros((5, 2)), np.array([["a"]])):
        buffer = io.BytesIO()
        np.save(buffer, array)
        arrays.append(buffer.getvalue())

    def read_landmarks(path):
        (landmarks / "000.npy").write_bytes(path.read_bytes())
        write_lmdb(listing, database, data_root=root, progress=False)

    yamls = [path.read_bytes() for path in _packaged("datasets/UADFV.yaml", "datasets/FaceForensics++.yaml")]
    config_yaml = yaml.safe_dump(config.to_dict()).encode()
    return {
        "dataset json": Reader([json.dumps(seed).encode()], read_json, ".json", "json"),
        "crop": Reader([(frames / "000.png").read_bytes()], read_crop, ".png", "png"),
        "landmarks": Reader(arrays, read_landmarks, ".npy"),
        "dataset yaml": Reader(yamls, lambda path: load_dataset(str(path)), ".yaml", _mutated_yaml),
        "detector yaml": Reader([config_yaml], load_config, ".yaml", _mutated_yaml),
    }


def _packaged(*names):
    from lnclip_df.config.files import bench_configs

    found = [path for name in names for path in bench_configs().glob(name)]
    return found or [next(iter(bench_configs().glob("datasets/*.yaml")))]


def _mutated_yaml(data: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.4:
        return mutate(data, draw, [])
    value = yaml.safe_load(data)
    for _ in range(draw.choice([1, 1, 3])):
        value = mutate_value(value, draw)
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def _tables(folder):
    predictions = "dataset,video,label,prob,frame,method\n" + "".join(
        f"D,v{n},{n % 2},0.{n},{frame}.png,m{n % 3}\n" for n in range(8) for frame in range(2)
    )
    counts = "dataset,video,label,frames_asked,frames_found\nD,a,0,32,30\nD,b,1,32,0\n"
    attributes = "video;sex;age\nD/a;f;30\nD/b;m;\n"
    readers = {
        "predictions csv": Reader([predictions.encode(), predictions.encode("utf-16")], _board, ".csv"),
        "coverage csv": Reader([counts.encode()], read_counts, ".csv"),
        "attributes csv": Reader([attributes.encode(), attributes.encode("latin-1")],
                                 lambda path: read_attributes(path, ["sex"]), ".csv"),
    }  # fmt: skip
    seeds = {
        "csv": b"filename,label,split,original\na.mp4,FAKE,train,b.mp4\nb.mp4,REAL,train,\n",
        "json": json.dumps({"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}}).encode(),
        "pairs": b'[["071", "054"], ["087", "081"]]',
        "lines": b"1 real/a.mp4\n0 fake/b.mp4\n",
    }
    for table in _first_tables().values():

        def read(path, table=table):
            Rows(table).read(path, {})

        kind = "json" if table.format in ("json", "pairs") else "bytes"
        readers[f"list {table.format}"] = Reader([seeds[table.format]], read, ".txt", kind)
    return readers


def _first_tables():
    """A table of each format, of the packaged data sets."""
    from lnclip_df.datasets.schema import dataset_names

    tables = {}
    for name in dataset_names():
        for table in load_dataset(name).tables.values():
            tables.setdefault(table.format, table)
    return tables


# --- predictions ------------------------------------------------------------------------------------------------------


def _board(path):
    board = make_board([path], resamples=0, metrics=["all"])
    for write in (markdown, latex, details, figures_csv, page):
        write(board)
    compare(path, "LNCLIP-DF")


def _predictions(folder):
    import pyarrow.parquet as pq

    run = folder / "run"
    write_dataset(run, "Celeb-DF-v2", ["a-real", "b-fake"], each=4)
    file = run / "predictions" / "Celeb-DF-v2.parquet"
    table = pq.read_table(file)
    facts = json.loads(table.schema.metadata[b"lnclip_df"])
    metrics = run / "metrics" / "Celeb-DF-v2.json"
    metrics.parent.mkdir()

    def with_metadata(value):
        sink = io.BytesIO()
        data = json.dumps(value).encode() if not isinstance(value, bytes) else value
        pq.write_table(table.replace_schema_metadata({b"lnclip_df": data}), sink)
        return sink.getvalue()

    def mutated(data, draw):
        if draw.random() < 0.5:
            return mutate(data, draw, [])
        value = facts
        for _ in range(draw.choice([1, 1, 3])):
            value = mutate_value(value, draw)
        return with_metadata(value)

    def read_parquet(path):
        file.write_bytes(path.read_bytes())
        _board(run)

    seed = with_metadata(facts)

    def read_metrics_file(path):
        file.write_bytes(seed)
        metrics.write_bytes(path.read_bytes())
        _board(run)

    provenance = Provenance.from_json(facts)
    write_features(folder / "seed.features", np.ones((8, 4)), provenance)
    videos = [Video("toy", name, name == "fake", "test", None, "0", ("0.png", "1.png")) for name in ("real", "fake")]
    frames = FrameDataset(load_config("lnclip.yaml"), videos, frames_per_video=2)
    parts = Parts(folder / "tested", provenance, batch_size=4, features=True)
    parts.write([0], [{"index": [0, 1, 2, 3], "prob": [0.1, 0.2, 0.3, 0.4], "features": np.ones((4, 3), np.half)}], 1.0)
    (part,) = parts.folder.iterdir()

    def read_part(path):
        part.write_bytes(path.read_bytes())
        parts.join(frames)

    calibration = {"temperature": 1.2, "threshold": {"score": 0.4, "asked_fpr": 0.05}, "weights_sha256": "a" * 64}
    return {
        "predictions parquet": Reader([seed], read_parquet, ".parquet", mutated),
        "metrics json": Reader([json.dumps(facts | {"skipped_frames": []}).encode()], read_metrics_file, ".json",
                               "json"),
        "features": Reader([(folder / "seed.features").read_bytes()],
                           lambda path: read_features(path, provenance, 8), ".safetensors", _mutated_safetensors),
        "part of a test": Reader([part.read_bytes()], read_part, ".safetensors", _mutated_safetensors),
        "calibration json": Reader([json.dumps(calibration).encode()], read_calibration, ".json", "json"),
    }  # fmt: skip


# --- weights ----------------------------------------------------------------------------------------------------------


def _mutated_safetensors(data: bytes, draw: random.Random) -> bytes:
    """Mutate the header's JSON, the JSON within it, or any byte."""
    if draw.random() < 0.3:
        return mutate(data, draw, [])
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    inner = header.get("__metadata__", {})
    if inner and draw.random() < 0.6:
        name = draw.choice([*inner])
        inner[name] = json.dumps(mutate_value(json.loads(inner[name]), draw))
    else:
        header = mutate_value(header, draw)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _saved(value) -> bytes:
    data = io.BytesIO()
    torch.save(value, data)
    return data.getvalue()


def _mutated_state(data: bytes, draw: random.Random) -> bytes:
    """Mutate the saved values, or the bytes of the archive."""
    if draw.random() < 0.4:
        return mutate(data, draw, [])
    value = mutate_value(torch.load(io.BytesIO(data), weights_only=True), draw)
    return _saved(value)


def _weights(folder):
    weights = saved_weights(folder / "weights")
    detector = tiny_detector()
    save_weights(detector, folder / "full.safetensors", {"crops": {"a": 3}, "epoch": 2}, delta=False)
    state = {name: tensor.clone() for name, tensor in detector.state_dict().items()}

    def read(path):
        checkpoint = Checkpoint.open(path)
        assert checkpoint.facts is not None
        checkpoint.config_for()
        checkpoint.read()

    config, trained = toy_with_weights(folder / "resume")
    out = folder / "resumed"
    (out / "checkpoints").mkdir(parents=True)
    (out / "config.yaml").write_text(yaml.safe_dump(config.replace({"manualSeed": 1}).to_dict()))
    (out / "best.safetensors").write_bytes(trained.read_bytes())
    from lnclip_df.weights import build_detector

    def module():
        return LNCLIPModule(build_detector(config), config, None, None, seed=1, progress=False)

    first = module()
    optimizer = first.configure_optimizers()
    row = {"epoch": 0, "lr": 0.1, "train": {"overall": 1.0}, "val": {"auroc": 0.5}, "skipped": 0}
    tensors = {name: p.detach() for name, p in first.detector.named_parameters() if p.requires_grad}
    last = {"epoch": 0, "seed": 1, "steps_per_epoch": 3, "history": [row], "trained": tensors}
    last["optimizer"] = optimizer.state_dict()

    def read_checkpoint(path):
        (out / "checkpoints" / "last.ckpt").write_bytes(path.read_bytes())
        state = read_last(out, config)
        again = module()
        again.restore(state)
        again.configure_optimizers()

    tested = {"weights": {"sha256": Checkpoint.open(weights).sha256}, "video": {"auroc": 0.5}, "dataset": "D"}
    return {
        "safetensors": Reader([Path(weights).read_bytes(), (folder / "full.safetensors").read_bytes()], read,
                              ".safetensors", _mutated_safetensors),
        "pth": Reader([_saved(state), _saved({"state_dict": state, "hyper_parameters": {"a": 1}})], read, ".pth",
                      _mutated_state),
        "last.ckpt": Reader([_saved(last)], read_checkpoint, ".ckpt", _mutated_state),
        "metrics for a card": Reader([json.dumps(tested).encode()], lambda path: read_metrics([path], weights), ".json",
                                     "json"),
    }  # fmt: skip


# --- what this package writes for itself ------------------------------------------------------------------------------


def _others(folder):
    record = {
        "key": "mutant",
        "outcome": "done",
        "saved": [0, 1],
        "asked": 2,
        "recipe": "x",
        "bytes": 3,
        "size": [1, 2],
    }
    records = folder / "out" / "records"
    records.mkdir(parents=True)

    def read_one(path):
        (records / "mutant.json").write_bytes(path.read_bytes())
        read_record(Source("mutant", "x.mp4"), folder / "out")

    rows = [{"dataset": "D", "video": "v", "method": "m", "label": 0}]
    bank = FeatureBank(np.ones((2, 4), np.float16), np.zeros(2, np.int32), ["a", "b"], rows, {})
    log = ResultsLog(folder / "log.jsonl", {})
    log.add(folder / "x.mp4", {"score": 0.5})

    def read_log(path):
        log.pending.write_bytes(path.read_bytes())
        ResultsLog(folder / "log.jsonl", {}).row(folder / "x.mp4")

    from lnclip_df.scoring import feature_bank

    facts = {"format": feature_bank.FORMAT, "weights_sha256": "a" * 64}
    from safetensors.numpy import save as save_numpy

    text = json.dumps({"frames": bank.frames, "videos": rows})
    metadata = {"lnclip_df": json.dumps(facts), "rows": text}
    seed = save_numpy({"features": bank.features, "video": bank.video}, metadata)
    return {
        "record": Reader([json.dumps(record).encode()], read_one, ".json", "json"),
        "results log": Reader([log.pending.read_bytes()], read_log, ".part", "bytes"),
        "feature bank": Reader([seed], lambda path: read_bank(path, "a" * 64), ".safetensors", _mutated_safetensors),
    }
