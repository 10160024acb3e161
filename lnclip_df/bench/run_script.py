"""Run a DeepfakeBench script in its checkout, in a separate process."""

import subprocess
import sys

from lnclip_df.bench.checkout import open_checkout
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import inside


def bench_run(checkout, argv) -> int:
    """Run a script of a DeepfakeBench checkout unchanged, with or without a GPU.

    Args:
        argv: path of the script in the checkout, and its arguments.

    Returns:
        The script's exit status; 128 + n if signal n ended it.

    Raises:
        LNCLIPError: not a checkout, or no script in it of that name.
    """
    root = open_checkout(checkout)
    if not argv:
        raise LNCLIPError("no script named. Expected, for example: training/train.py --detector_path lnclip.yaml")
    script = inside(root, argv[0])
    if not script.is_file():
        raise LNCLIPError(f"no script {argv[0]} in {root}. Expected training/train.py or training/test.py.")
    return run_module(root, "lnclip_df.bench.launch", str(script.relative_to(root)), *map(str, argv[1:]))


def run_module(root, module: str, *arguments: str) -> int:
    """Run a module of this package at the root of a checkout; returns its exit status, 128 + n if signal n ended it."""
    status = subprocess.run([sys.executable, "-m", module, *arguments], cwd=root, check=False).returncode
    return status if status >= 0 else 128 - status
