"""The lines that ``install`` adds to two kinds of DeepfakeBench's files, and ``uninstall`` takes out again.

Python is parsed with ``ast`` and YAML as nodes, so that comments, line ends and formatters make no difference.
"""

import ast
import re

import yaml

from lnclip_df.config.files import bench_configs, read_yaml
from lnclip_df.config.loading import labels
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.datasets.schema import own_labels

MODULE = "lnclip_detector"
IMPORT_LINE = f"from .{MODULE} import LNCLIPDetector"
MARK = "  # lnclip-df"
_MARKED_LABEL = re.compile(r"(?m)^[ \t]*[^\s#][^\n]*:[ \t]*[01][ \t]*#[ \t]*lnclip-df[ \t]*\r?(?:\n|\Z)")
_MARKED_SECTION = re.compile(r"(?m)^[ \t]*label_dict:[ \t]*#[ \t]*lnclip-df[ \t]*\r?(?:\n|\Z)")


def our_labels(root=".") -> dict[str, int]:
    """The labels that DeepfakeBench's own ``label_dict`` does not have: ``{name: 0 (real) or 1 (fake)}``.

    They are those of this package's datasets and of the user's, in the working folder and in the checkout ``root``.
    """
    return user_labels(root) | read_yaml(bench_configs() / "labels.yaml")["lnclip"]


def user_labels(root) -> dict[str, int]:
    """The labels of the user's datasets, in the working folder and in the checkout ``root``."""
    return own_labels(root) | own_labels()


def with_import(source: bytes) -> bytes:
    """Add our import to ``training/detectors/__init__.py``, behind that of ``DETECTOR``.

    Raises:
        LNCLIPError: the file is not Python, or has no such import.
    """
    tree = _parse(source)
    if any(_foreign_names(node) is not None for node in ast.walk(tree)):
        return source
    for node in tree.body:
        registry = isinstance(node, ast.ImportFrom) and node.module == "metrics.registry"
        if registry and any(alias.name == "DETECTOR" for alias in node.names):
            return _insert_after(source, node.end_lineno)
    raise LNCLIPError("no 'from metrics.registry import DETECTOR' to insert our import after")


def _insert_after(source, number):
    lines = source.splitlines(keepends=True)
    line = lines[number - 1]
    end = line[len(line.rstrip(b"\r\n")) :]
    if not end:
        raise LNCLIPError("the last line has no line end; add one")
    return b"".join([*lines[:number], f"{IMPORT_LINE}{MARK}".encode() + end, *lines[number:]])


def without_import(source: bytes) -> bytes:
    """Remove every import of our module, however it is written; what it leaves stays valid Python.

    Raises:
        LNCLIPError: the file is not Python, or refers to our module in another way.
    """
    tree = _parse(source)
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    for parent, node, names in reversed(list(_our_imports(tree))):
        begin, end = offsets[node.lineno - 1] + node.col_offset, offsets[node.end_lineno - 1] + node.end_col_offset
        line_begin, line_end = offsets[node.lineno - 1], offsets[node.end_lineno]
        behind = source[end:line_end].strip()
        alone = not source[line_begin:begin].strip() and (not behind or behind.startswith(b"#"))
        if names:
            node.names = names
            source = source[:begin] + ast.unparse(node).encode() + source[end:]
        elif alone and isinstance(parent, ast.Module):
            source = source[:line_begin] + source[line_end:]
        else:
            source = source[:begin] + b"pass" + source[end:]
    for node in ast.walk(_parse(source)):
        if isinstance(node, ast.expr) and MODULE in _name(node):
            raise LNCLIPError(f"line {node.lineno} still refers to {MODULE}; remove that first")
    return source


def _parse(source):
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise LNCLIPError(f"not Python: {one_line(error)}") from error


def _our_imports(tree):
    """Imports of our module in the order of the file: the statement around, the import, its names that are not ours."""
    found = [(parent, node) for parent in ast.walk(tree) for node in ast.iter_child_nodes(parent)]
    ours = [(parent, node, names) for parent, node in found if (names := _foreign_names(node)) is not None]
    return sorted(ours, key=lambda item: (item[1].lineno, item[1].col_offset))


def _foreign_names(node):
    """The names that an import of our module takes from elsewhere; None for any other node."""
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] == MODULE:
        return []
    if isinstance(node, ast.Import | ast.ImportFrom):
        foreign = [alias for alias in node.names if alias.name.split(".")[-1] != MODULE]
        return foreign if len(foreign) < len(node.names) else None
    return None


def _name(node):
    """What a node names: a variable, an attribute, or a text."""
    return next((value for key in ("id", "attr", "value") if isinstance(value := getattr(node, key, None), str)), "")


def with_labels(text: str, ours: dict[str, int] | None = None) -> str:
    """Add the labels that ``label_dict`` lacks to a configuration of DeepfakeBench, or the whole section.

    Args:
        ours: the labels to add; :func:`our_labels` by default.

    Raises:
        LNCLIPError: not YAML with a key per line, or a label that our datasets need has another value.
    """
    ours = our_labels() if ours is None else ours
    root = _block_mapping(_compose(text), "the file")
    section = next((value for key, value in root.value if key.value == "label_dict"), None)
    if section is None:
        lines = ["label_dict:", *(f"  {line}" for line in _lines(labels() | ours))]
        return _insert_before(text, root, lines)
    present = yaml.safe_load(text)["label_dict"]
    for label, value in ours.items():
        if present.get(label, value) != value:
            raise LNCLIPError(f"label_dict.{label} is {present[label]!r}, but lnclip-df needs {value}; rename it")
    lines = _lines({label: value for label, value in ours.items() if label not in present})
    return _insert_before(text, _block_mapping(section, "label_dict"), lines)


def _lines(labels: dict[str, int]) -> list[str]:
    """A YAML line for each label, quoted where it must be."""
    shown = (yaml.safe_dump(label, allow_unicode=True, width=1000).splitlines()[0] for label in labels)
    return [f"{label}: {value}" for label, value in zip(shown, labels.values(), strict=True)]


def _compose(text):
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise LNCLIPError(f"not YAML: {one_line(error)}") from error


def _block_mapping(node, name):
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        raise LNCLIPError(f"{name} is not a YAML mapping with one 'key: value' per line")
    return node


def _insert_before(text, mapping, lines):
    """Insert marked lines before the first key of a mapping, indented like it."""
    mark = mapping.value[0][0].start_mark
    start, end = mark.index - mark.column, "\r\n" if "\r\n" in text else "\n"
    new = "".join(f"{' ' * mark.column}{line}{MARK}{end}" for line in lines)
    return text[:start] + new + text[start:]


def without_labels(text: str) -> str:
    """Remove the labels that ``install`` has marked, and its section unless it now has other labels."""
    text = _MARKED_LABEL.sub("", text)
    return text if label_dict(text) else _MARKED_SECTION.sub("", text)


def label_dict(text: str) -> dict:
    """The ``label_dict`` of a configuration; empty if there is none, or no valid YAML."""
    try:
        return dict(yaml.safe_load(text)["label_dict"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return {}
