"""Settings and fixtures of the whole suite."""

import logging
import os
import signal
import sys
import types

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "2")  # the suite runs in parallel; results must not depend on this number
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a waiting thread leaves its core to others
settings.register_profile("suite", deadline=None)  # a busy machine is not a fault
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def package_logger():
    """The package's logger as Python makes it: the command line, in a test or fixture before, has set it up."""
    logger = logging.getLogger("lnclip_df")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def unusable(tmp_path_factory, monkeypatch):
    """A machine with an NVIDIA driver whose GPU this PyTorch cannot use."""
    import torch

    version = tmp_path_factory.mktemp("driver") / "version"
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 2021\nGCC version: 9.4\n")
    monkeypatch.setattr("lnclip_df.core.devices.NVIDIA", version)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def sigint():
    """Ctrl-C interrupts this process and its children, also where the suite itself ignores it (nohup, background)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file of random weights."""
    from released import saved_weights

    return saved_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def scorer(weights):
    """A scorer with these weights."""
    import lnclip_df

    return lnclip_df.load(weights, device="cpu")


@pytest.fixture(scope="session")
def deepfakebench():
    """DeepfakeBench's dataset class from the checkout in LNCLIP_DEEPFAKEBENCH, without its package's other imports."""
    from host_modules import host_file, host_module

    package = types.ModuleType("deepfakebench_dataset")
    package.__path__ = [host_file("training/dataset")]
    import albumentations

    if int(albumentations.__version__.split(".")[0]) > 1:
        pytest.skip(f"DeepfakeBench's dataset does not work with albumentations {albumentations.__version__}")
    sys.modules[package.__name__] = package
    module = host_module("training/dataset/abstract_dataset.py", f"{package.__name__}.abstract_dataset")
    return module.DeepfakeAbstractBaseDataset
