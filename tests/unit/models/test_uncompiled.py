"""A function is kept out of compiled graphs."""

import pytest
import torch

from lnclip_df.models.uncompiled import uncompiled


@pytest.mark.slow
def test_a_compiled_model_calls_the_function_as_it_is():
    compiling, graphs = [], []

    @uncompiled
    def inner(x):
        compiling.append(torch.compiler.is_compiling())
        return x.sin()

    def backend(graph, inputs):
        graphs.append(graph.code)
        return graph.forward

    compiled = torch.compile(lambda x: inner(x * 2) + 1, backend=backend)
    for value in (0.5, 0.7):
        x = torch.full((3,), value)
        torch.testing.assert_close(compiled(x), (2 * x).sin() + 1)
    assert compiling == [False, False]
    assert graphs and not any("sin" in code for code in graphs)
