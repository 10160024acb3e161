"""InsightFace's SCRFD detectors (Guo et al., ICLR 2022), from an ONNX file (``det_10g.onnx``) of the user's.

Images are resized, boxes decoded and suppressed as InsightFace's own code does it.
"""

from pathlib import Path

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import sha256
from lnclip_df.faces.base import OVERLAP, Detector, Faces, best_faces, onnx_session

STRIDES = (8, 16, 32)
ANCHORS = 2  # per cell
SIDE = 640  # of the square that images are resized and padded to, in pixels
SCORE = 0.5  # minimum of a face


class SCRFD(Detector):
    """Detect faces one image at a time, as these models are exported.

    Args:
        model: the ONNX file; nine outputs: scores, boxes and five points at strides 8, 16, 32.
        score: minimum of a face.
        threads: threads of onnxruntime.
        detect_on: device, see ``lnclip_df.faces.base.PROVIDERS``.

    Raises:
        LNCLIPError: the file is absent or is not such a model.
    """

    def __init__(self, model, *, score: float = SCORE, threads: int = 1, detect_on: str = "cpu"):
        if not Path(model).is_file():
            raise LNCLIPError(f"detector: no file {model}; give the path of an SCRFD model")
        self.session = onnx_session(str(model), threads, detect_on)
        outputs = len(self.session.get_outputs())
        if outputs != 3 * len(STRIDES):
            raise LNCLIPError(f"detector: {model} has {outputs} outputs, not the 9 of an SCRFD model with five points")
        self.input = self.session.get_inputs()[0].name
        self.score = score
        self.recipe = {
            "name": "scrfd", "weights": sha256(model)[:12], "side": SIDE, "resize": "linear", "score": score,
            "overlap": OVERLAP,
        }  # fmt: skip

    def __call__(self, images) -> list[Faces]:
        return [self._faces(image) for image in images]

    def _faces(self, image):
        import cv2

        high, wide = image.shape[:2]
        height, width = (SIDE, int(SIDE / (high / wide))) if high > wide else (int(SIDE * (high / wide)), SIDE)
        height, width = max(height, 1), max(width, 1)
        small = cv2.resize(image, (width, height))
        square = np.zeros((SIDE, SIDE, 3), np.uint8)
        square[:height, :width] = small
        pixels = (square.transpose(2, 0, 1)[None].astype(np.float32) - 127.5) / 128
        outputs = [output.reshape(-1, output.shape[-1]) for output in self.session.run(None, {self.input: pixels})]
        found = [self._level(*level) for level in zip(STRIDES, outputs[:3], outputs[3:6], outputs[6:], strict=True)]
        boxes, scores, points = (np.concatenate(parts).astype(np.float32) for parts in zip(*found, strict=True))
        scale = height / high
        return best_faces(boxes / scale, scores, points / scale, border=1)

    def _level(self, stride, scores, edges, points):
        """One stride's faces: distances from a cell's corner to the box's edges, and to the points, in strides."""
        cells = SIDE // stride
        y, x = np.divmod(np.arange(cells * cells).repeat(ANCHORS), cells)
        above = np.flatnonzero(scores[:, 0] >= self.score)
        corner = np.stack([x, y], axis=-1)[above] * stride
        edges = edges[above] * stride
        boxes = np.concatenate([corner - edges[:, :2], corner + edges[:, 2:]], axis=-1)
        points = corner[:, None] + points[above].reshape(-1, 5, 2) * stride
        return boxes, scores[above, 0], points
