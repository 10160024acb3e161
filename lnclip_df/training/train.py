"""Train a detector: read the data, build the model, run the epochs."""

import logging
import random
import signal
import time
import warnings
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from lnclip_df.config.schema import Config
from lnclip_df.core import enough
from lnclip_df.core.devices import choose_device, device_name, settled_precision
from lnclip_df.core.errors import LNCLIPError, enough_memory, one_line
from lnclip_df.core.files import read_json, write_json
from lnclip_df.core.logs import log_from
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset, share_of
from lnclip_df.datasets.frames import crop_recipes
from lnclip_df.evaluation.loading import one_line_errors
from lnclip_df.training.augmentation import TrainTransform
from lnclip_df.training.module import LNCLIPModule, best_epoch
from lnclip_df.training.outputs import Outputs, check_folder, read_last
from lnclip_df.weights import build_detector
from lnclip_df.weights.load import load_start

KEPT = 256 << 20  # a set with at most this many bytes of decoded frames is kept in memory for the next epoch

logger = logging.getLogger(__name__)


def train(
    config: Config,
    out,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    devices="auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    progress: bool = True,
) -> dict:
    """Train for the epochs ``start_epoch`` to ``nEpochs``, both included, and validate after each.

    Frames, augmentation and slerp depend on ``manualSeed``, the epoch and the process alone: a resumed training gives
    the same result as an uninterrupted one. ``train_batchSize`` is per device.

    Args:
        config: trained on the ``train`` split of ``train_dataset`` and a share of ``lnclip.replay.datasets``, without
            the videos of the validation set; validated on the ``val`` split of ``lnclip.val_dataset``. Training begins
            with the weights ``lnclip.start_from``, if set, and a new optimizer and schedule.
        out: folder for ``best.safetensors``, ``checkpoints/last.ckpt``, ``config.yaml``, ``history.json``,
            ``start.json`` (the source and hash of ``lnclip.start_from``) and ``tensorboard``; absent or empty unless
            ``resume``. All nodes of a training must share it.
        resume: continue after the last finished epoch in ``out``, if there is one. Only keys whose role is not fixed
            (``lnclip_df.config.roles``) may differ from the earlier configuration.
        accelerator, devices, num_nodes, strategy: Lightning's, for example ``devices=4, strategy="ddp"``.
        progress: show progress bars.

    Returns:
        ``{"out", "best", "history", "seconds"}``: ``history`` has one dict per epoch (see ``LNCLIPModule``), ``best``
        is the one chosen by ``lnclip.select`` on the validation videos, whose weights are in ``best.safetensors``.

    Raises:
        LNCLIPError: data, configuration, ``out`` or devices are invalid (before the first step), or a loss is not
            finite (the checkpoint of the last finished epoch stays).
        KeyboardInterrupt: the user stopped it; ``resume`` continues.
    """
    started, out = time.monotonic(), Path(out)
    device = _device(accelerator)
    wanted = config.lnclip.precision
    config = config.replace({"lnclip.precision": settled_precision(wanted, device)})
    if config.start_epoch > config.nEpochs:
        raise LNCLIPError(f"start_epoch {config.start_epoch} is above nEpochs {config.nEpochs}: nothing to train")
    train_videos = _videos(config, config.train_dataset, "train", "train_dataset")
    val_videos = _videos(config, config.lnclip.val_dataset, "val", "lnclip.val_dataset")
    state = read_last(out, config, wanted) if resume else None
    if state is not None:
        epoch, seed = state["epoch"] + 1, state["seed"]
    else:
        epoch = config.start_epoch
        seed = random.SystemRandom().randrange(2**32) if config.manualSeed is None else config.manualSeed
    make_train_frames = cache(partial(_train_frames, config, train_videos, val_videos))

    with _quiet_lightning(), one_line_errors():
        outputs = Outputs(out, config, *crop_recipes(config, make_train_frames(seed).videos))
        switches = {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes, "strategy": strategy}
        trainer = _trainer(config, outputs, progress, switches)
        if trainer.is_global_zero:
            check_folder(out, unused=not resume)
            _say_how_it_begins(out, val_videos, epoch, resume, state)
        count = config.frame_num.val or config.frame_num.test
        val_frames = FrameDataset(config, val_videos, frames_per_video=count, keep=KEPT)
        torch.manual_seed(seed)
        detector = build_detector(config)
        if state is None and config.lnclip.start_from:
            origin = _origin(load_start(detector))
            if trainer.is_global_zero:
                write_json(out / "start.json", origin)
        module = LNCLIPModule(detector, config, make_train_frames, val_frames, seed=seed, progress=progress)
        if state is not None:
            module.restore(state)
            if trainer.is_global_zero:
                outputs.write_results(module)
        if epoch <= config.nEpochs:
            if trainer.is_global_zero:
                device, count = trainer.strategy.root_device, trainer.world_size
                logger.info(
                    "training on %s%s in %s",
                    device_name(device), f", {count} processes" if count > 1 else "", config.lnclip.precision,
                )  # fmt: skip
            _fit(trainer, module, epoch, outputs)

    history = read_json(out / "history.json")["epochs"]
    best = best_epoch(history, config.lnclip.select)
    result = {"out": str(out), "best": best, "history": history, "seconds": time.monotonic() - started}
    if trainer.is_global_zero:
        logger.info(
            "%d epochs; best is epoch %d, validation video AUROC %.4f: %s",
            len(history), best["epoch"], best["val"]["auroc"], out / "best.safetensors",
        )  # fmt: skip
    return result


def _say_how_it_begins(out, val_videos, epoch, resume, state):
    fakes = sum(video.label for video in val_videos)
    if few := enough.few_videos(len(val_videos) - fakes, fakes, "which epoch is best is hardly known"):
        logger.info("the validation set has %s", few)
    if state is not None:
        logger.info("resuming %s with epoch %d", out, epoch)
    elif resume:
        logger.info("nothing to resume in %s: no epoch is finished there; starting with the first", out)


def _device(accelerator):
    """The kind of device that Lightning takes for ``accelerator``."""
    if accelerator in ("auto", "gpu", "cuda"):
        return choose_device("cuda" if accelerator == "cuda" else None)
    return torch.device("cpu")


def _fit(trainer, module, epoch, outputs):
    """Run the epochs from ``epoch`` on, which Lightning numbers alike."""
    trainer.fit_loop.epoch_progress.current.processed = epoch
    batch, workers = module.config.train_batchSize, module.config.workers
    smaller = f"train_batchSize (now {batch}) or workers (now {workers})"
    try:
        with enough_memory(f"lower {smaller}, or set lnclip.activation_checkpointing: true"):
            trainer.fit(module)
    except OSError as error:  # TensorBoard's files
        raise LNCLIPError(
            f"cannot write in {outputs.out}: {error.strerror or error}; resume once that is fixed"
        ) from error
    except SystemExit:
        if not outputs.interrupted:
            raise
    if outputs.interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt


def _trainer(config, outputs, progress, switches):
    try:
        return Trainer(
            **switches,
            precision="16-mixed" if config.lnclip.precision == "fp16" else "32-true",  # a scaler of the gradients
            max_epochs=config.nEpochs + 1,
            callbacks=[outputs, _Bar()] if progress else [outputs],
            logger=TensorBoardLogger(outputs.out, name="", version="tensorboard", default_hp_metric=False),
            enable_progress_bar=progress,
            enable_model_summary=False,
            use_distributed_sampler=False,
            benchmark=config.cudnn,
        )
    except Exception as error:  # Lightning raises many kinds for switches that do not fit the machine
        shown = ", ".join(f"{name}={value}" for name, value in switches.items())
        raise LNCLIPError(f"{shown}: {one_line(error)}") from error


class _Bar(TQDMProgressBar):
    def get_metrics(self, trainer, module):
        return {"loss": f"{module.loss:.3f}"}


def _videos(config, names, split, key):
    """The videos of a split; LNCLIPError if they are not of both classes."""
    if not names:
        raise LNCLIPError(f"{key} is empty: name at least one dataset with a {split} split")
    videos = read_videos(config, names, split)
    classes = {video.label for video in videos}
    if classes != {0, 1}:
        only, absent = ("fake", "real") if classes == {1} else ("real", "fake")
        labels = ", ".join(sorted({video.label_name for video in videos}))
        raise LNCLIPError(
            f"{key}: the {split} split of {', '.join(names)} contains only {only} videos ({labels}); add {absent} ones"
        )
    return videos


def _train_frames(config, videos, val_videos, seed):
    """The training frames, whose replayed share, random frames and augmentation follow from ``seed``."""
    transform = TrainTransform(config)
    return FrameDataset(
        config, _unseen(videos + _replayed(config, seed), val_videos), frames_per_video=config.frame_num.train,
        transform=transform, draw=transform.draw, random_frames=config.lnclip.train_frames == "random", seed=seed,
        keep=KEPT,
    )  # fmt: skip


def _replayed(config, seed):
    """The share of older training sets to train on again, the same in every epoch."""
    replay = config.lnclip.replay
    videos = read_videos(config, replay.datasets, "train")
    kept = share_of(videos, replay.share, seed)
    if kept:
        logger.info("replaying %d of the %d videos of %s", len(kept), len(videos), ", ".join(replay.datasets))
    return kept


def _unseen(train_videos, val_videos):
    """The training videos that share no frame with the validation set: LNCLIP-val draws from training splits too."""
    validated = {frame for video in val_videos for frame in video.frames}
    kept = [video for video in train_videos if validated.isdisjoint(video.frames)]
    if len(kept) < len(train_videos):
        count = len(train_videos) - len(kept)
        logger.info("%d of %d training videos are in the validation set and left out", count, len(train_videos))
    if {video.label for video in kept} != {0, 1}:
        raise LNCLIPError(
            "train_dataset and lnclip.val_dataset contain the same videos: without those of the validation set, "
            "training videos of one class at most are left; name another lnclip.val_dataset"
        )
    return kept


def _origin(checkpoint) -> dict:
    """What ``start.json`` records of the weights that training begins with."""
    facts = checkpoint.facts
    return {
        "weights": str(checkpoint),
        "sha256": checkpoint.sha256,
        "epoch": facts.epoch,
        "train_dataset": facts.config.get("train_dataset"),
    }


@contextmanager
def _quiet_lightning():
    """Silence Lightning's tips and warnings, but not its errors."""
    with log_from(logging.ERROR, "lightning.pytorch", "lightning.fabric"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        yield
