"""The authors' later release (GenD) and this package with the same random weights, for its three backbones.

Their detector, loss, experiment and preprocessing run as they are; only their calls that fetch weights are replaced by
models of the same classes with random weights. Both of their files, the Hub folder and Lightning's checkpoint, are
written by their classes and loaded here.

Needs their repository, https://github.com/yermandy/GenD, and what its requirements.txt names (transformers below 5).

python benchmarks/gend_parity.py GEND [--small] [--out benchmarks/results/gend-parity.md]
"""

import argparse
import copy
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import timm
import torch
import transformers
from common import machine, write_table
from PIL import Image

from lnclip_df import LNCLIPDetector, load_config
from lnclip_df.models.backbones import build_backbone
from lnclip_df.models.input import model_input
from lnclip_df.weights import load_weights

EXPERIMENTS = {  # their names
    "CLIP": "wacv-LN+L2+UnAl",
    "Perception Encoder": "wacv-PE_L-LN+L2+UnAl",
    "DINOv3": "wacv-DINOv3L-LN+L2+UnAl",
}
OURS = {
    "CLIP": ("ViT-L-14-quickgelu", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), 224),
    "Perception Encoder": ("pe:vit_pe_core_large_patch14_336", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 336),
    "DINOv3": ("dino:dinov3-vitl16", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224),
}
WIDTH, LAYERS = 64, 2  # of the small models; images and patches are those of the large ones
BATCH = 4


def random_models(small):
    """What their encoders ask their libraries for, with random weights instead of published ones."""
    create, shape = timm.create_model, {}
    width, layers = (WIDTH, LAYERS) if small else (1024, 24)
    shape = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}

    def clip(name):
        vision = {"patch_size": 14, "num_attention_heads": width // 64, **shape}
        text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
        return transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text)).eval()

    def dino(name):
        options = {"num_attention_heads": width // 64, "num_register_tokens": 4, **shape}
        return transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**options)).eval()

    def perception(name, pretrained, **options):
        if small:
            options |= {"embed_dim": width, "depth": layers, "num_heads": 1, "attn_pool_num_heads": 1}
        return create(name, pretrained=False, **options)

    stack = ExitStack()
    for owner, name, function in (
        (transformers.CLIPModel, "from_pretrained", clip),
        (transformers.CLIPProcessor, "from_pretrained", lambda name: transformers.CLIPImageProcessor()),
        (transformers.AutoModel, "from_pretrained", dino),
        (transformers.AutoImageProcessor, "from_pretrained", lambda name: transformers.DINOv3ViTImageProcessorFast()),
        (timm, "create_model", perception),
    ):
        stack.enter_context(patch.object(owner, name, function))
    return stack


def their_step(model, image, label):
    """Logits, and the losses and gradients of ``model.training_step``, which also writes logs."""
    from src.loss import LossInputs

    outputs = model.model.forward(model.feature_extractor(image))
    loss = model.criterion(
        LossInputs(logits_labels=outputs.logits_labels, labels=label, l2_embeddings=outputs.l2_embeddings)
    )
    loss.total.backward()
    weights = model.config.loss
    terms = {
        "ce": loss.ce_labels / weights.ce_labels,
        "alignment": loss.alignment_labels / weights.alignment_labels,
        "uniformity": loss.uniformity / weights.uniformity,
    }
    gradients = {name: p.grad for name, p in model.feature_extractor.named_parameters() if p.requires_grad}
    return outputs.logits_labels.detach(), terms, gradients


def saved(model, name, folder, small):
    """Their two files: the Hub folder, by the class that the Hub's readers use, and Lightning's checkpoint."""
    from src.hf.modeling_gend import GenD, GenDConfig

    hub = GenD(GenDConfig(backbone=name, head="LinearNorm"))
    hub.load_state_dict(model.state_dict())
    hub.save_pretrained(folder / "hub")
    hyper = dict(model.hparams)
    if small:  # the real name would contradict the shape
        hyper["backbone"] = f"small {name}"
        config = json.loads((folder / "hub" / "config.json").read_text())
        (folder / "hub" / "config.json").write_text(json.dumps(config | {"backbone": hyper["backbone"]}))
    torch.save({"epoch": 3, "state_dict": model.state_dict(), "hyper_parameters": hyper}, folder / "model.ckpt")
    return {"Hub folder": folder / "hub", "Lightning": folder / "model.ckpt"}


def our_config(kind, small):
    """Our configuration of the same detector."""
    name, mean, std, positions = OURS[kind]
    backbone = {"name": name, "pretrained": "none"} | ({} if kind == "CLIP" else {"image_size": 224})
    if small:
        patch_size = 16 if kind == "DINOv3" else 14
        backbone["vision"] = {
            "image_size": positions, "patch_size": patch_size, "width": WIDTH, "layers": LAYERS, "head_width": 64,
        }  # fmt: skip
    settings = {
        "lnclip.backbone": backbone, "mean": mean, "std": std, "lnclip.precision": "fp32",
        "lnclip.slerp.enabled": False, "lnclip.loss.alignment": 0.1, "lnclip.loss.uniformity": 0.5,
    }  # fmt: skip
    return load_config("lnclip.yaml", settings)


def compare(kind, small, folder):
    """One row of the table."""
    from src.exp.wacv_rebuttal import registered_experiments
    from src.model.GenD import GenD

    torch.manual_seed(0)
    experiment = copy.deepcopy(registered_experiments[EXPERIMENTS[kind]][0])
    with random_models(small):
        theirs = GenD(experiment)
        with torch.no_grad():
            for parameter in theirs.parameters():
                std = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
                parameter.add_(std * torch.randn_like(parameter))
        files = saved(theirs, experiment.backbone, folder, small)
        preprocess = theirs.get_preprocessing()
    config = our_config(kind, small)
    detector = LNCLIPDetector(config, build_backbone(config)).train()
    for file in files.values():
        with torch.no_grad():
            for parameter in detector.parameters():
                parameter.zero_()
        load_weights(detector, file)

    noise = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), dtype=np.uint8)
    crops = [np.asarray(Image.fromarray(each).resize((256, 256), Image.Resampling.BICUBIC)) for each in noise]
    image = torch.stack([preprocess(Image.fromarray(crop)) for crop in crops])
    ours = detector.backbone_input(torch.stack([model_input(crop, config) for crop in crops]))
    apart = {"input": (ours - image).abs().max().item()}
    label = torch.arange(BATCH) % 2

    logits, terms, gradients = their_step(theirs, image, label)
    predicted = detector({"image": image, "label": label})
    losses = detector.get_losses({"label": label}, predicted)
    losses["overall"].backward()
    apart["logits"] = (predicted["cls"] - logits).abs().max().item()
    apart |= {term: abs(losses[term].item() - value) for term, value in terms.items()}
    tuned = {name: p for name, p in detector.backbone.named_parameters() if p.requires_grad}
    assert len(tuned) == len(gradients) and sum(p.numel() for p in tuned.values()) == sum(
        g.numel() for g in gradients.values()
    )
    largest = max(g.abs().max() for g in gradients.values())
    apart["LayerNorm gradients"] = max(
        ((a.grad - b).abs().max() / largest).item()
        for a, b in zip(tuned.values(), map(gradients.get, _in_our_order(tuned, gradients)), strict=True)
    )
    return {
        "backbone": f"{kind}, {'small' if small else 'L'}",
        "tuned parameters": f"{sum(p.numel() for p in tuned.values()):,}",
        **{what: f"{value:.0e}" if value else "0" for what, value in apart.items()},
        "files loaded": " and ".join(files),
    }


def _in_our_order(tuned, gradients):
    """Their names in the order of ours: both count blocks, and name LayerNorms in the same order within one."""

    def key(name):
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        early = any(part in name for part in ("pre_layrnorm", "ln_pre", "norm_pre"))
        late = 1 if "attn_pool" in name else 0
        return (numbers or [-1 if early else 10**6 + late]), name.split(".")[-2][-1], name.rpartition(".")[2]

    ranks = {name: rank for rank, name in enumerate(sorted(tuned, key=key))}
    theirs = sorted(gradients, key=key)
    return [theirs[ranks[name]] for name in tuned]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gend", type=Path, help="a checkout of the authors' repository")
    parser.add_argument("--small", action="store_true", help="small models only: 64 channels, 2 blocks")
    parser.add_argument("--out", default="benchmarks/results/gend-parity.md")
    options = parser.parse_args()
    sys.path.insert(0, str(options.gend))
    rows = []
    for small in (True,) if options.small else (True, False):
        for kind in EXPERIMENTS:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(compare(kind, small, Path(folder)))
                print(rows[-1], flush=True)
    versions = f"transformers {transformers.__version__}, timm {timm.__version__}"
    write_table(
        options.out, "The authors' modules and ours, largest differences", f"{machine('cpu')}, {versions}", rows
    )


if __name__ == "__main__":
    main()
