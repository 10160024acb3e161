"""Read tensors by name from any file of weights, without running any code that the file contains."""

import re
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from lnclip_df.core.errors import LNCLIPError, is_out_of_memory, one_line
from lnclip_df.weights.torchscript import is_torchscript, read_torchscript

# What DDP puts before a model's names, and torch.compile before those of any module.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.")


@dataclass
class Weights:
    """A file of weights: tensors by name, and Lightning's hyper-parameters."""

    path: Path
    tensors: dict[str, torch.Tensor]
    hyper_parameters: dict = field(default_factory=dict)


def read_weights(path) -> Weights:
    """Read a safetensors file, a PyTorch file (``weights_only``) or a TorchScript archive.

    Returns:
        Tensors on the CPU, their names without the prefixes of DDP (``module.``) and torch.compile (``_orig_mod.``).

    Raises:
        LNCLIPError: absent, truncated, not a file of weights, or a pickle that contains more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise LNCLIPError(f"no weights file {path}")
    try:
        content = _read(path)
    except (LNCLIPError, MemoryError):
        raise
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        if is_out_of_memory(error):
            raise
        raise _damaged(path, error) from error
    except Exception as error:  # pickle.UnpicklingError, and whatever a hostile pickle makes of it
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise LNCLIPError(f"{path}: refused, as it contains {found[1]}; only tensors are accepted") from error
        raise LNCLIPError(f"{path}: not a PyTorch or safetensors file with nothing but tensors") from error
    state, hyper_parameters = _state_dict(content, path)
    plain = {_WRAPPERS.sub("", name): tensor for name, tensor in state.items()}
    if len(plain) != len(state):
        raise LNCLIPError(f"{path} contains a tensor twice, with and without the prefix of DDP or torch.compile")
    return Weights(path, plain, hyper_parameters)


def _is_safetensors(path):
    """Whether a file is safetensors, by its name, or by its start: eight bytes of a length, then JSON."""
    if Path(path).suffix == ".safetensors":
        return True
    with open(path, "rb") as file:
        start = file.read(9)
    return start[6:] == b"\0\0{"


def _is_onnx(path):
    """Whether a file is ONNX, by its name, or by its start: the version, then the producer's name (or the graph)."""
    if Path(path).suffix.lower() == ".onnx":
        return True
    with open(path, "rb") as file:
        start = file.read(3)
    return len(start) == 3 and start[0] == 0x08 and start[2] in (0x12, 0x3A)


def read_metadata(path) -> dict[str, str]:
    """Return a safetensors file's metadata, empty for other files; LNCLIPError if it is damaged."""
    try:
        if not _is_safetensors(path):
            return {}
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path, error):
    return LNCLIPError(f"{path}: damaged or truncated file of weights: {one_line(error)[:200]}")


def _read(path):
    if _is_safetensors(path):
        return load_file(path)
    if _is_onnx(path):
        raise LNCLIPError(
            f"{path} is an ONNX file, which is an export for other programs; use the weights that it was made from"
        )
    _refuse_compressed(path)
    if is_torchscript(path):
        return read_torchscript(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the pickle protocol of a file that is refused anyway
        return torch.load(path, map_location="cpu", weights_only=True)


def _refuse_compressed(path):
    """Refuse compressed tensors, which PyTorch does not write: they could unpack to far more than the file's size."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            if item.compress_type != zipfile.ZIP_STORED and re.search(r"/data(\.pkl$|/)", item.filename):
                raise LNCLIPError(f"{path}: refused: {item.filename} in it is compressed, which PyTorch never does")


def _state_dict(content, path):
    """The tensors by name, and Lightning's hyper-parameters where the file is one of its checkpoints."""
    hyper_parameters = {}
    if isinstance(content, dict) and isinstance(content.get("trained"), dict) and "optimizer" in content:
        raise LNCLIPError(f"{path} is a training checkpoint; use best.safetensors, or train --resume")
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        found = content.get("hyper_parameters")
        hyper_parameters = found if isinstance(found, dict) else {}
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(map(_is_weight, content.keys(), content.values())):
        raise LNCLIPError(f"{path}: not a state dict; expected dense floating-point tensors (and counters) by name")
    return content, hyper_parameters


def _is_weight(name, tensor):
    return (
        isinstance(name, str)
        and isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()  # as large as it says
        and (tensor.is_floating_point() or tensor.ndim < 2 or name.endswith("position_ids"))
    )
