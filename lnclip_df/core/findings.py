"""What a check found: the lines of ``lnclip-df doctor`` and ``lnclip-df audit``."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its name, how it stands, what was found, and the mend (empty where none is needed).

    Where it can be counted, ``count`` says how often, and ``examples`` names a few.
    """

    name: str
    status: Status
    found: str
    mend: str = ""
    count: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self):
        line = f"{self.status:7} {self.name}: {self.found}"
        return f"{line}; {self.mend}" if self.mend else line
