"""`POST /dev/captioned_speech`: speech with the times of its words, as clients of Kokoro-FastAPI request it."""

import re
from functools import partial
from typing import Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import Field, JsonValue

from pipeline.assistant import Assistant
from pipeline.audio.speed import MAX_SPEED, MIN_SPEED
from pipeline.speech.synthesize import said
from pipeline.tts.kokoro_voices import OF_LETTER
from pipeline.voices.catalogue import Voice
from server.access import held_of, require_key
from server.http.client_disconnect import Stream, begun, while_connected
from server.openai.models import check_model
from server.openai.speech import IGNORED, MAX_CHARS, TimedSpeech, timed_words
from server.openai.speech_output import SpeechOutput
from server.openapi import errors, like
from server.parameters import NullIsAbsent, language_code
from server.state import state_of

router = APIRouter(tags=["speech"], dependencies=[Depends(require_key)])

NDJSON = "application/x-ndjson"
MODEL = "kokoro"
"""The model name that these clients send; it means the loaded model."""
VOICE = re.compile(r"[a-z][fm]_[a-z0-9]{1,40}")
"""Names of Kokoro's voices. Where no voice has such a name, the default voice speaks."""


class CaptionedSpeechRequest(NullIsAbsent):
    """The text to speak, and options."""

    model_config = like({"model": MODEL, "input": "Good morning.", "voice": "af_heart", "stream": False})

    model: str = Field(default=MODEL, max_length=200, description="`kokoro`: the loaded model.")
    input: str = Field(min_length=1, max_length=MAX_CHARS)
    voice: str = Field(
        default="",
        max_length=400,
        description="A voice of /v1/audio/voices. Names of Kokoro's and OpenAI's voices that do not exist here mean "
        "the default voice, and so does no name; of a mixture (`af_bella+af_sky`) the first voice speaks.",
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(default=1.0, ge=MIN_SPEED, le=MAX_SPEED, description="The pitch stays the same.")
    stream: bool = Field(
        default=True, description="Whether each clause is a line of JSON (NDJSON), sent when it is ready."
    )
    return_timestamps: bool = Field(default=True, description="false: `timestamps` is empty.")
    lang_code: str | None = Field(
        default=None,
        description="One of Kokoro's letters (a, b, e, f, h, i, j, p, z), or an ISO 639-1 code; by default as for "
        "/v1/audio/speech.",
    )
    volume_multiplier: float = Field(default=1.0, description="No effect.")
    return_download_link: bool = Field(default=False, description="No effect.")
    normalization_options: JsonValue = Field(default=None, description="No effect: numbers and signs become words.")


WITHOUT_EFFECT = ("volume_multiplier", "return_download_link", "normalization_options")


@router.post(
    "/dev/captioned_speech",
    summary="Synthesize speech with the times of its words",
    response_class=Response,
    responses={
        200: {
            "model": TimedSpeech,
            "description": "The speech and its words: one line of JSON for each clause, or with `stream: false` one "
            "object.",
            "headers": {
                IGNORED: {
                    "schema": {"type": "string"},
                    "description": "Fields of the request that had no effect.",
                }
            },
            "content": {
                NDJSON: {
                    "schema": {"type": "string"},
                    "example": '{"audio": "SUQz", "audio_format": "audio/mpeg", "timestamps": [{"word": "Good", '
                    '"start_time": 0.05, "end_time": 0.31}]}\n',
                }
            },
        },
        **errors(400, 401, 403, 404, 502, 503, 504, form="plain"),
    },
)
async def captioned_speech(request: Request, wanted: CaptionedSpeechRequest) -> Response:
    """Synthesize speech, and say when each word is spoken. Times are in seconds from the start of the speech."""
    assistant = state_of(request).assistant
    if wanted.model.strip().lower() != MODEL:
        check_model(assistant, "tts", wanted.model)
    voice, ignored = _voice(assistant, wanted.voice), [name for name in WITHOUT_EFFECT if _asked(wanted, name)]
    if "+" in wanted.voice:
        ignored.append("voice")
    headers = {IGNORED: ", ".join(ignored)} if ignored else {}
    letter = OF_LETTER.get(wanted.lang_code or "")
    all_said = said(
        assistant.stages.tts,
        wanted.input,
        voice=voice,
        language=language_code(letter or wanted.lang_code),
        usual=assistant.settings.speech_language,
        room=held_of(request),
    )
    timing = partial(timed_words, assistant) if wanted.return_timestamps else None
    output = SpeechOutput(wanted.response_format, wanted.speed, timing)
    if wanted.stream:
        return Stream(await begun(output.lines(all_said)), NDJSON, headers)
    whole = await while_connected(request, output.whole(all_said, held_of(request)))
    return Response(whole, media_type="application/json", headers=headers)


def _asked(wanted: CaptionedSpeechRequest, name: str) -> bool:
    return bool(getattr(wanted, name) != CaptionedSpeechRequest.model_fields[name].default)


def _voice(assistant: Assistant, name: str) -> Voice:
    """Return the voice that a client of Kokoro-FastAPI means. Raises BadInput (unknown_voice)."""
    first = name.partition("+")[0].partition("(")[0].strip()
    if not first or (first not in assistant.voices.names() and VOICE.fullmatch(first)):
        return assistant.voice()
    return assistant.openai_voice(first)
