"""Other devices than the CPU: named in the crops' recipe, and one line where they are not there."""

import pytest
from clips import contents, options, run
from commands import call, error_of

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.base import onnx_session
from lnclip_df.media.video import VideoFrames, check_decoder
from lnclip_df.preprocess import CropSettings

av = pytest.importorskip("av")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("retinaface")


class Detector:
    recipe = {"name": "retinaface"}  # noqa: RUF012


@pytest.fixture
def devices(monkeypatch):
    """Decoding devices that this machine has: a function that says how making one ends."""
    import av.codec.hwaccel as module

    check_decoder.cache_clear()
    yield_to = {}

    class HWAccel:
        def __init__(self, name, allow_software_fallback):
            assert name == "cuda" and allow_software_fallback is False

        def create(self, codec):
            raise yield_to["error"]

    def pretend(known, error=None):
        yield_to["error"] = error
        monkeypatch.setattr(module, "hwdevices_available", lambda: known)
        monkeypatch.setattr(module, "HWAccel", HWAccel)

    yield pretend
    check_decoder.cache_clear()


@pytest.mark.parametrize("option", ["detect_on", "decode_on"])
def test_the_device_is_a_fact_of_the_recipe(option):
    usual, other = (CropSettings(**{option: device}).recipe(Detector) for device in ("cpu", "cuda"))
    assert usual.fingerprint == CropSettings().recipe(Detector).fingerprint and option not in usual.facts
    assert other.facts == usual.facts | {option: "cuda"} and other.fingerprint != usual.fingerprint
    assert usual.differences(other) == f"{option} none, now cuda"


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        (["vaapi"], None, "decode_on: 'cuda' received; this build of PyAV has cpu, vaapi"),
        (["cuda"], NotImplementedError(), "decode_on: this build of PyAV has no H.264 decoder on cuda; choose cpu"),
        (["cuda"], av.error.PermissionError(1, "no driver"), "decode_on: cuda cannot be used .*no driver.*; install"),
    ],
)
def test_a_decoder_that_is_not_there_ends_the_run(devices, clip, tmp_path, known, error, message):
    devices(known, error)
    with pytest.raises(LNCLIPError, match=message):
        run(clip, tmp_path / "out", decode_on="cuda")
    with pytest.raises(LNCLIPError, match=message):
        VideoFrames(clip, decode_on="cuda")
    assert "records" not in str(contents(tmp_path / "out"))


def test_a_detector_without_its_provider_ends_the_run(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    error = error_of(call("preprocess", clip, "--out", tmp_path / "out", "--detect-on", "cuda"))
    assert "was built without CUDAExecutionProvider; install onnxruntime-gpu instead of onnxruntime" in error


def test_a_provider_that_falls_back_to_the_cpu_is_refused(monkeypatch):
    class Session:
        def __init__(self, model, options, providers):
            assert [name for name, _ in providers] == ["CUDAExecutionProvider"]

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(
        LNCLIPError, match="onnxruntime cannot use CUDAExecutionProvider: its CUDA libraries or the driver"
    ):
        onnx_session(b"model", 1, "cuda")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"detect_on": "tpu"}, "detect_on: 'tpu' received; accepted are cpu, cuda"),
        ({"detect_on": "cuda", "detector": "dlib"}, "detect_on: dlib runs on the CPU"),
    ],
)
def test_devices_that_cannot_be_are_refused(given, message):
    with pytest.raises(LNCLIPError, match=message):
        options(**given)
