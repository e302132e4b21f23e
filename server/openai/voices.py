"""`/v1/audio/voices`: list voices and add new ones."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from pipeline.audio.decode import decode
from pipeline.errors import BadInput
from pipeline.voices.catalogue import Voice
from pipeline.voices.enrol import MAX_S, enrol
from server.access import require_key
from server.errors import BadField
from server.http.uploads import Form, received
from server.openapi import ResponseModel, errors, form_body, like
from server.state import state_of

router = APIRouter(prefix="/v1/audio", tags=["voices"], dependencies=[Depends(require_key)])

MAX_SAMPLE_BYTES = 10 * 2**20


class VoiceResponse(ResponseModel):
    """A voice."""

    id: str
    name: str
    description: str
    languages: list[str]
    """ISO 639-1."""
    default: bool


class VoicesResponse(ResponseModel):
    """All voices."""

    model_config = like(
        {
            "voices": [
                {"id": "man", "name": "man", "description": "A calm man.", "languages": ["en"], "default": True}
            ]
        }
    )  # fmt: skip

    voices: list[VoiceResponse]


@router.get("/voices", summary="List voices", responses=errors(401, 403))
async def voices(request: Request) -> VoicesResponse:
    """List all voices. A file added to the voices folder appears at once."""
    assistant = state_of(request).assistant
    usual = assistant.settings.voice_name
    return VoicesResponse(voices=[_described(voice, default=voice.name == usual) for voice in assistant.voices])


def _described(voice: Voice, *, default: bool) -> VoiceResponse:
    return VoiceResponse(
        id=voice.name, name=voice.name, description=voice.description, languages=list(voice.languages), default=default
    )


class VoiceFields(BaseModel):
    """Fields of a new voice."""

    name: str = Field(min_length=1, max_length=60, examples=["Maria"])
    consent: str = Field(
        min_length=1, max_length=500, description="Reference to the speaker's consent; stored with the voice."
    )


class NewVoice(ResponseModel):
    """The new voice."""

    model_config = like(
        {"object": "audio.voice", "id": "Maria", "name": "Maria", "created_at": 1795195800, "type": "audio_sample"}
    )

    object: str = "audio.voice"
    id: str
    name: str
    created_at: int
    type: str = "audio_sample"


async def _form(request: Request) -> AsyncIterator[Form]:
    async with received(request) as form:
        yield form


@router.post(
    "/voices",
    summary="Create a voice from a recording",
    responses=errors(400, 401, 403, 409, 413),
    openapi_extra=form_body(VoiceFields, "audio_sample", example={"name": "Maria", "consent": "cons_1234"}),
)
async def add_voice(request: Request, form: Annotated[Form, Depends(_form)]) -> NewVoice:
    """Create a voice. This requires the consent of the speaker. Engines that clone voices use the recording; other
    engines use a voice of their own."""
    assistant = state_of(request).assistant
    sample, wanted = form.file("audio_sample"), form.parse(VoiceFields)
    if sample.size > MAX_SAMPLE_BYTES:
        raise BadField("audio_sample", f"The sample is larger than {MAX_SAMPLE_BYTES >> 20} MB.", code="file_too_large")

    try:
        clip = await decode(await asyncio.to_thread(sample.file.read), max_seconds=MAX_S)
    except BadInput as error:
        raise BadField("audio_sample", error.message, code=error.code) from error
    voice = await asyncio.to_thread(enrol, assistant.settings, assistant.voices, wanted.name, clip, wanted.consent)
    return NewVoice(id=voice.name, name=voice.name, created_at=int(time.time()))
