"""Facts of earlier versions in today's terms."""

import pytest

from lnclip_df.weights.facts import Facts


@pytest.mark.parametrize(("recorded", "read"), [("clip", "backbone"), ("deepfakebench", "deepfakebench")])
def test_the_earlier_name_of_the_backbones_resize_is_read_as_todays(recorded, read):
    config = {"resolution": 256, "lnclip": {"resize": recorded, "tune": "layernorm"}}
    expected = {"resolution": 256, "lnclip": {"resize": read, "tune": "layernorm"}}
    assert Facts.from_dict({"config": config}).config == expected
