"""Install LNCLIP-DF into a DeepfakeBench checkout and take it out again, byte for byte."""

import difflib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from lnclip_df.bench.checkout import CONFIG_FOLDER, DETECTORS, SHIM, TEST_CONFIG, TRAIN_CONFIG, open_checkout
from lnclip_df.config.loading import bench_configs, read_yaml
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
    """One file's change; ``None`` stands for a file that is not there."""

    name: str
    before: bytes | None
    after: bytes | None


def install(checkout, *, dry_run: bool = False, force: bool = False) -> str:
    """Put the detector into a DeepfakeBench checkout: a shim, its import, the YAMLs and the labels they need.

    A second time changes nothing. Either every file is written or none.

    Args:
        checkout: root of the checkout.
        dry_run: only say what would be written.
        force: also overwrite files of ours that were edited since, and files of the same name that are not ours.

    Returns:
        A unified diff of the edits, a line for every new file, and a line for every edited file that was kept; the
        empty string where there is nothing to do.

    Raises:
        LNCLIPError: not a checkout, a place to insert is missing, a label already means something else, or the
            checkout cannot be written.
    """
    root = open_checkout(checkout)
    edits, kept = _place_files(root, force)
    edits.append(_edit(root, DETECTORS, _with_import))
    edits += [_edit(root, name, _with_labels) for name in (TRAIN_CONFIG, TEST_CONFIG)]
    return _carry_out(root, edits, kept, dry_run)


def uninstall(checkout, *, dry_run: bool = False, force: bool = False) -> str:
    """Take out of a checkout what ``install`` put there; everything else keeps its bytes.

    Args:
        checkout: root of the checkout.
        dry_run: only say what would be removed.
        force: also delete files of ours that were edited since.

    Returns:
        As ``install``.

    Raises:
        LNCLIPError: not a checkout, or it cannot be written.
    """
    root = open_checkout(checkout)
    edits = [_edit(root, name, _without_marked_lines) for name in (DETECTORS, TRAIN_CONFIG, TEST_CONFIG)]
    files, kept = _remove_files(root, force)
    edits += files
    return _carry_out(root, edits, kept, dry_run)


def our_labels() -> dict:
    """The labels that our datasets need and DeepfakeBench's stock ``label_dict`` lacks: ``{name: 0 real | 1 fake}``."""
    return read_yaml(bench_configs() / "labels.yaml")["lnclip"]


def our_files() -> dict:
    """Text of every file that ``install`` places: ``{path in the checkout: text}``, before it is sealed."""
    main = (bench_configs() / "lnclip.yaml").read_text(encoding="utf-8")
    files = {SHIM: SHIM_SOURCE, "lnclip.yaml": main, f"{CONFIG_FOLDER}/lnclip.yaml": main}
    for path in sorted(path for room in ("ablation", "training") for path in (bench_configs() / room).glob("*.yaml")):
        files[f"{CONFIG_FOLDER}/lnclip_{path.name}"] = path.read_text(encoding="utf-8")
    return files


def _seal(name, text):
    return f"{SEAL}{_digest(name, text)}\n{text}".encode()


def _digest(name, text):
    return hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:16]


def _sealed(name, data):
    """Whether a file is as ``install`` left it under this name, line ends apart."""
    seal, _, text = data.decode("utf-8", "replace").replace("\r\n", "\n").partition("\n")
    return seal == f"{SEAL}{_digest(name, text)}"


def _has_seal(data):
    return data.startswith(SEAL.encode())


def _placed(root):
    """Files that are ours by name or by seal, older versions' too: ``{path in the checkout: bytes}``."""
    found = {name: (root / name).read_bytes() for name in our_files() if (root / name).is_file()}
    for path in sorted((root / CONFIG_FOLDER).glob("lnclip*.yaml")):
        data = path.read_bytes()
        if _has_seal(data):
            found.setdefault(path.relative_to(root).as_posix(), data)
    return found


def _place_files(root, force):
    files, placed = our_files(), _placed(root)
    edits, kept = [], []
    for name, text in files.items():
        before, after = placed.get(name), _seal(name, text)
        if before is None or force or _sealed(name, before):
            unchanged = before is not None and before.replace(b"\r\n", b"\n") == after
            edits.append(_Edit(name, before, before if unchanged else after))
        elif name == SHIM and not _has_seal(before):
            raise LNCLIPError(f"{root / name} is there already and is not lnclip-df's: move it away, or use --force")
        else:
            kept.append(name)
    stale = {name: data for name, data in placed.items() if name not in files and _sealed(name, data)}
    return edits + [_Edit(name, data, None) for name, data in stale.items()], kept


def _remove_files(root, force):
    files = our_files()
    edits, kept = [], []
    for name, data in _placed(root).items():
        if _sealed(name, data) or (force and name in files):
            edits.append(_Edit(name, data, None))
        else:
            kept.append(name)
    return edits, kept


def _edit(root, name, change):
    before = (root / name).read_bytes()
    try:
        text = before.decode("utf-8", "surrogateescape")
        return _Edit(name, before, change(text).encode("utf-8", "surrogateescape"))
    except _NoAnchorError as error:
        raise LNCLIPError(f"{root / name}: {error}; nothing was changed") from error


class _NoAnchorError(Exception):
    pass


def _lines(text):
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _is_marked(line):
    return line.rstrip("\r\n").endswith(MARK)


def _without_marked_lines(text):
    return "".join(line for line in _lines(text) if not _is_marked(line))


def _insert_after(lines, position, new):
    """Insert lines after ``position`` with the line end that is used there."""
    end = "\r\n" if lines[position].endswith("\r\n") else "\n"
    return lines[: position + 1] + [f"{line}{MARK}{end}" for line in new] + lines[position + 1 :]


def _anchor(lines, pattern, description):
    for position, line in enumerate(lines):
        if pattern.fullmatch(line):
            return position
    raise _NoAnchorError(f"no line {description!r} to insert after")


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
            raise _NoAnchorError(f"label_dict.{label} is {present[label]!r}, but lnclip-df means {value}; rename it")
    return "".join(_insert_after(lines, position, missing))


def _label_dict(text):
    try:
        return dict(yaml.safe_load(text)["label_dict"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise _NoAnchorError(f"not YAML with a label_dict: {one_line(error)}") from error


def _indentation(lines):
    """Indentation of the first entry of the mapping that begins with ``lines``."""
    for line in lines:
        match = _ENTRY.match(line)
        if match:
            return match[1]
        if line.strip() and not line.strip().startswith("#"):
            break
    raise _NoAnchorError("label_dict is not followed by indented 'label: number' lines")


def _carry_out(root, edits, kept, dry_run):
    edits = [edit for edit in edits if edit.before != edit.after]
    if not dry_run:
        _check_writable(root, edits)
        _write_all(root, edits)
    notes = [f"kept {name}: it was edited or is not lnclip-df's (--force overrides)\n" for name in kept]
    return "".join([_describe(edit) for edit in edits] + notes)


def _check_writable(root, edits):
    for edit in edits:
        path = (root / edit.name).resolve()
        if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            raise LNCLIPError(f"cannot write {path}: the checkout is read-only; nothing was changed")


def _write_all(root, edits):
    done = []
    try:
        for edit in edits:
            done.append(edit)
            _put(root / edit.name, edit.after)
    except BaseException:
        for edit in reversed(done):
            path = root / edit.name
            if (path.read_bytes() if path.is_file() else None) != edit.before:
                _put(path, edit.before)
        raise


def _put(path, data):
    """Write a file whole, keeping its mode and what it links to; ``None`` deletes it."""
    path = Path(path).resolve()
    if data is None:
        _delete(path)
        return
    mode = path.stat().st_mode if path.exists() else None
    write_bytes(path, data)
    if mode is not None:
        os.chmod(path, mode)


def _delete(path):
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
