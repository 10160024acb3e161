"""The output folder of a training: write it after every epoch, and check it before training or resuming."""

import logging
import os
import signal
from pathlib import Path
from threading import current_thread, main_thread

import torch
import yaml
from lightning.pytorch.callbacks import Checkpoint

from lnclip_df.config.loading import load_config
from lnclip_df.config.schema import Config, role_of
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path, check_writable, is_leftover, write_json, write_text
from lnclip_df.core.nested import flatten
from lnclip_df.training.module import best_epoch
from lnclip_df.weights import save_weights

logger = logging.getLogger(__name__)
SELECTED = {"map": "mean average precision of videos", "auroc": "video AUROC"}  # lnclip.select in words


class Outputs(Checkpoint):
    """Writes ``config.yaml`` first, and the following files after every epoch, all from the main process.

    ``checkpoints/last.ckpt`` comes first: an epoch that it contains is finished. Then come ``best.safetensors``, if the
    epoch is the best so far, and ``history.json``. Each file is written whole or not at all. Lightning's
    ``ModelCheckpoint`` is not used: it saves the frozen backbone too, and no history.
    """

    def __init__(self, out, config: Config, crops: dict[str, int], recipes: dict[str, dict]):
        self.out, self.config, self.crops, self.recipes = Path(out), config, crops, recipes
        self.interrupted = False
        self.on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_fit_start(self, trainer, module):
        if current_thread() is main_thread():  # Lightning's own handler would end the training as if it were finished
            signal.signal(signal.SIGTERM, self.on_sigterm)
        if trainer.is_global_zero:
            config = self.config.replace({"manualSeed": module.seed}).to_dict()
            write_text(self.out / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def on_train_epoch_end(self, trainer, module):
        if trainer.is_global_zero:
            path = last_checkpoint(self.out)
            with atomic_path(path) as temporary:
                try:
                    torch.save(module.state(), temporary)
                except RuntimeError as error:  # torch raises it for a full disk
                    raise LNCLIPError(f"cannot write {path}: {one_line(error)}") from error
            self.write_results(module)
            logger.info(_summary(module.history, self.config.lnclip.select))
        trainer.strategy.barrier("outputs of an epoch")

    def write_results(self, module):
        """Write ``history.json``, and ``best.safetensors`` if the last epoch is the best so far.

        Called after ``last.ckpt`` is written and again on resuming, so that they agree wherever a training was killed.
        """
        row = module.history[-1]
        ours = self.config.lnclip
        if best_epoch(module.history, ours.select) is row:
            metadata = {
                "config": self.config.to_dict(),
                "crops": self.crops,
                "recipes": self.recipes,
                "epoch": row["epoch"],
                "seed": module.seed,
                "selection": f"highest {SELECTED[ours.select]} on {', '.join(ours.val_dataset)} (val)",
                "metric": row["val"],
            }
            delta = module.detector.settings.tune != "all"
            save_weights(module.detector, self.out / "best.safetensors", metadata, delta=delta)
        write_json(self.out / "history.json", {"seed": module.seed, "epochs": module.history})

    def on_exception(self, trainer, module, exception):
        self.interrupted = isinstance(exception, KeyboardInterrupt)
        launcher = trainer.strategy.launcher
        if launcher is not None and not isinstance(exception, Exception):  # this process is ended from outside
            launcher.kill(signal.SIGTERM)


def _summary(history, select):
    row, best = history[-1], best_epoch(history, select)
    skipped = f", {row['skipped']} frames skipped" if row["skipped"] else ""
    return (
        f"epoch {row['epoch']}: loss {row['train']['overall']:.4f}, validation video AUROC {row['val']['auroc']:.4f}, "
        f"mAP {row['val']['map']:.4f} (best epoch {best['epoch']}){skipped}"
    )


def last_checkpoint(out) -> Path:
    """Return the path of the checkpoint of the last finished epoch."""
    return Path(out) / "checkpoints" / "last.ckpt"


def read_last(out, config: Config, precision: str | None = None) -> dict | None:
    """Return the ``LNCLIPModule.state`` of the last finished epoch in ``out``, or None if none is finished.

    ``precision`` is the one that was asked for, where this device computes in another.

    Raises:
        LNCLIPError: the checkpoint is damaged, or a fixed key of the configuration (``config.roles``) has changed.
    """
    path = last_checkpoint(out)
    if not path.exists():
        return None
    _check_same_config(Path(out) / "config.yaml", config, precision)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle.UnpicklingError, and whatever a damaged archive makes of it
        raise LNCLIPError(
            f"{path} is damaged or not a checkpoint of lnclip-df ({type(error).__name__}); "
            f"train to another folder ({out}/best.safetensors, if present, is intact)"
        ) from error
    _check_state(state, path, config)
    best = best_epoch(state["history"], config.lnclip.select)
    if best is not state["history"][-1] and not (Path(out) / "best.safetensors").is_file():
        raise LNCLIPError(f"cannot resume: {out}/best.safetensors is missing; restore it, or train to another folder")
    return state


def _check_state(state, path, config):
    kinds = {"epoch": int, "seed": int, "steps_per_epoch": int, "trained": dict, "optimizer": dict, "history": list}
    fits = (
        isinstance(state, dict)
        and set(state) - {"precision"} == set(kinds)  # an older version did not save it
        and isinstance(state.get("precision", {}), dict)
        and all(isinstance(state[key], kind) for key, kind in kinds.items())
        and all(isinstance(row, dict) and isinstance(row.get("val"), dict) for row in state["history"])
        and all(isinstance(row["val"].get("auroc"), float) for row in state["history"])
        and [row.get("epoch") for row in state["history"]] == list(range(config.start_epoch, state["epoch"] + 1))
    )
    if not fits:
        raise LNCLIPError(f"{path} is not a checkpoint of this training; train to another folder")
    select = config.lnclip.select
    if not all(isinstance(row["val"].get(select), float) for row in state["history"]):
        raise LNCLIPError(f"{path} does not record the validation {select}, by which lnclip.select chooses the epoch; "
                          "set lnclip.select: auroc, or train to another folder")  # fmt: skip


def check_folder(out, *, unused: bool):
    """Check the folder of a training, which must be empty or absent if ``unused``; LNCLIPError if it cannot be used."""
    check_writable(out, folder=True)
    if unused and Path(out).is_dir() and not all(map(is_leftover, os.listdir(out))):
        raise LNCLIPError(f"{out} is not empty; resume the training there, or give another folder")


def _check_same_config(path, config, precision):
    before, now = flatten(load_config(path).to_dict()), flatten(config.to_dict())
    if now["manualSeed"] is None:
        now["manualSeed"] = before.get("manualSeed")
    if before.get("lnclip.precision") == precision:
        now["lnclip.precision"] = precision
    for key in [*now, *before]:
        if role_of(key).fixed and before.get(key) != now.get(key):
            raise LNCLIPError(
                f"cannot resume: {key} is {now.get(key)!r} and was {before.get(key)!r} in {path}; "
                "set it back, or train to another folder"
            )
