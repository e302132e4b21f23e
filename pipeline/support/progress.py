"""Progress of a slow start."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a slow start: `done` of `total` bytes (total 0 when unknown)."""

    step: Literal["download", "load"]
    model: str
    done: int = 0
    total: int = 0

    @property
    def task(self) -> str:
        """The step in words; the same for all its reports."""
        return f"{'Downloading' if self.step == 'download' else 'Loading'} {self.model}"


Report = Callable[[Progress], None]
"""Called from the event loop's thread; must return at once."""
