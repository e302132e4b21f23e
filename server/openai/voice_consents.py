"""`/v1/audio/voice_consents`: recordings in which speakers consent to a voice, in OpenAI's form."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from pipeline.audio.decode import decode
from pipeline.errors import BadInput
from pipeline.voices.consents import MAX_S, Consent, Consents
from server.access import require_key
from server.errors import BadField
from server.http.uploads import Form, received
from server.openapi import ResponseModel, errors, form_body, like
from server.parameters import NullIsAbsent
from server.state import state_of

router = APIRouter(prefix="/v1/audio/voice_consents", tags=["voices"], dependencies=[Depends(require_key)])

MAX_RECORDING_BYTES = 10 * 2**20
MAX_NAME_CHARS = 200
CONSENT: dict[str, object] = {
    "object": "audio.voice_consent", "id": "cons_1f0c…", "name": "Maria", "language": "pt-PT", "created_at": 1795195800,
}  # fmt: skip


class ConsentFields(BaseModel):
    """Fields of a new consent."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS, description="Label, such as the speaker's name.")
    language: str = Field(max_length=35, description="BCP 47 tag of what the speaker says.", examples=["pt-PT"])


class NewName(NullIsAbsent):
    """The new label."""

    model_config = like({"name": "Maria"})

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)


class ConsentQuery(BaseModel):
    """A page of the list."""

    after: str | None = Field(default=None, max_length=100, description="Id of the last consent of the previous page.")
    limit: int = Field(default=20, ge=1, le=100)


class ConsentResponse(ResponseModel):
    """A consent."""

    model_config = like(CONSENT)

    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    id: str
    name: str
    language: str
    created_at: int

    @classmethod
    def of(cls, consent: Consent) -> Self:
        """Return a consent as a response."""
        return cls(**asdict(consent))


class ConsentPage(ResponseModel):
    """A page of the list, the newest consents first."""

    model_config = like(
        {"object": "list", "data": [CONSENT], "first_id": CONSENT["id"], "last_id": CONSENT["id"], "has_more": False}
    )

    object: Literal["list"] = "list"
    data: list[ConsentResponse]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConsentDeleted(ResponseModel):
    """The consent is deleted."""

    model_config = like({"object": "audio.voice_consent", "id": CONSENT["id"], "deleted": True})

    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    id: str
    deleted: bool = True


def _consents(request: Request) -> Consents:
    return Consents(state_of(request).assistant.settings.voices_dir)


async def _form(request: Request) -> AsyncIterator[Form]:
    async with received(request) as form:
        yield form


Kept = Annotated[Consents, Depends(_consents)]


@router.post(
    "",
    summary="Add a consent",
    responses=errors(400, 401, 403, 413),
    openapi_extra=form_body(ConsentFields, "recording", example={"name": "Maria", "language": "pt-PT"}),
)
async def create(form: Annotated[Form, Depends(_form)], consents: Kept) -> ConsentResponse:
    """Keep the recording in which a speaker consents to a voice. Its id is the `consent` of a new voice. Parley does
    not check what the speaker says."""
    recording, wanted = form.file("recording"), form.parse(ConsentFields)
    if recording.size > MAX_RECORDING_BYTES:
        raise BadField(
            "recording", f"The recording is larger than {MAX_RECORDING_BYTES >> 20} MB.", code="file_too_large"
        )
    try:
        clip = await decode(await asyncio.to_thread(recording.file.read), max_seconds=MAX_S)
    except BadInput as error:
        raise BadField("recording", error.message, code=error.code) from error
    return ConsentResponse.of(await asyncio.to_thread(consents.add, wanted.name, wanted.language, clip))


@router.get("", summary="List consents", responses=errors(400, 401, 403))
async def listed(consents: Kept, query: Annotated[ConsentQuery, Query()]) -> ConsentPage:
    """List the consents, newest first."""
    found = await asyncio.to_thread(consents.newest)
    if query.after is not None:
        ids = [consent.id for consent in found]
        if query.after not in ids:
            raise BadField("after", f"There is no consent {query.after[:60]!r}.")
        found = found[ids.index(query.after) + 1 :]
    page = [ConsentResponse.of(consent) for consent in found[: query.limit]]
    return ConsentPage(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > len(page),
    )


@router.get("/{consent_id}", summary="Get a consent", responses=errors(401, 403, 404))
async def retrieve(consent_id: str, consents: Kept) -> ConsentResponse:
    """Return a consent."""
    return ConsentResponse.of(await asyncio.to_thread(consents.get, consent_id))


@router.post("/{consent_id}", summary="Rename a consent", responses=errors(400, 401, 403, 404))
async def update(consent_id: str, wanted: NewName, consents: Kept) -> ConsentResponse:
    """Change the label of a consent."""
    return ConsentResponse.of(await asyncio.to_thread(consents.rename, consent_id, wanted.name))


@router.delete("/{consent_id}", summary="Delete a consent", responses=errors(401, 403, 404, 409))
async def delete(request: Request, consent_id: str, consents: Kept) -> ConsentDeleted:
    """Delete a consent and its recording. While a voice depends on it, this is an error (409)."""
    await asyncio.to_thread(consents.delete, consent_id, state_of(request).assistant.voices)
    return ConsentDeleted(id=consent_id)
