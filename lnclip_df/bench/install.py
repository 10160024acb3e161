"""Install LNCLIP-DF into a DeepfakeBench checkout, and uninstall it byte for byte."""

import ast
import difflib
import hashlib
import os
from dataclasses import dataclass
from functools import partial

from lnclip_df.bench.checkout import CONFIG_FOLDER, DETECTORS, SHIM, TEST_CONFIG, TRAIN_CONFIG, open_checkout
from lnclip_df.bench.edits import label_dict, our_labels, with_import, with_labels, without_import, without_labels
from lnclip_df.config.files import bench_configs
from lnclip_df.config.loading import whole_yaml
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_bytes

SEAL = "# Placed by lnclip-df install, seal "
PREFIXES = {"ablation": "lnclip_", "training": "lnclip_", "gend": "lnclip_gend_"}  # of the YAMLs of each folder

SHIM_SOURCE = '''\
"""Registers LNCLIP-DF with DeepfakeBench; the detector itself is in the package lnclip_df."""

from lnclip_df.bench.plugin import BenchDetector
from metrics.registry import DETECTOR

from .base_detector import AbstractDetector


@DETECTOR.register_module(module_name="lnclip")
class LNCLIPDetector(BenchDetector, AbstractDetector):
    """LNCLIP-DF as DeepfakeBench's scripts build it."""
'''


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
        LNCLIPError: not a checkout, a place to insert a line is missing, a label already has another value, or the
            checkout cannot be written.
    """
    root = open_checkout(checkout)
    edits, kept = _new_files(root, force)
    edits.append(_edit(root, DETECTORS, with_import))
    add = _on_text(partial(with_labels, ours=our_labels(root)))
    edits += [_edit(root, name, add) for name in (TRAIN_CONFIG, TEST_CONFIG)]
    return _apply(root, edits, _notes(kept), dry_run)


def uninstall(checkout, *, dry_run: bool = False, force: bool = False) -> str:
    """Remove from a checkout what ``install`` added. Everything else keeps its bytes.

    Arguments, result and errors as for ``install``; ``force`` also deletes installed files that were edited since.
    The import goes however it is written by now. Labels whose mark was lost stay, and a line of the result names them.
    """
    root = open_checkout(checkout)
    edits = [_edit(root, DETECTORS, without_import)]
    edits += [_edit(root, name, _on_text(without_labels)) for name in (TRAIN_CONFIG, TEST_CONFIG)]
    notes = [note for edit in edits[1:] for note in _labels_left(edit, our_labels(root))]
    ours, installed = our_files(), _installed_files(root)
    removed = [name for name, data in installed.items() if _is_unedited(name, data) or (force and name in ours)]
    edits += [_Edit(name, installed[name], None) for name in removed]
    kept = [name for name in installed if name not in removed]
    return _apply(root, edits, notes + _notes(kept), dry_run)


def _labels_left(edit, ours):
    """A note on labels that may be ours, but have lost the mark: a program that drops comments has written the file."""
    left = ours.keys() & label_dict(edit.after.decode("utf-8", "replace"))
    if left:
        yield (
            f"kept {len(left)} labels in {edit.name} that lnclip-df did not mark, such as {min(left)}: "
            "delete them unless they are yours\n"
        )


def our_files() -> dict[str, str]:
    """The files that ``install`` adds: ``{path in the checkout: text without its first line, the seal}``."""
    main = (bench_configs() / "lnclip.yaml").read_text(encoding="utf-8")
    files = {SHIM: SHIM_SOURCE, "lnclip.yaml": main, f"{CONFIG_FOLDER}/lnclip.yaml": main}
    for room, prefix in PREFIXES.items():
        for path in sorted((bench_configs() / room).glob("*.yaml")):
            files[f"{CONFIG_FOLDER}/{prefix}{path.name}"] = whole_yaml(path)
    return files


def _sealed(name, text):
    """A file as ``install`` writes it: its first line has a hash of its name and text."""
    seal = hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:16]
    return f"{SEAL}{seal}\n{text}".encode()


def _is_unedited(name, data):
    """Whether a file is as ``install`` wrote it under this name, apart from line ends; the shim apart from its form."""
    data = data.replace(b"\r\n", b"\n")
    text = data.partition(b"\n")[2].decode("utf-8", "replace")
    return data == _sealed(name, text) or (name == SHIM and _has_seal(data) and _statements(text) == _statements())


def _statements(text=SHIM_SOURCE):
    """What the shim does, whatever a formatter did to it: sorted imports, quotes, comments."""
    try:
        return sorted(ast.dump(statement) for statement in ast.parse(text).body)
    except (SyntaxError, ValueError):
        return None


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
        return _Edit(name, before, change(before))
    except LNCLIPError as error:
        raise LNCLIPError(f"{root / name}: {error}. Nothing was changed.") from error


def _on_text(change):
    """A change of text as one of bytes; those that are not UTF-8 stay."""
    return lambda data: change(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _notes(kept):
    return [f"kept {name}: it was edited, or is not lnclip-df's (--force overrides)\n" for name in kept]


def _apply(root, edits, notes, dry_run):
    edits = [edit for edit in edits if edit.before != edit.after]
    if not dry_run:
        _check_writable(root, edits)
        _write_all(root, edits)
    return "".join([_describe(edit) for edit in edits] + notes)


def _check_writable(root, edits):
    for edit in edits:
        path = (root / edit.name).resolve()
        folder = next(parent for parent in path.parents if parent.exists())
        for target in (folder, path):
            if target.exists() and not os.access(target, os.W_OK):
                raise LNCLIPError(f"cannot write {path}: {target} is read-only. Nothing was changed.")
        if not folder.is_dir():
            raise LNCLIPError(f"cannot write {path}: {folder} is not a folder. Nothing was changed.")


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
    """Write a whole file, through links, keeping its mode; None deletes it, and its folder if it was the last one."""
    path = path.resolve()
    if data is not None:
        mode = path.stat().st_mode if path.exists() else None
        write_bytes(path, data)
        if mode is not None:
            os.chmod(path, mode)
        return
    try:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
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
