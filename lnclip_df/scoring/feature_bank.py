"""Feature banks: the features of training frames in one file, and the search for those nearest to a face."""

import hashlib
import json
import logging
from dataclasses import dataclass

import numpy as np

from lnclip_df import __version__
from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import check_writable, parse_json
from lnclip_df.core.provenance import METADATA_KEY

FORMAT = "feature bank"
BLOCK_ROWS = 8192  # compared at once
TINY = float(np.finfo(np.float32).tiny)  # replaces the length 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureBank:
    """Features of N frames.

    Attributes:
        features: float16 N×D.
        video: int32 N, each frame's index in ``videos``.
        frames: each frame's path, as in its dataset JSON.
        videos: ``dataset``, ``video`` (the full key), ``method`` (how a fake was made, else its label name) and
            ``label`` (0 real, 1 fake) of each.
        facts: how it was made: ``weights_sha256``, ``datasets``, ``split``, ``frames`` per video, ….
    """

    features: np.ndarray
    video: np.ndarray
    frames: list[str]
    videos: list[dict]
    facts: dict


def make_bank(scorer, out, *, datasets=(), split: str = "train", frames: int = 8, progress: bool = True) -> FeatureBank:
    """Compute the features of training frames, without augmentation, and write them into one file.

    Args:
        scorer: a ``lnclip_df.scoring.Scorer`` or ``lnclip_df.evaluation.predict.LoadedDetector``.
        out: the file, ``.safetensors``; written whole or not at all.
        datasets: names; by default ``train_dataset`` of the configuration.
        split: ``train``, ``val`` or ``test``.
        frames: number per video, evenly spaced; all where a video has fewer.

    Raises:
        LNCLIPError: names, split or frames are invalid, a frame cannot be read, or the file cannot be written.
    """
    from lnclip_df.datasets.dataset_json import read_videos
    from lnclip_df.datasets.frame_dataset import FrameDataset

    names = list(dict.fromkeys(datasets or scorer.config.train_dataset))
    if not names:
        raise LNCLIPError("datasets: the bank needs one; name it here, or as train_dataset in the configuration")
    if frames < 1:
        raise LNCLIPError(f"frames: {frames} received; accepted is an integer, 1 or more")
    check_writable(out)
    videos = read_videos(scorer.config, names, split)
    table = _scored(scorer, FrameDataset(scorer.config, videos, frames_per_video=frames), names, progress)
    rows = [
        {"dataset": v.dataset, "video": v.key, "method": v.method or v.label_name, "label": v.label} for v in videos
    ]
    facts = {
        "lnclip_df": __version__,
        "format": FORMAT,
        "weights_sha256": scorer.weights.sha256,
        "datasets": names,
        "split": split,
        "frames": frames,
        "compression": scorer.config.compression,
        "resize": scorer.config.lnclip.resize,
        "precision": scorer.config.lnclip.precision,
    }
    bank = FeatureBank(table["features"], np.asarray(table["video"], np.int32), table["frame"], rows, facts)
    _write(bank, out)
    return bank


def read_bank(path, weights_sha256: str) -> FeatureBank:
    """Read a feature bank that was made with the weights in use.

    Raises:
        LNCLIPError: the file is missing, damaged, not a feature bank, or made with other weights.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            facts = parse_json(metadata.get(METADATA_KEY, "null"))
            if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                raise LNCLIPError(f"{path} is not a feature bank; make one with lnclip-df bank")
            features, video = file.get_tensor("features"), file.get_tensor("video")
        rows = metadata.get("rows", "")
        if facts.pop("rows_sha256", None) != _digest(features, video, rows):
            raise ValueError("its content was changed (wrong SHA-256)")
    except (OSError, SafetensorError, ValueError) as error:
        raise LNCLIPError(
            f"cannot read the feature bank {path}: {one_line(error)}; make it again with lnclip-df bank"
        ) from error
    if facts.get("weights_sha256") != weights_sha256:
        raise LNCLIPError(
            f"{path} was made with other weights (SHA-256 {str(facts.get('weights_sha256'))[:12]}…) than those in use "
            f"({weights_sha256[:12]}…); make it again with lnclip-df bank"
        )
    return FeatureBank(features, video, **parse_json(rows), facts=facts)


def nearest(bank: FeatureBank, features: np.ndarray, k: int = 5) -> list[list[dict]]:
    """The frames of a bank whose features are at the smallest angles, at most one per video.

    Args:
        features: B×D, finite, of any length.
        k: number of frames per feature; fewer where the bank has fewer videos.

    Returns:
        For each feature ``k`` frames, the nearest first: ``dataset``, ``video``, ``method``, ``label``, ``frame`` (see
        ``FeatureBank``), and ``angle``, arccos of the cosine similarity in degrees, 0..180. The bank's half precision
        changes it by less than 0.03.

    Raises:
        ValueError: ``features`` have another shape or are not finite, or ``k`` is below 1.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or features.shape[1] != bank.features.shape[1] or not np.isfinite(features).all():
        raise ValueError(f"features: {features.shape} received; needs B×{bank.features.shape[1]} finite numbers")
    if k < 1:
        raise ValueError(f"k is {k}; accepted is 1 or more")
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
    """Float32 B×N, in blocks of rows, so that the bank stays in half precision."""
    unit, cosines = _unit(features), np.empty((len(features), len(bank.features)), np.float32)
    for start in range(0, len(bank.features), BLOCK_ROWS):
        block = bank.features[start : start + BLOCK_ROWS].astype(np.float32)
        length = np.sqrt(np.einsum("nd,nd->n", block, block))
        cosines[:, start : start + BLOCK_ROWS] = unit @ block.T / np.maximum(length, TINY)
    return cosines


def _angles(z, others):
    """Degrees between z and each of others, as 2 atan2(‖a − b‖, ‖a + b‖), which is exact for small angles too."""
    a, b = _unit(z.astype(np.float64)), _unit(others.astype(np.float64))
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1)))


def _unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), TINY)


def _scored(scorer, frames, names, progress):
    from lnclip_df.datasets.frame_dataset import EpochSampler
    from lnclip_df.evaluation.loading import make_loader
    from lnclip_df.evaluation.predict import score

    order = EpochSampler(len(frames), seed=0, shuffle=False)
    config, device = scorer.config, scorer.device
    loader = make_loader(frames, order, batch_size=config.test_batchSize, workers=config.workers, device=device)
    table = score(scorer.detector, loader, device=device, title="bank", progress=progress, features=True)
    skipped = table["skipped"]
    if not table["frame"]:
        raise LNCLIPError(f"{', '.join(names)}: none of {len(frames)} frames can be read, the first is {skipped[0]}")
    if skipped:
        logger.warning(
            "frames that cannot be read and are not in the bank: %d, the first is %s", len(skipped), skipped[0]
        )
    return table


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
