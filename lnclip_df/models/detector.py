"""LNCLIPDetector: a backbone's feature on the unit sphere and a linear head, with the paper's loss."""

import math
import shutil
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import nn

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.models.backbones import build_backbone
from lnclip_df.models.backbones.base import Backbone
from lnclip_df.models.pixels import normalize as normalize_pixels
from lnclip_df.models.sphere import alignment, normalize, slerp_augment, uniformity

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class LNCLIPDetector(nn.Module):
    """LNCLIP-DF (arXiv 2508.06248): a backbone whose LayerNorms are tuned, and a linear head.

    The detector reads no files: ``lnclip_df.build_detector`` builds one with pretrained or trained weights. It has no
    buffers, so that DDP has nothing to broadcast when only one process tests.

    Args:
        config: see ``lnclip_df.load_config``.
        backbone: the backbone with its weights; by default one with random weights.

    Attributes:
        settings: the ``lnclip`` section of ``config``.
        backbone: images → CLS features B×D.
        head: ``nn.Linear(D, 2)``, logits of real and fake.

    Raises:
        LNCLIPError: no backbone is given, and ``lnclip.backbone.pretrained`` is not ``none``.

    >>> from lnclip_df import load_config
    >>> tiny = "lnclip.backbone={name: tiny, pretrained: none, vision: {image_size: 32, width: 64, layers: 2}}"
    >>> detector = LNCLIPDetector(load_config("lnclip.yaml", ["resolution=32", tiny])).eval()
    >>> detector({"image": torch.zeros(3, 3, 32, 32)}, inference=True)["prob"].shape
    torch.Size([3])
    """

    def __init__(self, config: Config, backbone: Backbone | None = None):
        super().__init__()
        self.config = config
        self.settings = config.lnclip
        self._compiled: bool | None = None
        self.backbone = self._random_backbone() if backbone is None else backbone
        self.head = nn.Linear(self.backbone.width, 2)
        self.backbone.requires_grad_(self.settings.tune == "all")
        if self.settings.tune == "layernorm":
            for norm in self.backbone.layer_norms():
                norm.requires_grad_(True)

    def _random_backbone(self):
        wanted = self.settings.backbone
        if wanted.pretrained != "none":
            raise LNCLIPError(
                f"lnclip.backbone.pretrained is {wanted.pretrained}, and LNCLIPDetector(config) loads no weights; use "
                "lnclip_df.build_detector(config), or set it to none for random weights"
            )
        backbone = build_backbone(self.config)
        backbone.init_weights(wanted.seed)
        return backbone

    def backbone_identity(self) -> dict:
        """Return what weights must agree with: the backbone's shape and activation, and ``normalize``."""
        return {**self.backbone.identity(), "normalize": self.settings.normalize}

    def backbone_input(self, image: torch.Tensor) -> torch.Tensor:
        """Return images B×3×R×R, where R is ``resolution``, normalised and at the backbone's size S: float32 B×3×S×S.

        Images are uint8, or normalised already, as DeepfakeBench's are: the result is the same. With
        ``lnclip.resize: backbone`` they are resized as by the backbone's own processor. Other images keep their size.
        """
        resolution, size = self.config.resolution, self.backbone.image_size
        resizes = self.settings.resize == "backbone" and resolution != size
        if resizes and tuple(image.shape[1:]) == (3, resolution, resolution):
            return self.backbone.resize(image)
        return normalize_pixels(image, self.config.mean, self.config.std)

    def features(self, data_dict: dict) -> torch.Tensor:
        """Return the features z = f / ‖f‖₂ of ``image`` B×3×H×W, or f itself with ``normalize: false``.

        B×D, float32 (float64 for a float64 tower). ``feature``, if given instead, is returned: it was computed before.
        """
        if "feature" in data_dict:
            return data_dict["feature"]
        image = self.backbone_input(data_dict["image"])
        if self._compiled is None:
            self._compile(image.device)
        dtype = AUTOCAST.get(self.settings.precision)
        with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
            feature = self.backbone(image)
        if self.settings.normalize:
            return normalize(feature)
        return feature.float() if feature.dtype in (torch.float16, torch.bfloat16) else feature

    def _compile(self, device):
        """Compile the backbone's blocks, with ``lnclip.compile`` or by default on a GPU whose compilers are there."""
        compilers = find_spec("triton") is not None and any(map(shutil.which, ("cc", "gcc", "clang")))
        wanted = self.settings.compile
        self._compiled = device.type == "cuda" and compilers if wanted is None else wanted
        if self._compiled:
            self.backbone.compile_blocks()

    def classifier(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits B×2 (real, fake) of features B×D, in the features' precision."""
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features)

    def forward(self, data_dict: dict, inference: bool = False) -> dict:
        """Predict a batch; in training, also grow it by slerp.

        Args:
            data_dict: ``image`` B×3×H×W, uint8 or normalised, of the size ``resolution`` or the backbone's; ``label`` B
                (0 real, else fake), needed in training.
            inference: do not grow the batch, even in training mode.

        Returns:
            ``cls`` B×2 logits, ``prob`` B of fake, ``feat`` B×D; with a grown batch also ``cls_grown`` M×2,
            ``feat_grown`` M×D and ``label_grown`` M, whose first B rows are the given batch.
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
        return predictions

    def get_losses(self, data_dict: dict, pred_dict: dict) -> dict:
        """Return the loss CE + 0.1 · alignment + 0.5 · uniformity (weights by YAML), of the grown batch if any.

        Returns:
            Scalars ``overall``, ``ce``, ``alignment``, ``uniformity``; the last three unweighted and without a gradient
            (DeepfakeBench keeps hundreds of them), and none of weight 0. They may be NaN: see ``check_finite``.
        """
        weight = self.settings.loss
        if "feat_grown" in pred_dict:
            logits, z, y = pred_dict["cls_grown"], pred_dict["feat_grown"], pred_dict["label_grown"]
        else:
            logits, z, y = pred_dict["cls"], pred_dict["feat"], (data_dict["label"] != 0).long()
        terms = {}
        if weight.ce:
            terms["ce"] = F.cross_entropy(logits, y)
        if weight.alignment:
            terms["alignment"] = alignment(z, y, weight.half_squared)
        if weight.uniformity:
            terms["uniformity"] = uniformity(z, weight.temperature, weight.half_squared)
        overall = sum(getattr(weight, name) * value for name, value in terms.items())
        return {"overall": overall, **{name: value.detach() for name, value in terms.items()}}


def check_finite(losses: dict[str, float]):
    """Raise LNCLIPError, which names the terms, if one of ``get_losses`` or of sums of it is NaN or infinite."""
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise LNCLIPError(
            f"the loss is not finite ({', '.join(bad)}): lower lnclip.schedule.lr_max, set lnclip.precision: fp32, or "
            "check the weights and images for NaN"
        )
