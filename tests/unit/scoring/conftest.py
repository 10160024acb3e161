"""Videos for a scorer."""

import pytest
from scored_clips import write_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))
