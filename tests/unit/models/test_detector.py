"""The detector trains what the paper trains, and computes the paper's loss."""

import json

import pytest
import torch
import torch.nn.functional as F
from towers import batch
from waits import WaitCounter

from lnclip_df import LNCLIPDetector, LNCLIPError, load_config
from lnclip_df.models.backbones import BACKBONES, Family
from lnclip_df.models.backbones.base import Processor
from lnclip_df.models.detector import check_finite
from lnclip_df.models.sphere import alignment, uniformity

VISION = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}
TINY = [
    "resolution=32",
    f"lnclip.backbone={json.dumps({'name': 'tiny', 'pretrained': 'none', 'vision': VISION})}",
    "train_batchSize=16",
    "lnclip.slerp.batch_size=64",
    "lnclip.precision=fp32",
]


def detector(*overrides, yaml="lnclip.yaml"):
    torch.manual_seed(0)
    return LNCLIPDetector(load_config(yaml, [*TINY, *overrides]))


def trainable(module):
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


# ---- what is trained


@pytest.mark.slow
def test_the_papers_model_trains_104450_parameters():
    model = LNCLIPDetector(load_config("lnclip.yaml", ["lnclip.backbone.pretrained=none"]))
    tuned = trainable(model)
    assert sum(p.numel() for p in tuned.values()) == 104_450
    assert sum(p.numel() for n, p in tuned.items() if n.startswith("head")) == 2_050
    assert sum(".ln_" in n for n in tuned) == 50 * 2


def test_layernorm_tuning_leaves_the_rest_without_gradient_and_state():
    model = detector().train()
    data = batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        model.get_losses(data, model(data))["overall"].backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        tuned = name.startswith("head") or ".ln_" in name
        assert parameter.requires_grad == tuned
        assert (parameter.grad is not None) == tuned
        assert (parameter in optimizer.state) == tuned
        assert torch.equal(parameter, before[name]) != tuned, name


def test_tune_none_and_all():
    assert set(trainable(detector("lnclip.tune=none"))) == {"head.weight", "head.bias"}
    everything = detector("lnclip.tune=all")
    assert len(trainable(everything)) == len(list(everything.parameters()))


@pytest.mark.parametrize(
    ("step", "tuned", "normalised", "terms", "grows"),
    [
        ("1-linear-probe", 0, False, {"ce"}, False),
        ("2-layernorm", 6, False, {"ce"}, False),
        ("3-l2", 6, True, {"ce"}, False),
        ("4-unal", 6, True, {"ce", "alignment", "uniformity"}, False),
        ("5-slerp", 6, True, {"ce", "alignment", "uniformity"}, True),
    ],
)
def test_each_ablation_is_one_yaml(step, tuned, normalised, terms, grows):
    model = detector(yaml=f"ablation/{step}.yaml").train()
    data = batch()
    predictions = model(data)
    assert sum(".ln_" in name for name in trainable(model)) == 2 * tuned
    assert torch.allclose(predictions["feat"].norm(dim=1), torch.ones(16)) == normalised
    assert set(model.get_losses(data, predictions)) == {"overall", *terms}
    assert ("cls_grown" in predictions) == grows


# ---- forward pass and loss


def test_training_returns_the_original_batch_and_the_grown_one_apart():
    model = detector().train()
    data = batch()
    out = model(data)
    assert out["cls"].shape == (16, 2) and out["prob"].shape == (16,) and out["feat"].shape == (16, 64)
    assert out["cls_grown"].shape == (64, 2) and out["feat_grown"].shape == (64, 64)
    torch.testing.assert_close(out["cls_grown"][:16], out["cls"])
    torch.testing.assert_close(out["feat_grown"][:16], out["feat"])
    assert torch.equal(out["label_grown"][:16], data["label"])


def test_nothing_grows_in_evaluation_or_inference():
    model = detector()
    assert set(model.eval()(batch())) == {"cls", "prob", "feat"}
    assert set(model.train()(batch(), inference=True)) == {"cls", "prob", "feat"}


def test_probability_is_the_softmax_of_fake_over_the_linear_head():
    model = detector().eval()
    out = model(batch())
    z = out["feat"].double()
    logits = z @ model.head.weight.double().T + model.head.bias.double()
    torch.testing.assert_close(out["cls"].double(), logits, atol=1e-5, rtol=1e-5)
    expected = torch.exp(logits[:, 1]) / torch.exp(logits).sum(1)
    torch.testing.assert_close(out["prob"].double(), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(model.classifier(model.features(batch())), out["cls"])


def test_the_loss_is_the_papers_sum_over_the_grown_batch():
    model = detector().train()
    data = batch()
    out = model(data)
    losses = model.get_losses(data, out)
    z, y = out["feat_grown"], out["label_grown"]
    expected = F.cross_entropy(out["cls_grown"], y) + 0.1 * alignment(z, y) + 0.5 * uniformity(z)
    torch.testing.assert_close(losses["overall"], expected)
    assert set(losses) == {"overall", "ce", "alignment", "uniformity"}
    assert [name for name, loss in losses.items() if loss.requires_grad] == ["overall"]


def test_losses_in_evaluation_are_over_the_given_batch():
    model = detector().eval()
    data = batch()
    out = model(data, inference=True)
    expected = F.cross_entropy(out["cls"], data["label"])
    torch.testing.assert_close(model.get_losses(data, out)["ce"], expected)


def test_half_squared_is_one_key_away():
    data = batch()
    full, half = (
        detector("lnclip.slerp.enabled=false"),
        detector("lnclip.slerp.enabled=false", "lnclip.loss.half_squared=true"),
    )
    a, b = full.get_losses(data, full(data)), half.get_losses(data, half(data))
    torch.testing.assert_close(b["alignment"], a["alignment"] / 2)
    assert b["uniformity"] > a["uniformity"]


def test_labels_above_one_are_fake():
    model = detector("lnclip.slerp.enabled=false")
    data = batch()
    many = data | {"label": data["label"] * 3}
    torch.testing.assert_close(model.get_losses(many, model(many)), model.get_losses(data, model(data)))


def test_a_last_small_batch_and_a_single_class_train_too():
    model = detector().train()
    for data in (batch(1), batch(5) | {"label": torch.ones(5, dtype=torch.long)}):
        losses = model.get_losses(data, model(data))
        losses["overall"].backward()
        assert torch.isfinite(losses["overall"])


def test_bf16_keeps_parameters_losses_and_features_in_float32():
    model = detector("lnclip.precision=bf16").train()
    data = batch()
    out = model(data)
    loss = model.get_losses(data, out)["overall"]
    loss.backward()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert out["feat"].dtype == out["cls"].dtype == loss.dtype == torch.float32
    torch.testing.assert_close(out["feat"].norm(dim=1), torch.ones(16))
    reference = detector()(data)["feat"]
    assert torch.cosine_similarity(out["feat"], reference).min() > 0.999


@pytest.mark.slow
def test_the_compiled_detector_trains_at_every_batch_size():
    model = detector("lnclip.backbone.vision.layers=1").train()
    compiled = torch.compile(model, backend="aot_eager")
    for n in (16, 15, 14):
        torch.manual_seed(0)
        eager = model.get_losses(batch(n), model(batch(n)))["overall"]
        torch.manual_seed(0)
        loss = model.get_losses(batch(n), compiled(batch(n)))["overall"]
        torch.testing.assert_close(loss, eager, atol=1e-5, rtol=1e-5)
        loss.backward()


def test_a_step_reads_nothing_back_from_the_device():
    """On a GPU such a read waits for everything that was computed before it."""
    model, data = detector("lnclip.precision=bf16").train(), batch()
    with WaitCounter() as counter:
        model.get_losses(data, model(data))["overall"].backward()
    assert counter.seen == []


@pytest.mark.parametrize(("compile", "blocks"), [("null", 0), ("false", 0), ("true", 2)])
def test_blocks_are_compiled_as_configured_once_at_the_first_batch(monkeypatch, compile, blocks):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    model = detector(f"lnclip.compile={compile}").eval()
    assert compiled == []
    for _ in range(2):
        model(batch())
    assert compiled == list(model.backbone.transformer.resblocks)[:blocks]


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 3e-2), ("fp16", 4e-3), ("tf32", 0.0)])
def test_features_in_16_bits_are_close_to_those_in_32(precision, tolerance):
    expected, found = (detector(f"lnclip.precision={each}").eval()(batch()) for each in ("fp32", precision))
    assert (found["feat"] - expected["feat"]).abs().max() <= tolerance
    assert found["feat"].dtype == torch.float32 and torch.equal(found["feat"], expected["feat"]) == (not tolerance)


# ---- bad input


def test_nan_in_a_feature_is_one_clear_line():
    model = detector().train()
    data = batch()
    data["image"][3, 0, 0, 0] = float("nan")
    with pytest.raises(LNCLIPError, match="NaN") as caught:
        check_finite({name: loss.item() for name, loss in model.get_losses(data, model(data)).items()})
    message = str(caught.value)
    assert "overall, ce, alignment" in message and "\n" not in message and "lr_max" in message


def test_a_resolution_that_is_not_the_backbones_is_refused():
    overrides = ["resolution=256", "lnclip.resize=deepfakebench", "lnclip.backbone.pretrained=none"]
    with pytest.raises(LNCLIPError, match=r"resolution: 256.*224.*lnclip\.resize: backbone"):
        LNCLIPDetector(load_config("lnclip.yaml", overrides))


def test_pretrained_weights_are_loaded_by_build_detector_alone():
    with pytest.raises(LNCLIPError, match=r"pretrained is openai.*use lnclip_df\.build_detector\(config\)"):
        LNCLIPDetector(load_config("lnclip.yaml"))


# ---- the backbone


def test_there_are_no_buffers_for_ddp_to_broadcast():
    for options in ([], ["lnclip.activation_checkpointing=true"], ["lnclip.tune=all"]):
        assert list(detector(*options).named_buffers()) == []


def test_a_backbone_of_one_file_is_one_entry(monkeypatch):
    class Mean(torch.nn.Module):
        """The mean of each channel."""

        width, image_size = 3, 32

        def forward(self, image):
            return image.mean(dim=(2, 3))

        def init_weights(self, seed):
            pass

        def layer_norms(self):
            return []

        def identity(self):
            return {"width": 3}

    own = Processor(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    monkeypatch.setitem(BACKBONES, "mean", Family(lambda settings: Mean(), lambda backbone: own))
    plain = ["mean=[0.5, 0.5, 0.5]", "std=[0.5, 0.5, 0.5]"]
    model = detector("lnclip.backbone={name: 'mean:any', pretrained: none}", *plain).train()
    assert model(batch())["feat"].shape == (16, 3)
    assert model.backbone_identity() == {"width": 3, "normalize": True}
    with pytest.raises(LNCLIPError, match="no backbone family 'meen' \\(did you mean mean\\?\\)"):
        detector("lnclip.backbone={name: 'meen:any', pretrained: none}")


def test_the_yamls_normalise_as_the_backbone_asks():
    model, config = detector(), load_config("lnclip.yaml")
    assert tuple(config.mean) == pytest.approx(model.backbone.processor.mean, abs=1e-8)
    assert tuple(config.std) == pytest.approx(model.backbone.processor.std, abs=1e-8)
