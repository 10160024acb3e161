"""Score arbitrary videos and images: find faces, predict a probability for each, return one result per file."""

from lnclip_df.core.lazy import lazily

_PUBLIC = {
    "FrameScore": "results",
    "Person": "results",
    "Result": "results",
    "ScoreOptions": "options",
    "Scorer": "scorer",
    "load": "scorer",
    "predict": "scorer",
}
__all__ = list(_PUBLIC)
__getattr__ = lazily(__name__, _PUBLIC)
