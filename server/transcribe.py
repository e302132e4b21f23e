"""Transcription as two other services offer it: `POST /api/v1/transcribe`, and `POST /transcribe/` with WhisperX's
answer (segments, words, speakers)."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from pipeline.assistant import Assistant
from pipeline.refining import Refining
from pipeline.stt import FileRequest, Segment, Word
from server.access import require_key
from server.documents import Answer, errors, form_body, like
from server.errors import check_speakers
from server.leaving import while_connected
from server.openai.models import named
from server.parameters import MAX_TRACK, TRACK, language_code
from server.recordings import form_with_recording, transcribed
from server.uploads import Form

router = APIRouter(tags=["transcription"], dependencies=[Depends(require_key)])

ReceivedForm = Annotated[Form, Depends(form_with_recording)]
ERRORS = errors(400, 401, 403, 404, 413, 502, 503, 504, form="plain")
NOBODYS_LANGUAGE = "en"
"""Where nobody speaks and none was asked for: WhisperX always has one, and finds this in silence."""


class PlainFields(BaseModel):
    """The fields of `/api/v1/transcribe`; the original had the file only."""

    language: str | None = Field(default=None, max_length=20, description="ISO 639-1; by default it is found out.")
    prompt: str | None = Field(default=None, max_length=4000)
    audio_track: int | None = Field(default=None, ge=0, le=MAX_TRACK, description=TRACK)


class PlainTranscription(Answer):
    """The text."""

    model_config = like({"transcription": "Bom dia."})

    transcription: str


@router.post(
    "/api/v1/transcribe",
    summary="A recording into text",
    responses=ERRORS,
    openapi_extra=form_body(PlainFields, "audio_file"),
)
async def transcribe(request: Request, form: ReceivedForm) -> PlainTranscription:
    """Any audio or video file in `audio_file`."""
    wanted = form.parse(PlainFields)
    asked = FileRequest(language_code(wanted.language), wanted.prompt)
    upload = form.file("audio_file", "file")
    work = transcribed(request.app.state.assistant, upload, asked, track=wanted.audio_track)
    return PlainTranscription(transcription=(await while_connected(request, work)).text)


class WhisperXFields(BaseModel):
    """The fields of `/transcribe/`, with the defaults of the service that it stands in for."""

    model_name: str | None = Field(
        default=None,
        max_length=200,
        description="A size of Whisper, an id of `GET /models` or a folder in MODELS_DIR, loaded when it is not. By "
        "default, and where a size cannot be had, what is loaded already; `model` says who heard it.",
    )
    language: str | None = Field(default=None, max_length=20, description="ISO 639-1; by default it is found out.")
    batch_size: int = Field(default=16, ge=1, le=1024, description="Windows decoded together at most.")
    align_audio: bool = Field(default=True, description="Times of words, by forced alignment where its model is there.")
    diarize_audio: bool = Field(default=False, description="Who said what.")
    hf_token: str | None = Field(
        default=None, max_length=500, description="For a gated model of speakers, where the deployment has no HF_TOKEN."
    )
    min_speakers: int | None = Field(default=None, ge=1, le=50)
    max_speakers: int | None = Field(default=None, ge=1, le=50)
    audio_track: int | None = Field(default=None, ge=0, le=MAX_TRACK, description=TRACK)


class WhisperXWord(Answer):
    word: str
    start: float
    end: float
    score: float
    speaker: str | None = None


class WhisperXSegment(Answer):
    start: float
    end: float
    text: str
    words: list[WhisperXWord] | None = None
    speaker: str | None = None


WORD: dict[str, Any] = {"word": "Bom", "start": 0.3, "end": 0.5, "score": 0.98, "speaker": "SPEAKER_00"}


class WhisperXAnswer(Answer):
    """As WhisperX answers. What was not asked for, or is not known, is left out."""

    model_config = like(
        {
            "segments": [
                {"start": 0.3, "end": 1.1, "text": "Bom dia.", "words": [WORD], "speaker": "SPEAKER_00"}
            ],
            "word_segments": [WORD], "language": "pt", "text": "Bom dia.", "duration": 1.6, "model": "base (int8)",
        }
    )  # fmt: skip

    segments: list[WhisperXSegment]
    word_segments: list[WhisperXWord]
    language: str
    """What was asked for, else what was heard; "en" where nobody speaks."""
    text: str
    duration: float
    model: str
    """Who heard it."""


@router.post(
    "/transcribe/",
    summary="A recording into segments, words and speakers",
    responses=ERRORS,
    response_model_exclude_none=True,
    openapi_extra=form_body(WhisperXFields, "audio_file"),
)
async def transcribe_with_words(request: Request, form: ReceivedForm) -> WhisperXAnswer:
    """As WhisperX answers: `segments` with their words, `word_segments`, and the speakers if asked for."""
    assistant: Assistant = request.app.state.assistant
    upload, wanted = form.file("audio_file", "file"), form.parse(WhisperXFields)
    model = await named(assistant, wanted.model_name, "model_name") if wanted.model_name else None
    check_speakers(wanted.min_speakers, wanted.max_speakers)
    asked = FileRequest(language_code(wanted.language), words=wanted.align_audio, batch_size=wanted.batch_size)
    refining = Refining(
        align=wanted.align_audio,
        diarize=wanted.diarize_audio,
        min_speakers=wanted.min_speakers,
        max_speakers=wanted.max_speakers,
        hf_token=wanted.hf_token,
    )
    work = transcribed(assistant, upload, asked, refining, model=model, or_own=True, track=wanted.audio_track)
    found = await while_connected(request, work)
    segments = [_segment(segment) for segment in found.segments]
    return WhisperXAnswer(
        segments=segments,
        word_segments=[word for segment in segments for word in segment.words or ()],
        language=found.language or NOBODYS_LANGUAGE,
        text=found.text,
        duration=round(found.duration_s, 3),
        model=found.model,
    )


def _segment(segment: Segment) -> WhisperXSegment:
    words = [_word(word, _speaker(segment.speaker)) for word in segment.words]
    return WhisperXSegment(
        start=round(segment.start_s, 3),
        end=round(segment.end_s, 3),
        text=segment.text,
        words=words or None,
        speaker=_speaker(segment.speaker),
    )


def _speaker(name: str | None) -> str | None:
    """As WhisperX names them: SPEAKER_00 for "A"."""
    if name is None or not (name.isalpha() and name.isascii() and name.isupper() and len(name) <= 2):
        return name
    number = 0
    for char in name:
        number = number * 26 + ord(char) - ord("A") + 1
    return f"SPEAKER_{number - 1:02}"


def _word(word: Word, speaker: str | None) -> WhisperXWord:
    return WhisperXWord(
        word=word.text,
        start=round(word.start_s, 3),
        end=round(word.end_s, 3),
        score=round(word.probability, 3),
        speaker=speaker,
    )
