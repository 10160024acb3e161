"""What a training leaves in its folder, epoch by epoch, and whether a folder can be started in or gone on from."""

import logging
import pickle
from pathlib import Path

import torch
import yaml
from lightning.pytorch.callbacks import Checkpoint

from lnclip_df.config.loading import load_config
from lnclip_df.config.schema import Config, role_of
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path, write_json, write_text
from lnclip_df.training.module import best_epoch
from lnclip_df.weights import save_weights

logger = logging.getLogger(__name__)


class Outputs(Checkpoint):
    """Writes, from the main process: ``config.yaml`` first, and after every epoch the files below.

    ``checkpoints/last.ckpt`` first (an epoch that is in it is finished), then ``best.safetensors`` (where the epoch is
    the best so far) and ``history.json``. Each file is written whole or not at all.
    """

    def __init__(self, out, config: Config, crops: dict[str, int]):
        self.out, self.config, self.crops = Path(out), config, crops
        self.interrupted = False

    def on_fit_start(self, trainer, module):
        if trainer.is_global_zero:
            config = self.config.replace({"manualSeed": module.seed}).to_dict()
            write_text(self.out / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def on_train_epoch_end(self, trainer, module):
        if trainer.is_global_zero:
            self._write(module)
            logger.info(_line(module.history[-1], module.best))
        trainer.strategy.barrier("outputs of an epoch")

    def _write(self, module):
        path = last_checkpoint(self.out)
        with atomic_path(path) as temporary:
            try:
                torch.save(module.state(), temporary)
            except RuntimeError as error:  # how torch says that the disk is full
                raise LNCLIPError(f"cannot write {path}: {one_line(error)}") from error
        self.write_results(module)

    def write_results(self, module):
        """Write ``history.json``, and ``best.safetensors`` where the model is at the best epoch so far.

        Done after ``last.ckpt``, and once more on resuming: whatever moment a training is killed at, the two agree.
        """
        if module.best is module.history[-1]:
            delta = module.detector.settings.tune != "all"
            save_weights(module.detector, self.out / "best.safetensors", self._metadata(module), delta=delta)
        write_json(self.out / "history.json", {"seed": module.seed, "epochs": module.history})

    def _metadata(self, module):
        row = module.history[-1]
        return {
            "config": self.config.to_dict(),
            "crops": self.crops,
            "epoch": row["epoch"],
            "seed": module.seed,
            "selection": f"highest video AUROC on {', '.join(self.config.lnclip.val_dataset)} (val)",
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


def read_last(out, config: Config) -> dict | None:
    """What ``LNCLIPModule.state`` gave after the last finished epoch in ``out``; None where none is finished.

    Raises:
        LNCLIPError: the checkpoint is damaged, or a fixed key of the configuration (``config.roles``) has changed.
    """
    path = last_checkpoint(out)
    if not path.exists():
        return None
    _check_same_config(Path(out) / "config.yaml", config)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise LNCLIPError(
            f"{path} is damaged, or no checkpoint of ours ({type(error).__name__}); "
            f"train to another --out ({out}/best.safetensors is whole where it is)"
        ) from error
    _check_state(state, path, config)
    if best_epoch(state["history"]) is not state["history"][-1] and not (Path(out) / "best.safetensors").is_file():
        raise LNCLIPError(f"cannot resume: {out}/best.safetensors is gone; put it back, or train to another --out")
    return state


def _check_state(state, path, config):
    kinds = {"epoch": int, "seed": int, "steps_per_epoch": int, "trained": dict, "optimizer": dict, "history": list}
    fits = (
        isinstance(state, dict)
        and set(state) == set(kinds)
        and all(isinstance(state[key], kind) for key, kind in kinds.items())
        and all(isinstance(row, dict) and isinstance(row.get("val"), dict) for row in state["history"])
        and [row.get("epoch") for row in state["history"]] == list(range(config.start_epoch, state["epoch"] + 1))
    )
    if not fits:
        raise LNCLIPError(f"{path} is not a checkpoint of ours, or not of this training; train to another --out")


def check_folder(out, *, unused: bool):
    """Make sure that a training can write to a folder, and make the folder.

    Args:
        out: the folder.
        unused: it must hold nothing yet.

    Raises:
        LNCLIPError: it is a file, cannot be written, or holds something.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise LNCLIPError(f"{out} is a file; give another --out")
    if unused and out.is_dir() and any(out.iterdir()):
        raise LNCLIPError(f"{out} is not empty; go on there with --resume, or give another --out")
    with atomic_path(out / "config.yaml.writable") as path:
        path.write_bytes(b"\0" * 4096)
    (out / "config.yaml.writable").unlink()


def _check_same_config(path, config):
    before, now = _flat(load_config(path).to_dict()), _flat(config.to_dict())
    if now["manualSeed"] is None:
        now["manualSeed"] = before.get("manualSeed")
    for key in [*now, *before]:
        if role_of(key).fixed and before.get(key) != now.get(key):
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
