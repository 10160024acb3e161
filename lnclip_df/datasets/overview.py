"""All datasets at a glance: what each is, and what of it is on disk."""

import logging
from contextlib import contextmanager
from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.scan import NotOnDisk, scan_faces, scan_videos
from lnclip_df.datasets.schema import dataset_names, load_dataset


class Overview(NamedTuple):
    """One dataset: its name and title, real and fake videos that its test split should have (None: unknown), raw videos
    and videos with faces on disk (None: not there), why something that is there cannot be read, and how to get it."""

    name: str
    title: str
    test_real: int | None
    test_fake: int | None
    videos: int | None
    faces: int | None
    fault: str
    access: str


def overview(root=None, faces=None) -> list[Overview]:
    """Look at every packaged dataset.

    Args:
        root: folder that holds the datasets' folders; without it nothing is looked for on disk.
        faces: folder that holds those with faces, ``root`` by default.
    """
    rows = []
    with _silence():
        for name in dataset_names():
            spec = load_dataset(name)
            videos, fault = (None, "") if root is None else _count(scan_videos, spec, root)
            cut, _ = (None, "") if root is None else _count(scan_faces, spec, root, faces=faces)
            rows.append(Overview(name, spec.title, *_expected(spec), videos, cut, fault, spec.access))
    return rows


def _expected(spec):
    counts = spec.expected.labels.get("test", {}) if spec.expected else {}
    by_class = [[count for label, count in counts.items() if spec.labels.get(label) == fake] for fake in (0, 1)]
    return [sum(counts) if counts else None for counts in by_class]


def _count(scan, spec, root, **options):
    try:
        return len(scan(spec, root, **options)), ""
    except NotOnDisk:
        return None, ""
    except LNCLIPError as error:
        return None, str(error)


@contextmanager
def _silence():
    logger = logging.getLogger("lnclip_df.preprocess")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
