"""Parts of a test: what is predicted so far, written regularly, until all of it is there to be joined."""

import logging
import math
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import parse_json
from lnclip_df.core.provenance import METADATA_KEY, Provenance
from lnclip_df.datasets.frame_dataset import FrameDataset
from lnclip_df.weights.save import write_safetensors

TYPES = {"batch": np.int64, "index": np.int64, "prob": np.float64, "features": np.float16, "seconds": np.float64}

logger = logging.getLogger(__name__)


class OtherTest(LNCLIPError):
    """Parts belong to another test."""


def parts_folder(out, dataset: str) -> Path:
    """The folder of the parts of a dataset's test."""
    return Path(out) / "parts" / dataset


class Parts:
    """The parts of one dataset's test, which several processes, on several machines, may write.

    A part is a safetensors file: ``batch`` int64, numbers of batches in the order of the undivided test; of their
    frames that could be read ``index`` int64 N in the ``FrameDataset``, ``prob`` float64 N in [0, 1], and if wanted
    ``features`` float16 N×D; ``seconds`` float64 1, how long it took. Its metadata say to which test it belongs.

    Args:
        out: folder of the run.
        provenance: of the predictions.
        batch_size: number of frames of a batch.
        features: whether features are wanted.
    """

    def __init__(self, out, provenance: Provenance, batch_size: int, features: bool):
        self.folder = parts_folder(out, provenance.dataset or "")
        self.provenance, self.batch_size, self.features = provenance, batch_size, features

    def done(self) -> set[int]:
        """The numbers of the batches that are predicted.

        Raises:
            LNCLIPError: a part is damaged, or of another test.
        """
        return {number for found in self._read("batch") for number in found["batch"].tolist()}

    def prepare(self, shared: bool):
        """Check the parts before a test; those of another test are removed, unless the test is ``shared``.

        Raises:
            LNCLIPError: a part is damaged, or of another test that other shards may still continue.
        """
        try:
            self.done()
        except OtherTest:
            if shared:
                raise
            logger.info("%s: the parts of a test with other weights or settings are removed", self.folder)
            shutil.rmtree(self.folder)

    def missing(self, frames: FrameDataset) -> set[int]:
        """The numbers of the batches that are not predicted yet; raises as :meth:`done`."""
        return set(range(math.ceil(len(frames) / self.batch_size))) - self.done()

    def write(self, batches: list[int], tables: list[dict[str, Any]], seconds: float):
        """Write predicted batches, ``tables`` as ``lnclip_df.evaluation.predict.score_batches`` gives them."""
        arrays = {
            "batch": np.array(batches, np.int64),
            "index": np.array([index for table in tables for index in table["index"]], np.int64),
            "prob": np.array([prob for table in tables for prob in table["prob"]], np.float64),
            "seconds": np.array([seconds]),
        }
        if self.features:
            found = [table["features"] for table in tables if "features" in table]
            arrays["features"] = np.concatenate(found) if found else np.empty((0, 0), np.float16)
        facts = {"provenance": self.provenance.to_json(), "batch_size": self.batch_size, "features": self.features}
        path = self.folder / f"{batches[0]:07}-{secrets.token_hex(4)}.safetensors"
        write_safetensors(path, {name: torch.from_numpy(array) for name, array in arrays.items()}, facts)

    def join(self, frames: FrameDataset) -> tuple[dict[str, Any], float] | None:
        """Join all parts, of which some may contain the same batches.

        Returns:
            What ``lnclip_df.evaluation.predict.score`` gives for all ``frames``, and the sum of the parts' seconds;
            None where batches are missing.

        Raises:
            LNCLIPError: as :meth:`done`.
        """
        parts = list(self._read(*(name for name in TYPES if self.features or name != "features")))
        done = {number for found in parts for number in found["batch"].tolist()}
        if not done.issuperset(range(math.ceil(len(frames) / self.batch_size))):
            return None
        joined = np.concatenate([found["index"] for found in parts])
        index, rows = np.unique(joined, return_index=True)
        if len(index) and not 0 <= index[0] <= index[-1] < len(frames):
            raise LNCLIPError(f"{self.folder}: a part names frames that the dataset does not have; remove that folder")
        items = [frames.items[at] for at in index]
        missed = np.setdiff1d(np.arange(len(frames)), index)
        table = {
            "index": index.tolist(),
            "video": [video for video, _ in items],
            "frame": [frame for _, frame in items],
            "label": [frames.videos[video].label for video, _ in items],
            "prob": np.concatenate([found["prob"] for found in parts])[rows].tolist(),
            "skipped": sorted(frames.items[at][1] for at in missed),
        }
        if self.features:
            features = [found["features"] for found in parts if len(found["index"])]
            table["features"] = np.concatenate(features)[rows] if features else np.empty((0, 0), np.float16)
        return table, sum(float(found["seconds"].sum()) for found in parts)

    def remove(self):
        """Remove the parts, which are joined; not those of another test."""
        if self.folder.is_dir():
            with suppress(LNCLIPError, OSError):
                self.done()
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.parent.rmdir()

    def _read(self, *names) -> Iterator[dict[str, np.ndarray]]:
        """The arrays ``names`` of each part."""
        from safetensors import SafetensorError, safe_open

        for path in sorted(self.folder.glob("[0-9]*.safetensors")):
            try:
                with safe_open(path, framework="numpy") as file:
                    facts = parse_json((file.metadata() or {}).get(METADATA_KEY, "null"))
                    arrays = {name: file.get_tensor(name) for name in names}
            except FileNotFoundError:  # another process has joined them
                continue
            except (OSError, SafetensorError, ValueError) as error:
                raise LNCLIPError(f"cannot read {path}: {one_line(error)}; remove it") from error
            self._check(path, facts)
            rows = {array.shape[:1] for name, array in arrays.items() if name not in ("batch", "seconds")}
            forms = {name: (array.dtype, array.ndim) for name, array in arrays.items()}
            if len(rows) > 1 or any(form != (TYPES[name], 1 + (name == "features")) for name, form in forms.items()):
                raise LNCLIPError(f"{path} is damaged: its columns do not fit together; remove it")
            yield arrays

    def _check(self, path, facts):
        """Raise LNCLIPError if a part is of another test."""
        facts = facts if isinstance(facts, dict) else {}
        different = Provenance.from_json(facts.get("provenance")).different_predictions(self.provenance)
        ours = {"batch_size": self.batch_size, "features": self.features}
        different += [name for name, value in ours.items() if facts.get(name) != value]
        if different:
            raise OtherTest(
                f"{path.parent} contains parts of another test (different: {', '.join(different)}); finish that one, "
                "or remove the folder, or name another out"
            )
