"""Find and read a detector YAML."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lnclip_df.config.files import bench_configs, read_yaml
from lnclip_df.config.schema import Config
from lnclip_df.config.validation import overridden
from lnclip_df.core.errors import LNCLIPError

OTHER_YAMLS = {"crops.yaml", "demo-dataset.yaml", "labels.yaml", "models.yaml", "reference.yaml"}


def detector_yamls() -> list[str]:
    """Names of the packaged YAMLs that :func:`load_config` takes: all that are a detector's."""
    folder = bench_configs()
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")]
    return sorted(name for name in names if name not in OTHER_YAMLS and not name.startswith("datasets/"))


def find_config(path) -> Path:
    """Find a detector YAML: the file itself, else the packaged one of that name.

    Raises:
        LNCLIPError: there is neither; the message lists the packaged names.
    """
    path = Path(path)
    if path.is_file():
        return path
    return _packaged(path)


def _packaged(path):
    if path.as_posix() in detector_yamls():
        return bench_configs() / path
    raise LNCLIPError(f"no config {path}; give a YAML file or one of: {', '.join(detector_yamls())}")


def read_config(path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a detector YAML as one whole mapping: what it ``extends`` first, its own keys over that.

    ``extends`` names a YAML beside the file, or a packaged one. Sections are merged key by key.

    Raises:
        LNCLIPError: a file is absent or invalid, or a YAML extends itself.
    """
    path = Path(path)
    raw = read_yaml(path)
    base = raw.pop("extends", None)
    if base is None:
        return raw
    beside = path.parent / str(base)
    found = beside if beside.is_file() else _packaged(Path(str(base)))
    seen = (*_seen, path.resolve())
    if found.resolve() in seen:
        raise LNCLIPError(f"{path}: extends: {base} leads back to the same file")
    return _merged(read_config(found, seen), raw)


def whole_yaml(path) -> str:
    """The text of a detector YAML for a reader that does not know ``extends``: its comment, then every key."""
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    if "extends" not in read_yaml(path):
        return text
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    return comment + yaml.safe_dump(read_config(path), sort_keys=False, default_flow_style=None, width=120)


def _merged(base, over):
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def load_config(path, overrides: Mapping[str, Any] | Iterable[str] = ()) -> Config:
    """Read and validate a detector YAML as the command line does.

    Args:
        path: a YAML file, or the name of a packaged one (``lnclip.yaml``, ``ablation/1-linear-probe.yaml``).
        overrides: values by dotted key (``{"lnclip.slerp.enabled": False}``), or ``key=value`` strings whose values are
            YAML (``lnclip.slerp.enabled=false``).

    Returns:
        The frozen configuration, every default filled in; ``label_dict`` is the packaged one unless the YAML has its
        own.

    Raises:
        LNCLIPError: a file, key or value is wrong; one line for all of them.
    """
    path = find_config(path)
    return make_config(read_config(path), overrides, str(path))


def make_config(mapping: Mapping[str, Any], overrides=(), source: str = "configuration") -> Config:
    """As :func:`load_config`, of a mapping that ``source`` (a file's name) holds."""
    raw = overridden(mapping, overrides)
    if raw.get("label_dict") is None:
        raw["label_dict"] = labels()
    return Config.from_dict(raw, source)


def labels() -> dict[str, int]:
    """Every label name that our dataset files use, DeepfakeBench's included: ``{name: 0 real | 1 fake}``."""
    groups = read_yaml(bench_configs() / "labels.yaml")
    return {name: value for group in groups.values() for name, value in group.items()}
