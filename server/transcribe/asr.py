"""`/asr` and `/detect-language`, compatible with whisper-asr-webservice (used by Bazarr and others)."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from pipeline.stt import FileRequest
from pipeline.transcripts.refine import Refining
from pipeline.transcripts.subtitles import KINDS, render
from pipeline.transcripts.transcriber import TranscriptionRequest
from server.access import require_key
from server.http.client_disconnect import while_connected
from server.http.uploads import ReceivedForm
from server.openai.schemas import WhisperSegment
from server.openai.transcriptions import language_name
from server.openapi import ResponseModel, errors, form_body, like
from server.parameters import MAX_TRACK, TRACK, SubtitleLayout, language_code
from server.state import state_of

router = APIRouter(tags=["transcription"], dependencies=[Depends(require_key)])

ERRORS = errors(400, 401, 403, 413, 502, 503, 504, form="plain")
RAW_RATE_HZ = 16_000
"""Sample rate of the 16-bit mono PCM that clients send with encode=false."""
DETECTION_S = 30.0
"""Seconds of speech from which a language is detected."""


JSON = "application/json"


class WhisperTranscript(ResponseModel):
    """The transcript for `output=json`, in openai-whisper's format."""

    model_config = like(
        {
            "text": "Bom dia.", "language": "pt",
            "segments": [
                {
                    "id": 0, "seek": 0, "start": 0.3, "end": 1.1, "text": "Bom dia.", "tokens": [], "temperature": 0.0,
                    "avg_logprob": -0.2, "compression_ratio": 0.9, "no_speech_prob": 0.01,
                    "words": [{"word": "Bom", "start": 0.3, "end": 0.5, "probability": 0.98}],
                }
            ],
        }
    )  # fmt: skip

    text: str
    language: str
    segments: list[WhisperSegment]


class NoFields(BaseModel):
    """A form with only the file; the parameters are in the query."""


@router.post(
    "/asr",
    summary="Transcribe a recording to text or subtitles",
    response_class=Response,
    responses={
        200: {
            "model": WhisperTranscript,
            "description": "The transcript, in the format selected by `output`.",
            "content": {kind: {"schema": {"type": "string"}} for kind in sorted({*KINDS.values()}) if kind != JSON},
        },
        **ERRORS,
    },
    openapi_extra=form_body(NoFields, "audio_file"),
)
async def asr(
    request: Request,
    form: ReceivedForm,
    layout: SubtitleLayout,
    task: Literal["transcribe", "translate"] = "transcribe",
    language: Annotated[str | None, Query(max_length=20)] = None,
    initial_prompt: Annotated[str | None, Query(max_length=4000)] = None,
    output: Literal["txt", "vtt", "srt", "tsv", "json", "lrc"] = "txt",
    encode: Annotated[bool, Query(description="false: the file is raw 16-bit mono PCM at 16 kHz.")] = True,
    word_timestamps: bool = False,
    vad_filter: Annotated[bool, Query(description="Accepted without effect: silence is always skipped.")] = False,
    diarize: bool = False,
    min_speakers: Annotated[int | None, Query(ge=1, le=50)] = None,
    max_speakers: Annotated[int | None, Query(ge=1, le=50)] = None,
    audio_track: Annotated[int | None, Query(ge=0, le=MAX_TRACK, description=TRACK)] = None,
) -> Response:
    """Return the transcript. `output=json` has segments with Whisper's keys; `word_timestamps` adds words."""
    assistant = state_of(request).assistant
    recognition = FileRequest(
        language_code(language),
        initial_prompt,
        words=word_timestamps or layout.highlight_words or bool(layout.line_width) or bool(layout.max_cue_s),
        translate=task == "translate",
    )
    refining = Refining(diarize=diarize, min_speakers=min_speakers, max_speakers=max_speakers)
    raw_rate_hz = None if encode else RAW_RATE_HZ
    asked = TranscriptionRequest(recognition, refining, track=audio_track, raw_rate_hz=raw_rate_hz)
    file = form.file("audio_file", "file").file
    found = await while_connected(request, assistant.transcriber.transcribe(file, asked))
    code = found.language
    if code is None and output == "json":
        silent = assistant.transcriber.likeliest_language(file, asked, DETECTION_S)
        code, _ = await while_connected(request, silent)
        code = code or assistant.settings.speech_language or "en"
    text = await asyncio.to_thread(render, output, found.segments, layout=layout, language=code)
    engine = next(info.engine for info in assistant.engines if info.stage == "stt")
    name = f'attachment; filename="transcript.{output}"'
    headers = {"Asr-Engine": engine, "Content-Disposition": name, "X-Content-Type-Options": "nosniff"}
    return Response(text, media_type=KINDS[output], headers=headers)


class DetectedLanguage(ResponseModel):
    """The detected language."""

    model_config = like({"detected_language": "portuguese", "language_code": "pt", "confidence": 0.98})

    detected_language: str
    """English name of the language, in lower case."""
    language_code: str
    confidence: float


@router.post(
    "/detect-language",
    summary="Detect the language of a recording",
    responses=ERRORS,
    openapi_extra=form_body(NoFields, "audio_file"),
)
async def detect_language(
    request: Request,
    form: ReceivedForm,
    encode: Annotated[bool, Query(description="false: the file is raw 16-bit mono PCM at 16 kHz.")] = True,
) -> DetectedLanguage:
    """Detect the language from the first 30 s of speech. Without speech, return the most likely language."""
    assistant = state_of(request).assistant
    asked = TranscriptionRequest(raw_rate_hz=None if encode else RAW_RATE_HZ)
    work = assistant.transcriber.language_of(form.file("audio_file", "file").file, asked, DETECTION_S)
    found, probability = await while_connected(request, work)
    code = found or assistant.settings.speech_language or "en"
    return DetectedLanguage(detected_language=language_name(code), language_code=code, confidence=round(probability, 4))
