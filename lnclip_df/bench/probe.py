"""What the interpreter offers to DeepfakeBench, as JSON on the last line: run in a checkout's root by ``doctor``."""

import importlib.metadata
import importlib.util
import json
import os
import sys

PACKAGES = {
    "albumentations": "albumentations==1.3.1",
    "clip": "openai-clip",
    "cv2": "opencv-python-headless<4.12",
    "dlib": "dlib-bin",
    "efficientnet_pytorch": "efficientnet_pytorch",
    "einops": "einops",
    "filterpy": "filterpy",
    "fvcore": "fvcore",
    "imgaug": "imgaug",
    "imutils": "imutils",
    "kornia": "kornia",
    "lmdb": "lmdb",
    "loralib": "loralib",
    "numpy": "numpy<2",
    "pandas": "pandas",
    "pkg_resources": "setuptools<81",
    "scipy": "scipy",
    "seaborn": "seaborn",
    "segmentation_models_pytorch": "segmentation_models_pytorch",
    "simplejson": "simplejson",
    "skimage": "scikit-image<0.25",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
    "transformers": "transformers",
}
DISTRIBUTIONS = ("albumentations", "numpy", "opencv-python", "opencv-python-headless", "setuptools", "torch")


def probe() -> dict:
    """Absent packages, versions, the number of GPUs, and what stops DeepfakeBench's own import (``None``: nothing)."""
    absent = [requirement for module, requirement in PACKAGES.items() if importlib.util.find_spec(module) is None]
    return {
        "absent": absent,
        "versions": {name: _version(name) for name in DISTRIBUTIONS},
        "gpus": _gpus(),
        "import_error": None if absent else _import_error(),
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpus():
    try:
        import torch
    except ImportError:
        return 0
    return torch.cuda.device_count()


def _import_error():
    """Import what train.py and test.py import, as ``lnclip-df bench-run`` would."""
    from lnclip_df.bench import launch

    launch.prepare()
    sys.path[0] = os.path.abspath("training")
    try:
        for module in ("dataset", "detectors", "trainer.trainer"):
            importlib.import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


if __name__ == "__main__":
    result = json.dumps(probe())
    sys.stdout.write(f"\n{result}\n")
