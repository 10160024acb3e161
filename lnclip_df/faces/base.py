"""What face detectors share: the faces that they find, their interface, and helpers."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from lnclip_df.core.errors import LNCLIPError, is_out_of_memory

OVERLAP = 0.4  # a box that overlaps a better one by more (intersection over union) is dropped
PROVIDERS: dict[str, tuple[str, dict]] = {  # by device; on a GPU as precise, and always by the same algorithm
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}),
}
INSTALL = "install the extra: pip install 'lnclip-df[{extra}]'"


class Faces(NamedTuple):
    """The faces of one image, best score first, in pixels of that image; float32, not rounded.

    ``boxes`` F×4 (left, top, right, bottom), ``scores`` F (a probability, or dlib's margin), ``points`` F×5×2 (x, y):
    the eye on the image's left, the other eye, the nose, the two corners of the mouth in the same order.
    ``landmarks`` F×K×2 where the detector gives more points, else None.
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray
    landmarks: np.ndarray | None = None

    @classmethod
    def none(cls, landmarks: int = 0):
        """The faces of an image that shows none."""
        more = np.empty((0, landmarks, 2), np.float32) if landmarks else None
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32), more)

    def where(self, mask) -> "Faces":
        """The faces where ``mask`` (bool, F) is set."""
        landmarks = None if self.landmarks is None else self.landmarks[mask]
        return Faces(self.boxes[mask], self.scores[mask], self.points[mask], landmarks)

    @property
    def areas(self) -> np.ndarray:
        """Areas of the boxes, F, in square pixels."""
        left, top, right, bottom = self.boxes.T
        return (right - left) * (bottom - top)


class Detector(ABC):
    """What every face detector is: a callable, and the facts that determine what it finds.

    Attributes:
        recipe: JSON values: its name, the hash of its weights, its thresholds.
    """

    recipe: dict

    @abstractmethod
    def __call__(self, images) -> list[Faces]:
        """The faces of uint8 RGB images (H×W×3, sizes may differ), in order, in pixels of each image."""

    def confirm(self, crops) -> list[np.ndarray | None]:
        """The landmarks (K×2) that a second detection finds on crops (uint8 RGB S×S×3), or None where it finds no face.

        Only called with ``CropSettings.second_detection``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no second detection")


def onnx_session(model, threads: int, detect_on: str = "cpu"):
    """An onnxruntime session of a model (a path, or its bytes), on a device of ``PROVIDERS``; never on another one."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise LNCLIPError(f"detection needs onnxruntime; {INSTALL.format(extra='preprocess')}") from error
    provider, settings = PROVIDERS[detect_on]
    if provider not in onnxruntime.get_available_providers():
        raise LNCLIPError(
            f"detect_on: onnxruntime {onnxruntime.__version__} was built without {provider}; install onnxruntime-gpu "
            "instead of onnxruntime, or choose cpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding shares the cores
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[(provider, settings)])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        if is_out_of_memory(error):
            raise
        raise LNCLIPError(f"{model} is not a model that onnxruntime can load; give another file") from error
    if provider not in session.get_providers():  # onnxruntime takes the CPU where a GPU cannot be used
        fault = f"onnxruntime cannot use {provider}: its CUDA libraries or the driver are missing or of another version"
        raise LNCLIPError(f"detect_on: {fault}; install them, or choose cpu")
    session.disable_fallback()
    return session


def shrink(image, long_side: int):
    """Reduce an image by area averaging until its longer side is at most ``long_side``; never enlarge it."""
    import cv2

    height, width = image.shape[:2]
    ratio = long_side / max(height, width)
    if ratio >= 1:
        return image
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def suppress(boxes, overlap: float, border: int = 0) -> list[int]:
    """Greedy non-maximum suppression: indices of the boxes kept, of F×4 boxes in order of falling score.

    ``border`` is added to widths and heights: 1 where the last pixel belongs to a box. OpenCV's and torchvision's round
    otherwise where an overlap is as large as the limit, which would change crops.
    """
    left, top, right, bottom = boxes.T
    right, bottom = right + border, bottom + border
    area = (right - left) * (bottom - top)
    kept, rest = [], np.arange(len(boxes))
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.clip(wide, 0, None) * np.clip(high, 0, None)
        rest = rest[shared <= overlap * (area[best] + area[rest] - shared)]
    return kept


def best_faces(boxes, scores, points, border: int = 0) -> Faces:
    """The faces that remain of one image's candidates, best score first; candidates are float32 arrays of A rows."""
    order = np.argsort(-scores, kind="stable")
    kept = order[suppress(boxes[order], OVERLAP, border)]
    return Faces(boxes[kept], scores[kept], points[kept])
