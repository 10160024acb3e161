"""Estimates: intervals against references."""

import pytest
from references import naive_wilson

from lnclip_df.evaluation.estimates import wilson


@pytest.mark.parametrize(("k", "n"), [(0, 5), (2, 10), (56, 70), (48, 80), (7, 7)])
def test_wilson_solves_its_quadratic(k, n):
    assert wilson(k, n)[1:] == pytest.approx(naive_wilson(k, n), abs=1e-9)


def test_nothing_has_no_share():
    assert str(wilson(0, 0)) == "–"
