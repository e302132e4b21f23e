"""How an engine is chosen, opened and described; the same for the three stages.

A stage's table (`pipeline.stt.ENGINES`, …) maps a name to a module, imported only when it is wanted. The module has:

    async def probe(settings: Settings) -> None
        Cheap (under a second, no model loaded): returns when the engine can run here, else raises EngineUnavailable
        with the reason and the one remedy.

    def open_engine(settings: Settings, report: Report) -> AbstractAsyncContextManager[Opened[T]]
        Loads the model, warms it up, yields it ready to serve; closes everything it started. Raises EngineUnavailable
        or EngineError. `report` is told about slow steps (downloads).
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pipeline.settings import Settings

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a slow start: `done` of `total` (bytes, usually; total 0 when unknown)."""

    task: str
    done: int
    total: int


Report = Callable[[Progress], None]
"""Called from the event loop's thread; must return at once."""


@dataclass(frozen=True, slots=True)
class Opened(Generic[T_co]):
    """An engine that is ready."""

    engine: T_co
    model: str
    """What is loaded, for people: "base (int8)", "en-us", "llama3.2"."""
    device: str
    """cpu, cuda, or the host of a remote server."""


class EngineModule(Protocol[T_co]):
    """What the module of an engine provides."""

    async def probe(self, settings: Settings) -> None: ...

    def open_engine(self, settings: Settings, report: Report) -> AbstractAsyncContextManager[Opened[T_co]]: ...
