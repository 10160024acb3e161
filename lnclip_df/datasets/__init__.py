"""What a dataset is: its YAML, its videos on disk, its dataset JSON, LMDB and pack."""

from lnclip_df.core.lazy import lazily

_PUBLIC = {
    "Entry": "dataset_json",
    "new_dataset": "new",
    "scan_faces": "scan",
    "scan_videos": "scan",
    "write_dataset_json": "dataset_json",
    "write_lmdb": "lmdb",
    "write_pack": "pack",
    "write_pairs": "pairs",
}
__all__ = list(_PUBLIC)
__getattr__ = lazily(__name__, _PUBLIC)
