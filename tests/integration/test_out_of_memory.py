"""Whatever runs out of memory, of the machine or of a GPU: one line that says what to make smaller."""

import pickle

import pytest
import torch
from commands import call, error_of
from PIL import Image
from tiny import configured, make_toy, toy_with_weights, toy_yaml

from lnclip_df.cli.ending import SMALLER
from lnclip_df.core.errors import LNCLIPError, NotEnoughMemory, enough_memory
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.media.frames import open_frames
from lnclip_df.media.limits import reason_of
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.weights.read import read_weights

SAID = {
    "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has 1 GiB"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 9 bytes."),
    "onnxruntime": RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 9"),
    "Python": MemoryError(),
    "NumPy": MemoryError("Unable to allocate 9.00 GiB for an array with shape (9,)"),
    "a worker": MemoryError("Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback\n  a\nMemoryError"),
}


@pytest.mark.parametrize("kind", SAID)
def test_every_librarys_way_of_saying_it_becomes_one_line(kind):
    with pytest.raises(NotEnoughMemory) as raised, enough_memory("lower a (now 3)"):
        raise SAID[kind]
    line = str(raised.value)
    assert line.startswith("not enough memory (") and line.endswith("): lower a (now 3)")
    assert len(line) < 250 and "\\n" not in line and "Original Traceback" not in line
    assert str(pickle.loads(pickle.dumps(raised.value))) == line
    assert reason_of(SAID[kind]).startswith("not enough memory (")


@pytest.mark.parametrize("error", [ValueError("x"), LNCLIPError("a worker process died (or out of memory)")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as raised, enough_memory("lower a"):
        raise error
    assert raised.value is error


def test_the_cures_name_options_that_the_commands_have():
    for command, cure in SMALLER.items():
        arguments = [command, "ablation"] if command == "study" else [command]
        text = call(*arguments, "--help").stdout
        assert all(word.strip("(),") in text for word in cure.split() if word.strip("(").startswith("--")), command


def without_memory(*args, **kwargs):
    raise SAID["GPU"]


@pytest.fixture
def toy(tmp_path):
    """Arguments of a detector: its YAML, and its weights."""
    return ["--config", toy_yaml(tmp_path)], ["--weights", toy_with_weights(tmp_path)[1]]


COMMANDS = {
    "train": ("lower train_batchSize (now 8) or workers (now 0), or set lnclip.activation_checkpointing: true", 0),
    "test": ("lower test_batchSize (now 8) or workers (now 0)", 1),
    "robustness": ("lower test_batchSize (now 8) or workers (now 0)", 1),
    "bank": ("lower test_batchSize (now 8) or workers (now 0)", 1),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.slow
def test_a_command_that_computes(toy, tmp_path, monkeypatch, command):
    monkeypatch.setattr(LNCLIPDetector, "features", without_memory)
    cure, needs_weights = COMMANDS[command]
    more = {
        "train": ["--accelerator", "cpu", "--quiet", "--out", tmp_path / "out"],
        "test": ["--device", "cpu", "--quiet", "--out", tmp_path / "out"],
        "robustness": ["--device", "cpu", "--datasets", "toy", "--corruptions", "jpeg", "--out", tmp_path / "out"],
        "bank": ["--device", "cpu", "--datasets", "toy", "--out", tmp_path / "bank.safetensors"],
    }[command]
    result = call(command, *toy[0], *(toy[1] if needs_weights else []), *more)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: not enough memory (CUDA out of memory. Tried to allocate")
    assert result.stderr.splitlines()[-1].endswith(f": {cure}")


def test_predict_names_its_batch(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(LNCLIPDetector, "features", without_memory)
    frame = next((tmp_path / "frames").rglob("*.png"))
    result = call("predict", frame, *toy[1], "--aligned", "--device", "cpu")
    assert result.stderr.splitlines()[-1].endswith(": lower batch_size (now 1)")


def test_weights_that_do_not_fit_into_memory_are_not_damaged(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("lnclip_df.weights.read.load_file", without_memory)
    with pytest.raises(torch.OutOfMemoryError):
        read_weights(toy[1][1])
    line = error_of(call("export", toy[1][1], "--format", "full", "--out", tmp_path / "full.safetensors"))
    assert line.startswith("error: not enough memory (CUDA out of memory")


def test_an_error_that_misreads_a_lack_of_memory_is_not_shown(monkeypatch):
    import lnclip_df.config.loading as config

    def fail():
        try:
            raise SAID["CPU"]
        except RuntimeError as error:
            raise LNCLIPError("the file is damaged") from error

    monkeypatch.setattr(config, "bench_configs", fail)
    assert error_of(call("configs")).startswith("error: not enough memory ([enforce fail at alloc_cpu.cpp:117] Default")


def test_a_frame_is_not_skipped_nor_an_animation_miscounted_for_a_lack_of_memory(tmp_path, monkeypatch):
    config = configured(make_toy(tmp_path), "lnclip.missing_frames=skip")
    frames = FrameDataset(config, read_videos(config, ["toy"], "test"), frames_per_video=2)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    animation = open_frames(tmp_path / "a.gif")

    def load(self):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(MemoryError):
        frames[0]
    with pytest.raises(MemoryError):
        list(animation.read([0]))


def test_the_page_tells_its_operator_in_one_line(monkeypatch, caplog):
    pytest.importorskip("gradio")
    from lnclip_df.app.page import PageHandlers

    class Uploads:
        files = staticmethod(without_memory)

        def release(self, ticket):
            pass

    card = PageHandlers(None, Uploads(), 3).score("a", False, lambda share, text: None)
    assert "Something went wrong here" in card and "CUDA" not in card
    (record,) = [record for record in caplog.records if record.name.startswith("lnclip_df")]
    assert record.exc_info is None and "not enough memory (CUDA out of memory" in record.message
