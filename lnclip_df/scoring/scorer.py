"""A detector with its weights that scores files: faces are scored in batches across files, while others are found."""

import logging
import os
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from functools import lru_cache, partial
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch

from lnclip_df.config.schema import Config
from lnclip_df.core import enough
from lnclip_df.core.devices import choose_device, device_name, settled_precision, usable_cores
from lnclip_df.core.errors import LNCLIPError, enough_memory
from lnclip_df.core.iteration import batched, prefetch
from lnclip_df.datasets.schema import named_faces
from lnclip_df.evaluation import calibration
from lnclip_df.evaluation.aggregation import mean
from lnclip_df.faces.detectors import shared_detector
from lnclip_df.faces.recipes import named_recipes
from lnclip_df.faces.settings import check_number
from lnclip_df.media.recipe import departure
from lnclip_df.models.input import model_input
from lnclip_df.models.pixels import stack
from lnclip_df.scoring.find_faces import FoundFaces, cut_largest_faces, read_image, recipe_of
from lnclip_df.scoring.finder_process import find_here, find_in_processes
from lnclip_df.scoring.inputs import find_inputs
from lnclip_df.scoring.options import ScoreOptions, score_options
from lnclip_df.scoring.results import FrameScore, Person, Result
from lnclip_df.weights import Checkpoint, build_detector

WEIGHTS = "LNCLIP_WEIGHTS"  # environment variable with the default weights
RELEASED = "gend-clip"  # released by the paper's authors
MINOR = 0.25  # a person in less than this share of the most frequent person's frames does not decide a video's score
FILES = 4  # per process that finds faces: starting it takes as long as finding those of a few videos
Finder = Callable[..., FoundFaces]  # of an input file, with the keyword ``options``

logger = logging.getLogger(__name__)


class _Pending(NamedTuple):
    """A file whose faces were found, and the scores of those that were scored."""

    found: FoundFaces
    frames: list[FrameScore]


class Scorer:
    """Probabilities of fake for videos, images and aligned faces; made by :func:`load`.

    Attributes:
        detector: the ``LNCLIPDetector``, on ``device``, in evaluation mode.
        config: its configuration; ``lnclip.precision`` is the precision that is computed in.
        threshold: a video is fake if its score is above it.
        temperature: of the calibration beside the weights; None without one.
    """

    def __init__(
        self, detector, config: Config, *, device, weights: Checkpoint, threshold: float = 0.5, temperature=None
    ):
        if not 0 <= threshold <= 1:
            raise LNCLIPError(f"threshold: {threshold} received; accepted is a number, 0 to 1")
        self.detector, self.config, self.device = detector, config, device
        self.weights, self.threshold, self.temperature = weights, threshold, temperature
        self._warned: set[str] = set()

    def options(self, **given) -> ScoreOptions:
        """The options of scoring, by default with the recipe of a released model's crops; see :func:`score_options`."""
        return score_options(self.weights.model, **given)

    def score(self, images, options: ScoreOptions | None = None, **fields) -> np.ndarray:
        """The probability of fake for the largest face of each image.

        Args:
            images: paths, or uint8 RGB arrays H×W×3.
            options, **fields: as for :meth:`results`.

        Returns:
            float64 N, 0..1; NaN where an image shows no face.

        Raises:
            LNCLIPError: an image cannot be read, or an array has another shape or dtype.
        """
        options = replace(options, **fields) if options else self.options(**fields)
        images = [read_image(image) for image in images]
        if not options.aligned:
            images = cut_largest_faces(images, shared_detector(options.crops, usable_cores()), options)
        crops = {index: image for index, image in enumerate(images) if image is not None}
        prob = np.full(len(images), np.nan)
        for batch in batched(crops, options.batch_size):
            prob[batch] = self.probabilities([crops[index] for index in batch])[0]
        return prob

    def probabilities(self, crops: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (float64 B) and features (float32 B×D) of aligned faces, uint8 RGB S×S×3, in one batch.

        Raises:
            LNCLIPError: a probability is not a number.
        """
        with enough_memory(f"lower batch_size (now {len(crops)})"), torch.inference_mode():
            predicted = self.detector({"image": self.tensor(crops).to(self.device)})
            prob, feature = predicted["prob"].double().cpu().numpy(), predicted["feat"].float().cpu().numpy()
        if not ((prob >= 0) & (prob <= 1)).all():
            raise LNCLIPError(
                f"{self.weights.path}: the probability of a face is not a number; the weights may be damaged"
            )
        return prob, feature

    def tensor(self, crops: list[np.ndarray]) -> torch.Tensor:
        """Aligned faces as the detector's input: uint8 B×3×R×R (R: ``resolution``), as in a test."""
        return stack([model_input(crop, self.config) for crop in crops])

    def results(
        self, paths, options: ScoreOptions | None = None, *, keep_crops: bool = False,
        on_progress: Callable[[int, int], None] | None = None, finder: Finder | None = None,
        workers: int | None = None, **fields,
    ) -> Generator[Result, None, None]:  # fmt: skip
        """Score videos and images in order; faces of several files share a batch.

        Args:
            paths: files, folders or patterns, see :func:`lnclip_df.scoring.inputs.find_inputs`.
            options: by default those of :meth:`options`.
            keep_crops: keep crops and features in the results.
            on_progress: called with the numbers of faces scored and faces found in all files so far.
            finder: finds the faces of a file, for example a
                :class:`~lnclip_df.scoring.finder_process.FinderProcess`.
            workers: number of processes that find faces; 1 is this process. By default 1 on a CPU. On a GPU, which
                scores faster than one process finds faces, the number of usable cores, at most one per ``FILES`` files.
            **fields: fields of ``options``, which replace those given there.

        Returns:
            One result per file. A file that cannot be read, or shows no face, has no score and a reason.

        Raises:
            LNCLIPError: a path does not exist, or an option is invalid.
        """
        options = replace(options, **fields) if options else self.options(**fields)
        files = find_inputs(paths)
        if finder is None and not options.aligned:
            self._say_how_faces_are_cut(options)
        if workers is None:
            workers = 1 if self.device.type == "cpu" else max(1, min(usable_cores(), len(files) // FILES))
        check_number("workers", workers, Integral, 1)
        if finder is None and min(workers, len(files)) > 1:
            found = find_in_processes(files, options, min(workers, len(files)))
        else:
            find = partial(find_here, threads=usable_cores()) if finder is None else finder
            found = prefetch(find(file, options=options) for file in files)
        return self._results(found, options.batch_size, keep_crops, on_progress or (lambda scored, found: None))

    def _results(self, files, batch_size, keep_crops, on_progress):
        pending, queue, scored, total = deque(), [], 0, 0

        def score(batch):
            nonlocal scored
            probs, features = self.probabilities([face.crop for _, face in batch])
            for (file, face), prob, feature in zip(batch, probs, features, strict=True):
                kept = (face.crop, feature) if keep_crops else (None, None)
                row = FrameScore(face.index, face.seconds, face.box, float(prob), *kept)
                file.frames.append(replace(row, level=round(float(face.crop.mean()), 1)))
            scored += len(batch)
            on_progress(scored, total)

        with closing(files):  # ends the processes that find faces, also where something fails
            for found in files:
                file = _Pending(found, [])
                pending.append(file)
                queue += [(file, face) for face in found.faces]
                total += len(found.faces)
                while len(queue) >= batch_size:
                    score(queue[:batch_size])
                    del queue[:batch_size]
                while pending and len(pending[0].frames) == len(pending[0].found.faces):
                    yield self._result(pending.popleft())
        if queue:
            score(queue)
        yield from map(self._result, pending)

    def _warn_of_other_crops(self, recipe):
        """Warn once of faces that are cut differently from training; how many frames there are does not matter."""
        trained = self.weights.facts
        facts = trained.recipes | {recipe.fingerprint: recipe.facts}
        usual = named_faces(trained.train_dataset) | {"largest"}
        text = departure([recipe.fingerprint], trained.crops or {}, facts, named_faces=usual)
        if text and text not in self._warned:
            self._warned.add(text)
            logger.warning("faces are cut differently from training, and scores depend on it: %s", text)

    def _say_how_faces_are_cut(self, options):
        """Say once whether the crops are as in training, and whether a released model gets those of its recipe."""
        recipe = recipe_of(options, shared_detector(options.crops, usable_cores()))
        self._warn_of_other_crops(recipe)
        model = self.weights.model
        its = model and named_recipes()[model.recipe]
        if its is None or recipe.fingerprint in self._warned:
            return
        self._warned.add(recipe.fingerprint)
        if its.made(recipe.facts):
            logger.info("faces are cut by recipe %s, that of %s", model.recipe, self.weights)
        else:
            needs = "".join(f", which needs {key}: {what}" for key, what in its.needs.items())
            logger.warning(
                "faces are cut by recipe %s and found by %s; %s was trained on crops of recipe %s%s",
                options.name, recipe.facts["detector"]["name"], self.weights, model.recipe, needs,
            )  # fmt: skip

    def _result(self, file):
        by_person: dict[int, list[FrameScore]] = {}
        for face, frame in zip(file.found.faces, file.frames, strict=True):
            by_person.setdefault(face.person, []).append(frame)
        most = max(map(len, by_person.values()), default=0)
        persons = [Person(number + 1, frames, len(frames) < MINOR * most) for number, frames in by_person.items()]
        persons.sort(key=lambda person: (person.brief, -person.score, person.number))
        score = persons[0].score if persons else None
        calibrated = None
        if persons and self.temperature is not None:
            calibrated = mean(calibration.scaled([frame.prob for frame in persons[0].frames], self.temperature))
        return replace(file.found.result, score=score, calibrated=calibrated, threshold=self.threshold, persons=persons)


def load(
    weights=None, *, config=None, overrides=(), device: str | None = None, precision: str = "auto",
    threshold: float | None = None,
) -> Scorer:  # fmt: skip
    """Build a detector with its weights, to score with.

    Args:
        weights: see ``lnclip_df.weights.Checkpoint.open``. By default the environment variable ``LNCLIP_WEIGHTS`` names
            them; without it, the model that the paper's authors released (``RELEASED``) is used.
        config: see ``lnclip_df.weights.Checkpoint.config_for``.
        overrides: ``key=value`` strings, see ``lnclip_df.load_config``.
        device: torch's name of a device; by default the GPU where there is one.
        precision: ``fp32``, ``tf32``, ``bf16``, ``fp16``, or ``auto``: as trained on a GPU, and on a CPU bf16 where it
            is faster.
        threshold: a video is fake if its score is above it. The default is that of ``calibration.json`` beside the
            weights, without one 0.5.

    Raises:
        LNCLIPError: the weights cannot be found or do not fit, or an argument is invalid.
    """
    checkpoint = Checkpoint.open(default_weights(weights))
    chosen = choose_device(device)
    settings = checkpoint.config_for(config, overrides)
    settings = settings.replace({"lnclip.precision": _precision(precision, chosen, settings.lnclip.precision)})
    detector = build_detector(settings, checkpoint)
    temperature, calibrated = _calibration(checkpoint, threshold)
    logger.info("computing on %s in %s", device_name(chosen), settings.lnclip.precision)
    return Scorer(
        detector.to(chosen), settings, device=chosen, weights=checkpoint, temperature=temperature,
        threshold=calibrated if threshold is None else threshold,
    )  # fmt: skip


def default_weights(weights=None):
    """The weights given, else those that ``LNCLIP_WEIGHTS`` names, else ``RELEASED``."""
    return weights or os.environ.get(WEIGHTS) or RELEASED


def predict(path, weights=None, options: ScoreOptions | None = None, **fields) -> float:
    """The probability that a video or image is fake: its score, see :class:`lnclip_df.scoring.Result`.

    The weights stay loaded for the next call.

    Args:
        path: a video, an image, or a folder of frames.
        weights: see :func:`load`.
        options, **fields: see :meth:`Scorer.results`.

    Raises:
        LNCLIPError: there is no face, the file cannot be read, or it is a folder of several videos.
    """
    inputs = find_inputs(path)
    if len(inputs) > 1:
        raise LNCLIPError(
            f"{path} contains {len(inputs)} videos and images; name one of them, or use lnclip_df.load(…).results"
        )
    result = next(_loaded(weights, os.environ.get(WEIGHTS)).results(inputs, options, **fields))
    if result.score is None:
        raise LNCLIPError(f"{result.path}: {result.reason}")
    return result.score


@lru_cache(maxsize=1)
def _loaded(weights, _environment):
    return load(weights)


def _precision(requested, device, trained):
    if requested not in ("auto", "fp32", "tf32", "bf16", "fp16"):
        raise LNCLIPError(f"precision: {requested!r} received; accepted are auto, fp32, tf32, bf16, fp16")
    if requested != "auto" and device.type == "cpu":
        return requested
    return settled_precision(trained if requested == "auto" else requested, device)


def _calibration(checkpoint, threshold):
    """Temperature and threshold that ``lnclip-df calibrate`` wrote for these weights; None and 0.5 without any."""
    path = checkpoint.path.parent / calibration.FILE
    if path.is_file():
        found = calibration.read_calibration(path)
        if found.weights_sha256 == checkpoint.sha256:
            few = enough.few_videos(found.reals, None, "its rate of false alarms is hardly known")
            if threshold is None and few:
                logger.warning("the threshold %.4f was set on %s", found.threshold, few)
            return found.temperature, found.threshold
        logger.warning("%s belongs to other weights and is not used; run lnclip-df calibrate again", path)
    if threshold is None:
        logger.info("the threshold is 0.5, which nothing was calibrated for; see lnclip-df calibrate")
    return None, 0.5
