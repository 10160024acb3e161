"""A feature bank: the features of the training frames in one file, and those nearest to a face on the sphere."""

import hashlib
import json
import logging
from dataclasses import dataclass

import numpy as np

from lnclip_df.core.errors import LNCLIPError, one_line

FORMAT = "feature bank"
BLOCK = 8192  # rows compared at once
TINY = float(np.finfo(np.float32).tiny)  # instead of the length 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bank:
    """Features of N frames.

    Attributes:
        features: float16 N×D.
        video: int32 N, each frame's place in ``videos``.
        frames: each frame's path, as its dataset's file has it.
        videos: ``dataset``, ``video`` (the full key), ``method`` (how a fake was made, else its label name) and
            ``label`` (0 real, 1 fake) of each.
        facts: what it was made of and with: ``weights_sha256``, ``datasets``, ``split``, ``frames`` a video, ….
    """

    features: np.ndarray
    video: np.ndarray
    frames: list[str]
    videos: list[dict]
    facts: dict


def make_bank(scorer, out, *, datasets=(), split: str = "train", frames: int = 8, progress: bool = True) -> Bank:
    """Compute the features of a detector's training frames, without augmentation, and write them into one file.

    Args:
        scorer: has ``detector``, its ``config``, the ``device`` that it is on, and the ``weights``' ``sha256``:
            ``lnclip_df.scoring.Scorer`` or ``lnclip_df.analysis.predict.Loaded``.
        out: the file, ``.safetensors``; written whole or not at all.
        datasets: names; the configuration's ``train_dataset`` by default.
        split: of them: ``train``, ``val`` or ``test``.
        frames: of a video, evenly spaced; all where it has fewer.
        progress: show a progress bar.

    Returns:
        What was written.

    Raises:
        LNCLIPError: names, split or frames are unfit, a frame cannot be read, or the file cannot be written.
    """
    from lnclip_df.datasets.dataset_json import read_videos
    from lnclip_df.datasets.frame_dataset import FrameDataset

    names = list(dict.fromkeys(datasets or scorer.config["train_dataset"]))
    if not names:
        raise LNCLIPError("no data set for the bank: name one with --datasets or train_dataset")
    if frames < 1:
        raise LNCLIPError(f"--frames {frames}: at least 1 is needed")
    videos = read_videos(scorer.config, names, split)
    table = _scored(scorer, FrameDataset(scorer.config, videos, frames_per_video=frames), names, progress)
    bank = Bank(
        features=table["features"],
        video=np.asarray(table["video"], np.int32),
        frames=table["frame"],
        videos=[_known(video) for video in videos],
        facts=_facts(scorer, names, split, frames),
    )
    _write(bank, out)
    return bank


def read_bank(path, weights_sha256: str) -> Bank:
    """Read a feature bank.

    Args:
        path: the file.
        weights_sha256: of the file of weights that its features are to be compared with.

    Raises:
        LNCLIPError: the file is absent, damaged, no feature bank, or of other weights.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            facts = json.loads(metadata.get("lnclip_df", "null"))
            if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                raise LNCLIPError(f"{path} is no feature bank; make one with lnclip-df bank")
            features, video = file.get_tensor("features"), file.get_tensor("video")
        rows = metadata.get("rows", "")
        if facts.pop("rows_sha256", None) != _digest(features, video, rows):
            raise ValueError("its content is not what was written")
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise LNCLIPError(
            f"cannot read the feature bank {path}: {one_line(error)}; make it again with lnclip-df bank"
        ) from error
    if facts.get("weights_sha256") != weights_sha256:
        raise LNCLIPError(
            f"{path} is of other weights (SHA-256 {str(facts.get('weights_sha256'))[:12]}…) than those in use "
            f"({weights_sha256[:12]}…); make it again with lnclip-df bank"
        )
    return Bank(features, video, **json.loads(rows), facts=facts)


def nearest(bank: Bank, features: np.ndarray, k: int = 5) -> list[list[dict]]:
    """The frames of a bank whose features are at the smallest angles, one a video at most.

    Args:
        bank: see ``read_bank``.
        features: B×D, finite; need not be of unit length.
        k: how many of each; fewer where the bank has fewer videos.

    Returns:
        For each feature ``k`` rows, the nearest first: ``dataset``, ``video``, ``method``, ``label``, ``frame`` (see
        ``Bank``), and ``angle``, arccos of the cosine similarity in degrees, 0..180; the bank's half precision moves it
        by less than 0.03.

    Raises:
        ValueError: ``features`` are of another shape or not finite, or ``k`` is below 1.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or features.shape[1] != bank.features.shape[1] or not np.isfinite(features).all():
        raise ValueError(f"features: received {features.shape}; needs B×{bank.features.shape[1]} finite numbers")
    if k < 1:
        raise ValueError(f"k is {k}, not 1 or more")
    return [_nearest(bank, z, cosines, k) for z, cosines in zip(features, _cosines(bank, features), strict=True)]


def _nearest(bank, z, cosines, k):
    order = np.argsort(-cosines, kind="stable")
    _, first = np.unique(bank.video[order], return_index=True)
    rows = order[np.sort(first)[:k]]
    angles = _angles(z, bank.features[rows])
    return [
        {**bank.videos[bank.video[row]], "frame": bank.frames[row], "angle": float(angle)}
        for angle, row in sorted(zip(angles, rows, strict=True))
    ]


def _cosines(bank, features):
    """Float32 B×N, a block of rows at a time: the bank stays in half precision."""
    unit, cosines = _unit(features), np.empty((len(features), len(bank.features)), np.float32)
    for start in range(0, len(bank.features), BLOCK):
        block = bank.features[start : start + BLOCK].astype(np.float32)
        length = np.sqrt(np.einsum("nd,nd->n", block, block))
        cosines[:, start : start + BLOCK] = unit @ block.T / np.maximum(length, TINY)
    return cosines


def _angles(z, others):
    """Degrees between z and each of others, by 2 atan2(‖a − b‖, ‖a + b‖), which is exact for small angles too."""
    a, b = _unit(z.astype(np.float64)), _unit(others.astype(np.float64))
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1)))


def _unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), TINY)


def _scored(scorer, frames, names, progress):
    from lnclip_df.datasets.frame_dataset import EpochSampler
    from lnclip_df.evaluation.predict import make_loader, score

    order = EpochSampler(len(frames), seed=0, shuffle=False)
    sizes = {"batch_size": scorer.config["test_batchSize"], "workers": scorer.config["workers"]}
    loader = make_loader(frames, order, **sizes)
    table = score(scorer.detector, loader, device=scorer.device, title="bank", progress=progress, features=True)
    skipped = table["skipped"]
    if not table["frame"]:
        raise LNCLIPError(f"{', '.join(names)}: none of {len(frames)} frames can be read, {skipped[0]} the first")
    if skipped:
        logger.warning("frames that cannot be read and are not in the bank: %d, as %s", len(skipped), skipped[0])
    return table


def _known(video):
    method = video.method or video.label_name
    return {"dataset": video.dataset, "video": video.key, "method": method, "label": video.label}


def _facts(scorer, names, split, frames):
    import lnclip_df

    lnclip = scorer.config["lnclip"]
    return {
        "lnclip_df": lnclip_df.__version__,
        "format": FORMAT,
        "weights_sha256": scorer.weights["sha256"],
        "datasets": names,
        "split": split,
        "frames": frames,
        "compression": scorer.config["compression"],
        "resize": lnclip["resize"],
        "precision": lnclip["precision"],
    }


def _write(bank, out):
    from torch import from_numpy

    from lnclip_df.weights.save import write_safetensors

    rows = json.dumps({"frames": bank.frames, "videos": bank.videos})
    facts = bank.facts | {"rows_sha256": _digest(bank.features, bank.video, rows)}
    tensors = {"features": from_numpy(bank.features), "video": from_numpy(bank.video)}
    write_safetensors(out, tensors, facts, rows=rows)


def _digest(features, video, rows):
    digest = hashlib.sha256(rows.encode())
    for array in (features, video):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
