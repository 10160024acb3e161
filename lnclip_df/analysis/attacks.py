"""FGSM and PGD by the Adversarial Robustness Toolbox, on the pixels that the detector sees."""

from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.predict import score

ATTACKS = {"fgsm": "FGSM", "pgd": "PGD"}
EPSILONS = (1, 2, 4)  # of 255
STEPS = 10
STEP = 2.5  # PGD's step is STEP · ε / STEPS: it can reach every point of the ball (Madry et al., ICLR 2018)


class FromPixels(nn.Module):
    """A detector's logits B×2 of pixels B×3×R×R in 0..1, before CLIP's normalisation.

    Args:
        detector: an ``LNCLIPDetector``.
        mean, std: of the normalisation, one a channel.
    """

    def __init__(self, detector, mean, std):
        super().__init__()
        self.detector = detector
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1))

    def forward(self, pixels):
        return self.detector({"image": (pixels - self.mean) / self.std})["cls"]


def make_attack(name: str, epsilon: float, model: FromPixels, size: int, device, batch_size: int):
    """An attack of ART: ``generate(x, y)`` moves pixels x (float32 N×3×R×R, 0..1) of labels y by ``epsilon`` at most.

    The frames' true labels are attacked, in the maximum norm. PGD makes ``STEPS`` steps of 2.5 ε / ``STEPS`` from a
    random start.

    Args:
        name: ``fgsm`` or ``pgd``.
        epsilon: of the pixels' 0..1.
        model: what is attacked.
        size: R.
        device: torch's, where the model is.
        batch_size: frames in one batch.

    Raises:
        LNCLIPError: the toolbox is absent, or there is no such attack.
    """
    require_attacks()
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (3, size, size), 2, clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )  # fmt: skip
    if name == "fgsm":
        return FastGradientMethod(classifier, norm=np.inf, eps=epsilon, batch_size=batch_size)
    if name == "pgd":
        return ProjectedGradientDescent(
            classifier, norm=np.inf, eps=epsilon, eps_step=STEP * epsilon / STEPS, max_iter=STEPS, num_random_init=1,
            batch_size=batch_size, verbose=False,
        )  # fmt: skip
    raise LNCLIPError(f"no attack {name}; there are {', '.join(ATTACKS)}")


def require_attacks():
    """Raise ``LNCLIPError`` where the toolbox is absent."""
    from importlib.util import find_spec

    if find_spec("art") is None:
        raise LNCLIPError(
            "fgsm and pgd need the Adversarial Robustness Toolbox: pip install 'lnclip-df[robustness]', or leave them "
            "out with --attacks none"
        )


def attacked_score(name: str, epsilon: float, config: dict, seed: int):
    """A function like ``lnclip_df.evaluation.predict.score`` that predicts frames after an attack on them.

    Args:
        name: of ``ATTACKS``.
        epsilon: of 255.
        config: of the detector.
        seed: of PGD's random start.
    """

    def scoring(detector, loader, *, device, title, progress):
        training = detector.training
        model = FromPixels(detector, config["mean"], config["std"]).to(device).eval()
        attack = make_attack(name, epsilon / 255, model, config["resolution"], device, config["test_batchSize"])
        with _frozen(detector), _seeded(seed):
            table = score(_Attacked(detector, model, attack, device), loader, device=device, title=title,
                          progress=progress)  # fmt: skip
        detector.train(training)
        return table

    return scoring


class _Attacked(nn.Module):
    """What ``score`` takes for a detector: it attacks a batch, and predicts that."""

    def __init__(self, detector, model, attack, device):
        super().__init__()
        self.detector, self.model, self.attack, self.device = detector, model, attack, device

    def forward(self, batch):
        pixels = (batch["image"] * self.model.std + self.model.mean).clamp(0, 1)
        with torch.inference_mode(False), torch.enable_grad():
            moved = self.attack.generate(pixels.cpu().numpy(), batch["label"].cpu().numpy())
        image = (torch.from_numpy(moved).to(self.device) - self.model.mean) / self.model.std
        return self.detector({"image": image})


@contextmanager
def _frozen(detector):
    """No gradient for the parameters: the attacks need that of the pixels alone."""
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _seeded(seed):
    """ART draws from NumPy's and torch's global generators: seeded here, and left as they were."""
    state = np.random.get_state()
    np.random.seed(seed % (1 << 32))
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(state)
