"""Refine finished transcripts: times of words, and speakers.

The models for that are loaded on first use and stay loaded.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from pipeline.audio.clip import Samples
from pipeline.audio.decode import Recording
from pipeline.engines import Running, load, note, open_best, open_named
from pipeline.errors import BadInput, EngineError, EngineUnavailable, ParleyError
from pipeline.settings import Settings
from pipeline.support.on_demand import Failures, OnDemand
from pipeline.transcripts import speakers
from pipeline.transcripts.alignment.aligning import Aligners
from pipeline.transcripts.alignment.opening import missing_libraries
from pipeline.transcripts.speakers import Diarizer, HowMany, KnownSpeaker, pyannote
from pipeline.transcripts.speakers.assigning import with_names, with_speakers
from pipeline.transcripts.speakers.clustering import Matrix
from pipeline.transcripts.speakers.resemblyzer import EmbeddingDiarizer
from pipeline.transcripts.transcription import Transcription

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_TOKENS = 2
"""Limit of callers' tokens with their own model at a time; other callers use the deployment's model."""
RETRY_S = 300.0
"""Seconds after a failed load before the next attempt."""


@dataclass(frozen=True, slots=True)
class Refining:
    """Requested refinements of a transcript."""

    align: bool = False
    """Get times of words by forced alignment, where a model for the language is available; else the recogniser's."""
    diarize: bool = False
    """Find the speaker of each segment and word."""
    min_speakers: int | None = None
    max_speakers: int | None = None
    known: Sequence[KnownSpeaker] = ()
    """Known speakers to recognise."""
    hf_token: str | None = None
    """The caller's token for the hub, for a gated model where the deployment has no token."""

    @property
    def wanted(self) -> bool:
        """Whether anything is to be refined."""
        return self.align or self.diarize

    def check(self) -> None:
        """Raise BadInput if the minimum number of speakers exceeds the maximum."""
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            message = "min_speakers is more than max_speakers."
            raise BadInput(message, code="bad_parameter", param="min_speakers")


@dataclass(frozen=True, slots=True)
class Installed:
    """The refinements whose libraries are installed."""

    speakers: bool
    alignment: bool


class Refiners:
    """The refining models of one deployment; open them with `open_refiners`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._aligners = Aligners(settings)
        self._of_callers: dict[str, OnDemand[Running[Diarizer]]] = {}
        self._diarizer = OnDemand(lambda: _open_diarizer(settings), Failures(RETRY_S))
        self._voices: OnDemand[Running[EmbeddingDiarizer]] = OnDemand(lambda: _open_voices(settings), Failures(RETRY_S))
        """Recognises known speakers for a diarizer that cannot."""
        self._installed: Installed | None = None

    async def refine(self, found: Transcription, recording: Callable[[], Recording], wanted: Refining) -> Transcription:
        """Return the transcript with the requested refinements. recording: opens the recording again from its start;
        called one at a time.

        Raises EngineUnavailable when speakers are requested and no engine for them runs here, EngineError, Overloaded.
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
                names = [one.name for one in wanted.known]
                turns = await asyncio.to_thread(with_names, turns, recognised, names)
            segments = await asyncio.to_thread(with_speakers, segments, turns)
        return replace(found, segments=segments)

    async def check_speakers(self, wanted: Refining) -> None:
        """Check before the work that speakers can be distinguished, and known ones recognised. Raises EngineUnavailable
        otherwise."""
        if not wanted.hf_token:
            await self.probe_speakers()
        diarizer = await self._speakers(wanted.hf_token)
        if wanted.known and not diarizer.recognises:
            await self._voices.get()

    async def probe_speakers(self) -> None:
        """Check quickly, without loading a model, that an engine for speakers is installed. Raises EngineUnavailable
        otherwise."""
        notes = []
        for name in speakers.AUTO_ORDER:
            try:
                return await load(speakers.ENGINES, name).probe(self._settings)
            except EngineUnavailable as error:
                notes.append(note(name, error))
        raise EngineUnavailable(" ".join(notes), remedy="One of them is enough.")

    async def installed(self) -> Installed:
        """Return what is installed, looked up once: the search for libraries takes too long for each `/health`."""
        if self._installed is None:
            try:
                await self.probe_speakers()
                tells_speakers = True
            except EngineUnavailable:
                tells_speakers = False
            self._installed = Installed(tells_speakers, not missing_libraries())
        return self._installed

    async def embed(self, clips: Sequence[Samples]) -> Matrix:
        """See `pipeline.conversation.speaker_lock.Encoder`."""
        return await (await self._voices.get()).engine.embed(clips)

    async def _speakers(self, hf_token: str | None) -> Diarizer:
        """Return the deployment's diarizer, or the one that the caller's token opens: only for callers with this token,
        because they have accepted the model's terms."""
        settings = self._settings
        if hf_token and not settings.hf_token and pyannote.installed():
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
    table, order = speakers.ENGINES, speakers.AUTO_ORDER
    return _loading(open_best("diarization", table, order, settings, lambda progress: None))


def _open_voices(settings: Settings) -> AbstractAsyncContextManager[Running[EmbeddingDiarizer]]:
    return _loading(open_named("diarization", speakers.ENGINES, "resemblyzer", settings, lambda progress: None))


@asynccontextmanager
async def _loading(opening: AbstractAsyncContextManager[Running[T]]) -> AsyncIterator[Running[T]]:
    """Load a diarizer. Raises EngineError for errors of its libraries."""
    async with AsyncExitStack() as stack:
        try:
            running = await stack.enter_async_context(opening)
        except ParleyError:
            raise
        except Exception as error:
            log.warning("a model that tells speakers apart cannot be loaded", exc_info=error)
            message = f"The model that tells speakers apart cannot be loaded ({type(error).__name__})."
            raise EngineError(message) from error
        yield running


@asynccontextmanager
async def open_refiners(settings: Settings) -> AsyncIterator[Refiners]:
    """Yield the refiners; nothing is loaded yet."""
    refiners = Refiners(settings)
    try:
        yield refiners
    finally:
        await refiners.close()
