"""Read the tensors of a TorchScript archive, the format of OpenAI's CLIP, without running its code.

``torch.jit.load`` would run it. Here the archive's object tree is read by an unpickler that knows tensors, containers
and inert modules only.
"""

import io
import pickle
import zipfile
from collections import OrderedDict

import torch

from lnclip_df.core.errors import LNCLIPError

_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def is_torchscript(path) -> bool:
    """Whether a file is a TorchScript archive: a zip with ``constants.pkl`` in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path) -> dict[str, torch.Tensor]:
    """Return tensors by dotted name, as in the archive's ``state_dict()``; no code of the archive runs.

    Raises:
        LNCLIPError: the archive contains anything but modules, tensors and plain values.
        ValueError, KeyError, EOFError, zipfile.BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = _Reader(archive, pickled.removesuffix("/data.pkl"), path).load()
    return dict(_tensors(root, ""))


class _Module:
    """A module of the archive: its attributes without its code."""

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Reader(pickle._Unpickler):  # in Python: its memo cannot be made to allocate gigabytes
    """An unpickler that makes tensors, containers and inert modules only."""

    def __init__(self, archive, root, path):
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root, self.path = archive, root, path

    def find_class(self, module, name):
        if module.startswith("__torch__"):
            return _Module
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":
            return _plain
        raise LNCLIPError(f"{self.path}: refused, as it contains {module}.{name}; only tensors are accepted")

    def persistent_load(self, reference):
        _, dtype, key, _, count = reference
        data = bytearray(self.archive.read(f"{self.root}/data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)


def _tensor(storage, offset, size, stride, *_):
    return torch.as_strided(storage, size, stride, offset)


def _plain(value, *_):
    return value


def _tensors(module, prefix):
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
