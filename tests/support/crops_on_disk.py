"""Face crops on disk, and the dataset JSON that lists them."""

import itertools

from tiny import write_dataset
from trees import write


def on_disk(root, frame):
    """Where a frame of a dataset JSON lies below the checkout ``root``."""
    return root / ("" if frame.startswith((".", "/")) else "datasets/rgb") / frame.replace("\\", "/")


def write_crops(
    root, encode, splits, path, *, dataset="UADFV", labels=("UADFV_Real", "UADFV_Fake"), frames=3, level=None
):
    """Write a dataset's crops, of which ``encode(n)`` is the n-th as PNG, and its JSON; returns the JSON's path.

    ``splits`` names each split's videos, which every label has; ``path`` is a frame's, of label, video and index.
    """
    content, number = {label: {} for label in labels}, itertools.count()
    for label, (split, videos) in itertools.product(labels, splits.items()):
        records = {}
        for video in videos:
            paths = [path.format(label=label, video=video, index=index) for index in range(frames)]
            records[video] = {"label": label, "frames": paths}
            for frame in paths:
                write(on_disk(root, frame), encode(next(number)))
        content[label][split] = {level: records} if level else records
    return write_dataset(root, dataset, content)
