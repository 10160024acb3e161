"""What a Python environment offers to DeepfakeBench, and how far its scripts get there.

``python -m lnclip_df.bench.probe [DETECTOR_PATH]`` in the root of a checkout prints it as JSON.
"""

import importlib.util
import json
import os
import subprocess
import sys

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.provenance import installed_version

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
SCRIPTS = ("training/train.py", "training/test.py")
DISTRIBUTIONS = ("albumentations", "numpy", "opencv-python", "opencv-python-headless", "setuptools", "torch")


def probe(root, detector_path=None) -> dict:
    """Ask this interpreter, started anew in a checkout's root, what it offers.

    Args:
        detector_path: the YAML to rehearse ``train.py`` and ``test.py`` with; None does not.

    Returns:
        ``absent`` (requirements of the missing packages), ``versions`` (by distribution, None if it is missing),
        ``gpus`` (their number), ``import_error`` (why DeepfakeBench cannot be imported, or None) and ``scripts`` (see
        ``lnclip_df.bench.rehearsal.rehearse``, by script; empty if DeepfakeBench cannot be imported).

    Raises:
        LNCLIPError: the process gives no answer.
    """
    arguments = [] if detector_path is None else [str(detector_path)]
    command = [sys.executable, "-B", "-m", "lnclip_df.bench.probe", *arguments]
    child = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    try:
        return json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        reason = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        raise LNCLIPError(f"{sys.executable} failed to report its packages: {reason}") from error


def _probe_here(detector_path=None):
    absent = [requirement for module, requirement in PACKAGES.items() if importlib.util.find_spec(module) is None]
    found = {"absent": absent, "versions": {name: installed_version(name) for name in DISTRIBUTIONS}, "gpus": _gpus()}
    error = None if absent else _import_error()
    rehearsed = detector_path is not None and not absent and error is None
    return found | {"import_error": error, "scripts": _scripts(detector_path) if rehearsed else {}}


def _gpus():
    try:
        import torch
    except ImportError:
        return 0
    return torch.cuda.device_count()


def _import_error():
    """What goes wrong in importing the modules of train.py and test.py as ``lnclip-df bench-run`` does."""
    import torch

    from lnclip_df.bench import launch

    torch.cuda.is_available = lambda: False  # whatever else runs on the GPUs
    launch.prepare()
    sys.path[0] = os.path.abspath("training")
    try:
        for module in ("dataset", "detectors", "trainer.trainer"):
            importlib.import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _scripts(detector_path):
    import torch

    from lnclip_df.bench.rehearsal import rehearse

    torch.nn.Module.compile = lambda module: None  # takes minutes
    return {script: rehearse(script, detector_path) for script in SCRIPTS}


if __name__ == "__main__":
    result = json.dumps(_probe_here(*sys.argv[1:]))
    sys.stdout.write(f"\n{result}\n")
