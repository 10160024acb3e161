"""The training step, learning rate, seeds and validation, as a Lightning module."""

import hashlib
import logging
import platform
from collections.abc import Callable

import numpy as np
import torch
from lightning.pytorch import LightningModule

from lnclip_df.config.schema import Config, role_of
from lnclip_df.core.devices import core_ids
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.nested import flatten
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.evaluation.loading import OnDevice, make_loader
from lnclip_df.evaluation.metrics import aggregate, frame_metrics, mean_average_precision
from lnclip_df.evaluation.predict import join, score
from lnclip_df.models.detector import check_finite
from lnclip_df.models.schedule import cyclic_lr
from lnclip_df.training.augmentation_on_device import augment
from lnclip_df.training.frozen import FeatureLoader, with_features

logger = logging.getLogger(__name__)
SCORE_BINS = np.linspace(0, 1, 26)  # of TensorBoard's histograms


class LNCLIPModule(LightningModule):
    """Trains an ``LNCLIPDetector`` and validates it after every epoch.

    Lightning supplies devices, DDP, loop and progress bar. The rest is done here, because Lightning's schedulers know
    no fraction of an epoch, its samplers and averages no skipped frames, and its validation loop no videos.

    Args:
        detector: the model; its parameters that require a gradient are trained.
        make_train_frames: makes the training frames of a seed.
        seed: of the data's choice, order and augmentation, and of slerp; every process uses that of the main one.
        progress: show a progress bar during validation.

    Attributes:
        loss: of the last step that was recorded, every ``rec_iter``.
        history: one dict per epoch: ``epoch``, ``lr`` (of its last step), ``train`` (mean of each loss term), ``val``
            (``auroc``, ``ap``, ``eer``, ``accuracy``, ``map`` of videos) and ``skipped`` (unreadable training frames).
    """

    def __init__(
        self, detector, config: Config, make_train_frames: Callable[[int], FrameDataset], val_frames: FrameDataset, *,
        seed: int, progress: bool,
    ):  # fmt: skip
        super().__init__()
        self.detector = detector
        self.config = config
        self.make_train_frames, self.val_frames = make_train_frames, val_frames
        self.seed = seed
        self.progress = progress
        self.history: list[dict] = []
        self.loss = float("nan")
        self._optimizer_state = None
        self._precision_state: dict = {}
        self._steps_per_epoch = None
        self._logged_settings = False
        self.save_hyperparameters({key: x for key, x in flatten(config.to_dict()).items() if role_of(key).trains})

    def setup(self, stage):
        self.seed = self.trainer.strategy.broadcast(self.seed)
        self.train_frames = self.make_train_frames(self.seed)
        mine = platform.node(), core_ids()
        self.ranks = sharing(mine, gathered(mine))
        self.val_loader = self._loader(self.val_frames, self.config.test_batchSize, shuffle=False)

    def train_dataloader(self):
        loader = self._loader(self.train_frames, self.config.train_batchSize, shuffle=True)
        if not len(loader):
            raise LNCLIPError(
                f"train_batchSize {self.config.train_batchSize} is above the {len(loader.sampler)} training frames of "
                "a process: lnclip.drop_last leaves no batch; lower train_batchSize, or set lnclip.drop_last: false"
            )
        if getattr(self.train_frames.transform, "varies", False) and self.config.lnclip.tune == "none":
            logger.info(
                "lnclip.augmentation changes the images in every epoch, so that their features are computed each time; "
                "with lnclip.augmentation: none, lnclip.tune: none computes them once"
            )
        elif self.config.lnclip.tune == "none":
            loader = self._with_features(loader, "features")
        return OnDevice(loader, self.device, ("image", "feature", "label", "draws"))

    def _with_features(self, loader, title):
        return with_features(
            self.detector, loader, device=self.device, gather=gathered, rank=self.global_rank,
            world_size=self.trainer.world_size, title=title, progress=self.progress and self.trainer.is_global_zero,
        )  # fmt: skip

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch  # its loader has done so

    def _loader(self, frames, batch_size, *, shuffle):
        rank, world_size = self.global_rank, self.trainer.world_size
        order = EpochSampler(len(frames), seed=self.seed, shuffle=shuffle, rank=rank, world_size=world_size)
        order.set_epoch(self.current_epoch)
        drop_last = shuffle and self.config.lnclip.drop_last
        return make_loader(
            frames, order, batch_size=batch_size, workers=self.config.workers, ranks=self.ranks, drop_last=drop_last,
            device=self.trainer.strategy.root_device,  # in setup, this module is not there yet
        )  # fmt: skip

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
            try:
                optimizer.load_state_dict(self._optimizer_state)
            except Exception as error:  # torch checks nothing of it
                raise LNCLIPError(f"the checkpoint's optimizer is damaged ({type(error).__name__})") from error
        return optimizer

    def on_train_start(self):
        if self._precision_state:
            self.trainer.precision_plugin.load_state_dict(self._precision_state)
        steps = self.trainer.num_training_batches
        if self._steps_per_epoch not in (None, steps):
            raise LNCLIPError(
                f"cannot resume: an epoch had {self._steps_per_epoch} steps and now has {steps}; "
                "use the same training data and the same number of devices"
            )

    def on_train_epoch_start(self):
        torch.manual_seed(derived_seed(self.seed, self.current_epoch, self.global_rank))
        self.sums, self.steps, self.skipped = {}, 0, 0

    def on_train_batch_start(self, batch, batch_idx):
        epoch = self.current_epoch + batch_idx / self.trainer.num_training_batches
        self.lr = cyclic_lr(epoch, **self.detector.settings.schedule.model_dump())
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.lr

    def training_step(self, batch, batch_idx):
        self.skipped += len(batch["skipped"])
        if not batch["frame"]:  # all skipped: a zero gradient, because under DDP every rank must take the step
            return sum(parameter.sum() * 0 for parameter in self._trained().values())
        if "draws" in batch:
            image = augment(batch["image"], batch["draws"], self.train_frames.transform.augment.kernel)
            batch = batch | {"image": image}
        losses = self.detector.get_losses(batch, self.detector(batch))
        self.steps += 1
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.detach().float()
        step = self.current_epoch * self.trainer.num_training_batches + batch_idx
        if step % self.config.rec_iter == 0:
            self._record(losses, step)
        return losses["overall"]

    def _record(self, losses, step):
        """Check the loss of all steps of this epoch, and show that of this one: only here a step waits for a GPU."""
        check_finite({name: total.item() for name, total in self.sums.items()})
        values = {name: loss.item() for name, loss in losses.items()}
        self.logger.log_metrics({"lr": self.lr} | {f"train/{name}": x for name, x in values.items()}, step=step)
        self.loss = values["overall"]

    def on_train_epoch_end(self):
        totals = {name: total.item() for name, total in self.sums.items()}
        check_finite(totals)
        sums, steps = zip(*gathered((totals, self.steps)), strict=True)
        if not any(steps):
            raise LNCLIPError("no training frame can be read; set lnclip.missing_frames: error to see the first one")
        train = {name: sum(rank.get(name, 0.0) for rank in sums) / sum(steps) for name in max(sums, key=len)}
        label, prob = self._validate()
        found = frame_metrics(label, prob) | {"map": mean_average_precision(label, prob)}
        row = {"epoch": self.current_epoch, "lr": self.lr, "train": train, "val": found}
        self.history.append(row | {"skipped": sum(gathered(self.skipped))})
        self._log_epoch(row, label, prob)

    def _log_epoch(self, row, label, prob):
        """Write an epoch's figures and validation scores for TensorBoard; with the first, what the training varies."""
        step = (self.current_epoch + 1) * self.trainer.num_training_batches - 1
        found = {f"val/{name}": x for name, x in row["val"].items()}
        self.logger.log_metrics({f"epoch/{name}": x for name, x in row["train"].items()}, step=step)
        if self._logged_settings:
            self.logger.log_metrics(found, step=step)
        else:  # TensorBoard shows settings beside the figures that they are logged with
            self.logger.log_hyperparams(self.hparams, metrics=found, step=step)
            self._logged_settings = True
        board = self.logger.experiment
        board.add_pr_curve("val/precision_recall", label, prob, step)
        for kind, name in enumerate(("real", "fake")):
            board.add_histogram(f"val/score_{name}", prob[label == kind], step, bins=SCORE_BINS)

    def _validate(self):
        """Labels and scores of the validation videos."""
        if self.config.lnclip.tune == "none" and not isinstance(self.val_loader, FeatureLoader):
            self.val_loader = self._with_features(self.val_loader, "features for validation")
        show = self.progress and self.trainer.is_global_zero
        table = score(self.detector, self.val_loader, device=self.device, title="validation", progress=show)
        table = join(gathered(table))
        if len(set(table["label"])) < 2:
            raise LNCLIPError(
                "the readable validation frames are all of one class, so the epochs have no AUROC; "
                "restore the missing frames"
            )
        _, label, prob = aggregate(table["video"], table["label"], table["prob"])
        return label, prob

    def state(self) -> dict:
        """Return what ``restore`` needs to continue after this epoch: trained weights, Adam's moments, history."""
        return {
            "epoch": self.current_epoch,
            "seed": self.seed,
            "steps_per_epoch": self.trainer.num_training_batches,
            "trained": {name: parameter.detach() for name, parameter in self._trained().items()},
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "precision": self.trainer.precision_plugin.state_dict(),  # the scaler of fp16's gradients
            "history": self.history,
        }

    def restore(self, state: dict):
        """Continue from the ``state()`` of an earlier training; LNCLIPError if it trained other weights."""
        ours, theirs = self._trained(), state["trained"]
        for name in [*ours, *theirs]:
            if name not in ours or ours[name].shape != getattr(theirs.get(name), "shape", None):
                raise LNCLIPError(f"the checkpoint does not fit the model: {name} is absent or of another shape")
        with torch.no_grad():
            for name, parameter in ours.items():
                parameter.copy_(theirs[name])
        self._optimizer_state, self._precision_state = state["optimizer"], state.get("precision", {})
        self._steps_per_epoch = state["steps_per_epoch"]
        self.history = list(state["history"])

    def _trained(self):
        return {name: p for name, p in self.detector.named_parameters() if p.requires_grad}


def best_epoch(history: list[dict], select: str) -> dict:
    """Return the epoch whose validation metric ``select`` (``lnclip.select``) is the highest, the first of equals."""
    return max(history, key=lambda row: row["val"][select])


def derived_seed(seed: int, epoch: int, rank: int) -> int:
    """Return a seed for an epoch and process, so that an epoch does not depend on earlier random draws."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sharing(mine: tuple[str, set[int]], every: list[tuple[str, set[int]]]) -> int:
    """Return how many processes, of which host and cores are given, use the same cores as one of them.

    >>> sharing(("a", {0, 1}), [("a", {0, 1}), ("a", {1}), ("a", {2, 3}), ("b", {0, 1})])
    2
    """
    host, cores = mine
    return sum(node == host and bool(cores & others) for node, others in every)


def gathered(item) -> list:
    """Return the ``item`` of every process, in the order of ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [item]
    items = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(items, item)
    return items
