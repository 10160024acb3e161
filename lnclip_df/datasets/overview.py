"""All datasets at a glance: what each is, and what of it is on disk."""

from typing import NamedTuple

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.scan import NotOnDisk, scan_faces, scan_videos, silent
from lnclip_df.datasets.schema import Dataset, dataset_names, load_dataset, own_datasets


class Overview(NamedTuple):
    """One dataset at a glance.

    Attributes:
        test_real, test_fake: videos that its test split should have; None if unknown.
        videos, faces: raw videos, and videos with faces, on disk; None if there are none.
        fault: why its YAML, or its raw videos that are on disk, cannot be read.
        access: where to ask for it; of a user's dataset, its YAML.
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
    """List every dataset of the user and of the package.

    Args:
        root: folder that contains the datasets' folders; without it only those are read whose YAML says where they lie.
        faces: folder that contains those with faces; by default the YAML's ``faces``, else ``root``.
    """
    with silent():
        packaged = [_overview(load_dataset(name), root, faces) for name in dataset_names()]
        return [_own(name, path, root, faces) for name, path in sorted(own_datasets().items())] + packaged


def _own(name, path, root, faces) -> Overview:
    try:
        return _overview(load_dataset(name), root, faces)._replace(access=str(path))
    except LNCLIPError as error:
        return Overview(name, "", None, None, None, None, str(error), str(path))


def _overview(dataset: Dataset, root, faces) -> Overview:
    videos, fault = _count(scan_videos, dataset, root)
    cut, _ = _count(scan_faces, dataset, root, faces=faces)
    real, fake = (_expected_tests(dataset, label) for label in (0, 1))
    return Overview(dataset.name, dataset.title, real, fake, videos, cut, fault, dataset.access)


def _expected_tests(dataset: Dataset, label: int) -> int | None:
    expected = dataset.expected.labels.get("test", {}) if dataset.expected else {}
    counts = [count for name, count in expected.items() if dataset.labels.get(name) == label]
    return sum(counts) if counts else None


def _count(scan, dataset, root, **faces):
    if root is None and dataset.combine:
        return None, ""
    try:
        return len(scan(dataset, root, **faces)), ""
    except NotOnDisk:
        return None, ""
    except LNCLIPError as error:
        return None, str(error)
