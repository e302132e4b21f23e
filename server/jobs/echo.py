"""`/api/v1/upload/…` and `/api/v1/transcription…`: transcription jobs with the names of the Echo API."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import Field

from jobs.errors import Refused
from jobs.job import Job, Submission
from jobs.names import name_in_url
from jobs.states import Status
from server.access import require_key
from server.http.uploads import parse
from server.jobs.owners import OwnJob, owner_of, seen_by
from server.jobs.schemas import EchoJob, JobPage, JobResponse
from server.jobs.uploads import received_files
from server.jobs.views import (
    MAX_TEXT,
    MODEL,
    TRANSCRIPT,
    AllJobs,
    JobOptions,
    ListQuery,
    downloaded,
    idempotency_key,
    listed,
    named,
    skipped,
    with_result,
)
from server.openapi import errors, form_body, like
from server.parameters import NullIsAbsent, SubtitleLayout

router = APIRouter(prefix="/api/v1", tags=["transcriptions"], dependencies=[Depends(require_key)])
NAMES = {Status.QUEUED: "pending", Status.RUNNING: "processing"}
"""States that the Echo API names differently."""


class FromUrl(NullIsAbsent, JobOptions):
    """A recording at a URL."""

    model_config = like({"url": "https://example.org/talk.mp3", "language": "en"})

    url: str = Field(max_length=4096, examples=["https://example.org/talk.mp3"])
    model_id: str | None = Field(default=None, max_length=MAX_TEXT, description=MODEL)
    """Unlike forms, the JSON body has no second name for it."""


@router.post(
    "/upload/file",
    summary="Create a job from a file",
    status_code=202,
    response_model_exclude_unset=True,
    responses=errors(404, form="plain"),
    openapi_extra=form_body(JobOptions, "file", example={"language": "pt"}),
)
async def upload_file(request: Request, jobs: AllJobs) -> EchoJob:
    """Create one job from one file (`file`); a zip must contain exactly one recording."""
    key = idempotency_key(request, owner_of(request))
    async with received_files(request, jobs) as form:
        if len(form.files) != 1:
            raise Refused("Send exactly one file; POST /jobs accepts several.", code="bad_parameter")
        wanted = parse(JobOptions, form.fields)
        options = wanted.options(jobs.settings.keywords)
        await jobs.check_options(options)
        [(name, file)] = await form.commit()
    one = Submission(
        name, options, file.sha256, file.size_bytes, session_id=wanted.session_id, webhook_url=wanted.webhook_url,
        owner=owner_of(request),
    )  # fmt: skip
    [made] = await jobs.submit([one], key=key)
    return EchoJob(job_id=made.id, status=named(made.status, NAMES), **skipped(form))


@router.post(
    "/upload/url",
    summary="Create a job from a URL",
    status_code=202,
    response_model_exclude_unset=True,
    responses=errors(404, 422, form="plain"),
)
async def upload_url(request: Request, body: FromUrl, jobs: AllJobs) -> EchoJob:
    """Create one job that downloads the recording from a URL. A null field counts as not sent."""
    options = body.options(jobs.settings.keywords)
    await jobs.check_options(options)
    one = Submission(
        name_in_url(body.url), options, source_url=body.url, session_id=body.session_id,
        webhook_url=body.webhook_url, owner=owner_of(request),
    )  # fmt: skip
    return _short((await jobs.submit([one], key=idempotency_key(request, one.owner)))[0])


@router.get("/transcription/{job_id}", summary="Get a job", response_model_exclude_unset=True)
async def one(job: OwnJob, jobs: AllJobs) -> JobResponse:
    """Return the job, with its result if it has one."""
    return await with_result(jobs, job, NAMES)


@router.get(
    "/transcription/{job_id}/download",
    summary="Download the transcript",
    response_class=Response,
    responses=TRANSCRIPT,
)
async def download(job: OwnJob, jobs: AllJobs, layout: SubtitleLayout, format: str = "txt") -> Response:
    """Return the transcript as txt, json, srt, vtt, ttml, md, docx or pdf; subtitles in the requested layout."""
    return await downloaded(jobs, job, format, layout)


@router.delete("/transcription/{job_id}", summary="Cancel a job", response_model_exclude_unset=True)
async def cancel(job: OwnJob, jobs: AllJobs) -> EchoJob:
    """Cancel a queued or running job."""
    return _short(await jobs.cancel(job.id))


@router.get("/transcriptions", summary="List jobs")
async def newest(request: Request, jobs: AllJobs, query: Annotated[ListQuery, Query()]) -> JobPage:
    """List jobs, newest first, by page or cursor: the caller's own jobs, or all for keys with the admin permission."""
    return await listed(jobs, query, NAMES, seen_by(request))


def _short(job: Job) -> EchoJob:
    return EchoJob(job_id=job.id, status=named(job.status, NAMES))
