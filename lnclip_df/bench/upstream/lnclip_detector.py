"""
# description: LNCLIP-DF, CLIP with tuned LayerNorms, features on the unit sphere, and slerp between features

Functions in the class are summarized as:
1. __init__: Initialization
2. build_backbone: Backbone-building
3. build_loss: Loss-function-building
4. features: Feature-extraction
5. classifier: Classification
6. get_losses: Loss-computation
7. get_train_metrics: Training-metrics-computation
8. forward: Forward-propagation

Reference:
@article{yermakov2025deepfake,
  title={Deepfake Detection that Generalizes Across Benchmarks},
  author={Yermakov, Andrii and Cech, Jan and Matas, Jiri and Fritz, Mario},
  journal={arXiv preprint arXiv:2508.06248},
  year={2025}
}
"""

import json
import logging
import math
import os
import weakref
from functools import lru_cache

import torch
import torch.nn as nn
import torch.nn.functional as F
from metrics.base_metrics_class import calculate_metrics_for_train
from metrics.registry import DETECTOR
from torch import distributed as dist
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import CLIPVisionModel

from .base_detector import AbstractDetector

logger = logging.getLogger(__name__)

# Datasets whose JSON has one more level, the compression, under the split.
COMPRESSED = ("FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FaceShifter", "DeepFakeDetection")


@DETECTOR.register_module(module_name="lnclip")
class LNCLIPDetector(AbstractDetector):
    """CLIP's vision transformer with trained LayerNorms and a linear head over the normalised CLS feature.

    Training adds slerps between features of one class to each batch. The loss is cross-entropy plus alignment plus
    uniformity. The learning rate follows cycles of a linear rise and a cosine fall: it is set before every step of the
    optimizer, because the trainer steps its scheduler once, after the last epoch.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.settings = config["lnclip"]
        with torch.random.fork_rng(devices=[]):  # the head does not depend on how the backbone is loaded
            self.backbone = self.build_backbone(config)
        self.head = nn.Linear(self.backbone.config.hidden_size, 2)
        self.loss_func = self.build_loss(config)
        # With DDP the trainer tests on rank 0 alone: a buffer that DDP broadcasts would wait for the other ranks.
        self._ddp_params_and_buffers_to_ignore = {name for name, _ in self.named_buffers()}
        drive_learning_rate(self, config)

    def build_backbone(self, config):
        model = CLIPVisionModel.from_pretrained(self.settings["backbone"])
        backbone = getattr(model, "vision_model", model)  # transformers 4 wraps the tower
        backbone.requires_grad_(False)
        for module in backbone.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)
        return backbone

    def build_loss(self, config):
        return nn.CrossEntropyLoss()

    def features(self, data_dict: dict) -> torch.Tensor:
        image, size = data_dict["image"], self.backbone.config.image_size
        if image.shape[-1] != size:
            image = resize_as_pillow(image, size, self.config["mean"], self.config["std"])
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.settings["precision"] == "bf16"):
            feature = self.backbone(image).pooler_output
        return F.normalize(feature.float(), dim=1)

    def classifier(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(features)

    def forward(self, data_dict: dict, inference=False) -> dict:
        feature = self.features(data_dict)
        logits = self.classifier(feature)
        pred_dict = {"cls": logits, "prob": torch.softmax(logits, dim=1)[:, 1], "feat": feature}
        slerp_size = self.settings["slerp"]["batch_size"]
        if self.training and not inference and slerp_size > len(feature):
            label = (data_dict["label"] != 0).long()
            grown, grown_label = grow_by_slerp(feature, label, slerp_size, self.settings["slerp"]["t_range"])
            grown_logits = torch.cat([logits, self.classifier(grown[len(label) :])])
            pred_dict.update(cls_grown=grown_logits, feat_grown=grown, label_grown=grown_label)
        return pred_dict

    def get_losses(self, data_dict: dict, pred_dict: dict) -> dict:
        weight = self.settings["loss"]
        if "feat_grown" in pred_dict:
            logits, z, y = pred_dict["cls_grown"], pred_dict["feat_grown"], pred_dict["label_grown"]
        else:
            logits, z, y = pred_dict["cls"], pred_dict["feat"], (data_dict["label"] != 0).long()
        terms = {
            "ce": self.loss_func(logits, y),
            "alignment": alignment(z, y),
            "uniformity": uniformity(z, weight["temperature"]),
        }
        overall = sum(weight[name] * term for name, term in terms.items())
        if not torch.isfinite(overall):
            raise ValueError(f"the loss is {overall.item()}: lower lr_max, or set precision: fp32")
        # The recorder keeps the losses of many steps: only the one with a gradient may keep its graph.
        return {"overall": overall, **{name: term.detach() for name, term in terms.items()}}

    def get_train_metrics(self, data_dict: dict, pred_dict: dict) -> dict:
        label = (data_dict["label"] != 0).long()
        auc, eer, acc, ap = calculate_metrics_for_train(label.detach(), pred_dict["cls"].detach())
        return {"acc": acc, "auc": auc, "eer": eer, "ap": ap}

    def load_state_dict(self, state_dict, *args, **kwargs):
        """Also takes the checkpoint of a DDP training."""
        if state_dict and all(name.startswith("module.") for name in state_dict):
            state_dict = {name[len("module.") :]: tensor for name, tensor in state_dict.items()}
        return super().load_state_dict(state_dict, *args, **kwargs)


# ---- the unit sphere


def grow_by_slerp(z, y, size, t_range):
    """Append slerps between random samples of one class to features z (N x D) and labels y, up to ``size`` samples."""
    count = size - len(z)
    i = torch.randint(len(z), (count,), device=z.device)
    j = partners_of(i, y)
    low, high = t_range
    t = low + (high - low) * torch.rand(count, device=z.device, dtype=z.dtype)
    return torch.cat([z, slerp(z[i], z[j], t[:, None])]), torch.cat([y, y[i]])


def partners_of(i, y):
    """For each index in i another index of the same class, or itself where the class has one sample."""
    order = torch.argsort(y, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(y), device=y.device)
    _, inverse, count = y.unique(return_inverse=True, return_counts=True)
    first, size = (count.cumsum(0) - count)[inverse[i]], count[inverse[i]]
    u = torch.rand(len(i), device=y.device)
    step = torch.where(size > 1, 1 + (u * (size - 1)).long().clamp(max=size - 2), 0)
    return order[first + (rank[i] - first + step) % size]


def slerp(a, b, t):
    """Points on the great circles between unit vectors; close to parallel, the normalised linear interpolation."""
    cos = (a * b).sum(-1, keepdim=True)
    near = 1 - cos.square() < torch.finfo(cos.dtype).eps ** (2 / 3)
    theta = torch.arccos(cos.masked_fill(near, 0.0))  # masked first: the gradient of arccos is infinite at 1
    arc = (torch.sin((1 - t) * theta) * a + torch.sin(t * theta) * b) / torch.sin(theta)
    chord = (1 - t) * a + t * b
    centre = chord.detach().square().sum(-1, keepdim=True) < 1e-6  # of opposite vectors
    return torch.where(near, F.normalize(torch.where(centre, a, chord), dim=-1), arc)


def alignment(z, y):
    """The mean squared distance between samples of one class, from the means of the classes."""
    total, pairs = z.sum() * 0, 0
    for label in y.unique():
        members = z[y == label]
        total = total + len(members) * (members - members.mean(dim=0)).square().sum()
        pairs += len(members) * (len(members) - 1) // 2
    return total / max(pairs, 1)


def uniformity(z, temperature):
    """The log of the mean Gaussian potential over all pairs."""
    n = len(z)
    if n < 2:
        return z.sum() * 0
    norm = z.square().sum(dim=1)
    potential = torch.exp(-temperature * (norm[:, None] + norm[None] - 2 * z @ z.T))
    mean = (potential.sum() - potential.diagonal().sum()) / (n * (n - 1))
    return mean.clamp(min=1e-6).log()


# ---- the resize of CLIP's processor

FRACTION = 22  # bits after the binary point of the integer weights with which Pillow resizes 8-bit images


@lru_cache(maxsize=32)
def pillow_digits(old, new, device):
    """Pillow's bicubic weights (a = -0.5) times 2^22 as three digits of 8 bits, lowest first: old x 3 new."""
    scale = old / new
    stretch = max(scale, 1.0)
    weights = torch.zeros(new, old, dtype=torch.float64)
    for row in range(new):
        centre = (row + 0.5) * scale
        low, high = max(int(centre - 2 * stretch + 0.5), 0), min(int(centre + 2 * stretch + 0.5), old)
        x = ((torch.arange(low, high, dtype=torch.float64) - centre + 0.5) / stretch).abs()
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        values = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
        weights[row, low:high] = values / values.sum()
    rest = torch.trunc(weights * 2**FRACTION + torch.copysign(torch.tensor(0.5), weights)).long()
    digits = []
    for _ in range(2):
        digits.append((rest + 128) % 256 - 128)
        rest = (rest - digits[-1]) // 256
    with torch.inference_mode(False):
        return torch.cat([*digits, rest]).T.float().contiguous().to(device)


def resize_rows(grey, new):
    """Resize whole grey levels ... x old to ... x new. All sums are integers below 2^24: exact in float32."""
    if grey.shape[-1] == new:
        return grey
    low, middle, high = (grey @ pillow_digits(grey.shape[-1], new, grey.device)).chunk(3, dim=-1)
    carry = ((low + 2 ** (FRACTION - 1)) / 256).floor()
    carry = ((middle + carry) / 256).floor()
    return ((high + carry) * 2.0 ** (16 - FRACTION)).floor().clamp(0, 255)


@torch.no_grad()
def resize_as_pillow(image, size, mean, std):
    """Resize normalised images B x 3 x H x W by antialiased bicubic interpolation, equal to Pillow to the last bit."""
    with torch.autocast(image.device.type, enabled=False):
        mean, std = (torch.tensor(each, device=image.device).view(3, 1, 1) for each in (mean, std))
        grey = ((image.float() * std + mean) * 255).round().clamp(0, 255)
        grey = resize_rows(resize_rows(grey, size).mT, size).mT
        return ((grey / 255 - mean) / std).contiguous()


# ---- the learning rate


def cyclic_rate(epoch, warmup_epochs, decay_epochs, lr_min, lr_max):
    """The learning rate at a fractional epoch: a linear rise and a cosine fall, repeated."""
    position = math.fmod(epoch, warmup_epochs + decay_epochs)
    if position < warmup_epochs:
        return lr_min + (lr_max - lr_min) * position / warmup_epochs
    progress = (position - warmup_epochs) / decay_epochs
    return lr_min + (lr_max - lr_min) * (1 + math.cos(math.pi * progress)) / 2


def steps_per_epoch(config):
    """The number of batches in an epoch of each process, from the JSONs of the training sets."""
    frames = 0
    for dataset in config["train_dataset"]:
        with open(os.path.join(config["dataset_json_folder"], f"{dataset}.json")) as file:
            content = json.load(file)
        name, compression = dataset, config["compression"]
        if name.endswith("_c40"):
            name, compression = name[: -len("_c40")], "c40"
        for splits in content[name].values():
            videos = splits["train"][compression] if name in COMPRESSED else splits["train"]
            for video in videos.values():
                if config.get("dataset_type") != "pair" or config["label_dict"][video["label"]] != 0:
                    frames += min(len(video["frames"]), config["frame_num"]["train"])
    world_size = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    return math.ceil(math.ceil(frames / world_size) / config["train_batchSize"])


def drive_learning_rate(detector, config):
    """Set the learning rate before each step of the optimizer that has the detector's parameters."""
    reference, start, schedule = weakref.ref(detector), config.get("start_epoch") or 0, config["lnclip"]["schedule"]
    step, steps = 0, None  # the JSONs are read at the first step: a test needs no training set

    def before_step(optimizer, args, kwargs):
        nonlocal step, steps
        detector = reference()
        ours = set() if detector is None else {id(p) for p in detector.parameters() if p.requires_grad}
        groups = [group for group in optimizer.param_groups if any(id(p) in ours for p in group["params"])]
        if groups:
            steps = steps or steps_per_epoch(config)
            rate = cyclic_rate(start + step / steps, **schedule)
            for group in groups:
                group["lr"] = rate
            logger.debug("lnclip step %d lr %.2e", step, rate)
            step += 1

    register_optimizer_step_pre_hook(before_step)
