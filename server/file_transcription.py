"""Transcription of uploads, shared by all endpoints for files."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

from fastapi import Request

from pipeline.assistant import Assistant
from pipeline.audio.decode import Recording
from pipeline.stt import FileRequest, SpeechToText
from pipeline.transcripts.long_files import FileEvent, transcribe_file
from pipeline.transcripts.refine import Refining
from pipeline.transcripts.transcribe import Transcription, collected, first_of, likeliest_language
from pipeline.transcripts.windows import Cutting
from server.access import budgets_of, caller_of
from server.http.uploads import Form, Upload, received

Cut = Callable[[SpeechToText], Cutting]
"""Function that returns how to cut a recording into windows for a given recogniser."""


async def form_with_recording(request: Request) -> AsyncIterator[Form]:
    """Receive the form of a request, for `Depends`, and hold a slot for its recording until the response is sent."""
    async with received(request) as form:
        with budgets_of(request).recordings.one(caller_of(request)):
            yield form


def recording_of(
    assistant: Assistant, upload: Upload, *, track: int | None = None, raw_rate_hz: int | None = None
) -> Recording:
    """Return the uploaded file as a recording."""
    most_s = assistant.settings.max_file_seconds
    return Recording(upload.file, max_seconds=most_s, track=track, raw_rate_hz=raw_rate_hz)


async def events_of(
    assistant: Assistant, recording: Recording, asked: FileRequest, *, model: str | None = None, cut: Cut | None = None
) -> AsyncGenerator[FileEvent, None]:
    """Yield the events of `pipeline.transcripts.long_files.transcribe_file` with the recogniser of this name."""
    async with assistant.recognisers.using(model) as hears:
        cutting = None if cut is None else cut(hears.engine)
        async with aclosing(transcribe_file(hears.engine, recording, asked, cutting)) as events:
            async for event in events:
                yield event


async def transcribed(
    assistant: Assistant,
    upload: Upload,
    asked: FileRequest,
    refining: Refining | None = None,
    *,
    model: str | None = None,
    or_own: bool = False,
    raw_rate_hz: int | None = None,
    first_s: float | None = None,
    cut: Cut | None = None,
    track: int | None = None,
) -> Transcription:
    """Transcribe an upload. model, or_own: see `Recognisers.using`. first_s: return only the first segment, searched in
    this many seconds of speech."""

    def recording() -> Recording:
        upload.file.seek(0)
        return recording_of(assistant, upload, track=track, raw_rate_hz=raw_rate_hz)

    if refining is not None and refining.diarize:
        await assistant.refiners.check_speakers(refining)
    async with assistant.recognisers.using(model, or_own=or_own) as hears:
        cutting = None if cut is None else cut(hears.engine)
        async with aclosing(transcribe_file(hears.engine, recording(), asked, cutting)) as events:
            found = await (collected(events) if first_s is None else first_of(events, first_s))
    found = replace(found, model=hears.info.model)
    return found if refining is None else await assistant.refiners.refine(found, recording, refining)


async def language_of(
    assistant: Assistant, upload: Upload, first_s: float, *, raw_rate_hz: int | None = None
) -> tuple[str, float]:
    """Detect the language (ISO 639-1) of the first `first_s` seconds of speech in an upload. Return it with its
    probability. Without speech, return the most likely language of the beginning, or else the deployment's with 0."""
    found = await transcribed(assistant, upload, FileRequest(), raw_rate_hz=raw_rate_hz, first_s=first_s)
    if found.language:
        return found.language, found.language_probability
    return await likeliest_language_of(assistant, upload, first_s, raw_rate_hz=raw_rate_hz)


async def likeliest_language_of(
    assistant: Assistant, upload: Upload, first_s: float, *, raw_rate_hz: int | None = None, track: int | None = None
) -> tuple[str, float]:
    """Return the most likely language of the beginning, for clients that need a language even without speech."""
    upload.file.seek(0)
    recording = recording_of(assistant, upload, track=track, raw_rate_hz=raw_rate_hz)
    language, probability = await likeliest_language(assistant.stages.stt, recording, first_s)
    return language or assistant.settings.speech_language or "en", probability
