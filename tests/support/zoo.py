"""A zoo of one small model with random weights, in the layout of GenD's, and a Hub cache that has it."""

import hashlib
import json

import yaml
from released import HEADS, IMAGE, LAYERS, PATCH, WIDTH, Released
from safetensors.torch import save_file

from lnclip_df.weights import zoo

NAME, HUB, REVISION = "tiny-gend", "someone/Tiny_GenD", "ab" * 20
SHAPE = {"image_size": IMAGE, "patch_size": PATCH, "width": WIDTH, "layers": LAYERS, "head_width": WIDTH // HEADS}
YAML = {
    "extends": "lnclip.yaml", "resolution": IMAGE,
    "lnclip": {"backbone": {"name": "tiny", "pretrained": "none", "vision": SHAPE}, "precision": "fp32"},
}  # fmt: skip


def make_zoo(folder, monkeypatch, *, cached=True, **facts):
    """Put the model into a zoo of its own, and into a Hub cache; returns the model and its file there."""
    model = Released()
    snapshot = folder / "hub" / f"models--{HUB.replace('/', '--')}" / "snapshots" / REVISION
    if cached:
        snapshot.mkdir(parents=True)
        save_file(model.state(), snapshot / "model.safetensors", metadata={"format": "pt"})
        (snapshot / "config.json").write_text(json.dumps({"model_type": "GenD", "head": "LinearNorm"}))
    file = snapshot / "model.safetensors"
    known = {
        "about": "a small one", "hub": HUB, "file": "model.safetensors", "revision": REVISION,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest() if cached else None, "bytes": None, "recipe": "gend",
        "yaml": "tiny.yaml", "licence": None, "paper": "none", "source": "this test", "figures": None,
    }  # fmt: skip
    (folder / "configs").mkdir()
    (folder / "configs" / "tiny.yaml").write_text(yaml.safe_dump(YAML))
    (folder / "configs" / "models.yaml").write_text(yaml.safe_dump({NAME: known | facts}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(zoo, "bench_configs", lambda: folder / "configs")
    monkeypatch.setattr("lnclip_df.weights.hub.require_hub", lambda: no_network())
    zoo.released_models.cache_clear()
    return model, file


def no_network():
    raise OSError("no network")
