"""Scoring what a user has: faces found in videos and images, a probability for each, one answer a file."""

from lnclip_df.core.lazy import lazily

_PUBLIC = {
    "FrameScore": "results",
    "Person": "results",
    "Result": "results",
    "Scorer": "scorer",
    "load": "scorer",
    "predict": "scorer",
}
__all__ = list(_PUBLIC)
__getattr__ = lazily(__name__, _PUBLIC)
