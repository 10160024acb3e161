"""Find, read and validate a detector YAML."""

import difflib
import reprlib
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from lnclip_df.config.schema import Config, Settings
from lnclip_df.core.errors import LNCLIPError, one_line

OTHER_YAMLS = {"labels.yaml", "reference.yaml"}


def bench_configs() -> Path:
    """Folder of the YAMLs that travel with the package, in a checkout and in a wheel alike."""
    here = Path(__file__).resolve().parents[1]
    packaged = here / "bench_configs"
    return packaged if packaged.is_dir() else here.parent / "bench_configs"


def detector_yamls() -> list[str]:
    """Names of the packaged YAMLs that :func:`load_config` takes: all but labels, datasets and published figures."""
    folder = bench_configs()
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")]
    return sorted(name for name in names if name not in OTHER_YAMLS and not name.startswith("datasets/"))


def find_config(path) -> Path:
    """Find a detector's YAML: the file itself, else the one of that name that travels with the package.

    Raises:
        LNCLIPError: neither is there; the message lists the names that are.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_absolute():
        packaged = bench_configs() / path
        if packaged.is_file() and path.as_posix() in detector_yamls():
            return packaged
    raise LNCLIPError(f"no config {path}; give a YAML file or one of: {', '.join(detector_yamls())}")


def read_yaml(path) -> dict:
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


def load_config(path, overrides=()) -> dict:
    """Read and validate a detector YAML as the command line does.

    Args:
        path: a YAML file, or the name of one that travels with the package (``lnclip.yaml``,
            ``ablation/1-linear-probe.yaml``).
        overrides: ``key=value`` strings; keys are dotted (``lnclip.slerp.enabled=false``), values are YAML.

    Returns:
        The configuration as a plain ``dict``, every default filled in; ``label_dict`` is the packaged one unless the
        YAML has its own.

    Raises:
        LNCLIPError: a file, key or value is wrong; one line for all of them.
    """
    path = find_config(path)
    raw = read_yaml(path)
    for override in overrides:
        _override(raw, override)
    config = validate(Config, raw, str(path), "").model_dump(mode="json")
    if config["label_dict"] is None:
        config["label_dict"] = labels()
    return config


def labels() -> dict:
    """Every label name that our dataset files use, DeepfakeBench's included: ``{name: 0 real | 1 fake}``."""
    groups = read_yaml(bench_configs() / "labels.yaml")
    return {name: value for group in groups.values() for name, value in group.items()}


def settings(config: dict) -> Settings:
    """The validated ``lnclip:`` section of a configuration, whoever merged the rest (DeepfakeBench does).

    Raises:
        LNCLIPError: a key or value under ``lnclip`` is wrong.
    """
    return validate(Settings, config.get("lnclip") or {}, "configuration", "lnclip")


def _override(raw, override):
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise LNCLIPError(f"--set {override!r}: expected key=value, such as lnclip.slerp.enabled=false")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise LNCLIPError(f"--set {override!r}: the value is not YAML: {one_line(error)}") from error
    section = raw
    for depth, part in enumerate(parts[:-1]):
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            raise LNCLIPError(f"--set {override!r}: {'.'.join(parts[: depth + 1])} is a value, not a section")
    section[parts[-1]] = value


def validate(model, raw, source, prefix=""):
    """Make a pydantic ``model`` of ``raw``, a mapping that ``source`` (a file) holds under the key ``prefix``.

    Raises:
        LNCLIPError: keys or values are wrong; one line for all of them, each with its path.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(model, item, prefix) for item in error.errors(include_url=False)]
        raise LNCLIPError(f"{source}: " + "; ".join(lines)) from error


def _explain(model, item, prefix):
    location = [str(part) for part in item["loc"]]
    path = ".".join(([prefix] if prefix else []) + location) or "configuration"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _keys(model, location[:-1]), n=1)
        return f"{path}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    message = item["msg"].removeprefix("Value error, ")
    value = item.get("input")
    shown = "" if isinstance(value, (dict, BaseModel)) else f" (received {reprlib.repr(value)})"
    return f"{path}: {message[0].lower()}{message[1:]}{shown}"


def _keys(model, location):
    for part in location:
        field = model.model_fields.get(part)
        if field is None:  # the place in a list, or the key of a mapping
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)
