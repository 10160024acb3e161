"""A miniature DeepfakeBench checkout."""

DETECTORS = "training/detectors/__init__.py"
CONFIGS = ("training/config/train_config.yaml", "training/config/test_config.yaml")


def make_checkout(root, end="\r\n"):
    """A miniature checkout: the lines that installation looks for, CRLF ends, and a last line without one."""
    detectors = ["import sys", "", "from metrics.registry import DETECTOR", "", "from .other import Other", ""]
    config = ["mode: train", "lmdb: False", "label_dict:", "  # a comment", "  FF-real: 0", "  roop_Fake: 1"]
    texts = {
        "training/train.py": "",
        "training/test.py": "",
        DETECTORS: end.join(detectors),
        CONFIGS[0]: end.join([*config, ""]),
        CONFIGS[1]: end.join(config),
        "training/config/detector/other.yaml": "model_name: other\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return root
