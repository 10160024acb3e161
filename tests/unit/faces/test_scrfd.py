"""InsightFace's SCRFD: against plain loops on a model of fixed numbers."""

import numpy as np
import pytest
from boxes import naive_suppression

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.detectors import make_detector
from lnclip_df.faces.settings import CropSettings

retinaface = pytest.importorskip("retinaface")


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


@pytest.mark.parametrize(
    "height, width, ratio", [(640, 640, 1), (300, 500, 300 / 384), (1280, 960, 2), (1080, 1920, 3)]
)
@pytest.mark.parametrize("minimum", [None, 0.3])
def test_scrfd_is_decoded_as_insightfaces_loop_does(model, height, width, ratio, minimum):
    """Images are enlarged too, and the last pixel belongs to a box."""
    path, numbers = model
    candidates = []
    for level, stride in enumerate((8, 16, 32)):
        row = 0
        for y in range(640 // stride):
            for x in range(640 // stride):
                for _ in range(2):
                    score = numbers[level][row, 0]
                    if score >= (minimum or 0.5):
                        left, top, right, bottom = numbers[3 + level][row] * stride
                        box = [x * stride - left, y * stride - top, x * stride + right, y * stride + bottom]
                        points = numbers[6 + level][row].reshape(5, 2) * stride + [x * stride, y * stride]
                        candidates.append((score, np.array(box) * ratio, points * ratio))
                    row += 1
    candidates.sort(key=lambda one: -one[0])
    kept = naive_suppression([box for _, box, _ in candidates], border=1)
    [faces] = make_detector(CropSettings(detector=str(path), score=minimum))([np.zeros((height, width, 3), np.uint8)])
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
    image = np.zeros((100, 320, 3), np.uint8)  # it is enlarged to 200×640
    image[...] = 255, 127, 0
    assert len(scrfd([image])[0].boxes) == 0
    assert given[0].shape == (1, 3, 640, 640)
    found = given[0][0, :, :200].mean(axis=(1, 2), dtype=float)
    np.testing.assert_allclose(found, [127.5 / 128, -0.5 / 128, -127.5 / 128])
    np.testing.assert_allclose(given[0][0, :, 200:], -127.5 / 128)


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
