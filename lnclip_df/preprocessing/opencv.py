"""OpenCV on one thread: its warps differ in the last bit with the number of threads, and processes share the cores."""

from contextlib import contextmanager


@contextmanager
def one_thread():
    """Keep OpenCV to one thread inside a ``with``, or a function decorated with ``@one_thread()``."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
