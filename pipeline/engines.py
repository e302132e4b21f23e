"""Choose, open and describe engines, in the same way for the three stages.

A stage's table (`pipeline.stt.ENGINES`, …) maps a name to a module, imported only on use. The module has:

    async def probe(settings: Settings) -> None
        Cheap (no model loaded): returns when the engine can run here, else raises EngineUnavailable with the reason
        and a remedy. For `doctor`, and for the check whether an engine is back.

    def open_engine(settings: Settings, report: Report) -> AbstractAsyncContextManager[Opened[T]]
        Checks the same, loads the model, warms it up, yields it ready to serve; closes everything it started. Raises
        EngineUnavailable or EngineError. Calls `report` during slow steps (downloads).
"""

import importlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from pipeline.errors import EngineUnavailable, ParleyError
from pipeline.support.progress import Report, opening
from pipeline.voices.catalogue import Voice
from pipeline.workers import Load

if TYPE_CHECKING:
    from pipeline.settings import Settings

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Opened(Generic[T_co]):
    """An engine that is ready for calls."""

    engine: T_co
    model: str
    """Display name of the loaded model: "base (int8)", "en-us", "llama3.2"."""
    device: str
    """cpu, cuda, or the host of a remote server."""
    load: Callable[[], Load] | None = None
    """Returns the current load of a local model."""
    languages: Sequence[str] = ()
    """Language codes of the loaded model; empty: unknown."""
    name: str = ""
    """Name of the model without details ("base"), where `model` has some."""
    compute_type: str = ""
    """Number format of a local model's weights: "int8", "float16"; empty: unknown."""
    voices: Sequence[Voice] = ()
    """Built-in voices of a speech model."""
    source: str = ""
    """Source of a local model: folder, hub, package index; empty: with its engine, or unknown."""
    licence: str = ""
    """Licence of a local model's weights (SPDX); empty: unknown."""
    notes: Sequence[str] = ()
    """One sentence for each thing that a user must know about this model or its choice."""
    translates: bool = True
    """Whether a recogniser can translate speech into English; one for English alone has nothing to translate."""


class EngineModule(Protocol[T_co]):
    """Interface of an engine's module."""

    async def probe(self, settings: "Settings") -> None: ...

    def open_engine(self, settings: "Settings", report: Report) -> AbstractAsyncContextManager[Opened[T_co]]: ...


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Engine of a stage, for the start-up table, `/health` and the page."""

    stage: str
    """stt, llm, tts or turn."""
    engine: str
    model: str
    device: str
    ready_s: float
    """Seconds from the start to ready."""
    notes: tuple[str, ...] = ()
    """One sentence for each better engine that is not available (why, and how to get it), and what a user must know
    about this one."""
    load: Load | None = None
    """Load of a local model; None for a remote one."""
    languages: tuple[str, ...] = ()
    """Language codes of the loaded model; empty: unknown."""
    name: str = ""
    """Name of the model without the details in `model`."""
    compute_type: str = ""
    """Number format of a local model's weights; empty: unknown."""
    source: str = ""
    """Source of a local model: folder, hub, package index; empty: with its engine, or unknown."""
    licence: str = ""
    """Licence of a local model's weights (SPDX); empty: unknown."""

    @property
    def origin(self) -> str:
        """Source and licence of the model, for people; empty: unknown."""
        return ", ".join(filter(None, (self.source, self.licence)))


@dataclass(frozen=True, slots=True)
class Running(Generic[T_co]):
    """An open engine and its description."""

    engine: T_co
    info: EngineInfo
    """The description from when the engine was opened."""
    load: Callable[[], Load] | None = None
    voices: Sequence[Voice] = ()
    """Built-in voices of a speech model."""
    translates: bool = True
    """Whether a recogniser can translate speech into English; one for English alone has nothing to translate."""

    @property
    def now(self) -> EngineInfo:
        """The description with the current load."""
        return self.info if self.load is None else replace(self.info, load=self.load())


def load(table: dict[str, str], name: str) -> EngineModule[Any]:
    """Import an engine's module; on use, because most deployments need one engine of each table."""
    return cast("EngineModule[Any]", importlib.import_module(table[name]))


@asynccontextmanager
async def open_named(
    stage: str, table: dict[str, str], name: str, settings: "Settings", report: Report, notes: Sequence[str] = ()
) -> AsyncIterator[Running[Any]]:
    """Open exactly this engine. Raises EngineUnavailable or EngineError when it cannot run."""
    start = time.perf_counter()
    module = load(table, name)
    async with AsyncExitStack() as stack:
        with opening(report, name, stage) as reports:
            opened = await stack.enter_async_context(module.open_engine(settings, reports))
        ready_s = time.perf_counter() - start
        info = EngineInfo(
            stage, name, opened.model, opened.device, ready_s, (*notes, *opened.notes),
            languages=tuple(sorted(opened.languages)), name=opened.name or opened.model,
            compute_type=opened.compute_type, source=opened.source, licence=opened.licence,
        )  # fmt: skip
        yield Running(opened.engine, info, opened.load, opened.voices, opened.translates)


@asynccontextmanager
async def open_best(
    stage: str, table: dict[str, str], order: Sequence[str], settings: "Settings", report: Report
) -> AsyncIterator[Running[Any]]:
    """Open the first engine of `order` that runs here, with a note for each that does not."""
    notes: list[str] = []
    for name in order:
        async with AsyncExitStack() as stack:
            try:
                running = await stack.enter_async_context(open_named(stage, table, name, settings, report, notes))
            except ParleyError as error:
                notes.append(note(name, error))
                continue
            yield running
            return
    raise EngineUnavailable(" ".join(notes), remedy=f"Set {stage.upper()}_ENGINE to an engine that runs here.")


def note(name: str, error: ParleyError) -> str:
    """Return one or two sentences on why this engine does not run and how to fix it."""
    return f"{name}: {error.full_message}"
