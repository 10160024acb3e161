"""The demo's data for the protocol studies: one data set per forgery method, and paired and unpaired subsets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnclip_df.core.files import read_json, write_json
from lnclip_df.demo.run import DATASET, check_packages, make_data

EPOCHS = 10
FRAMES = 4  # per video
BY_METHOD = (f"{DATASET}-swap", f"{DATASET}-reenact")


@dataclass(frozen=True)
class DemoData:
    """What a study needs to run on the demo's data: a YAML, where the data are, and the names of the data sets.

    ``whole`` has the fakes of both methods. ``by_method`` are two data sets with the fakes of one method each.
    """

    folder: Path
    dataset_json_folder: Path
    config: str = "demo.yaml"
    whole: str = DATASET
    by_method: tuple[str, ...] = BY_METHOD

    def settings(self, train: str, val: str) -> dict[str, Any]:
        """Settings of ``config``: the data, and a training that is short enough for a study.

        The learning rate makes one cycle over the 10 epochs.
        """
        return {
            "lnclip.data_root": str(self.folder.resolve()),
            "dataset_json_folder": str(self.dataset_json_folder.resolve()),
            "train_dataset": [train],
            "lnclip.val_dataset": [val],
            "nEpochs": EPOCHS - 1,
            "lnclip.schedule.decay_epochs": EPOCHS - 1,
            "frame_num": {"train": FRAMES, "test": FRAMES},
        }


def demo_data(folder, out, *, progress: bool = True) -> DemoData:
    """The demo's faces, made once, and its data sets for the studies.

    Args:
        folder: the demo's folder (``lnclip-df demo --out``), whose videos and faces are used or made.
        out: the study's folder. It gets ``dataset_json/``: ``LNCLIP-demo`` as it is and with the fakes of one method
            alone, and each of the three paired and unpaired (``lnclip_df.datasets.pairs``).
    """
    from lnclip_df.datasets.pairs import write_pairs

    check_packages()
    data = DemoData(Path(folder), Path(out) / "dataset_json")
    make_data(data.folder, 0, None, progress)
    classes = read_json(data.folder / "dataset_json" / f"{DATASET}.json")[DATASET]
    for name in (DATASET, *BY_METHOD):
        path = data.dataset_json_folder / f"{name}.json"
        part = classes if name == DATASET else _with_fakes_of(classes, name.removeprefix(f"{DATASET}-"))
        write_json(path, {name: part})
        write_pairs(path, _items(part))
    return data


def _with_fakes_of(classes, method):
    """The real videos, and the fakes whose name ends in the method."""

    def kept(videos):
        return {name: videos[name] for name in videos if "_" not in name or name.rpartition("_")[2] == method}

    return {label: {split: kept(videos) for split, videos in splits.items()} for label, splits in classes.items()}


def _items(classes) -> Iterator:
    """The demo's training videos as ``write_pairs`` takes them. Their names tell the sources."""
    from lnclip_df.datasets.items import Item
    from lnclip_df.demo.videos import FAKE, REAL

    for name in classes[REAL]["train"]:
        yield Item(f"{REAL}/{name}", REAL, False, ("train",), name, ids=(name,))
    for name in classes[FAKE]["train"]:
        *sources, method = name.split("_")
        pair = f"{REAL}/{sources[0]}"
        yield Item(f"{FAKE}/{name}", FAKE, True, ("train",), name, method=method, pair=pair, ids=tuple(sources))
