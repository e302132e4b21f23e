"""`/v1/audio/voices`: list voices, add and delete them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from pipeline.audio.decode import decode
from pipeline.errors import BadInput
from pipeline.voices.catalogue import Voice
from pipeline.voices.consents import PREFIX, Consent, Consents
from pipeline.voices.enrol import MAX_S, enrol, remove
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
        min_length=1,
        max_length=500,
        description="Id of a recorded consent (`/v1/audio/voice_consents`), or how the speaker has agreed; stored with "
        "the voice.",
    )
    type: Literal["audio_sample"] = Field(default="audio_sample", description="Voices from a prompt are not supported.")


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
    responses=errors(400, 401, 403, 404, 409, 413),
    openapi_extra=form_body(VoiceFields, "audio_sample", example={"name": "Maria", "consent": "cons_1234"}),
)
async def add_voice(request: Request, form: Annotated[Form, Depends(_form)]) -> NewVoice:
    """Create a voice. This requires the consent of the speaker. Engines that clone voices use the recording; other
    engines use a voice of their own."""
    assistant = state_of(request).assistant
    if form.fields.get("type") == "prompt":
        raise BadField("type", "Voices from a prompt are not supported; send type=audio_sample.")
    sample, wanted = form.file("audio_sample"), form.parse(VoiceFields)
    if sample.size > MAX_SAMPLE_BYTES:
        raise BadField("audio_sample", f"The sample is larger than {MAX_SAMPLE_BYTES >> 20} MB.", code="file_too_large")

    try:
        clip = await decode(await asyncio.to_thread(sample.file.read), max_seconds=MAX_S)
    except BadInput as error:
        raise BadField("audio_sample", error.message, code=error.code) from error
    consent: str | Consent = wanted.consent
    if wanted.consent.startswith(PREFIX):
        consent = await asyncio.to_thread(Consents(assistant.settings.voices_dir).get, wanted.consent)
    voice = await asyncio.to_thread(enrol, assistant.settings, assistant.voices, wanted.name, clip, consent)
    return NewVoice(id=voice.name, name=voice.name, created_at=voice.created_at)


class VoiceDeleted(ResponseModel):
    """The voice is deleted."""

    model_config = like({"object": "audio.voice.deleted", "id": "Maria", "deleted": True})

    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
    id: str
    deleted: bool = True


@router.delete("/voices/{voice_id}", summary="Delete a voice", responses=errors(401, 403, 404, 409))
async def delete_voice(request: Request, voice_id: str) -> VoiceDeleted:
    """Delete a voice that was created here, with its recording. Its consent stays. Any other voice, and the default
    one, cannot be deleted (409)."""
    assistant = state_of(request).assistant
    await asyncio.to_thread(remove, assistant.settings, assistant.voices, voice_id)
    return VoiceDeleted(id=voice_id)
