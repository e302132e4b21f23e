"""`POST /v1/audio/speech`: synthesize speech, streamed from the first clause on."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip
from pipeline.audio.encode import FORMATS, encoded
from pipeline.audio.speed import MAX_SPEED, MIN_SPEED
from pipeline.speech.synthesize import Said, said, silence
from pipeline.stt import Word
from pipeline.transcripts.spoken_words import spoken_words
from server.access import held_of
from server.http.client_disconnect import Stream, begun, while_connected
from server.openai.models import check_model
from server.openai.speech_output import SpeechOutput
from server.openapi import ResponseModel, errors, event_stream, like
from server.parameters import NullIsAbsent, language_code
from server.state import state_of

router = APIRouter(tags=["speech"])

MAX_CHARS = 4096
IGNORED = "Parley-Ignored"
"""Header of a response: the fields of the request that had no effect."""


class VoiceId(BaseModel):
    id: str


class SpeechRequest(NullIsAbsent):
    """The text to speak, and options."""

    model_config = like({"model": "tts-1", "input": "Good morning. What can I do for you?", "voice": "man"})

    model: str = Field(default="", max_length=200, examples=["tts-1"], description="By default the loaded model.")
    input: str = Field(min_length=1, max_length=MAX_CHARS, examples=["Good morning. What can I do for you?"])
    voice: str | VoiceId = Field(examples=["man"], description="A voice of /v1/audio/voices, or one of OpenAI's names.")
    instructions: str = Field(
        default="",
        max_length=MAX_CHARS,
        description="How to speak. Passed on by TTS_ENGINE=openai; the other engines follow none, and the response has "
        f"the header `{IGNORED}: instructions`.",
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(default=1.0, ge=MIN_SPEED, le=MAX_SPEED, description="The pitch stays the same.")
    stream_format: Literal["audio", "sse"] = "audio"
    timestamp_granularities: list[Literal["word"]] = Field(
        default=[],
        max_length=16,
        description="`word`: also return when each word is spoken, as JSON or, with `stream_format=sse`, in events "
        "`speech.audio.timestamps`. Not in OpenAI's API.",
    )
    language: Annotated[
        str | None,
        Field(
            description="ISO 639-1 code of the text; by default SPEECH_LANGUAGE in its alphabet, or else detected in "
            "each clause. Not in OpenAI's API."
        ),
    ] = None


class WordTime(ResponseModel):
    """A word and its times, in seconds from the start of the sound."""

    word: str
    start_time: float
    end_time: float


class TimedSpeech(ResponseModel):
    """Speech and the times of its words."""

    model_config = like(
        {
            "audio": "SUQzBAAAAAAA",
            "audio_format": "audio/mpeg",
            "timestamps": [{"word": "Good", "start_time": 0.05, "end_time": 0.31}],
        }
    )

    audio: str
    """The sound in base64."""
    audio_format: str
    """Its media type."""
    timestamps: list[WordTime]


@router.post(
    "/audio/speech",
    summary="Synthesize speech",
    response_class=Response,
    responses={
        200: {
            "model": TimedSpeech,
            "description": "The speech, streamed while it is synthesized (24 kHz mono); with `stream_format=sse` as "
            "events; with `timestamp_granularities` as JSON, with the times of its words.",
            "headers": {
                IGNORED: {
                    "schema": {"type": "string"},
                    "description": "Fields of the request that had no effect: `instructions`.",
                }
            },
            "content": {
                **{form.media_type: {"schema": {"type": "string", "format": "binary"}} for form in FORMATS.values()},
                "text/event-stream": event_stream(
                    'data: {"type": "speech.audio.delta", "audio": "UklGRg=="}\n\n'
                    'data: {"type": "speech.audio.done", "usage": {"input_tokens": 9, "output_tokens": 60, '
                    '"total_tokens": 69}}\n\n'
                ),
            },
        },
        **errors(400, 401, 403, 404, 502, 503, 504),
    },
)
async def speech(request: Request, wanted: SpeechRequest) -> Response:
    """Synthesize speech. The response starts when the first clause is ready. `pcm` is 16-bit little-endian."""
    assistant = state_of(request).assistant
    check_model(assistant, "tts", wanted.model)
    voice = assistant.openai_voice(wanted.voice if isinstance(wanted.voice, str) else wanted.voice.id)
    tts, headers = assistant.stages.tts, {}
    if wanted.instructions and tts.follows_instructions:
        voice = replace(voice, instructions=wanted.instructions)
    elif wanted.instructions:
        headers[IGNORED] = "instructions"
    all_said = said(
        tts,
        wanted.input,
        voice=voice,
        language=language_code(wanted.language),
        usual=assistant.settings.speech_language,
        room=held_of(request),
    )
    timing = partial(timed_words, assistant) if wanted.timestamp_granularities else None
    output = SpeechOutput(wanted.response_format, wanted.speed, timing)
    if wanted.stream_format == "sse":
        headers["Cache-Control"] = "no-cache"
        return Stream(await begun(output.events(all_said, wanted.input)), "text/event-stream", headers)
    if timing is not None:
        whole = await while_connected(request, output.whole(all_said, held_of(request)))
        return Response(whole, media_type="application/json", headers=headers)
    sound = encoded(_audible(all_said), wanted.response_format, speed=wanted.speed)
    return Stream(await begun(sound), FORMATS[wanted.response_format].media_type, headers)


async def timed_words(assistant: Assistant, clip: Clip, last: Said) -> list[Word]:
    """Return the words of a clause with their times. last: its last sound."""
    return await spoken_words(assistant.stages.stt, clip, last.clause.text, last.language)


async def _audible(all_said: AsyncGenerator[Said, None]) -> AsyncGenerator[Clip, None]:
    """Yield the sound, or a short silence if there is none."""
    spoken = False
    async with aclosing(all_said):
        async for one in all_said:
            spoken = True
            yield one.clip
    if not spoken:
        yield silence()
