"""The insides of the training loop: one step, the learning rate, the random numbers, and validation."""

import hashlib

import torch
from lightning.pytorch import LightningModule

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.evaluation.metrics import video_metrics
from lnclip_df.evaluation.predict import join, make_loader, score
from lnclip_df.models.schedule import cyclic_lr


class LNCLIPModule(LightningModule):
    """Trains an ``LNCLIPDetector`` and validates it after every epoch.

    Args:
        detector: the model; its parameters that require a gradient are trained.
        config: see ``lnclip_df.config.loading.load_config``.
        train_frames, val_frames: the two data sets.
        seed: of the data's order and augmentation, and of slerp; the main process's counts.
        progress: show a progress bar during validation.

    Attributes:
        history: one dict an epoch: ``epoch``, ``lr`` (of its last step), ``train`` (mean of each loss term), ``val``
            (``auroc``, ``ap``, ``eer``, ``accuracy`` of videos) and ``skipped`` (unreadable training frames).
    """

    def __init__(
        self, detector, config: Config, train_frames: FrameDataset, val_frames: FrameDataset, *, seed: int,
        progress: bool,
    ):  # fmt: skip
        super().__init__()
        self.detector = detector
        self.config = config
        self.train_frames, self.val_frames = train_frames, val_frames
        self.seed = seed
        self.progress = progress
        self.history: list[dict] = []
        self._optimizer_state = None
        self._steps_per_epoch = None

    @property
    def best(self) -> dict | None:
        """The epoch of ``history`` with the highest validation AUROC, the first of equals; None before any."""
        return best_epoch(self.history)

    def setup(self, stage):
        self.seed = self.train_frames.seed = self.trainer.strategy.broadcast(self.seed)
        self.val_loader = self._loader(self.val_frames, self.config.test_batchSize, shuffle=False)

    def train_dataloader(self):
        return self._loader(self.train_frames, self.config.train_batchSize, shuffle=True)

    def _loader(self, frames, batch_size, *, shuffle):
        rank, world_size = self.global_rank, self.trainer.world_size
        order = EpochSampler(len(frames), seed=self.seed, shuffle=shuffle, rank=rank, world_size=world_size)
        order.set_epoch(self.current_epoch)
        return make_loader(frames, order, batch_size=batch_size, workers=self.config.workers)

    def configure_optimizers(self):
        adam = self.config.optimizer.adam
        optimizer = torch.optim.Adam(
            self._trained().values(),
            lr=adam.lr,
            betas=(adam.beta1, adam.beta2),
            eps=adam.eps,
            weight_decay=adam.weight_decay,
            amsgrad=adam.amsgrad,
        )
        if self._optimizer_state is not None:
            optimizer.load_state_dict(self._optimizer_state)
        return optimizer

    def on_train_start(self):
        steps = self.trainer.num_training_batches
        if self._steps_per_epoch not in (None, steps):
            raise LNCLIPError(
                f"cannot resume: an epoch had {self._steps_per_epoch} steps and now has {steps}; "
                "use the same training data and the same number of devices"
            )

    def on_train_epoch_start(self):
        torch.manual_seed(derived_seed(self.seed, self.current_epoch, self.global_rank))
        self.sums, self.skipped = {}, 0

    def on_train_batch_start(self, batch, batch_idx):
        epoch = self.current_epoch + batch_idx / self.trainer.num_training_batches
        self.lr = cyclic_lr(epoch, **self.detector.settings.schedule.model_dump())
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.lr

    def training_step(self, batch, batch_idx):
        self.skipped += len(batch["skipped"])
        if not batch["frame"]:  # every frame skipped: a step without a gradient, on this rank as on the others
            return sum(parameter.sum() * 0 for parameter in self._trained().values())
        losses = self.detector.get_losses(batch, self.detector(batch))
        self._record({name: loss.detach() for name, loss in losses.items()}, batch_idx)
        return losses["overall"]

    def _record(self, losses, batch_idx):
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.float()
        step = self.current_epoch * self.trainer.num_training_batches + batch_idx
        self.logger.log_metrics({"lr": self.lr} | {f"train/{name}": x.item() for name, x in losses.items()}, step=step)
        self.log("loss", losses["overall"], prog_bar=True, logger=False, batch_size=1)

    def on_train_epoch_end(self):
        sums = gathered({name: total.item() for name, total in self.sums.items()})
        if not any(sums):
            raise LNCLIPError("not one training frame can be read; lnclip.missing_frames: error names the first")
        steps = self.trainer.num_training_batches * len(sums)
        train = {name: sum(rank.get(name, 0.0) for rank in sums) / steps for name in max(sums, key=len)}
        row = {"epoch": self.current_epoch, "lr": self.lr, "train": train, "val": self._validate()}
        self.history.append(row | {"skipped": sum(gathered(self.skipped))})
        scalars = {f"epoch/{name}": x for name, x in train.items()} | {
            f"val/{name}": x for name, x in row["val"].items()
        }
        self.logger.log_metrics(scalars, step=(self.current_epoch + 1) * self.trainer.num_training_batches - 1)

    def _validate(self):
        show = self.progress and self.trainer.is_global_zero
        table = score(self.detector, self.val_loader, device=self.device, title="validation", progress=show)
        table = join(gathered(table))
        if len(set(table["label"])) < 2:
            raise LNCLIPError("the validation frames that can be read are of one class: no AUROC to choose an epoch by")
        return video_metrics(table["video"], table["label"], table["prob"])

    def state(self) -> dict:
        """All that another process needs to go on after this epoch: trained weights, Adam's moments, history."""
        return {
            "epoch": self.current_epoch,
            "seed": self.seed,
            "steps_per_epoch": self.trainer.num_training_batches,
            "trained": {name: parameter.detach() for name, parameter in self._trained().items()},
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "history": self.history,
        }

    def restore(self, state: dict):
        """Go on from another process's ``state()``.

        Raises:
            LNCLIPError: its trained weights are not those that this model trains.
        """
        ours, theirs = self._trained(), state["trained"]
        for name in [*ours, *theirs]:
            if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape:
                raise LNCLIPError(f"the checkpoint does not fit the model: {name} is absent or of another shape")
        with torch.no_grad():
            for name, parameter in ours.items():
                parameter.copy_(theirs[name])
        self._optimizer_state = state["optimizer"]
        self._steps_per_epoch = state["steps_per_epoch"]
        self.history = list(state["history"])

    def _trained(self):
        return {name: p for name, p in self.detector.named_parameters() if p.requires_grad}


def best_epoch(history: list[dict]) -> dict | None:
    """The row of a history with the highest validation video AUROC, the first of equals; None of an empty one."""
    return max(history, key=lambda row: row["val"]["auroc"], default=None)


def derived_seed(seed: int, epoch: int, rank: int) -> int:
    """A seed of its own for each epoch and process, so that an epoch does not depend on what came before it."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def gathered(item) -> list:
    """``item`` of every process, by rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [item]
    items = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(items, item)
    return items
