"""The attacks keep their bound, raise the loss, and leave the detector and the random generators as they were."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tiny import toy_with_weights

from lnclip_df.analysis import attacks
from lnclip_df.analysis.attacks import FromPixels, attacked_score, make_attack
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
from lnclip_df.evaluation.loading import make_loader
from lnclip_df.evaluation.predict import score
from lnclip_df.models.detector import LNCLIPDetector


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_with_weights(tmp_path_factory.mktemp("toy"))


def pixels(n=6):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 32, 32, generator=generator), torch.arange(n) % 2


@pytest.fixture(scope="module")
def model(toy):
    pytest.importorskip("art")
    config, _ = toy
    torch.manual_seed(1)
    return FromPixels(LNCLIPDetector(config), config.mean, config.std).eval()


def loss_of(model, x, y):
    return torch.nn.functional.cross_entropy(model(x), y, reduction="none")


def test_fgsm_is_a_step_along_the_gradients_sign(model):
    x, y = pixels()
    x.requires_grad_(True)
    gradient = torch.autograd.grad(loss_of(model, x, y).sum(), x)[0]
    expected = (x + 4 / 255 * gradient.sign()).clamp(0, 1).detach().numpy()
    attack = make_attack("fgsm", 4 / 255, model, 32, torch.device("cpu"), 4)
    found = attack.generate(x.detach().numpy(), y.numpy())
    assert np.mean(np.abs(found - expected) < 1e-6) > 0.999  # but where a gradient is 0 to rounding


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("epsilon", [1, 4])
def test_attacks_stay_within_their_bound_and_raise_the_loss(model, name, epsilon):
    x, y = pixels()
    attack = make_attack(name, epsilon / 255, model, 32, torch.device("cpu"), 4)
    found = torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
    assert (found - x).abs().max() <= epsilon / 255 + 1e-6
    assert found.min() >= 0 and found.max() <= 1
    assert (loss_of(model, found, y) > loss_of(model, x, y)).all()


@pytest.mark.parametrize("resolution", [32, 48])
def test_attacked_scores_repeat_themselves_and_leave_everything_as_it_was(toy, resolution):
    pytest.importorskip("art")
    config = toy[0].replace({"resolution": resolution})
    detector = LNCLIPDetector(config).train()
    frames = FrameDataset(config, read_videos(config, ["toy"], "test"), frames_per_video=2)
    order = EpochSampler(len(frames), seed=0, shuffle=False)
    loader = make_loader(frames, order, batch_size=8, workers=0, device="cpu")
    before, wanted = np.random.get_state()[1].copy(), [p.requires_grad for p in detector.parameters()]
    options = {"device": torch.device("cpu"), "title": "", "progress": False}
    first, again = (attacked_score("pgd", 4, config, 7)(detector, loader, **options) for _ in range(2))
    clean = score(detector, loader, **options)
    assert first["prob"] == again["prob"]
    assert first["frame"] == clean["frame"]
    worse = [
        (a - c) * (1 if y == 0 else -1) for a, c, y in zip(first["prob"], clean["prob"], clean["label"], strict=True)
    ]
    assert min(worse) > 0  # reals look more fake, fakes less
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert [p.requires_grad for p in detector.parameters()] == wanted
    assert detector.training


def test_attacks_compute_on_the_gpu_that_is_named(monkeypatch):
    """The toolbox takes the current GPU, so that must be the one of the detector."""
    estimators = pytest.importorskip("art.estimators.classification")
    current, made = ["cuda:0"], []

    @contextmanager
    def device(chosen):
        current.append(str(chosen))
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(estimators, "PyTorchClassifier", lambda *given, **named: made.append((current[-1], named)))
    monkeypatch.setitem(attacks.ATTACKS, "fgsm", attacks.Attack("FGSM", lambda *given: None))
    make_attack("fgsm", 0.01, torch.nn.Identity(), 32, torch.device("cuda:1"), 4)
    make_attack("fgsm", 0.01, torch.nn.Identity(), 32, torch.device("cpu"), 4)
    assert [(where, named["device_type"]) for where, named in made] == [("cuda:1", "gpu"), ("cuda:0", "cpu")]
