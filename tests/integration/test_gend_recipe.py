"""The recipes of the authors' later release: each YAML trains, with their schedule, frames, batches and optimizer."""

import copy

import pytest
import torch
from references import later_release_rates
from tiny import TINY, make_toy

from lnclip_df.config.loading import detector_yamls, load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import read_json
from lnclip_df.models.backbones import processor_of
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.training.module import LNCLIPModule
from lnclip_df.training.train import train

RECIPES = [name for name in detector_yamls() if name.startswith("gend/")]
NAMES = {"gend/clip.yaml": "tiny", "gend/pe.yaml": "pe:tiny", "gend/dinov3.yaml": "dino:dinov3-tiny"}
WEIGHTS = {"gend/clip.yaml": (0.1, 0.5), "gend/pe.yaml": (0, 0), "gend/dinov3.yaml": (0.1, 0.5)}
KEPT = ("lnclip.slerp", "lnclip.schedule", "lnclip.augmentation", "frame_num", "nEpochs")
SMALL = [setting for setting in TINY if not setting.startswith(KEPT)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy"))


def small(recipe, toy, *overrides):
    """A recipe on the toy data (24 training videos of two frames) with a tiny backbone: two batches of ten frames."""
    few = ["frame_num={train: 1, test: 2}", "train_batchSize=10", "nEpochs=1"]
    config = load_config(recipe, [*SMALL, *few, f"lnclip.data_root={toy}", *overrides])
    return config.replace({"lnclip.backbone.name": NAMES[recipe]})


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_has_the_authors_settings(recipe):
    config = load_config(recipe)
    ours = config.lnclip
    assert not ours.slerp.enabled and ours.normalize and ours.tune == "layernorm" and ours.precision == "bf16"
    assert (ours.loss.ce, ours.loss.alignment, ours.loss.uniformity) == (1, *WEIGHTS[recipe])
    assert config.resolution == processor_of(ours.backbone).size == 224 and not ours.loss.half_squared
    assert (config.train_batchSize, config.nEpochs, config.manualSeed) == (128, 29, 0)
    assert (config.optimizer.adam.beta1, config.optimizer.adam.beta2, config.optimizer.adam.weight_decay) == (
        0.9, 0.999, 0,
    )  # fmt: skip
    assert (ours.augmentation, ours.train_frames, ours.drop_last, ours.select) == ("gend", "random", True, "map")
    assert ours.val_dataset == config.test_dataset == ["GenD-val"] and config.train_dataset == ["FaceForensics++"]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.slow
def test_a_recipe_trains_with_the_authors_rate_at_each_step(recipe, toy, tmp_path, monkeypatch):
    rates = []
    step = LNCLIPModule.training_step

    def training_step(self, batch, batch_idx):
        assert len(batch["label"]) == 10  # 24 frames: the last four are dropped
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LNCLIPModule, "training_step", training_step)
    result = train(small(recipe, toy), tmp_path, accelerator="cpu", progress=False)
    assert rates == pytest.approx(later_release_rates(steps=2, epochs=2), rel=1e-9)
    assert [row["train"].keys() for row in result["history"]] == [{"overall", *_terms(recipe)}] * 2
    assert read_json(tmp_path / "history.json")["seed"] == 0


def _terms(recipe):
    weights = load_config(recipe).lnclip.loss
    return {name for name in ("ce", "alignment", "uniformity") if getattr(weights, name)}


def test_the_optimizer_is_the_authors_adamw_to_the_bit(toy):
    """They give norms and biases no weight decay, and the head's matrix one of 0: AdamW is then Adam."""
    config = small("gend/clip.yaml", toy)
    ours = LNCLIPDetector(config)
    theirs, start = copy.deepcopy(ours), ours.head.weight.detach().clone()
    optimizer = LNCLIPModule(ours, config, None, None, seed=0, progress=False).configure_optimizers()
    trained = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    groups = [[trained.pop("head.weight")], [*trained.values()]]
    reference = torch.optim.AdamW([{"params": group, "weight_decay": 0.0} for group in groups], lr=3e-4)
    generator = torch.Generator().manual_seed(0)
    for rate in (1e-5, 3e-4, 2e-4, 1e-4):
        for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
            if one.requires_grad:
                one.grad = two.grad = torch.randn(one.shape, generator=generator)
        for each in (optimizer, reference):
            for group in each.param_groups:
                group["lr"] = rate
            each.step()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name
    assert not torch.equal(ours.head.weight, start)


def test_a_batch_larger_than_the_training_set_is_refused(toy, tmp_path):
    with pytest.raises(LNCLIPError, match=r"train_batchSize 25 is above the 24 training frames .* lnclip\.drop_last"):
        train(small("gend/clip.yaml", toy, "train_batchSize=25"), tmp_path, accelerator="cpu", progress=False)
