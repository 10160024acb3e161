"""The exported plugin among stand-ins for the modules of DeepfakeBench that it imports."""

import importlib
import sys

import yaml
from released import clip_model

from lnclip_df.bench.export_plugin import export_plugin

REGISTRY = """
class Registry:
    def __init__(self):
        self.data = {}

    def register_module(self, module_name):
        return lambda cls: self.data.setdefault(module_name, cls)


DETECTOR = Registry()
"""
METRICS = """
def calculate_metrics_for_train(label, output):
    return 0.5, 0.5, 0.5, 0.5
"""
BASE = """
import torch


class AbstractDetector(torch.nn.Module):
    pass
"""


def make_backbone(folder):
    """A tiny CLIP with random weights in a folder, as transformers saves it."""
    clip_model().save_pretrained(folder)
    return folder


def plugin_yaml(path, backbone, **keys):
    """The configuration of the exported plugin at ``path`` with the backbone of a folder, in fp32, and other keys."""
    config = yaml.safe_load(path.read_text()) | keys
    config["lnclip"] |= {"backbone": str(backbone), "precision": "fp32"}
    config["lnclip"]["slerp"]["batch_size"] = 32
    return config


def import_plugin(folder, monkeypatch):
    """The module of the exported plugin, in a package beside the stand-ins."""
    export_plugin(folder / "exported")
    sources = {
        "metrics/__init__.py": "", "metrics/registry.py": REGISTRY, "metrics/base_metrics_class.py": METRICS,
        "detectors/__init__.py": "", "detectors/base_detector.py": BASE,
        "detectors/lnclip_detector.py": (folder / "exported" / "lnclip_detector.py").read_text(),
    }  # fmt: skip
    for name, text in sources.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("metrics", "detectors")]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("detectors.lnclip_detector")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("metrics", "detectors")]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])  # and removed after the test
    return module
