"""A DeepfakeBench checkout: its files, and the configuration with which its two scripts run."""

import os
import re
from pathlib import Path

from lnclip_df.config.files import read_yaml
from lnclip_df.core.errors import LNCLIPError

DETECTORS = "training/detectors/__init__.py"
SHIM = "training/detectors/lnclip_detector.py"
CONFIG_FOLDER = "training/config/detector"
TRAIN_CONFIG = "training/config/train_config.yaml"
TEST_CONFIG = "training/config/test_config.yaml"
PREDICTOR = "preprocessing/dlib_tools/shape_predictor_81_face_landmarks.dat"
LMDB_JSON_FOLDER = "preprocessing/dataset_json_v3"


def open_checkout(path) -> Path:
    """Resolve the root of a DeepfakeBench checkout.

    Raises:
        LNCLIPError: a file that every checkout has is missing.
    """
    root = Path(path).expanduser().resolve()
    for name in ("training/train.py", "training/test.py", DETECTORS, TRAIN_CONFIG, TEST_CONFIG):
        if not (root / name).is_file():
            raise LNCLIPError(
                f"{path} is not a DeepfakeBench checkout of April 2024 or later: it has no {name}. "
                "Give the root of such a checkout."
            )
    return root


def predictor_path(root) -> str:
    """The predictor that DeepfakeBench opens at import, as this version names it: from the folder it is started in."""
    source = Path(root) / "training/dataset/fwa_blend.py"
    text = source.read_text(encoding="utf-8", errors="replace") if source.is_file() else ""
    found = re.search(r"""predictor_path\s*=\s*['"](.+?)['"]""", text)
    return found[1] if found else PREDICTOR


def train_settings(root, detector_yaml) -> dict:
    """The configuration with which ``training/train.py`` runs: ``train_config.yaml`` over the detector's YAML.

    The detector's own ``label_dict`` takes precedence. In LMDB mode the dataset JSONs are read from another folder.
    """
    detector = _detector(detector_yaml)
    config = {**detector, **read_yaml(Path(root) / TRAIN_CONFIG)}
    if "label_dict" in detector:
        config["label_dict"] = detector["label_dict"]
    if config.get("lmdb"):
        config["dataset_json_folder"] = LMDB_JSON_FOLDER
    return config


def test_settings(root, detector_yaml) -> dict:
    """The configuration with which ``training/test.py`` runs: ``test_config.yaml`` over the detector's YAML."""
    return {**_detector(detector_yaml), **read_yaml(Path(root) / TEST_CONFIG)}


def _detector(path):
    detector = read_yaml(path)
    if "extends" in detector:
        raise LNCLIPError(f"{path}: DeepfakeBench does not know extends; write every key, as lnclip-df install does")
    return detector


def json_path(root, config, dataset) -> Path:
    """The dataset JSON that DeepfakeBench reads if it is started at ``root``."""
    return Path(os.path.join(root, config["dataset_json_folder"], f"{dataset}.json"))
