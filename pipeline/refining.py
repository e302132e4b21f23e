"""What can be made better of a transcript once it is there: the times of words, and who said what.

The models for that are loaded when they are first wanted, and stay with the deployment.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from pipeline import speakers
from pipeline.alignment import Aligner
from pipeline.alignment.opening import open_aligner
from pipeline.alignment.words import by_characters
from pipeline.audio import Clip
from pipeline.engines import Running, open_best, open_named
from pipeline.errors import EngineUnavailable, ParleyError
from pipeline.keeping import Keeper
from pipeline.media import RATE_HZ, Recording
from pipeline.settings import Settings
from pipeline.speakers import Diarizer, HowMany, KnownSpeaker, pyannote
from pipeline.speakers.assigning import with_names, with_speakers
from pipeline.stepping import in_threads
from pipeline.stt import Segment, Word
from pipeline.transcription import Transcription
from pipeline.workers.scheduler import Urgency, calling

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ALIGNERS = 3
"""Languages whose aligners are loaded at a time; words of others keep the recogniser's times."""
MAX_TOKENS = 2
"""Callers' tokens that have a model of their own loaded at a time; others have the deployment's."""
RETRY_S = 300.0
"""What could not be opened is not tried again for so long."""
MARGIN_S = 0.2
"""Sound around a segment that its words may reach into."""


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
        """Raises what opening it raised, now or a little while ago."""
        async with self._lock:
            if self._failed is not None and time.monotonic() - self._failed[0] < RETRY_S:
                raise self._failed[1]
            if self._keeper is None:
                keeper = Keeper(self._context())
                try:
                    await keeper.open()
                except BaseException as error:
                    if isinstance(error, ParleyError):
                        self._failed = (time.monotonic(), error)
                    await keeper.close()
                    raise
                self._keeper = keeper
            return await self._keeper.open()

    async def close(self) -> None:
        if self._keeper is not None:
            await self._keeper.close()


class Refiners:
    """The models of one deployment for what comes after the transcript; open it with `open_refiners`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._aligners: dict[str, OnDemand[Aligner]] = {}
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
            segments = await self._aligned(segments, recording, found.language)
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
        for aligner in self._aligners.values():
            await aligner.close()
        await self._diarizer.close()
        await self._voices.close()

    async def _aligned(
        self, segments: list[Segment], recording: Callable[[], Recording], language: str | None
    ) -> list[Segment]:
        plain = [segment if segment.words else replace(segment, words=by_characters(segment)) for segment in segments]
        try:
            aligner = await self._aligner(language or "")
            return await _align(plain, recording(), aligner)
        except EngineUnavailable as error:
            log.info("words keep the recogniser's times: %s", error.message)
            return plain

    async def _aligner(self, language: str) -> Aligner:
        if language not in self._aligners:
            if len(self._aligners) >= MAX_ALIGNERS:
                raise EngineUnavailable("Aligners for other languages are loaded.", remedy="Restart the service.")
            self._aligners[language] = OnDemand(lambda: open_aligner(self._settings, language))
        try:
            return await self._aligners[language].get()
        except EngineUnavailable:
            del self._aligners[language]  # it takes no place of one that can be had
            raise


async def _align(segments: list[Segment], recording: Recording, aligner: Aligner) -> list[Segment]:
    aligned: list[Segment] = []
    async with aclosing(in_threads(_stretches(recording, segments))) as stretches:
        async for start, samples in stretches:
            segment = segments[len(aligned)]
            with calling(urgency=Urgency.FILE):
                words = await aligner.align(Clip(samples, RATE_HZ), segment.text)
            aligned.append(_placed(segment, words, start / RATE_HZ))
    return aligned + segments[len(aligned) :]


def _placed(segment: Segment, words: Sequence[Word], start_s: float) -> Segment:
    moved = [Word(w.text, w.start_s + start_s, w.end_s + start_s, w.probability) for w in words]
    if not moved:
        return segment
    return replace(segment, words=moved, start_s=moved[0].start_s, end_s=max(moved[-1].end_s, moved[0].start_s))


def _stretches(recording: Recording, segments: Sequence[Segment]) -> Generator[tuple[int, Any], None, None]:
    """Blocking: the first sample and the sound of each segment, in order, holding no more than one needs."""
    held = np.zeros(0, np.float32)
    start = 0
    blocks = recording.blocks()
    for segment in segments:
        begin = max(0, int((segment.start_s - MARGIN_S) * RATE_HZ))
        end = int((segment.end_s + MARGIN_S) * RATE_HZ)
        while start + len(held) < end and (block := next(blocks, None)) is not None:
            drop = max(0, min(len(held), begin - start))
            held, start = np.concatenate([held[drop:], block]), start + drop
        first = max(begin, start)
        yield first, held[first - start : max(0, end - start)]


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
