"""Video to aligned faces: many videos, resumable, in parallel or on a cluster."""

from lnclip_df.core.lazy import lazily

_PUBLIC = {
    "CropSettings": "options",
    "RunOptions": "options",
    "Summary": "summary",
    "crop_settings": "options",
    "preprocess": "run",
    "preprocess_dataset": "run",
    "preprocess_sources": "run",
}
__all__ = list(_PUBLIC)
__getattr__ = lazily(__name__, _PUBLIC)
