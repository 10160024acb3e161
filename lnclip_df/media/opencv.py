"""OpenCV on one thread: its warps differ in the last bit with the number of threads, and processes share the cores."""

from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_inside: list[int] = []  # the number of threads to go back to, once for each that is inside


@contextmanager
def one_thread():
    """Keep OpenCV to one thread inside a ``with``, or a function decorated with ``@one_thread()``.

    The setting is the process's: where several threads are inside, the last one to leave puts it back.
    """
    import cv2

    with _lock:
        _inside.append(_inside[0] if _inside else cv2.getNumThreads())
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                cv2.setNumThreads(before)
