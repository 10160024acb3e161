"""Videos from lists of frames, text files as the paper's authors release them: ``<set>/<source>/<video>/<frame>``."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lnclip_df.core.errors import LNCLIPError, shown
from lnclip_df.core.tables import read_text
from lnclip_df.datasets.dataset_json import SPLITS, with_slashes
from lnclip_df.datasets.items import Frames, Item
from lnclip_df.datasets.schema import Dataset
from lnclip_df.media.crop_files import is_file


def read_frame_lists(dataset: Dataset, lists: Iterable, root, level: str | None = None) -> list[Item]:
    """The videos of a dataset whose frames some lists name, sorted.

    A source whose name contains ``real`` is real, as in the authors' code. A dataset with several fake labels has the
    one that ends in the source's name (``FF-DF`` for ``DF``).

    Args:
        lists: text files with one frame a line, or folders of such files. The folder of a file, or one above it, is
            named ``train``, ``val`` or ``test`` (or ``my-train``, …).
        root: folder that the frames' paths start from.
        level: the compression level of the frames, for a dataset that has levels; ``c23`` by default.

    Raises:
        LNCLIPError: there is no list, a list cannot be read or names no split, a line is no such path, a frame is not
            on disk, or a source fits no label of the dataset.
    """
    found: dict[tuple[str, str, PurePosixPath], dict[str, None]] = defaultdict(dict)
    for path in _files(lists):
        split = _split_of(path)
        for number, line in enumerate(read_text(path).splitlines(), 1):
            frame = PurePosixPath(with_slashes(line.strip()))
            if not line.strip():
                continue
            if len(frame.parts) < 4 or not frame.stem.isdigit() or ".." in frame.parts:
                raise LNCLIPError(f"{path}, line {number}: {shown(line)} is not <set>/<source>/<video>/<number>.png")
            if not is_file(Path(root) / frame):
                raise LNCLIPError(f"{path}, line {number}: no frame {Path(root) / frame}; root is where paths start")
            found[split, _label(dataset, frame.parts[-3], path), frame.parent][frame.name] = None
    fake = dataset.labels
    in_json = dataset.levels is not None and dataset.levels.in_json
    return [
        Item(
            path="/".join(folder.parts[-3:]), label=label, fake=bool(fake[label]), splits=(split,), name=folder.name,
            level=(level or "c23") if in_json else None, method=folder.parts[-2] if fake[label] else None,
            frames=Frames(Path(root) / folder, sorted(names, key=lambda name: (int(Path(name).stem), name))),
        )
        for (split, label, folder), names in sorted(found.items())
    ]  # fmt: skip


def _files(lists):
    files = []
    for path in map(Path, lists):
        if not path.exists():
            raise LNCLIPError(f"no list {path}: no such file or folder")
        within = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not within:
            raise LNCLIPError(f"{path} contains no list (*.txt)")
        files += within
    return files


def _split_of(path):
    for folder in path.resolve().parts[-2::-1]:
        if (name := folder.removeprefix("my-")) in SPLITS:
            return name
    raise LNCLIPError(f"{path} names no split; put the list into a folder named {', '.join(SPLITS)}")


def _label(dataset, source, path):
    labels = [label for label, fake in dataset.labels.items() if bool(fake) != ("real" in source)]
    fitting = labels if len(labels) == 1 else [label for label in labels if label.endswith(source)]
    if len(fitting) != 1:
        known = ", ".join(labels) or "none"
        raise LNCLIPError(f"{path}: source {source!r} fits no label of {dataset.name} ({known})")
    return fitting[0]
