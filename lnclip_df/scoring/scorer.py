"""A detector with its weights, ready to score files: faces found in one thread, scored in batches across files."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch

from lnclip_df.core.devices import choose_device, cpu_is_faster_in_bf16, usable_cores
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json, sha256
from lnclip_df.evaluation.calibration import FILE as CALIBRATION
from lnclip_df.evaluation.calibration import scaled
from lnclip_df.faces.pipeline import ahead, groups
from lnclip_df.faces.settings import CropSettings
from lnclip_df.media.recipe import fingerprint
from lnclip_df.models.input import model_input
from lnclip_df.preprocess.video_job import detector_of
from lnclip_df.scoring.find_faces import largest_faces, read_image, see, see_crops
from lnclip_df.scoring.inputs import find_media
from lnclip_df.scoring.results import FrameScore, Person, Result
from lnclip_df.weights.hub import find_weights
from lnclip_df.weights.restore import config_for, restore_detector

WEIGHTS = "LNCLIP_WEIGHTS"  # the environment variable that names them
RELEASED = "yermandy/GenD_CLIP_L_14"  # on the Hub: of the paper's authors
MINOR = 0.25  # a person seen in less than this share of the frames of the one seen most says nothing of the video

logger = logging.getLogger(__name__)


class Scorer:
    """Probabilities of fake for videos, images and crops; :func:`load` makes it.

    Attributes:
        detector: the ``LNCLIPDetector``, on ``device``, in evaluation mode.
        config: its configuration; ``lnclip.precision`` is what is computed in.
        device: torch's.
        weights: ``path``, ``sha256`` and ``format`` of the weights, and ``crops``, the recipes of those that they were
            trained on (empty where that is unknown).
        threshold: above which a video's score is fake.
        temperature: of the calibration beside the weights; None where there is none.
    """

    def __init__(self, detector, config: dict, *, device, weights: dict, threshold: float = 0.5, temperature=None):
        if not 0 <= threshold <= 1:
            raise LNCLIPError(f"threshold {threshold}: accepted is 0 to 1")
        self.detector, self.config, self.device = detector, config, device
        self.weights, self.threshold, self.temperature = weights, threshold, temperature

    def score(self, images, *, aligned: bool = False, batch_size: int = 32, **options) -> np.ndarray:
        """The probability of fake for each image.

        Args:
            images: paths, or uint8 RGB arrays H×W×3; the largest face of each is scored.
            aligned: the images are aligned faces already.
            batch_size: faces that the detector takes at once.
            **options: of the face detector, see :meth:`results`.

        Returns:
            float64 N, 0..1; NaN where an image shows no face.

        Raises:
            LNCLIPError: an image cannot be read, or is no such array.
        """
        crops = [read_image(image) for image in images]
        if not aligned:
            settings = CropSettings(**options).with_default_face()
            crops = largest_faces(crops, detector_of(settings, usable_cores())[0], settings)
        places = [at for at, crop in enumerate(crops) if crop is not None]
        prob = np.full(len(crops), np.nan)
        for batch in groups(places, batch_size):
            prob[batch] = self.probabilities([crops[at] for at in batch])[0]
        return prob

    def probabilities(self, crops: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (float64 B) and features (float32 B×D) of aligned faces, uint8 RGB S×S×3, in one batch.

        Raises:
            LNCLIPError: a probability is not a number.
        """
        with torch.inference_mode():
            predicted = self.detector({"image": self.tensor(crops).to(self.device)})
        prob, feature = predicted["prob"].double().cpu().numpy(), predicted["feat"].float().cpu().numpy()
        if not ((prob >= 0) & (prob <= 1)).all():
            raise LNCLIPError(f"{self.weights['path']}: the probability of a face is not a number; are they damaged?")
        return prob, feature

    def tensor(self, crops: list[np.ndarray]) -> torch.Tensor:
        """What the detector takes of aligned faces: float32 B×3×R×R, resized and normalised as in a test."""
        return torch.stack([model_input(crop, self.config) for crop in crops])

    def results(
        self, paths, *, all_faces: bool = False, aligned: bool = False, batch_size: int = 32,
        longest: float | None = None, keep: bool = False, tick: Callable | None = None, **options,
    ) -> Iterator[Result]:  # fmt: skip
        """Score videos and images, in order; faces of several files share a batch.

        Args:
            paths: files, folders or patterns, see :func:`lnclip_df.scoring.inputs.find_media`.
            all_faces: score everybody; else whom ``face`` chooses.
            aligned: frames are aligned faces already.
            batch_size: faces that the detector takes at once; a score depends on it by rounding alone.
            longest: a video of more seconds is not scored.
            keep: keep crops and features in the results.
            tick: called with (faces scored, faces found) of all files so far.
            **options: ``frames`` (32), ``face`` (``largest`` or ``track``), ``detector``, ``predictor``,
                ``second_detection``, ``size``, ``scale``, as in :class:`lnclip_df.faces.settings.CropSettings`.

        Returns:
            An iterator, one a file. A file without a face, or that cannot be read, has no score and says why.

        Raises:
            LNCLIPError: a path does not exist, or an option is unfit.
        """
        settings = settings_of(batch_size=batch_size, **options)
        return self._results(
            find_media(paths), self._look(settings, all_faces, aligned, longest), batch_size, keep, tick
        )

    def _results(self, media, look, batch_size, keep, tick):
        waiting, queue, scored, found = deque(), [], 0, 0
        for seen in ahead(map(look, media)):
            waiting.append((seen, [None] * len(seen.faces)))
            queue += [(waiting[-1], at) for at in range(len(seen.faces))]
            found += len(seen.faces)
            while len(queue) >= batch_size:
                scored += self._score(queue[:batch_size], keep, tick, scored, found)
                del queue[:batch_size]
            while waiting and None not in waiting[0][1]:
                yield self._result(*waiting.popleft())
        if queue:
            self._score(queue, keep, tick, scored, found)
        yield from (self._result(*done) for done in waiting)

    def _look(self, settings, all_faces, aligned, longest):
        """How a medium is looked at."""
        if aligned:
            return lambda medium: see_crops(medium, settings.frames, longest=longest)
        threads = usable_cores()
        detector, recipe = detector_of(settings, threads)
        made, trained = fingerprint(recipe), self.weights["crops"]
        if trained and made not in trained:
            logger.warning(
                "faces are cut by recipe %s here, and by %s in training; scores depend on it where more than the "
                "number of frames differs", made, ", ".join(trained),
            )  # fmt: skip
        options = {"all_faces": all_faces, "longest": longest, "threads": threads}
        return lambda medium: see(medium, detector, made, settings, **options)

    def _score(self, batch, keep, tick, scored, found):
        """Score some faces, and put each into its place; returns how many."""
        faces = [seen.faces[at] for (seen, _), at in batch]
        probs, features = self.probabilities([face.crop for face in faces])
        for ((_, frames), at), face, prob, feature in zip(batch, faces, probs, features, strict=True):
            kept = (face.crop, feature) if keep else (None, None)
            frames[at] = FrameScore(face.index, face.seconds, face.box, float(prob), *kept)
        if tick is not None:
            tick(scored + len(batch), found)
        return len(batch)

    def _result(self, seen, frames):
        by_person = {}
        for face, frame in zip(seen.faces, frames, strict=True):
            by_person.setdefault(face.person, []).append(frame)
        persons = _suspicious_first([Person(number + 1, frames) for number, frames in by_person.items()])
        score, calibrated = None, None
        if persons:
            score = persons[0].score
            if self.temperature is not None:
                calibrated = float(np.mean(scaled([frame.prob for frame in persons[0].frames], self.temperature)))
        return Result(
            path=str(seen.medium.path),
            outcome=seen.outcome,
            reason=seen.reason,
            score=score,
            calibrated=calibrated,
            threshold=self.threshold,
            frames=seen.frames,
            found=seen.found,
            faces=seen.shown,
            decoded=seen.decoded,
            persons=persons,
            recipe=seen.recipe,
            size=seen.size,
            seconds=seen.seconds,
        )


def settings_of(*, batch_size: int = 32, **options) -> CropSettings:
    """The settings of :meth:`Scorer.results`' options.

    Raises:
        LNCLIPError: one is unfit.
    """
    if batch_size < 1:
        raise LNCLIPError(f"batch_size {batch_size}: at least 1 is needed")
    if options.get("face") == "mask":
        raise LNCLIPError("face: 'mask' received; accepted are largest and track")
    return CropSettings(**options).with_default_face()


def _suspicious_first(persons):
    """In order of their scores, the highest first; those seen in few frames after the others."""
    most = max((len(person.frames) for person in persons), default=0)
    return sorted(persons, key=lambda person: (len(person.frames) < MINOR * most, -person.score, person.number))


def load(
    weights=None, *, config=None, overrides=(), device: str | None = None, precision: str = "auto",
    threshold: float | None = None,
) -> Scorer:  # fmt: skip
    """Build a detector with its weights, to score with.

    Args:
        weights: what ``lnclip_df.weights.load_weights`` takes; else what the environment variable
            ``LNCLIP_WEIGHTS`` names, else the model that the paper's authors released on the Hub (``RELEASED``).
        config: see :func:`lnclip_df.weights.config_for`. The authors' models are given CLIP's own resize
            (``lnclip.resize: clip``), which they were trained with, unless ``config`` or ``overrides`` say otherwise.
        overrides: ``key=value`` strings, see ``lnclip_df.load_config``.
        device: torch's name of a device; else the GPU, or the CPU where there is none.
        precision: ``fp32``, ``bf16``, or ``auto``: as trained on a GPU, and on a CPU bf16 where it is faster.
        threshold: above which a video is fake; else that of ``calibration.json`` beside the weights, else 0.5.

    Raises:
        LNCLIPError: the weights cannot be had or do not fit, or an argument is unfit.
    """
    weights = weights or os.environ.get(WEIGHTS) or RELEASED
    path = find_weights(weights)
    device = choose_device(device)
    settings = config_for(path, config, overrides)
    settings["lnclip"]["precision"] = _precision(precision, device, settings["lnclip"]["precision"])
    detector, facts = restore_detector(settings, path)
    unsaid = config is None and "config" not in facts and not (path.parent / "config.yaml").is_file()
    if facts["load"]["format"].startswith("GenD") and unsaid and not _set(overrides, "lnclip.resize"):
        settings["lnclip"]["resize"] = "clip"
    known = {
        "path": str(path),
        "sha256": sha256(path),
        "format": facts["load"]["format"],
        "crops": facts.get("crops", {}),
    }
    calibration = _calibration(path.parent / CALIBRATION, known["sha256"])
    logger.info("computing on %s in %s", device, settings["lnclip"]["precision"])
    return Scorer(
        detector.to(device), settings, device=device, weights=known, temperature=calibration.get("temperature"),
        threshold=calibration.get("threshold", 0.5) if threshold is None else threshold,
    )  # fmt: skip


def predict(path, weights=None, **options) -> float:
    """The probability that a video or image is fake: its score, see :class:`lnclip_df.scoring.Result`.

    The weights stay loaded for the next call.

    Args:
        path: a video, an image, or a folder of frames.
        weights: see :func:`load`.
        **options: of :meth:`Scorer.results`.

    Returns:
        0..1, above 0.5 rather fake than real.

    Raises:
        LNCLIPError: there is no face, the file cannot be read, or it is a folder of several videos.
    """
    media = find_media(path)
    if len(media) > 1:
        raise LNCLIPError(f"{path} holds {len(media)} videos and images; name one, or use lnclip_df.load(…).results")
    result = next(_loaded(weights, os.environ.get(WEIGHTS)).results(media, **options))
    if result.score is None:
        raise LNCLIPError(f"{result.path}: {result.reason}")
    return result.score


@lru_cache(maxsize=1)
def _loaded(weights, _environment):
    return load(weights)


def _precision(asked, device, trained):
    if asked not in ("auto", "fp32", "bf16"):
        raise LNCLIPError(f"precision {asked!r}: accepted are auto, fp32, bf16")
    if asked != "auto":
        return asked
    if device.type == "cpu":
        return "bf16" if trained == "bf16" and cpu_is_faster_in_bf16() else "fp32"
    return trained


def _set(overrides, key):
    return any(override.partition("=")[0].strip() == key for override in overrides)


def _calibration(path, sha):
    """Temperature and threshold that ``lnclip-df calibrate`` left for these weights."""
    if not path.is_file():
        return {}
    found = read_json(path)
    try:
        temperature, threshold = float(found["temperature"]), float(found["threshold"]["score"])
        known = found["weights_sha256"]
    except (TypeError, KeyError, ValueError) as error:
        raise LNCLIPError(f"{path} is damaged; write it again with lnclip-df calibrate") from error
    if known != sha:
        logger.warning("%s is of other weights and is not used; calibrate again", path)
        return {}
    return {"temperature": temperature, "threshold": threshold}
