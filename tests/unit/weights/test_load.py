"""A detector's own weights load bit for bit; those of another detector are refused, and nothing is loaded."""

import pytest
import torch
from released import tiny_config, tiny_detector

from lnclip_df import LNCLIPDetector, LNCLIPError
from lnclip_df.weights import load_weights, save_weights


def untrained():
    return LNCLIPDetector(tiny_config())


def test_save_and_load_round_trips_bit_for_bit(tmp_path):
    one, two = untrained(), untrained()
    with torch.no_grad():
        for p in one.parameters():
            p.add_(torch.randn_like(p))
    save_weights(one, tmp_path / "w.safetensors", {"epoch": 3})
    facts = load_weights(two, tmp_path / "w.safetensors").facts
    assert facts.epoch == 3 and facts.backbone["width"] == 64
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name])


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_deepfakebenchs_state_dict_loads(tmp_path, prefix):
    one, two = tiny_detector(), untrained()
    torch.save({prefix + k: v for k, v in one.state_dict().items()}, tmp_path / "ckpt_best.pth")
    load_weights(two, tmp_path / "ckpt_best.pth")
    assert torch.equal(one.head.weight, two.head.weight)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_of_another_width_is_refused_and_nothing_loaded(tmp_path, suffix):
    path, target = tmp_path / f"w{suffix}", untrained()
    wide = tiny_detector(width=128)
    save_weights(wide, path) if suffix == ".safetensors" else torch.save(wide.state_dict(), path)
    before = target.head.weight.clone()
    with pytest.raises(LNCLIPError, match="128"):
        load_weights(target, path)
    assert torch.equal(target.head.weight, before)


def test_a_checkpoint_of_the_other_activation_is_refused(tmp_path):
    save_weights(tiny_detector(quick_gelu=False), tmp_path / "w.safetensors")
    with pytest.raises(LNCLIPError, match="quick_gelu"):
        load_weights(untrained(), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "content",
    [{0: torch.ones(1)}, {"a": torch.eye(3).to_sparse()}, {"a": torch.ones(2, device="meta")}, {"a": 1}, {}],
    ids=["number as name", "sparse", "meta", "no tensor", "empty"],
)
def test_what_is_not_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(LNCLIPError, match="not a state dict"):
        load_weights(untrained(), tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LNCLIPError, match="nowhere"):
        load_weights(untrained(), tmp_path / "nowhere.pth")
