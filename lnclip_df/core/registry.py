"""Named choices of one kind, for example backbones, face detectors or aggregations."""

import difflib
from collections.abc import Callable
from typing import TypeVar

from lnclip_df.core.errors import LNCLIPError

T = TypeVar("T")


class Registry(dict[str, T]):
    """A dict of choices by name, whose ``choose`` explains an unknown name.

    ``kind`` says in the error message what a choice is, in the singular.

    >>> DETECTORS = Registry("face detector")
    >>> @DETECTORS.register("always")
    ... def whole_image(image): ...
    >>> DETECTORS.choose("alway")
    Traceback (most recent call last):
    lnclip_df.core.errors.LNCLIPError: no face detector 'alway' (did you mean always?); accepted: always
    """

    def __init__(self, kind: str, choices: dict[str, T] | None = None):
        super().__init__(choices or {})
        self.kind = kind

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds a function or class under ``name``."""

        def add(choice: T) -> T:
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self[name] = choice
            return choice

        return add

    def choose(self, name: str) -> T:
        """The choice with this name; :class:`LNCLIPError` with similar and accepted names if there is none."""
        if name in self:
            return self[name]
        near = difflib.get_close_matches(name, self, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise LNCLIPError(f"no {self.kind} {name!r}{hint}; accepted: {', '.join(self)}")
