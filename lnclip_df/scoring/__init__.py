"""Scoring what a user has: faces found in videos and images, a probability for each, one answer a file."""

_PUBLIC = {
    "FrameScore": "results",
    "Person": "results",
    "Result": "results",
    "Scorer": "scorer",
    "load": "scorer",
    "predict": "scorer",
}
__all__ = list(_PUBLIC)


def __getattr__(name):
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
