"""OpenCV goes back to its number of threads."""

import pytest
from clips import cv2

from lnclip_df.media.opencv import one_thread

retinaface = pytest.importorskip("retinaface")


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
