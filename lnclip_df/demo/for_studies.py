"""The demo's data for the protocol studies: one data set per forgery method, and paired and unpaired subsets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnclip_df.core.files import read_json, write_json
from lnclip_df.demo.run import DATASET, DATASET_YAML, check_packages, make_data

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
    from lnclip_df.datasets.scan import scan_faces

    check_packages()
    data = DemoData(Path(folder), Path(out) / "dataset_json")
    make_data(data.folder, 0, None, progress, ("preprocess", "rearrange"))
    items = scan_faces(DATASET_YAML, data.folder, faces=data.folder / "faces")
    classes = read_json(data.folder / "dataset_json" / f"{DATASET}.json")[DATASET]
    for name in (DATASET, *BY_METHOD):
        path = data.dataset_json_folder / f"{name}.json"
        part = classes if name == DATASET else _with_fakes_of(classes, name.removeprefix(f"{DATASET}-"))
        write_json(path, {name: part})
        write_pairs(path, items)
    return data


def _with_fakes_of(classes, method):
    """The real videos, and the fakes whose name ends in the method."""

    def kept(videos):
        return {name: videos[name] for name in videos if "_" not in name or name.rpartition("_")[2] == method}

    return {label: {split: kept(videos) for split, videos in splits.items()} for label, splits in classes.items()}
