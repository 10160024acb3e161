"""Two threads at most, whatever the machine's cores, and DeepfakeBench's dataset class, for the tests that share it."""

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")  # the suite runs in parallel, and results must not depend on their number
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # and a waiting thread must not keep a core from the others


@pytest.fixture(scope="session")
def deepfakebench():
    """DeepfakeBench's dataset class from the checkout in LNCLIP_DEEPFAKEBENCH, without its package's other imports."""
    checkout = os.environ.get("LNCLIP_DEEPFAKEBENCH")
    if not checkout:
        pytest.skip("LNCLIP_DEEPFAKEBENCH names no checkout")
    import albumentations

    if int(albumentations.__version__.split(".")[0]) > 1:
        pytest.skip(f"DeepfakeBench's dataset does not work with albumentations {albumentations.__version__}")
    folder = Path(checkout) / "training" / "dataset"
    package = types.ModuleType("deepfakebench_dataset")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    path, name = list(sys.path), f"{package.__name__}.abstract_dataset"
    try:
        spec = importlib.util.spec_from_file_location(name, folder / "abstract_dataset.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (ImportError, AttributeError) as error:
        pytest.skip(f"DeepfakeBench's dataset does not import here: {error}")
    finally:
        sys.path[:] = path
    return module.DeepfakeAbstractBaseDataset
