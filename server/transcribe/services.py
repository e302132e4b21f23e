"""Transcription compatible with two other services: `POST /api/v1/transcribe`, and `POST /transcribe/` with WhisperX's
response (segments, words, speakers)."""

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from pipeline.stt import FileRequest, Segment, Word
from pipeline.transcripts.refine import Refining
from pipeline.transcripts.transcriber import TranscriptionRequest
from server.access import require_key
from server.http.client_disconnect import while_connected
from server.http.uploads import ReceivedForm
from server.openai.models import named
from server.openapi import ResponseModel, errors, form_body, like
from server.parameters import MAX_TRACK, TRACK, language_code
from server.state import state_of

router = APIRouter(tags=["transcription"], dependencies=[Depends(require_key)])

ERRORS = errors(400, 401, 403, 404, 413, 502, 503, 504, form="plain")
NOBODYS_LANGUAGE = "en"
"""Language of a recording without speech if none was requested: WhisperX always returns one, and detects this one in
silence."""


class PlainFields(BaseModel):
    """Fields of `/api/v1/transcribe`; the original service accepted only the file."""

    language: str | None = Field(default=None, max_length=20, description="ISO 639-1; by default it is detected.")
    prompt: str | None = Field(default=None, max_length=4000)
    audio_track: int | None = Field(default=None, ge=0, le=MAX_TRACK, description=TRACK)


class PlainTranscription(ResponseModel):
    """The text of a recording."""

    model_config = like({"transcription": "Bom dia."})

    transcription: str


@router.post(
    "/api/v1/transcribe",
    summary="Transcribe a recording",
    responses=ERRORS,
    openapi_extra=form_body(PlainFields, "audio_file"),
)
async def transcribe(request: Request, form: ReceivedForm) -> PlainTranscription:
    """Transcribe any audio or video file in `audio_file`."""
    wanted = form.parse(PlainFields)
    recognition = FileRequest(language_code(wanted.language), wanted.prompt)
    asked = TranscriptionRequest(recognition, track=wanted.audio_track)
    work = state_of(request).assistant.transcriber.transcribe(form.file("audio_file", "file").file, asked)
    return PlainTranscription(transcription=(await while_connected(request, work)).text)


class WhisperXFields(BaseModel):
    """Fields of `/transcribe/`, with the defaults of the service that it replaces."""

    model_name: str | None = Field(
        default=None,
        max_length=200,
        description="A size of Whisper, an id of `GET /models` or a folder in MODELS_DIR; loaded on first use. By "
        "default, and if a size is unavailable, the loaded model; `model` in the response names the one used.",
    )
    language: str | None = Field(default=None, max_length=20, description="ISO 639-1; by default it is detected.")
    batch_size: int = Field(default=16, ge=1, le=1024, description="Maximum number of windows decoded together.")
    align_audio: bool = Field(default=True, description="Word timestamps, by forced alignment if its model is there.")
    diarize_audio: bool = Field(default=False, description="Label segments and words with their speakers.")
    hf_token: str | None = Field(
        default=None, max_length=500, description="Token for a gated speaker model if the deployment has no HF_TOKEN."
    )
    min_speakers: int | None = Field(default=None, ge=1, le=50)
    max_speakers: int | None = Field(default=None, ge=1, le=50)
    audio_track: int | None = Field(default=None, ge=0, le=MAX_TRACK, description=TRACK)


class WhisperXWord(ResponseModel):
    word: str
    start: float
    end: float
    score: float
    speaker: str | None = None


class WhisperXSegment(ResponseModel):
    start: float
    end: float
    text: str
    words: list[WhisperXWord] | None = None
    speaker: str | None = None


WORD: dict[str, object] = {"word": "Bom", "start": 0.3, "end": 0.5, "score": 0.98, "speaker": "SPEAKER_00"}


class WhisperXResponse(ResponseModel):
    """A transcript in WhisperX's format. Fields that were not requested or are unknown are omitted."""

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
    """The requested language, or else the detected one; "en" without speech."""
    text: str
    duration: float
    model: str
    """Model that made the transcript."""


@router.post(
    "/transcribe/",
    summary="Transcribe a recording to segments, words and speakers",
    responses=ERRORS,
    response_model_exclude_none=True,
    openapi_extra=form_body(WhisperXFields, "audio_file"),
)
async def transcribe_with_words(request: Request, form: ReceivedForm) -> WhisperXResponse:
    """Return WhisperX's format: `segments` with their words, `word_segments`, and the speakers if requested."""
    assistant = state_of(request).assistant
    upload, wanted = form.file("audio_file", "file"), form.parse(WhisperXFields)
    model = await named(assistant, wanted.model_name, "model_name") if wanted.model_name else None
    recognition = FileRequest(language_code(wanted.language), words=wanted.align_audio, batch_size=wanted.batch_size)
    refining = Refining(
        align=wanted.align_audio,
        diarize=wanted.diarize_audio,
        min_speakers=wanted.min_speakers,
        max_speakers=wanted.max_speakers,
        hf_token=wanted.hf_token,
    )
    asked = TranscriptionRequest(recognition, refining, model, or_own=True, track=wanted.audio_track)
    found = await while_connected(request, assistant.transcriber.transcribe(upload.file, asked))
    segments = [_segment(segment) for segment in found.segments]
    return WhisperXResponse(
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
    """Convert a speaker's letter to WhisperX's name: "A" to SPEAKER_00."""
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
