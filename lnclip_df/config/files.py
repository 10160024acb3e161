"""The packaged YAMLs' folder, and YAML files as mappings."""

from pathlib import Path
from typing import Any

import yaml

from lnclip_df.core.errors import LNCLIPError, one_line


def bench_configs() -> Path:
    """Folder of the packaged YAMLs, in a checkout and in a wheel alike."""
    here = Path(__file__).resolve().parents[1]
    packaged = here / "bench_configs"
    return packaged if packaged.is_dir() else here.parent / "bench_configs"


def read_yaml(path) -> dict[str, Any]:
    """Read a YAML mapping with ``yaml.safe_load``.

    Raises:
        LNCLIPError: unreadable, not YAML (the message names line and column), or not a mapping.
    """
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise LNCLIPError(f"{path} is not YAML: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise LNCLIPError(f"{path} is not a YAML mapping of keys to values")
    return value
