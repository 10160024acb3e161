"""A scorer with random weights, and videos for it."""

import pytest
from released import saved_weights
from scored_clips import write_clips

import lnclip_df


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return saved_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def scorer(weights):
    return lnclip_df.load(weights, device="cpu")


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))
