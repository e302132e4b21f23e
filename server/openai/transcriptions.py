"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: transcribe a recording of any length."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from pipeline.assistant import Assistant
from pipeline.errors import ParleyError
from pipeline.languages import NAMES
from pipeline.stt import FileRequest, Segment
from pipeline.support.json_types import JsonObject
from pipeline.transcripts.line_breaks import spaceless
from pipeline.transcripts.long_files import FileEvent, Finished
from pipeline.transcripts.refine import Refining
from pipeline.transcripts.subtitles import joined, render, segment_dict, separator
from pipeline.transcripts.transcriber import TranscriptionRequest
from pipeline.transcripts.transcription import Transcription
from server.errors import as_openai
from server.http.client_disconnect import Stream, begun, while_connected
from server.http.uploads import ReceivedForm
from server.openai.diarized import diarized_events, diarized_json, known_speakers
from server.openai.fields import TranscriptionFields, TranslationFields
from server.openai.languages import detected
from server.openai.logprobs import logprobs
from server.openai.models import named
from server.openai.schemas import DiarizedResponse, TextResponse, VerboseResponse
from server.openai.sse import DONE, sse
from server.openapi import errors, event_stream, form_body
from server.parameters import spoken_languages
from server.state import state_of

router = APIRouter(tags=["transcription"])

IGNORED = "Parley-Ignored"
"""Response header with the fields of the request that have no effect."""
ERRORS = errors(400, 401, 403, 404, 413, 502, 503, 504)
TEXTS = {"text/plain": {"schema": {"type": "string"}, "example": "Good morning.\n"}}
EVENTS = event_stream(
    'data: {"type": "transcript.text.delta", "delta": "Good morning."}\n\n'
    'data: {"type": "transcript.text.done", "text": "Good morning."}\n\ndata: [DONE]\n\n'
)


@router.post(
    "/audio/transcriptions",
    summary="Transcribe a recording",
    response_class=Response,
    responses={
        200: {
            "model": TextResponse | VerboseResponse | DiarizedResponse,
            "description": "The transcript in the requested format; with `stream=true` as events.",
            "content": {**TEXTS, "text/event-stream": EVENTS},
        },
        **ERRORS,
    },
    openapi_extra=form_body(TranscriptionFields, "file", example={"model": "whisper-1", "language": "en"}),
)
async def transcriptions(request: Request, form: ReceivedForm) -> Response:
    """Transcribe any audio or video file. With `stream=true`, text is sent while the file is still being decoded."""
    assistant = state_of(request).assistant
    upload, wanted = form.file("file"), form.parse(TranscriptionFields)
    model = await named(assistant, wanted.model)
    diarized = wanted.response_format == "diarized_json"
    language, languages = spoken_languages(wanted.language, wanted.languages)
    recognition = FileRequest(
        language=language,
        prompt=wanted.prompt,
        words="word" in wanted.timestamp_granularities
        or "logprobs" in wanted.include
        or diarized,  # diarization needs word timestamps to find changes of speaker
        temperature=wanted.temperature,
        keywords=tuple(wanted.keywords),
        languages=languages,
    )
    refining = Refining(diarize=diarized, known=await known_speakers(wanted) if diarized else ())
    asked = TranscriptionRequest(recognition, refining, model, cut=wanted.cutting, track=wanted.audio_track)
    ignored = await _ignored(assistant, wanted)
    if wanted.stream:
        events = assistant.transcriber.events(upload.file, asked)
        told = diarized_events(events) if diarized else _stream(events, with_logprobs="logprobs" in wanted.include)
        return Stream(await begun(told), "text/event-stream", {"Cache-Control": "no-cache", **ignored})
    found = await while_connected(request, assistant.transcriber.transcribe(upload.file, asked))
    if diarized:
        return await asyncio.to_thread(lambda: JSONResponse(diarized_json(found), headers=ignored))
    response = await asyncio.to_thread(_answer, found, wanted, language_name(found.language))
    response.headers.update(ignored)
    return response


@router.post(
    "/audio/translations",
    summary="Translate a recording into English",
    response_class=Response,
    responses={
        200: {
            "model": TextResponse | VerboseResponse,
            "description": "The English text in the requested format.",
            "content": TEXTS,
        },
        **ERRORS,
    },
    openapi_extra=form_body(TranslationFields, "file", example={"model": "whisper-1"}),
)
async def translations(request: Request, form: ReceivedForm) -> Response:
    """Translate speech in any language into English text."""
    assistant = state_of(request).assistant
    upload, wanted = form.file("file"), form.parse(TranslationFields)
    model = await named(assistant, wanted.model)
    recognition = FileRequest(prompt=wanted.prompt, temperature=wanted.temperature, translate=True)
    asked = TranscriptionRequest(recognition, model=model, track=wanted.audio_track)
    found = await while_connected(request, assistant.transcriber.transcribe(upload.file, asked))

    def translated() -> Response:
        plain = wanted.response_format == "json"
        return JSONResponse({"text": found.text}) if plain else _answer(found, wanted, "english")

    response = await asyncio.to_thread(translated)
    response.headers.update(await _ignored(assistant, wanted))
    return response


async def _ignored(assistant: Assistant, wanted: TranscriptionFields | TranslationFields) -> dict[str, str]:
    """Return a header that names the fields that have no effect with the requested model."""
    given = [name for name in ("prompt", "keywords") if getattr(wanted, name, None)]
    if not given or await asyncio.to_thread(assistant.recognisers.takes_hints, wanted.model):
        return {}
    return {IGNORED: ", ".join(given)}


def language_name(code: str | None) -> str:
    """Return OpenAI's name of a language: "english" for "en"; "unknown" without speech."""
    return NAMES.get(code, code).replace("_", " ") if code else "unknown"


def _answer(found: Transcription, wanted: TranscriptionFields | TranslationFields, language: str) -> Response:
    match wanted.response_format:
        case "text":
            return PlainTextResponse(found.text + "\n")
        case "srt" | "vtt" as kind:
            return PlainTextResponse(render(kind, found.segments))
        case "verbose_json":
            return JSONResponse(_verbose(found, wanted, language))
        case _:
            body: JsonObject = {
                "text": found.text,
                "languages": detected(segment.language for segment in found.segments),
                "usage": _usage(found.duration_s),
            }
            if isinstance(wanted, TranscriptionFields) and "logprobs" in wanted.include:
                body["logprobs"] = [one for segment in found.segments for one in logprobs(segment.words)]
            return JSONResponse(body)


def _verbose(found: Transcription, wanted: TranscriptionFields | TranslationFields, language: str) -> JsonObject:
    translating = isinstance(wanted, TranslationFields)
    granularities = ["segment"] if isinstance(wanted, TranslationFields) else wanted.timestamp_granularities
    body: JsonObject = {
        "task": "translate" if translating else "transcribe",
        "language": language,
        "duration": round(found.duration_s, 3),
        "text": found.text,
        "usage": _usage(found.duration_s),
    }
    if "segment" in granularities:
        body["segments"] = [_segment(segment) for segment in found.segments]
    if "word" in granularities:
        body["words"] = [
            {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
            for segment in found.segments
            for word in segment.words
        ]
    return body


def _segment(segment: Segment) -> JsonObject:
    told = segment_dict(segment)
    told.pop("words", None)
    # Whisper's segments start with a space, so that clients can join them directly.
    told["text"] = segment.text if spaceless(segment.text[0]) else f" {segment.text}"
    return told


def _usage(duration_s: float) -> JsonObject:
    return {"type": "duration", "seconds": math.ceil(duration_s)}


async def _stream(
    events: AsyncGenerator[FileEvent | Transcription, None], *, with_logprobs: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the transcript as events. An error before the first text is raised; a later one becomes an event."""
    texts: list[str] = []
    languages: list[str | None] = []
    known: list[JsonObject] = []
    tokens = 0
    try:
        async with aclosing(events):
            async for event in events:
                match event:
                    case Segment():
                        delta = separator(texts[-1] if texts else "", event.text) + event.text
                        texts.append(event.text)
                        languages.append(event.language)
                        tokens += len(event.tokens) or len(event.text.split())
                        told: JsonObject = {"type": "transcript.text.delta", "delta": delta}
                        if with_logprobs:
                            told["logprobs"] = said = logprobs(event.words)
                            known += said
                        yield sse(told)
                    case Finished():
                        heard = math.ceil(event.duration_s * 10)
                        usage = {"input_tokens": heard, "output_tokens": tokens, "total_tokens": heard + tokens}
                        done = {
                            "type": "transcript.text.done",
                            "text": joined(texts),
                            "languages": detected(languages),
                            "usage": {"type": "tokens", **usage},
                        }
                        yield await asyncio.to_thread(sse, {**done, "logprobs": known} if with_logprobs else done)
                    case _:
                        pass
    except ParleyError as error:
        if not texts:
            raise
        yield sse(as_openai(error))
    yield DONE
