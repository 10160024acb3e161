"""Video to aligned faces: decode, detect, align, write, and index what was written; one file a step."""

from lnclip_df.lazy import lazily

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
__getattr__ = lazily(__name__, _PUBLIC)
