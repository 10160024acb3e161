"""Run a DeepfakeBench script unchanged on a machine without a GPU, or where the 81-point predictor is not found.

``python -m lnclip_df.bench.launch training/train.py …`` in the root of a checkout. With a GPU, PyTorch is not changed.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from lnclip_df.bench.checkout import PREDICTOR
from lnclip_df.bench.probe import PACKAGES
from lnclip_df.core.devices import require_usable_gpu
from lnclip_df.core.errors import LNCLIPError, enough_memory


def main(argv):
    """Run the script ``argv[0]`` with the other arguments, as ``python argv[0] …`` would."""
    prepare()
    script = argv[0]
    sys.argv = [script, *with_local_rank(argv[1:])]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    with enough_memory("lower train_batchSize, test_batchSize or workers in the YAMLs"), all_packages():
        runpy.run_path(script, run_name="__main__")


@contextmanager
def all_packages() -> Iterator[None]:
    """Turn the error of a package that is not installed into an LNCLIPError that names it."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if not name or find_spec(name) is not None:
            raise
        raise LNCLIPError(
            f"{PACKAGES.get(name, name)} is not installed, and DeepfakeBench needs it here. docs/deepfakebench.md "
            "lists the packages of its environment, and lnclip-df doctor those that are missing"
        ) from error


def prepare():
    """Patch PyTorch and dlib in this process where DeepfakeBench could not start. The working folder is its root."""
    import torch

    require_usable_gpu()
    if not torch.cuda.is_available():
        run_on_cpu(torch)
    find_predictor()


def with_local_rank(arguments) -> list:
    """Add ``--local_rank`` from torchrun's environment if ``--ddp`` needs it and it is not given."""
    given = any(a.split("=")[0] == "--local_rank" for a in arguments)
    if "--ddp" not in arguments or given or "LOCAL_RANK" not in os.environ:
        return list(arguments)
    return [*arguments, "--local_rank", os.environ["LOCAL_RANK"]]


def run_on_cpu(torch):
    """Make calls that assume a GPU do nothing, and let distributed training use gloo.

    Worker processes are forked, so that they inherit this.
    """
    torch.cuda.set_device = lambda *args, **kwargs: None
    torch.cuda.get_device_name = lambda *args, **kwargs: "cpu"
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    _distribute_over_cpus(torch)
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)


def _distribute_over_cpus(torch):
    from torch.nn.parallel import DistributedDataParallel

    if not torch.distributed.is_available():
        return
    start, wrap = torch.distributed.init_process_group, DistributedDataParallel.__init__

    def init_process_group(backend=None, *args, **kwargs):
        return start("gloo" if backend == "nccl" else backend, *args, **kwargs)

    def init(self, *args, **kwargs):
        kwargs.update(device_ids=None, output_device=None)
        wrap(self, *args, **kwargs)

    torch.distributed.init_process_group = init_process_group
    DistributedDataParallel.__init__ = init


def find_predictor():
    """Let ``dlib.shape_predictor`` find the checkout's predictor, which some versions name by a path of their own.

    Where the checkout has none, it returns a function that fails only when it is called.
    """
    try:
        import dlib
    except ImportError:
        return
    load = dlib.shape_predictor

    def shape_predictor(path, *args):
        if os.path.exists(path) or os.path.basename(path) != os.path.basename(PREDICTOR):
            return load(path, *args)
        return load(PREDICTOR, *args) if os.path.exists(PREDICTOR) else _missing_predictor

    dlib.shape_predictor = shape_predictor


def _missing_predictor(*_):
    raise LNCLIPError(f"{PREDICTOR} is missing, and this detector calls it. Put dlib's 81-point predictor there.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LNCLIPError as error:
        sys.exit(f"error: {error}")
