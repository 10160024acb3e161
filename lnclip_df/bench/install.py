"""Install LNCLIP-DF into a DeepfakeBench checkout, and uninstall it byte for byte."""

import difflib
import hashlib
import os
import re
from dataclasses import dataclass

import yaml

from lnclip_df.bench.checkout import CONFIG_FOLDER, DETECTORS, SHIM, TEST_CONFIG, TRAIN_CONFIG, open_checkout
from lnclip_df.config.loading import bench_configs, read_yaml, whole_yaml
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import write_bytes

MARK = "  # lnclip-df"
IMPORT_LINE = "from .lnclip_detector import LNCLIPDetector"
SEAL = "# Placed by lnclip-df install, seal "

SHIM_SOURCE = '''\
"""Registers LNCLIP-DF with DeepfakeBench; the detector itself is in the package lnclip_df."""

from lnclip_df.bench.plugin import BenchDetector
from metrics.registry import DETECTOR

from .base_detector import AbstractDetector


@DETECTOR.register_module(module_name="lnclip")
class LNCLIPDetector(BenchDetector, AbstractDetector):
    """LNCLIP-DF as DeepfakeBench's scripts build it."""
'''

_IMPORT_ANCHOR = re.compile(r"from metrics\.registry import DETECTOR\s*\n")
_LABEL_ANCHOR = re.compile(r"label_dict:\s*(#.*)?\n")
_ENTRY = re.compile(r"( +)[^\s#:][^:]*:\s*\d")


@dataclass(frozen=True)
class _Edit:
    """The change of one file: its bytes before and after, None where the file does not exist."""

    name: str
    before: bytes | None
    after: bytes | None


def install(checkout, *, dry_run: bool = False, force: bool = False) -> str:
    """Install the detector into a DeepfakeBench checkout: a shim, its import, the YAMLs and their labels.

    A second run changes nothing. Either all files are written or none.

    Args:
        dry_run: only return what would change.
        force: also overwrite installed files that were edited since, and other files of the same names.

    Returns:
        A unified diff of the edits, one line per new file, and one line per edited file that was kept. Empty if there
        is nothing to do.

    Raises:
        LNCLIPError: not a checkout, a line to insert after is missing, a label already has another value, or the
            checkout cannot be written.
    """
    root = open_checkout(checkout)
    edits, kept = _new_files(root, force)
    edits.append(_edit(root, DETECTORS, _with_import))
    edits += [_edit(root, name, _with_labels) for name in (TRAIN_CONFIG, TEST_CONFIG)]
    return _apply(root, edits, kept, dry_run)


def uninstall(checkout, *, dry_run: bool = False, force: bool = False) -> str:
    """Remove from a checkout what ``install`` added. Everything else keeps its bytes.

    Arguments, result and errors as for ``install``; ``force`` also deletes installed files that were edited since.
    """
    root = open_checkout(checkout)
    edits = [_edit(root, name, _without_marked_lines) for name in (DETECTORS, TRAIN_CONFIG, TEST_CONFIG)]
    ours, installed = our_files(), _installed_files(root)
    removed = [name for name, data in installed.items() if _is_unedited(name, data) or (force and name in ours)]
    edits += [_Edit(name, installed[name], None) for name in removed]
    return _apply(root, edits, [name for name in installed if name not in removed], dry_run)


def our_labels() -> dict[str, int]:
    """The labels that DeepfakeBench's own ``label_dict`` does not have: ``{name: 0 (real) or 1 (fake)}``."""
    return read_yaml(bench_configs() / "labels.yaml")["lnclip"]


def our_files() -> dict[str, str]:
    """The files that ``install`` adds: ``{path in the checkout: text without its first line, the seal}``."""
    main = (bench_configs() / "lnclip.yaml").read_text(encoding="utf-8")
    files = {SHIM: SHIM_SOURCE, "lnclip.yaml": main, f"{CONFIG_FOLDER}/lnclip.yaml": main}
    for path in sorted(path for room in ("ablation", "training") for path in (bench_configs() / room).glob("*.yaml")):
        files[f"{CONFIG_FOLDER}/lnclip_{path.name}"] = whole_yaml(path)
    return files


def _sealed(name, text):
    """A file as ``install`` writes it: its first line has a hash of its name and text."""
    seal = hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:16]
    return f"{SEAL}{seal}\n{text}".encode()


def _is_unedited(name, data):
    """Whether a file is as ``install`` wrote it under this name, apart from line ends."""
    data = data.replace(b"\r\n", b"\n")
    return data == _sealed(name, data.partition(b"\n")[2].decode("utf-8", "replace"))


def _has_seal(data):
    return data.startswith(SEAL.encode())


def _installed_files(root):
    """Files that have our name or a seal, those of older versions too: ``{path in the checkout: bytes}``."""
    found = {name: (root / name).read_bytes() for name in our_files() if (root / name).is_file()}
    for path in sorted((root / CONFIG_FOLDER).glob("lnclip*.yaml")):
        data = path.read_bytes()
        if _has_seal(data):
            found.setdefault(path.relative_to(root).as_posix(), data)
    return found


def _new_files(root, force):
    """The edits that add our files, and the names of edited files that are kept."""
    files, installed = our_files(), _installed_files(root)
    edits, kept = [], []
    for name, text in files.items():
        before, after = installed.get(name), _sealed(name, text)
        if before is None or force or _is_unedited(name, before):
            unchanged = before is not None and before.replace(b"\r\n", b"\n") == after
            edits.append(_Edit(name, before, before if unchanged else after))
        elif name == SHIM and not _has_seal(before):
            raise LNCLIPError(f"{root / name} exists and is not lnclip-df's. Move it away, or use --force.")
        else:
            kept.append(name)
    old = {name: data for name, data in installed.items() if name not in files and _is_unedited(name, data)}
    return edits + [_Edit(name, data, None) for name, data in old.items()], kept


def _edit(root, name, change):
    before = (root / name).read_bytes()
    try:
        text = before.decode("utf-8", "surrogateescape")
        return _Edit(name, before, change(text).encode("utf-8", "surrogateescape"))
    except LNCLIPError as error:
        raise LNCLIPError(f"{root / name}: {error}. Nothing was changed.") from error


def _lines(text):
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _without_marked_lines(text):
    return "".join(line for line in _lines(text) if not line.rstrip("\r\n").endswith(MARK))


def _insert_after(lines, position, new):
    """Insert lines after ``position``, with the line end of that line."""
    end = "\r\n" if lines[position].endswith("\r\n") else "\n"
    return lines[: position + 1] + [f"{line}{MARK}{end}" for line in new] + lines[position + 1 :]


def _anchor(lines, pattern, description):
    for position, line in enumerate(lines):
        if pattern.fullmatch(line):
            return position
    raise LNCLIPError(f"no line {description!r} to insert after")


def _with_import(text):
    lines = _lines(text)
    if any(line.split("#")[0].strip() == IMPORT_LINE for line in lines):
        return text
    position = _anchor(lines, _IMPORT_ANCHOR, "from metrics.registry import DETECTOR")
    return "".join(_insert_after(lines, position, [IMPORT_LINE]))


def _with_labels(text):
    lines = _lines(text)
    position = _anchor(lines, _LABEL_ANCHOR, "label_dict:")
    indent = _indentation(lines[position + 1 :])
    present = _label_dict(text)
    missing = []
    for label, value in our_labels().items():
        if label not in present:
            missing.append(f"{indent}{label}: {value}")
        elif present[label] != value:
            raise LNCLIPError(f"label_dict.{label} is {present[label]!r}, but lnclip-df needs {value}; rename it")
    return "".join(_insert_after(lines, position, missing))


def _label_dict(text):
    try:
        return dict(yaml.safe_load(text)["label_dict"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise LNCLIPError(f"not YAML with a label_dict: {one_line(error)}") from error


def _indentation(lines):
    """Indentation of the first entry of the mapping in ``lines``."""
    for line in lines:
        match = _ENTRY.match(line)
        if match:
            return match[1]
        if line.strip() and not line.strip().startswith("#"):
            break
    raise LNCLIPError("label_dict is not followed by indented 'label: number' lines")


def _apply(root, edits, kept, dry_run):
    edits = [edit for edit in edits if edit.before != edit.after]
    if not dry_run:
        _check_writable(root, edits)
        _write_all(root, edits)
    notes = [f"kept {name}: it was edited, or is not lnclip-df's (--force overrides)\n" for name in kept]
    return "".join([_describe(edit) for edit in edits] + notes)


def _check_writable(root, edits):
    for edit in edits:
        path = (root / edit.name).resolve()
        if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            raise LNCLIPError(f"cannot write {path}: the checkout is read-only. Nothing was changed.")


def _write_all(root, edits):
    done = []
    try:
        for edit in edits:
            done.append(edit)
            _write(root / edit.name, edit.after)
    except BaseException:
        for edit in reversed(done):
            path = root / edit.name
            if (path.read_bytes() if path.is_file() else None) != edit.before:
                _write(path, edit.before)
        raise


def _write(path, data):
    """Write a whole file, through links, keeping its mode; None deletes it."""
    path = path.resolve()
    if data is not None:
        mode = path.stat().st_mode if path.exists() else None
        write_bytes(path, data)
        if mode is not None:
            os.chmod(path, mode)
        return
    try:
        path.unlink()
    except OSError as error:
        raise LNCLIPError(f"cannot delete {path}: {error.strerror or error}") from error


def _describe(edit):
    if edit.before is None:
        return f"new file {edit.name}\n"
    if edit.after is None:
        return f"deleted file {edit.name}\n"
    before, after = (data.decode("utf-8", "replace").splitlines() for data in (edit.before, edit.after))
    diff = difflib.unified_diff(before, after, f"a/{edit.name}", f"b/{edit.name}", lineterm="", n=1)
    return "\n".join(diff) + "\n"
