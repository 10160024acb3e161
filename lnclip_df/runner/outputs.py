"""What a training leaves in its folder, epoch by epoch, and whether a folder can be started in or gone on from."""

import logging
import pickle
from pathlib import Path

import torch
import yaml
from lightning.pytorch.callbacks import Checkpoint

from lnclip_df.checkpoints import save_weights
from lnclip_df.config import read_yaml
from lnclip_df.errors import LNCLIPError
from lnclip_df.files import atomic_path, write_json, write_text

logger = logging.getLogger(__name__)

# What may differ between a training and its resumption: how long, how fast, and where the same data lie.
MAY_CHANGE = {
    "nEpochs", "workers", "test_batchSize", "all_dataset", "test_dataset", "lnclip.benchmarks", "rgb_dir", "lmdb",
    "lmdb_dir", "dataset_json_folder", "lnclip.data_root", "log_dir", "logdir", "rec_iter", "save_epoch", "save_ckpt",
    "save_feat", "save_avg", "cuda", "cudnn", "ddp", "local_rank", "lnclip.compile", "lnclip.activation_checkpointing",
}  # fmt: skip


class Outputs(Checkpoint):
    """Writes, from the main process: ``config.yaml`` first, and after every epoch the files below.

    ``best.safetensors`` (where the epoch is the best so far), ``history.json``, and last ``checkpoints/last.ckpt``:
    an epoch that is in it is finished. Each file is written whole or not at all.
    """

    def __init__(self, out, config: dict):
        self.out, self.config = Path(out), config
        self.interrupted = False

    def on_fit_start(self, trainer, module):
        if trainer.is_global_zero:
            config = self.config | {"manualSeed": module.seed}
            write_text(self.out / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def on_train_epoch_end(self, trainer, module):
        if trainer.is_global_zero:
            self._write(module)
            logger.info(_line(module.history[-1], module.best))
        trainer.strategy.barrier("outputs of an epoch")

    def _write(self, module):
        if module.best is module.history[-1]:
            save_weights(module.detector, self.out / "best.safetensors", self._metadata(module))
        write_json(self.out / "history.json", {"seed": module.seed, "epochs": module.history})
        with atomic_path(last_checkpoint(self.out)) as path:
            torch.save(module.state(), path)

    def _metadata(self, module):
        row = module.history[-1]
        return {
            "config": self.config,
            "epoch": row["epoch"],
            "seed": module.seed,
            "selection": f"highest video AUROC on {', '.join(self.config['lnclip']['val_dataset'])} (val)",
            "metric": row["val"],
        }

    def on_exception(self, trainer, module, exception):
        self.interrupted = isinstance(exception, KeyboardInterrupt)
        if self.interrupted and trainer.is_global_zero:
            done = len(module.history)
            logger.info("stopped after %d finished epochs; the same command with --resume goes on", done)


def _line(row, best):
    skipped = f", {row['skipped']} frames skipped" if row["skipped"] else ""
    return (
        f"epoch {row['epoch']}: loss {row['train']['overall']:.4f}, validation video AUROC {row['val']['auroc']:.4f} "
        f"(best {best['val']['auroc']:.4f}, epoch {best['epoch']}){skipped}"
    )


def last_checkpoint(out) -> Path:
    """Where the checkpoint of the last finished epoch lies."""
    return Path(out) / "checkpoints" / "last.ckpt"


def read_last(out, config: dict) -> dict | None:
    """What ``LNCLIPModule.state`` gave after the last finished epoch in ``out``; None where none is finished.

    Raises:
        LNCLIPError: the checkpoint is damaged, or its training had another configuration (but for ``MAY_CHANGE``).
    """
    path = last_checkpoint(out)
    if not path.exists():
        return None
    _check_same_config(Path(out) / "config.yaml", config)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise LNCLIPError(
            f"{path} is damaged, or no checkpoint of ours ({type(error).__name__}); remove {out} and train again"
        ) from error
    expected = {"epoch", "seed", "steps_per_epoch", "trained", "optimizer", "history"}
    if not isinstance(state, dict) or set(state) != expected:
        raise LNCLIPError(f"{path} is not a checkpoint of ours; remove {out} and train again")
    return state


def check_unused(out):
    """Refuse a folder that holds anything.

    Raises:
        LNCLIPError: it does.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise LNCLIPError(f"{out} is a file; give another --out")
    if out.is_dir() and any(out.iterdir()):
        raise LNCLIPError(f"{out} is not empty; go on there with --resume, or give another --out")


def _check_same_config(path, config):
    before, now = _flat(read_yaml(path)), _flat(config)
    if now["manualSeed"] is None:
        now["manualSeed"] = before.get("manualSeed")
    for key in [*now, *before]:
        if key not in MAY_CHANGE and before.get(key) != now.get(key):
            raise LNCLIPError(
                f"cannot resume: {key} is {now.get(key)!r} and was {before.get(key)!r} in {path}; "
                "set it back, or train to another --out"
            )


def _flat(section, prefix=""):
    flat = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
