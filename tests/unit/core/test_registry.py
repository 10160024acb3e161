"""Registries of named choices."""

import pytest

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.registry import Registry


def test_a_choice_is_found_by_its_name_and_registered_once():
    shapes = Registry("shape", {"round": 1})
    assert shapes.register("square")(2) == 2
    assert (shapes.choose("round"), shapes.choose("square"), list(shapes)) == (1, 2, ["round", "square"])
    with pytest.raises(ValueError, match="shape 'square' is registered twice"):
        shapes.register("square")(3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sqare", "no shape 'sqare' (did you mean square?); accepted: round, square"),
        ("x\n", r"no shape 'x\n'; accepted: round, square"),
    ],
)
def test_an_unknown_name_is_one_line_with_a_suggestion(name, message):
    with pytest.raises(LNCLIPError) as error:
        Registry("shape", {"round": 1, "square": 2}).choose(name)
    assert str(error.value) == message
