"""Tiny detectors with random weights: as the paper's authors release theirs, and ours of the same shape."""

import copy
import functools
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnclip_df import LNCLIPDetector, load_config
from lnclip_df.weights import save_weights

IMAGE, WIDTH, LAYERS, HEADS, PATCH = 32, 64, 2, 2, 16
PEFT_TARGETS = ["pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm", "layernorm"]


def tiny_config(*overrides, **options):
    """The configuration of a tiny detector in fp32."""
    return copy.deepcopy(_config(*overrides, **options))


@functools.cache
def _config(*overrides, normalize=True, pretrained="none", seed=0, tune="layernorm", **vision):
    shape = {"image_size": IMAGE, "patch_size": PATCH, "width": WIDTH, "layers": LAYERS, "head_width": WIDTH // HEADS}
    backbone = {"name": "tiny", "pretrained": str(pretrained), "seed": seed, "vision": shape | vision}
    off_the_sphere = ["lnclip.slerp.enabled=false", "lnclip.loss.alignment=0", "lnclip.loss.uniformity=0"]
    return load_config(
        "lnclip.yaml",
        [f"resolution={shape['image_size']}", f"lnclip.backbone={json.dumps(backbone)}", f"lnclip.tune={tune}",
         "lnclip.precision=fp32", f"lnclip.normalize={str(normalize).lower()}",
         *([] if normalize else off_the_sphere), *overrides],
    )  # fmt: skip


def tiny_detector(*overrides, **options):
    """A tiny detector, in evaluation mode, whose LayerNorms and head are not the ones it is built with."""
    torch.manual_seed(3)
    detector = LNCLIPDetector(tiny_config(*overrides, **options)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in [*(p for norm in detector.backbone.layer_norms() for p in norm.parameters()),
                          *detector.head.parameters()]:  # fmt: skip
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return detector


def saved_weights(folder):
    """A file of weights with their configuration, whose probabilities are neither alike nor at an end."""
    detector = tiny_detector()
    with torch.no_grad():
        detector.head.weight.mul_(3)
    save_weights(detector, folder / "best.safetensors", {"config": tiny_config().to_dict()}, delta=False)
    return folder / "best.safetensors"


def images(batch=2):
    """Some images as the detector takes them."""
    return torch.randn(batch, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(batch))


def logits_of(detector):
    """A detector's logits for ``images()``."""
    with torch.no_grad():
        return detector({"image": images()}, inference=False)["cls"]


def clip_model(hidden_act="quick_gelu"):
    """transformers' whole CLIP with random weights, LayerNorms and biases included."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "image_size": IMAGE, "patch_size": PATCH, "hidden_act": hidden_act, "projection_dim": 24,
    }  # fmt: skip
    text = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    clip = transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text)).eval()
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return clip


class Encoder(nn.Module):
    """The modules of the released encoder: CLIP's vision tower, and its projection, which is not used."""

    def __init__(self, clip):
        super().__init__()
        self.vision_model, self.visual_projection = clip.vision_model, clip.visual_projection

    def forward(self, image):
        return self.vision_model(image).pooler_output


class Released(nn.Module):
    """The modules of a released detector, ``feature_extractor`` and ``model.linear``, and its forward pass."""

    def __init__(self, normalize=True, hidden_act="quick_gelu", peft=False):
        super().__init__()
        self.normalize = normalize
        self.feature_extractor = Encoder(clip_model(hidden_act))
        self.model = nn.ModuleDict({"linear": nn.Linear(WIDTH, 2)})
        if peft:
            self._tune_with_peft()
        self.eval()

    @torch.no_grad()
    def _tune_with_peft(self):
        peft = pytest.importorskip("peft")
        self.feature_extractor = peft.get_peft_model(
            self.feature_extractor, peft.LNTuningConfig(target_modules=PEFT_TARGETS)
        )
        for name, parameter in self.feature_extractor.named_parameters():
            if "ln_tuning_layers" in name:  # as training would
                parameter.add_(0.2 * torch.randn_like(parameter))

    @torch.no_grad()
    def forward(self, image):
        feature = self.feature_extractor(image)
        return self.model["linear"](F.normalize(feature, dim=1) if self.normalize else feature)

    def state(self):
        """Tensors by name, each with a storage of its own."""
        return {name: tensor.clone().contiguous() for name, tensor in self.state_dict().items()}
