"""Attacks of the Adversarial Robustness Toolbox on the pixels that the detector gets."""

from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry
from lnclip_df.evaluation.predict import score

STEPS = 10
STEP = 2.5  # PGD's step is STEP · ε / STEPS: it can reach every point of the ball (Madry et al., ICLR 2018)


@dataclass(frozen=True)
class Attack:
    """An attack in the maximum norm, with three levels.

    Attributes:
        title: its name in tables and plots.
        make: ``make(classifier, epsilon, batch_size)`` returns ART's attack; ``epsilon`` is of the pixels' 0..1.
        steps: passes forward and back per frame.
        levels: ε, from mild to strong.
        unit: of the levels.
    """

    title: str
    make: Callable[[Any, float, int], Any]
    steps: int = 1
    levels: tuple[float, ...] = (1.0, 2.0, 4.0)
    unit: str = "ε of 255"


def fgsm(classifier, epsilon, batch_size):
    """One step of ``epsilon`` along the sign of the gradient."""
    from art.attacks.evasion import FastGradientMethod

    return FastGradientMethod(classifier, norm=np.inf, eps=epsilon, batch_size=batch_size)


def pgd(classifier, epsilon, batch_size):
    """``STEPS`` steps of 2.5 ε / ``STEPS`` from a random start."""
    from art.attacks.evasion import ProjectedGradientDescent

    return ProjectedGradientDescent(
        classifier, norm=np.inf, eps=epsilon, eps_step=STEP * epsilon / STEPS, max_iter=STEPS, num_random_init=1,
        batch_size=batch_size, verbose=False,
    )  # fmt: skip


ATTACKS = Registry("attack", {"fgsm": Attack("FGSM", fgsm), "pgd": Attack("PGD", pgd, STEPS)})


class FromPixels(nn.Module):
    """A detector's logits B×2 of pixels B×3×S×S in 0..1, of the backbone's size and before the normalisation.

    ``mean`` and ``std`` are those of the normalisation, one value per channel.
    """

    def __init__(self, detector, mean, std):
        super().__init__()
        self.detector = detector
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1))

    def forward(self, pixels):
        return self.detector({"image": (pixels - self.mean) / self.std})["cls"]


def make_attack(name: str, epsilon: float, model: FromPixels, size: int, device: torch.device, batch_size: int):
    """An attack of ART: ``generate(x, y)`` moves pixels x (float32 N×3×S×S, 0..1) of labels y by ``epsilon`` at most.

    ``size`` is S, and ``epsilon`` is of the pixels' 0..1.

    Raises:
        LNCLIPError: the toolbox is absent, or there is no such attack.
    """
    attack = ATTACKS.choose(name)
    require_toolbox()
    from art.estimators.classification import PyTorchClassifier

    gpu = device.type == "cuda"
    with torch.cuda.device(device) if gpu else nullcontext():  # the toolbox computes on the current GPU
        classifier = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), (3, size, size), 2, clip_values=(0.0, 1.0),
            device_type="gpu" if gpu else "cpu",
        )  # fmt: skip
    return attack.make(classifier, epsilon, batch_size)


def require_toolbox():
    """Raise ``LNCLIPError`` where the Adversarial Robustness Toolbox is absent."""
    from importlib.util import find_spec

    if find_spec("art") is None:
        raise LNCLIPError(
            "attacks need the Adversarial Robustness Toolbox: pip install 'lnclip-df[robustness]', or test without "
            "attacks"
        )


def attacked_score(name: str, epsilon: float, config: Config, seed: int):
    """A function like ``lnclip_df.evaluation.predict.score`` that attacks the frames before it predicts them.

    The attacks know the frames' true labels and the weights. ``epsilon`` is of 255; ``seed`` is that of PGD's random
    start.
    """

    def scoring(detector, loader, *, device, title, progress):
        training = detector.training
        model = FromPixels(detector, config.mean, config.std).to(device).eval()
        attack = make_attack(name, epsilon / 255, model, detector.backbone.image_size, device, config.test_batchSize)
        with _frozen(detector), _seeded(seed, device):
            attacked = _Attacked(detector, model, attack, device)
            table = score(attacked, loader, device=device, title=title, progress=progress)
        detector.train(training)
        return table

    return scoring


class _Attacked(nn.Module):
    """Stands in for the detector in ``score``: it attacks a batch, and predicts the result."""

    def __init__(self, detector, model, attack, device):
        super().__init__()
        self.detector, self.model, self.attack, self.device = detector, model, attack, device

    def forward(self, batch):
        image = self.detector.backbone_input(batch["image"])
        pixels = (image * self.model.std + self.model.mean).clamp(0, 1)
        with torch.inference_mode(False), torch.enable_grad():
            moved = self.attack.generate(pixels.cpu().numpy(), batch["label"].cpu().numpy())
        image = (torch.from_numpy(moved).to(self.device) - self.model.mean) / self.model.std
        return self.detector({"image": image})


@contextmanager
def _frozen(detector):
    """No gradients for the parameters: the attacks need those of the pixels alone."""
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _seeded(seed, device):
    """ART draws from NumPy's and torch's global generators: seed them, and restore them afterwards."""
    state = np.random.get_state()
    np.random.seed(seed % (1 << 32))
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(state)
