"""Hostile files of weights are refused in one line, and nothing in them runs."""

import contextlib
import json
import os
import pickle
import struct
import zipfile

import pytest
import torch
from released import logits_of, tiny_detector
from safetensors.torch import save_file

from lnclip_df import LNCLIPError
from lnclip_df.weights import load_weights, read_weights, save_weights

NAMES = ["w.pth", "w.pt", "w.safetensors", "w.ckpt", "w.bin"]
DAMAGED = "damaged or truncated file of weights"
NO_PYTORCH = "not a PyTorch or safetensors file"
HEADER = f"{DAMAGED}: Error while deserializing header: "


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def refused(path, match, detector=None):
    """The one line with which loading a file fails; a detector stays as it was."""
    assert match, "an empty pattern matches every message"
    detector = detector or tiny_detector()
    before = logits_of(detector)
    with pytest.raises(LNCLIPError, match=match) as error:
        load_weights(detector, path)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    assert torch.equal(logits_of(detector), before)
    return str(error.value)


WRITERS = {
    "pickle": lambda content, path: path.write_bytes(pickle.dumps(content)),
    "pickle2": lambda content, path: path.write_bytes(pickle.dumps(content, 2)),
    "torch": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("place", ["state_dict", "hyper_parameters"])
def test_a_pickle_with_a_payload_runs_nothing(tmp_path, name, write, place):
    path, sign = tmp_path / name, tmp_path / "ran"
    WRITERS[write]({"state_dict": tiny_detector().state_dict()} | {place: Payload(sign)}, path)
    if name == "w.safetensors":
        refused(path, HEADER + TOO_LARGE)
    elif write == "pickle":  # of a protocol that torch.save does not use
        refused(path, NO_PYTORCH)
    else:  # plain pickle cannot hold tensors either
        refused(path, r"refused, as it contains (posix\.system|torch\.storage\.\w+); only tensors are accepted")
    assert not sign.exists()


def test_what_a_pickle_contains_beside_tensors_is_named(tmp_path):
    torch.save({"state_dict": {}, "hyper_parameters": {"run_dir": tmp_path}}, tmp_path / "w.ckpt")
    refused(tmp_path / "w.ckpt", r"refused, as it contains pathlib\.\w*Path; only tensors are accepted")


def test_a_pickle_beside_torchscripts_mark_runs_nothing(tmp_path):
    """An archive that looks like TorchScript is read by another reader, which refuses as much."""
    path, sign = tmp_path / "w.pt", tmp_path / "ran"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/data.pkl", pickle.dumps(Payload(sign)))
    refused(path, r"refused, as it contains \w+\.system; only tensors are accepted")
    assert not sign.exists()


class Script(torch.nn.Module):
    """A TorchScript archive whose own code writes a file when ``torch.jit.load`` reads it."""

    def __init__(self, sign: str):
        super().__init__()
        self.sign = sign
        self.weight = torch.nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self):
        return (self.sign, self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        torch.save(torch.ones(1), state[0])
        self.sign, self.weight, self.training = state[0], state[1], state[2]

    def forward(self, x):
        return x * self.weight


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
def test_a_torchscript_archive_runs_none_of_its_code(tmp_path):
    path, sign = tmp_path / "model.pt", tmp_path / "ran"
    torch.jit.script(Script(str(sign))).save(str(path))
    with contextlib.suppress(LNCLIPError):
        read_weights(path)
    assert not sign.exists()


def safetensors(path, header, body=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)


def one(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"head.bias": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


# The words of safetensors, newer and older.
SHAPE, OFFSET = "(invalid shape|TensorInvalidInfo)", "(invalid offset|InvalidOffset)"
OVERFLOW, COVERED = "(overflow|ValidationOverflow)", "(incomplete metadata|MetadataIncompleteBuffer)"
JSON, LENGTH = "(invalid JSON|InvalidHeader(Deserialization|Start))", "(invalid header length|InvalidHeaderLength)"
TOO_LARGE = "(header too large|HeaderTooLarge)"


@pytest.mark.parametrize(
    ("header", "length", "message"),
    [
        (one(shape=(1 << 40,)), None, SHAPE),
        (one(shape=(1 << 62, 1 << 62)), None, OVERFLOW),
        (one(shape=(-1,)), None, JSON),
        (one(offsets=(0, 1 << 50)), None, SHAPE),
        (one(offsets=(4, 0)), None, OFFSET),
        (one(shape=(2,), offsets=(0, 8)), None, COVERED),
        (one(dtype="X9"), None, JSON),
        (one() | {"head.weight": one()["head.bias"]}, None, OFFSET),
        (one() | {"__metadata__": {"lnclip_df": 3}}, None, JSON),
        (one(), 1 << 60, TOO_LARGE),
        (one(), 1 << 20, LENGTH),
        (one(), 3, JSON),
        (b"[" * 5000, None, JSON),
        (b"{", None, JSON),
        (b"", None, JSON),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_safetensors_header_that_lies_is_refused(tmp_path, name, header, length, message):
    safetensors(tmp_path / name, header, b"\0" * 4, length)
    unlike_safetensors = length == 1 << 60 or header in (b"[" * 5000, b"")
    refused(tmp_path / name, NO_PYTORCH if name == "w.pth" and unlike_safetensors else HEADER + message)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, 1000, 2000, 0.5, -1])
@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_is_refused(tmp_path, name, keep):
    path = tmp_path / name
    save_weights(tiny_detector(), path) if name == "w.safetensors" else torch.save(tiny_detector().state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused(path, NO_PYTORCH if keep == 1 and name != "w.safetensors" else DAMAGED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"<!doctype html><html></html>", b"\x80\x02.", b"PK\x03\x04", b"\0" * 64])
def test_another_kind_of_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, DAMAGED if name == "w.safetensors" or content.startswith(b"PK") else NO_PYTORCH)


def test_a_small_tensor_that_says_it_is_huge_is_refused(tmp_path):
    torch.save({"head.bias": torch.ones(1).expand(10**6, 10**6)}, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", "state dict")


def test_query_key_and_value_that_say_they_are_huge_are_refused_before_they_are_joined(tmp_path):
    prefix = "feature_extractor.vision_model.encoder.layers.0.self_attn."
    state = {f"{prefix}{part}_proj.weight": torch.ones(1).expand(10**6, 10**6) for part in "qkv"}
    torch.save({"state_dict": state}, tmp_path / "w.ckpt")
    refused(tmp_path / "w.ckpt", "state dict")


def test_layers_by_the_billion_are_refused_at_once(tmp_path):
    name = "feature_extractor.vision_model.encoder.layers.99999999999.layer_norm1.weight"
    save_file({name: torch.ones(2)}, tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", "contains no CLIP vision transformer")


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    torch.save({"head.bias": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "w.pth", "w", 8) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert (tmp_path / "w.pth").stat().st_size < 100_000
    refused(tmp_path / "w.pth", "is compressed")


def test_two_tensors_that_become_one_name_are_refused(tmp_path):
    torch.save({"head.bias": torch.ones(2), "module.head.bias": torch.zeros(2)}, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", "twice")


def test_names_with_line_breaks_and_escapes_stay_in_one_line(tmp_path):
    state = tiny_detector().state_dict() | {"head.\n\x1b[2J": torch.ones(1)}
    torch.save(state, tmp_path / "w.pth")
    line = refused(tmp_path / "w.pth", "unknown")
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("{", "the metadata are damaged: Expecting property name"),
        ("[1]", "the metadata are damaged: lnclip_df is not a JSON object"),
        ("null", "the metadata are damaged: lnclip_df is not a JSON object"),
        ("3", "the metadata are damaged: lnclip_df is not a JSON object"),
        ("[" * 100_000, "the metadata are damaged: it is nested too deeply"),
        ('{"vectors": 3}', "the metadata are damaged: vectors is not a JSON object"),
        ('{"frozen": []}', "the metadata are damaged: frozen is not a JSON object"),
        ('{"config": 3}', "the metadata are damaged: config is not a JSON object"),
        ('{"backbone": "x"}', "the metadata are damaged: backbone is not a JSON object"),
        ('{"format": []}', r"unknown weight format \[\]; accepted: full, delta, transformers"),
    ],
    ids=lambda text: text[:20],
)
def test_damaged_facts_are_refused(tmp_path, facts, message):
    state = {name: tensor.clone() for name, tensor in tiny_detector().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors", metadata={"lnclip_df": facts})
    refused(tmp_path / "w.safetensors", message)


def test_a_safetensors_file_under_another_name_is_read_as_what_it_is(tmp_path):
    save_weights(tiny_detector(), tmp_path / "w.safetensors", {"epoch": 1})
    (tmp_path / "w.safetensors").rename(tmp_path / "w.bin")
    assert load_weights(tiny_detector(), tmp_path / "w.bin").facts.epoch == 1
    assert "head.bias" in read_weights(tmp_path / "w.bin").tensors
