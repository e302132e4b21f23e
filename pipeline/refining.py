"""What can be made better of a transcript once it is there: the times of words, and who said what.

The models for that are loaded when they are first wanted, and stay with the deployment.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pipeline import speakers
from pipeline.alignment.aligning import Aligners
from pipeline.engines import Running, open_best, open_named
from pipeline.errors import EngineError, ParleyError
from pipeline.keeping import Keeper
from pipeline.media import Recording
from pipeline.settings import Settings
from pipeline.speakers import Diarizer, HowMany, KnownSpeaker, pyannote
from pipeline.speakers.assigning import with_names, with_speakers
from pipeline.transcription import Transcription

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_TOKENS = 2
"""Callers' tokens that have a model of their own loaded at a time; others have the deployment's."""
RETRY_S = 300.0
"""What could not be opened is not tried again for so long."""


@dataclass(frozen=True, slots=True)
class Refining:
    """What is wanted beyond text."""

    align: bool = False
    """Times of words by forced alignment, where a model for the language can be had; else the recogniser's own."""
    diarize: bool = False
    """Who said what."""
    min_speakers: int | None = None
    max_speakers: int | None = None
    known: Sequence[KnownSpeaker] = ()
    """Voices to recognise."""
    hf_token: str | None = None
    """The caller's own token for the hub, where the deployment has none: for a gated model."""


class OnDemand(Generic[T]):
    """Something heavy that is opened when it is first wanted."""

    def __init__(self, context: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self._keeper: Keeper[T] | None = None
        self._failed: tuple[float, ParleyError] | None = None

    async def get(self) -> T:
        """Raises what opening it raised, now or a little while ago; EngineError for what its libraries raised."""
        async with self._lock:
            if self._failed is not None and time.monotonic() - self._failed[0] < RETRY_S:
                raise self._failed[1]
            if self._keeper is None:
                keeper = Keeper(self._context())
                try:
                    await keeper.open()
                except Exception as error:
                    await keeper.close()
                    told = error if isinstance(error, ParleyError) else _unloadable(error)
                    self._failed = (time.monotonic(), told)
                    raise told from error
                except BaseException:
                    await keeper.close()
                    raise
                self._keeper = keeper
            return await self._keeper.open()

    async def close(self) -> None:
        if self._keeper is not None:
            await self._keeper.close()


def _unloadable(error: Exception) -> EngineError:
    log.warning("a model that tells speakers apart cannot be loaded", exc_info=error)
    return EngineError(f"The model that tells speakers apart cannot be loaded ({type(error).__name__}).")


class Refiners:
    """The models of one deployment for what comes after the transcript; open it with `open_refiners`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._aligners = Aligners(settings)
        self._of_callers: dict[str, OnDemand[Running[Diarizer]]] = {}
        self._diarizer: OnDemand[Running[Diarizer]] = OnDemand(lambda: _open_diarizer(settings))
        self._voices: OnDemand[Running[Diarizer]] = OnDemand(lambda: _open_voices(settings))
        """Knows voices, beside a diarizer that does not."""

    async def refine(self, found: Transcription, recording: Callable[[], Recording], wanted: Refining) -> Transcription:
        """The transcript with what is wanted. recording: opens it once more, from its begin; called one at a time.

        Raises EngineUnavailable when speakers are wanted and nothing here can tell them apart, EngineError, Overloaded.
        """
        segments = list(found.segments)
        if wanted.align and segments:
            segments = await self._aligners.aligned(segments, recording, found.language or "")
        if wanted.diarize and segments:
            diarizer = await self._speakers(wanted.hf_token)
            how_many = HowMany(wanted.min_speakers, wanted.max_speakers)
            turns = await diarizer.turns(recording, how_many, wanted.known)
            if wanted.known and not diarizer.recognises:
                knows = (await self._voices.get()).engine
                recognised = await knows.turns(recording, how_many, wanted.known)
                turns = with_names(turns, recognised, [one.name for one in wanted.known])
            segments = with_speakers(segments, turns)
        return replace(found, segments=segments)

    async def check_speakers(self, wanted: Refining) -> None:
        """Raises EngineUnavailable unless speakers can be told apart, and known ones recognised: before the work, not
        after it."""
        diarizer = await self._speakers(wanted.hf_token)
        if wanted.known and not diarizer.recognises:
            await self._voices.get()

    async def _speakers(self, hf_token: str | None) -> Diarizer:
        """By the deployment's own, or for a caller with a token by what that opens: for callers with this token only,
        who have accepted the model's terms."""
        settings = self._settings
        gated = settings.diarization_engine != "resemblyzer" and pyannote.installed()
        if hf_token and not settings.hf_token and gated:
            if hf_token not in self._of_callers and len(self._of_callers) < MAX_TOKENS:
                theirs = settings.model_copy(update={"hf_token": hf_token})
                self._of_callers[hf_token] = OnDemand(lambda: _open_diarizer(theirs))
            if hf_token in self._of_callers:
                try:
                    return (await self._of_callers[hf_token].get()).engine
                except ParleyError:
                    self._of_callers.pop(hf_token, None)
                    raise
        return (await self._diarizer.get()).engine

    async def close(self) -> None:
        for diarizer in self._of_callers.values():
            await diarizer.close()
        await self._aligners.close()
        await self._diarizer.close()
        await self._voices.close()


def _open_diarizer(settings: Settings) -> AbstractAsyncContextManager[Running[Diarizer]]:
    table, wanted = speakers.ENGINES, settings.diarization_engine
    if wanted == "auto":
        return open_best("diarization", table, speakers.AUTO_ORDER, settings, lambda progress: None)
    return open_named("diarization", table, wanted, settings, lambda progress: None)


def _open_voices(settings: Settings) -> AbstractAsyncContextManager[Running[Diarizer]]:
    return open_named("diarization", speakers.ENGINES, "resemblyzer", settings, lambda progress: None)


@asynccontextmanager
async def open_refiners(settings: Settings) -> AsyncIterator[Refiners]:
    """Nothing is loaded yet."""
    refiners = Refiners(settings)
    try:
        yield refiners
    finally:
        await refiners.close()
