"""The path from a file to its transcript, for all callers: choose the recogniser, transcribe, refine."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import IO

from pipeline.audio.decode import Recording
from pipeline.engines import Running
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, SpeechToText
from pipeline.stt.recognisers import Recognisers, open_recognisers
from pipeline.transcripts.long_files import FileEvent, Finished, Progress, transcribe_file
from pipeline.transcripts.refine import Refiners, Refining, open_refiners
from pipeline.transcripts.transcription import Transcription, first_of, ignore, likeliest_language
from pipeline.transcripts.windows import Cutting
from pipeline.workers import models_hardware


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """How to transcribe a file."""

    recognition: FileRequest = field(default_factory=FileRequest)
    refining: Refining = field(default_factory=Refining)
    model: str | None = None
    """Name of the recogniser, as in `pipeline.stt.recognisers`; None: the loaded one."""
    or_own: bool = False
    """Whether to use the loaded recogniser if this one is unavailable."""
    cut: Callable[[SpeechToText], Cutting] | None = None
    """Returns how to cut the recording into windows for a recogniser; None: as the recogniser prefers."""
    track: int | None = None
    """Audio track of a video, from 0; None: the one that a player would choose."""
    raw_rate_hz: int | None = None
    """Rate of a file of raw 16-bit mono PCM; None: the file has a format."""


class Transcriber:
    """Transcribes files with the models of one deployment. Files are read again for each step, from their start."""

    def __init__(self, recognisers: Recognisers, refiners: Refiners, max_seconds: float) -> None:
        """max_seconds: longest recording."""
        self.recognisers = recognisers
        self.refiners = refiners
        self._max_seconds = max_seconds

    async def engine_of(self, model: str | None) -> str:
        """Return the engine of a model, which identifies its results. Raises UnknownModel."""
        return await asyncio.to_thread(self.recognisers.engine_of, model)

    async def check(self, refining: Refining) -> None:
        """Check that transcripts can be refined like this, and load the models for speakers. Raises BadInput,
        EngineUnavailable, EngineError."""
        refining.check()
        if refining.diarize:
            await self.refiners.check_speakers(refining)

    async def check_language(self, wanted: TranscriptionRequest) -> None:
        """Check that the model understands the language, and can translate if it is to. Raises UnknownModel and
        BadInput (unsupported_language)."""
        await asyncio.to_thread(self.recognisers.check, wanted.model, wanted.recognition)

    async def events(
        self, file: IO[bytes], wanted: TranscriptionRequest
    ) -> AsyncGenerator[FileEvent | Transcription, None]:
        """Yield the events of `transcribe_file`, and at last the refined Transcription.

        Raises as `check_language`, `check`, `Recognisers.using` and `transcribe_file` do.
        """
        await self.check_language(wanted)
        await self.check(wanted.refining)
        segments: list[Segment] = []
        found = Transcription(segments, 0.0, None)
        async with self.recognisers.using(wanted.model, or_own=wanted.or_own) as hears:
            cutting = None if wanted.cut is None else wanted.cut(hears.engine)
            recording = self._recording(file, wanted)
            async with aclosing(transcribe_file(hears.engine, recording, wanted.recognition, cutting)) as events:
                async for event in events:
                    match event:
                        case Segment():
                            segments.append(event)
                        case Finished(duration_s, language, probability):
                            found = Transcription(segments, duration_s, language, probability, hears.info.model)
                        case _:
                            pass
                    yield event
        yield await self.refiners.refine(found, lambda: self._recording(file, wanted), wanted.refining)

    async def transcribe(
        self, file: IO[bytes], wanted: TranscriptionRequest, report: Callable[[Progress], None] = ignore
    ) -> Transcription:
        """Return the refined transcript. Raises as `events` does; cancelling it stops all its work."""
        async with aclosing(self.events(file, wanted)) as events:
            async for event in events:
                match event:
                    case Progress():
                        report(event)
                    case Transcription():
                        return event
                    case _:
                        pass
        raise AssertionError("the last event is the transcript")

    async def language_of(
        self, file: IO[bytes], wanted: TranscriptionRequest, first_s: float
    ) -> tuple[str | None, float]:
        """Detect the language (ISO 639-1) of the first `first_s` seconds of speech, or without speech of the beginning.
        Return it with its probability; None if the recogniser cannot detect it."""
        code, probability = await self.likeliest_language(file, wanted, first_s)
        if code is not None:
            return code, probability
        async with aclosing(self.events(file, wanted)) as events:
            found = await first_of(events, first_s)
        return found.language, found.language_probability

    async def likeliest_language(
        self, file: IO[bytes], wanted: TranscriptionRequest, first_s: float
    ) -> tuple[str | None, float]:
        """Call `pipeline.transcripts.transcription.likeliest_language` with the loaded recogniser."""
        async with self.recognisers.using(None) as own:
            return await likeliest_language(own.engine, self._recording(file, wanted), first_s)

    def _recording(self, file: IO[bytes], wanted: TranscriptionRequest) -> Recording:
        file.seek(0)
        return Recording(file, max_seconds=self._max_seconds, track=wanted.track, raw_rate_hz=wanted.raw_rate_hz)


@asynccontextmanager
async def open_transcriber(settings: Settings, own: Running[SpeechToText]) -> AsyncIterator[Transcriber]:
    """Open a transcriber. own: the recogniser that is always loaded; the other models are loaded on first use."""
    hardware = await models_hardware(settings)
    async with open_recognisers(settings, own, hardware) as recognisers, open_refiners(settings) as refiners:
        yield Transcriber(recognisers, refiners, settings.max_file_seconds)
