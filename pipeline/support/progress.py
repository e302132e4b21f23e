"""Progress of a slow start."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a slow start: `done` of `total` (usually bytes; total 0 when unknown)."""

    task: str
    done: int
    total: int


Report = Callable[[Progress], None]
"""Called from the event loop's thread; must return at once."""
