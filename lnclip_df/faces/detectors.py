"""Face detectors by name. A new one is a module with a :class:`~lnclip_df.faces.base.Detector`, and an entry here."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from lnclip_df.core.registry import Registry
from lnclip_df.faces.base import Detector
from lnclip_df.faces.dlib_hog import DlibHOG
from lnclip_df.faces.retinaface import RetinaFace
from lnclip_df.faces.scrfd import SCRFD
from lnclip_df.faces.settings import CropSettings

# Each is called with the settings and the number of threads. A key that begins with a dot is a model file's suffix.
DETECTORS: Registry[Callable[[CropSettings, int], Detector]] = Registry(
    "face detector",
    {
        "retinaface": lambda settings, threads: RetinaFace(**_options(settings), threads=threads),
        "dlib": lambda settings, threads: DlibHOG(
            settings.predictor, second=settings.second_detection, threads=threads
        ),
        ".onnx": lambda settings, threads: SCRFD(settings.detector, **_options(settings), threads=threads),
    },
)


def make_detector(settings: CropSettings, threads: int = 1) -> Detector:
    """The detector that settings name, loaded.

    Raises:
        LNCLIPError: the name is unknown, or a package or file is absent or invalid.
    """
    suffix = Path(settings.detector).suffix
    return DETECTORS.choose(suffix if suffix in DETECTORS else settings.detector)(settings, threads)


def _options(settings):
    return {"detect_on": settings.detect_on} | ({} if settings.score is None else {"score": settings.score})


shared_detector = lru_cache(maxsize=1)(make_detector)  # the process keeps the last one for the same arguments
