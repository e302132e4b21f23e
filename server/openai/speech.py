"""`POST /v1/audio/speech`: synthesize speech, streamed from the first clause on."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from pipeline.audio.clip import Clip
from pipeline.audio.encode import FORMATS, RATE_HZ, encoded
from pipeline.audio.speed import MAX_SPEED, MIN_SPEED
from pipeline.errors import ParleyError
from pipeline.speech.synthesize import say
from server.errors import as_openai
from server.http.client_disconnect import Stream, begun
from server.openai.models import check_model
from server.openai.sse import sse
from server.openapi import errors, event_stream, like
from server.parameters import NullIsAbsent, language_code
from server.state import state_of

router = APIRouter(tags=["speech"])

MAX_CHARS = 4096
IGNORED = "Parley-Ignored"
"""Header of a response: the fields of the request that had no effect."""
SILENCE_S = 0.3
"""Length of the silence for a text that contains nothing to speak ("…", an emoji)."""


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
    language: Annotated[
        str | None,
        Field(
            description="ISO 639-1 code of the text; by default SPEECH_LANGUAGE in its alphabet, or else detected in "
            "each clause. Not in OpenAI's API."
        ),
    ] = None


@router.post(
    "/audio/speech",
    summary="Synthesize speech",
    response_class=Response,
    responses={
        200: {
            "description": "The speech, streamed while it is synthesized (24 kHz mono); with `stream_format=sse` as "
            "events.",
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
    clips = say(
        tts,
        wanted.input,
        voice=voice,
        language=language_code(wanted.language),
        usual=assistant.settings.speech_language,
    )
    sound = encoded(_audible(clips), wanted.response_format, speed=wanted.speed)
    if wanted.stream_format == "sse":
        headers["Cache-Control"] = "no-cache"
        return Stream(await begun(_events(sound, wanted.input)), "text/event-stream", headers)
    return Stream(await begun(sound), FORMATS[wanted.response_format].media_type, headers)


async def _audible(clips: AsyncGenerator[Clip, None]) -> AsyncGenerator[Clip, None]:
    """Yield the clips, or a short silence if there are none: clients treat a response without audio as an error."""
    spoken = False
    async with aclosing(clips):
        async for clip in clips:
            spoken = True
            yield clip
    if not spoken:
        yield Clip(np.zeros(int(SILENCE_S * RATE_HZ), np.float32), RATE_HZ)


async def _events(sound: AsyncGenerator[bytes, None], text: str) -> AsyncGenerator[bytes, None]:
    """Yield the sound as events. An error before the first sound is raised; a later one becomes an event."""
    begun_already = False
    sent = 0
    try:
        async with aclosing(sound):
            async for data in sound:
                begun_already = True
                sent += len(data)
                yield sse({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode("ascii")})
    except ParleyError as error:
        if not begun_already:
            raise
        yield sse(as_openai(error))
        return
    # An estimate, because there is no tokenizer here: a token is about four characters of text or 50 ms of sound.
    spoken, said = max(1, len(text) // 4), max(1, sent // 400)
    usage = {"input_tokens": spoken, "output_tokens": said, "total_tokens": spoken + said}
    yield sse({"type": "speech.audio.done", "usage": usage})
