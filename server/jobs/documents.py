"""`/jobs/{id}/edits`, `/versions`, `/waveform`, `/again`: a finished transcript as a document (docs/jobs.md)."""

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import Field

from jobs.documents import Saved, Version
from jobs.editing import Operation
from pipeline.support.encodable import encodable
from server.access import require_key
from server.jobs.owners import OwnJob, owner_of
from server.jobs.schemas import RESULT, NewJob, Transcript
from server.jobs.views import MAX_TEXT, MODEL, STATE_NAMES, AllJobs, JobOptions, iso, named
from server.openapi import ResponseModel, like
from server.parameters import NullIsAbsent

router = APIRouter(prefix="/jobs/{job_id}", tags=["documents"], dependencies=[Depends(require_key)])
MAX_OPERATIONS = 100
CHANGE: dict[str, object] = {"at": 0, "count": 1, "segments": RESULT["segments"]}
Number = Annotated[int, Field(ge=0, lt=2**31)]


class Edit(NullIsAbsent):
    """Operations on a version of a transcript, applied in order, all or none."""

    model_config = like({"version": 0, "operations": [{"op": "text", "segment": 0, "text": "Good evening."}]})

    version: Number
    """The version to which they refer: 0 for the recogniser's transcript."""
    operations: list[Annotated[Operation, Field(discriminator="op")]] = Field(min_length=1, max_length=MAX_OPERATIONS)


class Restoring(NullIsAbsent):
    """The current version, which another one replaces."""

    model_config = like({"version": 4})

    version: Number


class Change(ResponseModel):
    """A change of a transcript: segments that replace others, new speakers of segments, or all names of speakers."""

    model_config = like(CHANGE)

    at: int = 0
    """Index of the first replaced segment."""
    count: int = 0
    """Number of replaced segments."""
    segments: list[dict[str, Any]] = Field(default_factory=list)
    """Their replacement; ids are counted again."""
    speakers: list[tuple[int, int, str | None]] = Field(default_factory=list)
    """First and last index of segments, with their speaker."""
    names: dict[str, str] = Field(default_factory=dict)


class SavedResponse(ResponseModel):
    """A saved edit: the new version, and the changes from the version before, in order."""

    model_config = like({"version": 1, "changes": [CHANGE]})

    version: int
    changes: list[Change]


async def _response(saved: Saved) -> Response:
    """Return a SavedResponse, written in a thread: it can be as large as a transcript."""
    told = {"version": saved.version, "changes": saved.changes}
    body = await asyncio.to_thread(lambda: encodable(json.dumps(told, ensure_ascii=False)).encode())
    return Response(body, media_type="application/json")


class VersionResponse(ResponseModel):
    """A version, and what made it."""

    version: int
    created_at: str
    author: str | None
    """The key or the login that made it."""
    operations: list[str]
    """text, split, merge, speaker, merge_speakers, name, restore."""
    restored: int | None
    """The version that was restored."""

    @classmethod
    def of(cls, one: Version) -> "VersionResponse":
        return cls(
            version=one.version,
            created_at=iso(one.created_at),
            author=one.author.partition(":")[2] or None,
            operations=list(one.operations),
            restored=one.restored,
        )


class VersionsResponse(ResponseModel):
    """The versions that can be restored, newest first. Version 0, the recogniser's transcript, always can."""

    model_config = like(
        {
            "version": 1,
            "versions": [
                {
                    "version": 1, "created_at": "2026-11-20T17:30:00.000+00:00", "author": "anna",
                    "operations": ["text"], "restored": None,
                }
            ],
        }
    )  # fmt: skip

    version: int
    """The current one."""
    versions: list[VersionResponse]


class WaveformResponse(ResponseModel):
    """The loudest samples of equal parts of a recording, from 0 to 100."""

    model_config = like({"peaks": [0, 64, 100, 12]})

    peaks: list[int]


class Again(NullIsAbsent, JobOptions):
    """Options of another transcription."""

    model_config = like({"language": "en", "diarize": True})

    model_id: str | None = Field(default=None, max_length=MAX_TEXT, description=MODEL)
    """Unlike forms, the JSON body has no second name for it."""


@router.post("/edits", summary="Edit a transcript", response_model=SavedResponse)
async def edit(request: Request, job: OwnJob, body: Edit, jobs: AllJobs) -> Response:
    """Change the words, segments and speakers of a finished transcript. Downloads have the changes from now on. 409
    (`version_conflict`, with the current `version`) if the transcript was changed since this version."""
    return await _response(await jobs.edit(job, body.version, body.operations, author=owner_of(request)))


@router.get("/versions", summary="List the versions of a transcript")
async def versions(job: OwnJob, jobs: AllJobs) -> VersionsResponse:
    """List the edits of a transcript, with their authors and times."""
    found = await jobs.documents.versions(job)
    return VersionsResponse(
        version=found[0].version if found else 0, versions=[VersionResponse.of(one) for one in found]
    )


@router.get("/versions/{version}", summary="Get a version of a transcript", response_model_exclude_unset=True)
async def version(job: OwnJob, version: Number, jobs: AllJobs) -> Transcript:
    """Return an earlier version, with the names of its speakers; 0 is the recogniser's."""
    return Transcript.model_validate_json(await jobs.documents.at(job, version))


@router.post("/versions/{version}/restore", summary="Restore a version", response_model=SavedResponse)
async def restore(request: Request, job: OwnJob, version: Number, body: Restoring, jobs: AllJobs) -> Response:
    """Make an earlier version the newest one. No version is lost."""
    return await _response(await jobs.restore(job, body.version, version, author=owner_of(request)))


@router.get("/waveform", summary="Get the outline of the recording")
async def waveform(job: OwnJob, jobs: AllJobs) -> WaveformResponse:
    """Return the outline of the recording in up to 1,000 parts, for a player."""
    return WaveformResponse(peaks=await jobs.sound.waveform(job))


@router.post("/again", summary="Transcribe the recording again", status_code=202, response_model_exclude_unset=True)
async def again(request: Request, job: OwnJob, body: Again, jobs: AllJobs) -> NewJob:
    """Create another job for the same recording, with other options. This one stays as it is."""
    options = body.options(jobs.settings.keywords)
    await jobs.check_options(options)
    made = await jobs.again(job, options, owner=owner_of(request))
    return NewJob(job_id=made.id, filename=made.filename, status=named(made.status, STATE_NAMES))
