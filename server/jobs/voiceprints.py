"""`/jobs/{id}/voiceprints` and `/voiceprints`: speakers' names by their voices, for people who agreed to it."""

from typing import Literal

from fastapi import APIRouter, Depends, Request

from jobs.editing import Label
from jobs.voiceprints import Suggestion, Voiceprint
from server.access import require_key
from server.jobs.owners import OwnJob, owner_of, seen_by
from server.jobs.views import AllJobs, iso
from server.openapi import ResponseModel, errors, like
from server.parameters import NullIsAbsent

router = APIRouter(tags=["documents"], dependencies=[Depends(require_key)])
VOICEPRINT: dict[str, object] = {
    "id": "01a1f8f227346d52396faac293c7e584", "name": "Anna", "created_at": "2026-11-20T17:30:00.000+00:00",
    "seconds": 20.0,
}  # fmt: skip
SUGGESTION: dict[str, object] = {
    "speaker": "A", "name": "Anna", "voiceprint_id": "01a1f8f227346d52396faac293c7e584", "likeness": 0.83,
}  # fmt: skip


class Enrolment(NullIsAbsent):
    """A voice to remember."""

    model_config = like({"speaker": "A", "name": "Anna", "consent": True})

    speaker: Label
    """Label in the segments."""
    name: Label
    consent: Literal[True]
    """Statement of the caller that the person agreed to be recognised by their voice."""


class VoiceprintResponse(ResponseModel):
    """A remembered voice."""

    model_config = like(VOICEPRINT)

    id: str
    name: str
    created_at: str
    seconds: float
    """Speech from which it was made."""

    @classmethod
    def of(cls, one: Voiceprint) -> "VoiceprintResponse":
        return cls(id=one.id, name=one.name, created_at=iso(one.created_at), seconds=one.seconds)


class VoiceprintsResponse(ResponseModel):
    """The remembered voices, by name."""

    model_config = like({"voiceprints": [VOICEPRINT]})

    voiceprints: list[VoiceprintResponse]


class SuggestionResponse(ResponseModel):
    """A name for a speaker, whose voice is like a remembered one."""

    model_config = like(SUGGESTION)

    speaker: str
    name: str
    voiceprint_id: str
    likeness: float
    """Cosine of both voices, up to 1."""

    @classmethod
    def of(cls, one: Suggestion) -> "SuggestionResponse":
        return cls(speaker=one.speaker, name=one.name, voiceprint_id=one.voiceprint, likeness=one.likeness)


class SuggestionsResponse(ResponseModel):
    """Names for speakers who have none."""

    model_config = like({"suggestions": [SUGGESTION]})

    suggestions: list[SuggestionResponse]


@router.get("/jobs/{job_id}/voiceprints", summary="Suggest names of speakers")
async def suggestions(job: OwnJob, jobs: AllJobs) -> SuggestionsResponse:
    """Compare the speakers without a name with the remembered voices of the job's owner. Nothing of it is stored."""
    return SuggestionsResponse(
        suggestions=[SuggestionResponse.of(one) for one in await jobs.voiceprints.suggested(job)]
    )


@router.post("/jobs/{job_id}/voiceprints", summary="Remember the voice of a speaker", status_code=201)
async def enrol(request: Request, job: OwnJob, body: Enrolment, jobs: AllJobs) -> VoiceprintResponse:
    """Remember a speaker's voice under a name, to suggest it in later recordings of the job's owner. It replaces an
    earlier one of this name. `consent` must be true."""
    made = await jobs.voiceprints.enrol(job, body.speaker, body.name, consent_by=owner_of(request))
    return VoiceprintResponse.of(made)


@router.get("/voiceprints", summary="List the remembered voices")
async def listed(request: Request, jobs: AllJobs) -> VoiceprintsResponse:
    """List the caller's remembered voices, or all for keys with the admin permission."""
    found = await jobs.voiceprints.listed(seen_by(request))
    return VoiceprintsResponse(voiceprints=[VoiceprintResponse.of(one) for one in found])


@router.delete(
    "/voiceprints/{voiceprint_id}", summary="Forget a voice", status_code=204, responses=errors(404, form="plain")
)
async def delete(request: Request, voiceprint_id: str, jobs: AllJobs) -> None:
    """Delete a remembered voice; it is not suggested again."""
    await jobs.voiceprints.delete(voiceprint_id, seen_by(request))
