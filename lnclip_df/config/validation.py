"""Validate mappings against a schema with one readable line, and override their keys."""

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from lnclip_df.core.errors import LNCLIPError, one_line

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A frozen part of a YAML; unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, protected_namespaces=())


def validate(model: type[Model], raw: Any, source: str, prefix: str = "") -> Model:
    """Make a pydantic ``model`` of ``raw``, which ``source`` (a file) has under the key ``prefix``.

    Raises:
        LNCLIPError: keys or values are wrong; one line for all of them, each with its dotted key.
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
        if field is None:  # an index of a list, or the key of a mapping
            continue
        model = section_of(field.annotation)
        if model is None:
            return []
    return list(model.model_fields)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field of this annotation holds; None for a plain value."""
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((x for x in candidates if isinstance(x, type) and issubclass(x, BaseModel)), None)


def overridden(raw: Mapping[str, Any], changes: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    """A copy of a mapping with some values replaced.

    Args:
        raw: the mapping; it stays as it is.
        changes: values by dotted key, or the command line's ``key=value`` strings, whose values are YAML.

    Raises:
        LNCLIPError: a string is not ``key=value``, or a key leads through a plain value.
    """
    changed = dict(raw)
    for key, value in changes.items() if isinstance(changes, Mapping) else map(_parsed, changes):
        section, parts = changed, key.split(".")
        for depth, part in enumerate(parts[:-1]):
            inner = section.get(part) or {}
            if not isinstance(inner, dict):
                raise LNCLIPError(f"{key}: {'.'.join(parts[: depth + 1])} is a value, not a section")
            section[part] = section = dict(inner)
        section[parts[-1]] = value
    return changed


def _parsed(override):
    key, separator, text = override.partition("=")
    if not separator or not all(key.strip().split(".")):
        raise LNCLIPError(f"setting {override!r}: expected key=value, for example lnclip.slerp.enabled=false")
    try:
        return key.strip(), yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise LNCLIPError(f"setting {override!r}: the value is not YAML: {one_line(error)}") from error
