"""LNCLIPDetector: CLIP's CLS feature on the unit sphere and a linear head, under DeepfakeBench's detector contract."""

from collections import deque
from dataclasses import asdict

import torch
from torch import nn

from lnclip_df.config.loading import settings
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.metrics import frame_metrics, video_metrics
from lnclip_df.models.backbones.clip import VisionSpec, VisionTower, build_tower, open_clip_spec
from lnclip_df.models.sphere import alignment, normalize, slerp_augment, uniformity
from lnclip_df.weights import load_pretrained

# get_test_metrics() keeps at most this many frames (DFDC's test set has 160,000); the oldest go first.
MAX_TEST_FRAMES = 1 << 20


class LNCLIPDetector(nn.Module):
    """LNCLIP-DF (arXiv 2508.06248): a CLIP vision tower of which the LayerNorms are tuned, and a linear head.

    Args:
        config: a detector configuration (``lnclip_df.load_config``); what is ours stands under ``lnclip``.

    Attributes:
        settings: the validated ``lnclip`` section.
        backbone: the vision tower, images → CLS features B×D.
        head: ``nn.Linear(D, 2)``, logits of real and fake.

    Raises:
        LNCLIPError: the configuration or the pretrained weights do not fit.

    >>> from lnclip_df import load_config
    >>> tiny = "lnclip.backbone={name: tiny, pretrained: none, vision: {image_size: 32, width: 64, layers: 2}}"
    >>> detector = LNCLIPDetector(load_config("lnclip.yaml", ["resolution=32", tiny])).eval()
    >>> detector({"image": torch.zeros(3, 3, 32, 32)}, inference=True)["prob"].shape
    torch.Size([3])
    """

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        self.settings = settings(config)
        self.backbone = self.build_backbone(config)
        self.head = nn.Linear(self.backbone.spec.width, 2)
        self.loss_func = self.build_loss(config)
        self._freeze()
        self._reset_test_accumulators()

    def build_backbone(self, config: dict) -> VisionTower:
        """Build the vision tower and load, or draw, its weights."""
        backbone = self.settings.backbone
        if backbone.vision is None:
            spec = open_clip_spec(backbone.name)
        else:
            spec = VisionSpec.from_cfg(backbone.vision.model_dump(), backbone.vision.quick_gelu)
        if config.get("resolution", spec.image_size) != spec.image_size:
            raise LNCLIPError(
                f"resolution: {config['resolution']} differs from the {spec.image_size} px of {backbone.name}; "
                f"set resolution: {spec.image_size}"
            )
        tower = build_tower(spec, self.settings.activation_checkpointing)
        if backbone.pretrained == "none":
            tower.init_weights(backbone.seed)
        else:
            load_pretrained(tower, backbone.name, backbone.pretrained)
        return tower

    def build_loss(self, config: dict) -> nn.Module:
        """Cross-entropy over the two logits; the sphere's losses need no state."""
        return nn.CrossEntropyLoss()

    def _freeze(self):
        tune = self.settings.tune
        self.backbone.requires_grad_(tune == "all")
        if tune == "layernorm":
            for norm in self.backbone.layer_norms():
                norm.requires_grad_(True)

    def backbone_identity(self) -> dict:
        """What weights must agree with: the backbone's shape and activation, and whether features are normalised."""
        return {**asdict(self.backbone.spec), "normalize": self.settings.normalize}

    def features(self, data_dict: dict) -> torch.Tensor:
        """Features of images: z = f / ‖f‖₂, or f itself with ``normalize: false``.

        Args:
            data_dict: holds ``image`` B×3×H×W, normalised with CLIP's mean and std.

        Returns:
            B×D, float32 (float64 for a float64 tower).
        """
        image = data_dict["image"]
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            feature = self.backbone(image)
        if self.settings.normalize:
            return normalize(feature)
        return feature.float() if feature.dtype in (torch.float16, torch.bfloat16) else feature

    def classifier(self, features: torch.Tensor) -> torch.Tensor:
        """Logits B×2 (real, fake) of features B×D, in the features' precision."""
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features)

    def forward(self, data_dict: dict, inference: bool = False) -> dict:
        """Predict a batch; in training, also grow it by slerp.

        Args:
            data_dict: ``image`` B×3×H×W; ``label`` B (0 real, else fake), needed in training; ``name`` optionally, the
                video of each image, for ``get_test_metrics``.
            inference: True in a test loop: predictions are collected for ``get_test_metrics``.

        Returns:
            ``cls`` B×2 logits, ``prob`` B of fake, ``feat`` B×D of the given batch; in training with slerp also
            ``cls_grown`` M×2, ``feat_grown`` M×D and ``label_grown`` M of the grown one, which begins with the given.
        """
        feature = self.features(data_dict)
        logits = self.classifier(feature)
        predictions = {"cls": logits, "prob": logits.softmax(dim=1)[:, 1], "feat": feature}
        slerp = self.settings.slerp
        if self.training and not inference and slerp.enabled:
            label = (data_dict["label"] != 0).long()
            size = max(slerp.batch_size, len(label))
            grown, grown_label = slerp_augment(feature, label, size, t_range=slerp.t_range)
            grown_logits = torch.cat([logits, self.classifier(grown[len(label) :])])
            predictions |= {"cls_grown": grown_logits, "feat_grown": grown, "label_grown": grown_label}
        if inference:
            self._accumulate(data_dict, predictions)
        return predictions

    def get_losses(self, data_dict: dict, pred_dict: dict) -> dict:
        """The loss CE + 0.1 · alignment + 0.5 · uniformity (weights by YAML), over the grown batch where there is one.

        Returns:
            Scalars ``overall``, ``ce``, ``alignment``, ``uniformity``; the last three unweighted, and those of weight 0
            left out.

        Raises:
            LNCLIPError: the loss is NaN or infinite; the message says in which term.
        """
        weight = self.settings.loss
        if "feat_grown" in pred_dict:
            logits, z, y = pred_dict["cls_grown"], pred_dict["feat_grown"], pred_dict["label_grown"]
        else:
            logits, z, y = pred_dict["cls"], pred_dict["feat"], (data_dict["label"] != 0).long()
        terms = {}
        if weight.ce:
            terms["ce"] = self.loss_func(logits, y)
        if weight.alignment:
            terms["alignment"] = alignment(z, y, weight.half_squared)
        if weight.uniformity:
            terms["uniformity"] = uniformity(z, weight.temperature, weight.half_squared)
        overall = sum(getattr(weight, name) * value for name, value in terms.items())
        if not torch.isfinite(overall):
            raise LNCLIPError(self._explain_nan(terms, z))
        return {"overall": overall, **terms}

    @staticmethod
    def _explain_nan(terms, z):
        bad = ", ".join(name for name, value in terms.items() if not torch.isfinite(value)) or "their sum"
        rows = (~torch.isfinite(z).all(dim=1)).sum().item()
        return (
            f"the loss is not finite in {bad}: {rows} of {len(z)} features hold NaN or infinity; lower "
            "lnclip.schedule.lr_max, set lnclip.precision: fp32, or look for broken weights and images"
        )

    def get_train_metrics(self, data_dict: dict, pred_dict: dict) -> dict:
        """Metrics of the given batch: ``acc``, ``auc``, ``eer``, ``ap``; None where a single class defines none."""
        label = (data_dict["label"] != 0).long().detach().cpu().numpy()
        return _as_deepfakebench(frame_metrics(label, pred_dict["prob"].detach().float().cpu().numpy()))

    def get_test_metrics(self) -> dict:
        """Metrics of everything predicted with ``inference=True`` since the last call, which are then forgotten.

        Returns:
            ``acc``, ``auc``, ``eer``, ``ap`` over frames, ``pred`` and ``label`` as arrays; where ``name`` stood in
            every data_dict, also ``video_auc``, ``video_eer``, ``video_ap``, ``video_acc``. Of more than
            ``MAX_TEST_FRAMES`` frames the last ones count; ``dropped`` says how many did not.

        Raises:
            LNCLIPError: nothing was predicted.
            ValueError: a video has both labels, or a probability is NaN.
        """
        if not self._test:
            raise LNCLIPError("get_test_metrics: nothing was predicted with inference=True since the last call")
        names, labels, probs = (list(column) for column in zip(*self._test, strict=True))
        dropped = self._test_seen - len(self._test)
        self._reset_test_accumulators()
        metrics = _as_deepfakebench(frame_metrics(labels, probs)) | {"pred": probs, "label": labels, "dropped": dropped}
        if None not in names:
            metrics |= _as_deepfakebench(video_metrics(names, labels, probs), "video_")
        return metrics

    def _accumulate(self, data_dict, predictions):
        if data_dict.get("label") is None:
            return
        label = (data_dict["label"] != 0).long().tolist()
        names = data_dict.get("name")
        names = [None] * len(label) if names is None else [str(name) for name in names]
        prob = predictions["prob"].detach().float().tolist()
        self._test.extend(zip(names, label, prob, strict=True))
        self._test_seen += len(label)

    def _reset_test_accumulators(self):
        self._test = deque(maxlen=MAX_TEST_FRAMES)
        self._test_seen = 0

    def train(self, mode: bool = True):
        """Set training or evaluation mode; going into training forgets what a test loop had collected."""
        if mode:
            self._reset_test_accumulators()
        return super().train(mode)


def _as_deepfakebench(metrics, prefix=""):
    names = {"acc": "accuracy", "auc": "auroc", "eer": "eer", "ap": "ap"}
    return {prefix + theirs: metrics[ours] for theirs, ours in names.items()}
