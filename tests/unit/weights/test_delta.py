"""A delta holds LayerNorms and head, round-trips bit for bit, and goes onto no other backbone than its own."""

import json

import pytest
import torch
from released import logits_of, tiny_config, tiny_detector
from safetensors import safe_open
from safetensors.torch import save_file

from lnclip_df import LNCLIPDetector, LNCLIPError, build_detector
from lnclip_df.models.backbones.clip import build_tower, open_clip_spec
from lnclip_df.weights import load_weights, save_weights
from lnclip_df.weights.delta import delta_names, frozen_sha256


@pytest.fixture
def delta(tmp_path):
    path = tmp_path / "delta.safetensors"
    save_weights(tiny_detector(), path, {"epoch": 3}, delta=True)
    return path


def header(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["lnclip_df"]), list(file.keys())


def test_a_delta_round_trips_bit_for_bit(delta):
    one, two = tiny_detector(), LNCLIPDetector(tiny_config()).eval()
    report = load_weights(two, delta)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name
    assert torch.equal(logits_of(one), logits_of(two))
    assert report.facts.epoch == 3
    assert report.format == "lnclip-df, delta" and report.loaded == 2 * 6 + 2
    assert sorted(report.missing) == sorted(set(one.state_dict()) - set(delta_names(one)))


def test_a_delta_says_which_backbone_it_is_for(delta):
    facts, names = header(delta)
    assert facts["frozen"] == {
        "name": "tiny",
        "pretrained": "none",
        "seed": 0,
        "sha256": frozen_sha256(tiny_detector()),
    }
    assert all(".ln_" in name or name.startswith("head.") for name in names)


def test_the_hash_sees_every_frozen_value_and_no_other():
    detector, other = tiny_detector(), LNCLIPDetector(tiny_config())
    assert frozen_sha256(detector) == frozen_sha256(other)  # they differ in LayerNorms and head
    before = frozen_sha256(detector)
    for name in set(detector.state_dict()) - set(delta_names(detector)):
        value = detector.state_dict()[name].view(-1)[-1]
        kept = value.clone()
        value.add_(1e-3)
        assert frozen_sha256(detector) != before, name
        value.copy_(kept)
    assert frozen_sha256(detector) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, r"set lnclip\.backbone\.seed: 0"),
        ({"width": 128}, r"another backbone: width 64 instead of 128"),
        ({"quick_gelu": False}, r"another backbone: quick_gelu True instead of False"),
        ({"normalize": False}, r"another backbone: normalize True instead of False"),
    ],
    ids=str,
)
def test_another_backbone_is_refused_in_one_line(delta, options, message):
    detector = tiny_detector(**options)
    before = detector.head.weight.clone()
    with pytest.raises(LNCLIPError, match=message) as error:
        load_weights(detector, delta)
    assert "\n" not in str(error.value)
    assert torch.equal(detector.head.weight, before)


def test_a_backbone_whose_file_has_changed_is_refused(tmp_path):
    clip = tmp_path / "clip.pt"
    torch.save(tiny_detector(seed=5).backbone.state_dict(), clip)
    config = tiny_config(pretrained=clip)
    save_weights(build_detector(config), tmp_path / "delta.safetensors", delta=True)
    torch.save(tiny_detector(seed=6).backbone.state_dict(), clip)
    with pytest.raises(LNCLIPError, match="those weights have changed since training"):
        build_detector(config, tmp_path / "delta.safetensors")


def test_the_backbone_of_a_delta_is_built_and_that_of_full_weights_is_not(tmp_path):
    clip = tmp_path / "clip.pt"
    torch.save(tiny_detector(seed=5).backbone.state_dict(), clip)
    config = tiny_config(pretrained=clip)
    detector = build_detector(config).eval()
    save_weights(detector, tmp_path / "delta.safetensors", delta=True)
    save_weights(detector, tmp_path / "full.safetensors")
    restored = build_detector(config, tmp_path / "delta.safetensors")
    assert torch.equal(logits_of(restored), logits_of(detector))
    clip.unlink()
    restored = build_detector(config, tmp_path / "full.safetensors")
    assert torch.equal(logits_of(restored), logits_of(detector))
    with pytest.raises(LNCLIPError, match=r"is a delta and needs its backbone's weights: .*clip\.pt does not exist"):
        build_detector(config, tmp_path / "delta.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"frozen": None},
        {"frozen": {}},
        {"frozen": 3},
        {"frozen": {"sha256": ["x"]}},
        {"format": "delta2"},
        {"format": 1},
    ],
    ids=str,
)
def test_a_damaged_delta_is_refused_in_one_line(delta, change):
    facts, _ = header(delta)
    with safe_open(delta, framework="pt") as file:
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    save_file(state, delta, metadata={"lnclip_df": json.dumps(facts | change)})
    with pytest.raises(LNCLIPError) as error:
        load_weights(tiny_detector(), delta)
    assert "\n" not in str(error.value)


def test_a_delta_of_vit_l_14_is_at_most_half_a_megabyte(tmp_path):
    """Its LayerNorms and head at their true size, and a real configuration, without the 1.2 GB of the rest."""
    with torch.device("meta"):
        detector = LNCLIPDetector.__new__(LNCLIPDetector)
        torch.nn.Module.__init__(detector)
        detector.backbone = build_tower(open_clip_spec("ViT-L-14-quickgelu")).to("meta")
        detector.head = torch.nn.Linear(1024, 2)
    names, state = delta_names(detector), detector.state_dict()
    assert sum(state[name].numel() for name in names) == 102_400 + 2_050
    facts, _ = header_of_a_delta(tmp_path)
    tensors = {name: torch.randn(state[name].shape) for name in names}
    save_file(tensors, tmp_path / "large.safetensors", metadata={"lnclip_df": json.dumps(facts)})
    assert (tmp_path / "large.safetensors").stat().st_size < 500_000


def header_of_a_delta(folder):
    detector = tiny_detector()
    save_weights(detector, folder / "tiny.safetensors", {"config": detector.config.to_dict()}, delta=True)
    return header(folder / "tiny.safetensors")


def test_a_file_of_weights_can_be_read_by_whoever_can_read_other_files(tmp_path):
    (tmp_path / "other").touch()
    save_weights(tiny_detector(), tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
