"""Progress of a slow start."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a slow start: `done` of `total` bytes (total 0 when unknown)."""

    step: Literal["download", "load"]
    model: str
    done: int = 0
    total: int = 0
    stage: str = ""
    """The stage whose engine is being opened, if it is known."""
    whole: bool = False
    """Whether this is the opening of an engine as a whole; its own reports say more."""
    ended: bool = False
    """Whether the engine is open, or cannot be opened."""

    @property
    def task(self) -> str:
        """The step in words; the same for all its reports."""
        return f"{'Downloading' if self.step == 'download' else 'Loading'} {self.model}"


Report = Callable[[Progress], None]
"""Called from the event loop's thread; must return at once."""


@contextmanager
def opening(report: Report, engine: str, stage: str) -> Iterator[Report]:
    """Report that an engine is being opened until the block ends. Yield the report for the engine: after a download it
    loads the model."""
    whole = Progress("load", engine, stage=stage, whole=True)

    def of_engine(step: Progress) -> None:
        report(replace(step, stage=stage))
        if step.step == "download" and step.done == step.total:
            report(replace(whole, model=step.model))

    report(whole)
    try:
        yield of_engine
    finally:
        report(replace(whole, ended=True))
