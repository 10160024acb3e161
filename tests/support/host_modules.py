"""Single modules of the DeepfakeBench checkout that ``LNCLIP_DEEPFAKEBENCH`` names."""

import importlib.util
import os
import sys

import pytest

REAL = os.environ.get("LNCLIP_DEEPFAKEBENCH")


def host_file(path):
    """The path of a file in the checkout; the test is skipped where there is no checkout."""
    if not REAL:
        pytest.skip("LNCLIP_DEEPFAKEBENCH names no checkout")
    return os.path.join(REAL, path)


def host_module(path, name):
    """A module of the checkout under a name of ours; the test is skipped where it does not import."""
    spec = importlib.util.spec_from_file_location(name, host_file(path))
    module, before = importlib.util.module_from_spec(spec), list(sys.path)
    try:
        spec.loader.exec_module(module)
    except (ImportError, AttributeError) as error:
        pytest.skip(f"DeepfakeBench's {path} does not import here: {error}")
    finally:
        sys.path[:] = before
    return module
