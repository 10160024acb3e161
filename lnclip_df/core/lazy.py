"""Public names of a package, imported when they are first asked for: what is heavy is not loaded for what is light."""

from collections.abc import Callable
from importlib import import_module


def lazily(package: str, homes: dict[str, str]) -> Callable[[str], object]:
    """A package's ``__getattr__`` (PEP 562).

    Args:
        package: its ``__name__``.
        homes: ``{public name: the module below the package that it is from}``.
    """

    def __getattr__(name):
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
