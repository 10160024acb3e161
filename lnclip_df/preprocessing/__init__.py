"""Video to aligned faces: decode, detect, align, write, and index what was written; one file a step."""

_PUBLIC = {
    "Entry": "index",
    "Summary": "run",
    "preprocess": "run",
    "preprocess_dataset": "run",
    "preprocess_sources": "run",
    "scan_faces": "scan",
    "scan_videos": "scan",
    "write_dataset_json": "index",
    "write_lmdb": "database",
    "write_pairs": "pairs",
}
__all__ = list(_PUBLIC)


def __getattr__(name):
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
