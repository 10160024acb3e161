"""What face detectors share: suppression against plain loops, and the faces of an image without any."""

import numpy as np
import pytest
from boxes import naive_suppression

from lnclip_df.faces.base import Faces, suppress

retinaface = pytest.importorskip("retinaface")


def test_suppression_follows_the_naive_loops():
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 60, (80, 2))
    boxes = np.c_[corner, corner + rng.uniform(10, 40, (80, 2))]
    assert suppress(boxes, 0.4) == naive_suppression(boxes)
    assert suppress(boxes[:0], 0.4) == []


def test_no_face_has_the_shapes_of_faces():
    none = Faces.none(68)
    assert none.boxes.shape == (0, 4) and none.landmarks.shape == (0, 68, 2) and none.areas.shape == (0,)
    assert Faces.none().landmarks is None
