"""Keep functions out of the graphs of ``torch.compile``."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")
_disabled = lru_cache(maxsize=None)(torch.compiler.disable)


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, never compiled.

    ``torch.compiler.disable`` does this too, but imports PyTorch's compiler where the function is defined, which takes
    as long as all other imports together.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        chosen = _disabled(function) if torch.compiler.is_compiling() else function
        return chosen(*args, **kwargs)

    return call
