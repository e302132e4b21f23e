"""`/api/v1/upload/…` and `/api/v1/transcription…`: the same jobs, as the Echo API names them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import Field

from jobs.errors import Refused
from jobs.fetch import filename_of
from jobs.schema import Job, Submission
from jobs.states import Status
from server.access import require_key
from server.documents import errors, form_body
from server.incoming import received_files
from server.job_views import (
    TRANSCRIPT,
    AllJobs,
    JobOptions,
    ListQuery,
    downloaded,
    idempotency_key,
    listed,
    options,
    shown,
    text_field,
)

router = APIRouter(prefix="/api/v1", tags=["transcriptions"], dependencies=[Depends(require_key)])
NAMES = {Status.QUEUED: "pending", Status.RUNNING: "processing"}
"""States that have another name here."""


class FromUrl(JobOptions):
    """A recording at an address."""

    url: str = Field(max_length=4096, examples=["https://example.org/talk.mp3"])


@router.post(
    "/upload/file",
    status_code=202,
    responses=errors(404, form="plain"),
    openapi_extra=form_body(JobOptions, "file", example={"language": "pt"}),
)
async def upload_file(request: Request, jobs: AllJobs) -> dict[str, Any]:
    """One file (`file`), one job."""
    key = idempotency_key(request)
    async with received_files(request, jobs) as form:
        if len(form.files) != 1:
            raise Refused("Send one file here; POST /jobs takes several.", code="bad_parameter")
        wanted, session_id = options(form.fields), text_field(form.fields, "session_id")
        webhook_url = text_field(form.fields, "webhook_url", 4096)
        await jobs.check_model(wanted.model_id)
        [(name, file)] = await form.commit()
    one = Submission(name, wanted, file.sha256, file.size_bytes, None, session_id, webhook_url)
    return _short((await jobs.submit([one], key=key))[0])


@router.post("/upload/url", status_code=202, responses=errors(404, 422, form="plain"))
async def upload_url(request: Request, body: FromUrl, jobs: AllJobs) -> dict[str, Any]:
    """One address, one job, which fetches it."""
    wanted = options(body.model_dump())
    await jobs.check_model(wanted.model_id)
    one = Submission(
        filename_of(body.url), wanted, source_url=body.url, session_id=body.session_id,
        webhook_url=body.webhook_url,
    )  # fmt: skip
    return _short((await jobs.submit([one], key=idempotency_key(request)))[0])


@router.get("/transcription/{job_id}")
async def one(job_id: str, jobs: AllJobs) -> dict[str, Any]:
    """A job, with its result when it has one."""
    job = await jobs.get(job_id)
    return shown(job, NAMES, await jobs.result(job))


@router.get("/transcription/{job_id}/download", response_class=Response, responses=TRANSCRIPT)
async def download(job_id: str, jobs: AllJobs, format: str = "txt") -> Response:
    """The transcript as a file: txt, json, srt or vtt."""
    return await downloaded(jobs, await jobs.get(job_id), format)


@router.delete("/transcription/{job_id}")
async def cancel(job_id: str, jobs: AllJobs) -> dict[str, Any]:
    """Stop a job that waits or is worked on."""
    return _short(await jobs.cancel(job_id))


@router.get("/transcriptions")
async def newest(jobs: AllJobs, query: Annotated[ListQuery, Query()]) -> dict[str, Any]:
    """The newest jobs, by page or by cursor."""
    return await listed(jobs, query, NAMES)


def _short(job: Job) -> dict[str, Any]:
    return {"job_id": job.id, "status": NAMES.get(job.status, job.status.value)}
