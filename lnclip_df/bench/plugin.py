"""The detector as DeepfakeBench's scripts use it: with their metrics, and with its own learning rate."""

import logging
from collections import deque

import torch
from torch import distributed, nn

from lnclip_df.bench.dataset_json import steps_per_epoch
from lnclip_df.config.schema import Config, role_of
from lnclip_df.core.devices import device_name, settled_precision
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.metrics import frame_metrics, video_metrics
from lnclip_df.models.backbones.base import Backbone
from lnclip_df.models.detector import LNCLIPDetector, check_finite
from lnclip_df.models.schedule import cyclic_lr, drive_optimizer
from lnclip_df.weights.delta import FROZEN, delta_names, frozen_sha256, hash_as_tensor, hash_of_tensor
from lnclip_df.weights.load import load_start
from lnclip_df.weights.pretrained import pretrained_backbone

# get_test_metrics() keeps at most this many frames (DFDC's test set has 160,000); the oldest go first.
MAX_TEST_FRAMES = 1 << 20
DETECTOR_KEYS = ("resolution", "mean", "std", "train_batchSize", "data_aug", "lnclip")

_logger = logging.getLogger(__name__)


class BenchDetector(LNCLIPDetector):
    """``LNCLIPDetector`` with DeepfakeBench's metrics, and the cyclic learning rate for a loop that steps no scheduler.

    The rate is set before every step of the optimizer that owns the parameters, in every process. The number of steps
    per epoch is read from the training data at the first step, so that testing needs no training data.

    Args:
        config: the configuration that ``training/train.py`` or ``training/test.py`` has merged.

    Raises:
        LNCLIPError: the ``lnclip`` section is invalid or needs ``lnclip-df train``, or the pretrained weights or those
            of ``lnclip.start_from`` cannot be had or do not fit.
    """

    def __init__(self, config: dict):
        settings = _detector_config(config)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = settled_precision(settings.lnclip.precision, device)
        if precision == "fp16" and config.get("mode") != "test":
            raise LNCLIPError(
                "lnclip.precision: fp16 needs a gradient scaler, which DeepfakeBench's training does not have; set "
                "bf16 or fp32, or train with lnclip-df train"
            )
        if settings.lnclip.augment_on == "device" and config.get("mode") != "test":
            raise LNCLIPError(
                "lnclip.augment_on: device is not possible inside DeepfakeBench, which augments the frames that it "
                "reads; set lnclip.augment_on: cpu, or train with lnclip-df train"
            )
        super().__init__(settings.replace({"lnclip.precision": precision}), self.build_backbone(config))
        self._forget_predictions()
        self._frozen = None  # the hash that a delta records
        schedule = _EpochSchedule(config, self.settings.schedule)
        drive_optimizer(self, schedule.rate, schedule.log)
        if config.get("mode") != "test":
            self._prepare_training(config)
        if self.settings.resize == "backbone" and self.config.resolution == self.backbone.image_size:
            _log(
                f"lnclip: resolution: {self.config.resolution} is the backbone's own size: DeepfakeBench resizes to it "
                "with OpenCV: lnclip.resize: backbone has nothing to resize. It needs the crops' size, resolution: 256",
                logging.WARNING,
            )
        _log(f"lnclip: computing on {device_name(device)} in {precision}")
        if ignored := ignored_keys(config):
            _log(f"lnclip: without effect inside DeepfakeBench: {', '.join(ignored)}")

    def _prepare_training(self, config):
        """Load ``lnclip.start_from``, as ``lnclip-df train`` does; ``test.py`` does not need it."""
        if self.settings.start_from:
            _log(f"lnclip: training begins with the weights {load_start(self)}")
        elif config.get("start_epoch"):
            _logger.warning(
                "lnclip: start_epoch: %s sets only the learning rate; train.py loads no checkpoint. To continue a "
                "training, set lnclip.start_from to its weights",
                config["start_epoch"],
            )

    @staticmethod
    def build_backbone(config: dict) -> Backbone:
        """The backbone with its pretrained weights."""
        return pretrained_backbone(_detector_config(config))

    @staticmethod
    def build_loss(config: dict) -> nn.Module:
        """Cross-entropy over the two logits; ``get_losses`` adds the sphere's terms, which have no state."""
        return nn.CrossEntropyLoss()

    def forward(self, data_dict: dict, inference: bool = False) -> dict:
        """As ``LNCLIPDetector.forward``; with ``inference`` predictions are collected for ``get_test_metrics``.

        ``data_dict`` may contain ``name``, the video of each image.
        """
        predictions = super().forward(data_dict, inference)
        if inference and data_dict.get("label") is not None:
            label = (data_dict["label"] != 0).long().tolist()
            names = data_dict.get("name")
            names = [None] * len(label) if names is None else map(str, names)
            self._predicted.extend(zip(names, label, predictions["prob"].detach().float().tolist(), strict=True))
            self._count += len(label)
        return predictions

    def get_losses(self, data_dict: dict, pred_dict: dict) -> dict:
        """As ``LNCLIPDetector.get_losses``; LNCLIPError if the loss is NaN or infinite, naming the term."""
        losses = super().get_losses(data_dict, pred_dict)
        check_finite({name: value.item() for name, value in losses.items()})
        return losses

    def get_train_metrics(self, data_dict: dict, pred_dict: dict) -> dict:
        """Metrics of the given batch: ``acc``, ``auc``, ``eer``, ``ap``; None where a single class defines none."""
        label = (data_dict["label"] != 0).long().detach().cpu().numpy()
        return _as_deepfakebench(frame_metrics(label, pred_dict["prob"].detach().float().cpu().numpy()))

    def get_test_metrics(self) -> dict:
        """Metrics of all predictions with ``inference=True`` since the last call, which are then forgotten.

        Returns:
            ``acc``, ``auc``, ``eer``, ``ap`` over frames, ``pred`` and ``label`` as lists; if every data_dict contained
            ``name``, also ``video_auc``, ``video_eer``, ``video_ap``, ``video_acc``. Of more than
            ``MAX_TEST_FRAMES`` frames the last ones count; ``dropped`` is the number of the others.

        Raises:
            LNCLIPError: nothing was predicted.
            ValueError: a video has both labels, or a probability is NaN.
        """
        if not self._predicted:
            raise LNCLIPError("get_test_metrics: nothing was predicted with inference=True since the last call")
        names, labels, probs = (list(column) for column in zip(*self._predicted, strict=True))
        dropped = self._count - len(self._predicted)
        self._forget_predictions()
        metrics = _as_deepfakebench(frame_metrics(labels, probs)) | {"pred": probs, "label": labels, "dropped": dropped}
        if None not in names:
            metrics |= _as_deepfakebench(video_metrics(names, labels, probs), "video_")
        return metrics

    def _forget_predictions(self):
        self._predicted: deque = deque(maxlen=MAX_TEST_FRAMES)
        self._count = 0

    def train(self, mode: bool = True):
        """Set training or evaluation mode. Training mode forgets the predictions of a test loop."""
        if mode:
            self._forget_predictions()
        return super().train(mode)

    def state_dict(self, *args, destination=None, prefix="", keep_vars=False):
        """As ``Module.state_dict``; with ``lnclip.save_delta`` the LayerNorms, the head and the hash of the rest."""
        state = super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
        if self.settings.save_delta:
            saved = {prefix + name for name in delta_names(self)}
            for name in [name for name in state if name.startswith(prefix) and name not in saved]:
                del state[name]
            self._frozen = self._frozen or frozen_sha256(self)
            state[prefix + FROZEN] = hash_as_tensor(self._frozen)
        return state

    def load_state_dict(self, state_dict, strict=True, **kwargs):
        """As ``Module.load_state_dict``; also takes a delta, and what DeepfakeBench saved from its DDP wrapper.

        Raises:
            LNCLIPError: the delta was trained on other frozen weights.
        """
        if state_dict and all(key.startswith("module.") for key in state_dict):
            state_dict = {key.removeprefix("module."): value for key, value in state_dict.items()}
        if strict and set(state_dict) - {FROZEN} == set(delta_names(self)):
            state_dict = dict(state_dict)
            self._check_frozen(state_dict.pop(FROZEN, None))
            strict = False
        return super().load_state_dict(state_dict, strict=strict, **kwargs)

    def _check_frozen(self, recorded):
        if recorded is None:
            return _log("lnclip: this delta does not record its backbone, which is not checked", logging.WARNING)
        wanted, own, backbone = hash_of_tensor(recorded), frozen_sha256(self), self.settings.backbone
        if wanted != own:
            raise LNCLIPError(
                f"the checkpoint is a delta for frozen weights of SHA-256 {wanted[:12]}…; those of {backbone.name} "
                f"({backbone.pretrained}) have {own[:12]}…: set lnclip.backbone to the one it was trained with"
            )


def _as_deepfakebench(metrics, prefix=""):
    names = {"acc": "accuracy", "auc": "auroc", "eer": "eer", "ap": "ap"}
    return {prefix + theirs: metrics[ours] for theirs, ours in names.items()}


def _detector_config(config):
    """The configuration of the detector alone, from DeepfakeBench's merged one, which has more keys."""
    return Config.from_dict({key: config[key] for key in DETECTOR_KEYS if key in config})


def ignored_keys(config: dict) -> list[str]:
    """The given keys that ``lnclip-df train`` applies and DeepfakeBench, which reads the data itself, does not."""
    ours = [key for key in config.get("lnclip") or {} if role_of(f"lnclip.{key}").host]
    frames = ["frame_num.val"] if "val" in config.get("frame_num", {}) else []
    return frames + [f"lnclip.{key}" for key in sorted(ours)]


class _EpochSchedule:
    """The learning rate by number of the step. Refers to no module, so that the global hook keeps none alive."""

    def __init__(self, config, schedule):
        self.config = config
        self.start = config.get("start_epoch") or 0
        self.cycle = schedule.model_dump()
        self.steps = None

    def epoch(self, step):
        if self.steps is None:
            world = distributed.get_world_size() if _is_distributed() else 1
            self.steps = steps_per_epoch(self.config, world)
            _log(f"lnclip: {self.steps} steps per epoch in each of {world} processes")
        return self.start + step / self.steps

    def rate(self, step):
        return cyclic_lr(self.epoch(step), **self.cycle)

    def log(self, step, lr):
        _log(f"lnclip step {step} epoch {self.epoch(step):.4f} lr {lr:.2e}")


def _is_distributed():
    return distributed.is_available() and distributed.is_initialized()


def _log(message, level=logging.INFO):
    """One line from the first process; the others say it at DEBUG."""
    first = not _is_distributed() or distributed.get_rank() == 0
    _logger.log(level if first else logging.DEBUG, message)
