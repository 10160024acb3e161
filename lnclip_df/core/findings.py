"""What a check found: the lines of ``lnclip-df doctor`` and ``lnclip-df audit``."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One checked point: its name, its status, what was found, and how to fix it (empty where no fix is needed).

    ``count`` says how often it was found, where that can be counted, and ``examples`` names a few cases.
    """

    name: str
    status: Status
    found: str
    fix: str = ""
    count: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"{self.status:7} {self.name}: {self.found}"
        return f"{line}; {self.fix}" if self.fix else line
