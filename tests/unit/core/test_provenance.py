"""What made a figure travels as one typed object."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.core.provenance import Provenance, TrainingRecord, WeightsRecord

KNOWN = Provenance(
    weights=WeightsRecord("best.safetensors", "ab", None), train_dataset=["FaceForensics++"], config_sha256="cd",
    trained=TrainingRecord({"nEpochs": 3}, 7, None), dataset="UADFV", split="test", videos_sha256="ef", crops={},
)  # fmt: skip


def test_json_gives_the_same_object_back():
    assert Provenance.from_json(KNOWN.to_json()) == KNOWN
    assert KNOWN.to_json()["weights"] == {"path": "best.safetensors", "sha256": "ab", "epoch": None}
    assert "device" not in KNOWN.to_json()


def test_predictions_are_the_same_wherever_the_weights_lie_and_whatever_the_machine():
    moved = replace(KNOWN, weights=WeightsRecord("elsewhere", "ab", 3), device="cuda:0", versions={"torch": "9"})
    assert KNOWN.same_predictions(moved)
    for change in ({"weights": WeightsRecord("best.safetensors", "xx")}, {"config_sha256": "x"}, {"crops": {"a": 1}},
                   {"videos_sha256": "x"}, {"split": "val"}, {"corruption": {"kind": "jpeg", "level": 3}}):  # fmt: skip
        assert not KNOWN.same_predictions(replace(KNOWN, **change)), change


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["sha256", "config", "x"]), inner),
    max_leaves=8,
)


@pytest.mark.slow
@given(json_values | st.dictionaries(st.sampled_from(list(KNOWN.to_json())), json_values))
def test_damaged_metadata_lose_what_is_damaged_and_raise_nothing(value):
    read = Provenance.from_json(value)
    assert isinstance(read.weights, WeightsRecord)
    assert read.crops is None or isinstance(read.crops, dict)
