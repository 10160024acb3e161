"""All packaged datasets at a glance: what each is, and what of it is on disk."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.scan import NotOnDisk, scan_faces, scan_videos
from lnclip_df.datasets.schema import Dataset, dataset_names, load_dataset


class Overview(NamedTuple):
    """One dataset at a glance.

    Attributes:
        test_real, test_fake: videos that its test split should have; None if unknown.
        videos, faces: raw videos, and videos with faces, on disk; None if there are none.
        fault: why its raw videos are on disk and cannot be read.
    """

    name: str
    title: str
    test_real: int | None
    test_fake: int | None
    videos: int | None
    faces: int | None
    fault: str
    access: str


def overview(root=None, faces=None) -> list[Overview]:
    """List every packaged dataset.

    Args:
        root: folder that contains the datasets' folders; without it the disk is not read.
        faces: folder that contains those with faces, ``root`` by default.
    """
    with silent():
        return [_overview(load_dataset(name), root, faces) for name in dataset_names()]


@contextmanager
def silent() -> Iterator[None]:
    """Leave out the log of scans, which says what they pass over: no matter of an overview."""
    logger = logging.getLogger("lnclip_df.datasets")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _overview(dataset: Dataset, root, faces) -> Overview:
    videos, fault = (None, "") if root is None else _count(scan_videos, dataset, root)
    cut, _ = (None, "") if root is None else _count(scan_faces, dataset, root, faces=faces)
    real, fake = (_expected_tests(dataset, label) for label in (0, 1))
    return Overview(dataset.name, dataset.title, real, fake, videos, cut, fault, dataset.access)


def _expected_tests(dataset: Dataset, label: int) -> int | None:
    expected = dataset.expected.labels.get("test", {}) if dataset.expected else {}
    counts = [count for name, count in expected.items() if dataset.labels.get(name) == label]
    return sum(counts) if counts else None


def _count(scan, dataset, root, **faces):
    try:
        return len(scan(dataset, root, **faces)), ""
    except NotOnDisk:
        return None, ""
    except LNCLIPError as error:
        return None, str(error)
