"""`/api/v1/webhooks/transcription`: callbacks of remote job workers, authenticated by signature instead of a key."""

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from jobs.errors import TooLarge
from pipeline.errors import Overloaded
from server.access import held_of
from server.access.limits import RETRY_S
from server.jobs.echo import NAMES
from server.jobs.schemas import ID, EchoJob
from server.jobs.views import RECORDING, AllJobs, named, recording_file
from server.openapi import errors

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])

MAX_BYTES = 64 << 20
"""Largest update: twice the transcript of a day with all its words."""
HELD_PER_BYTE = 2
"""Bytes of memory for each byte of an update: its body and, during parsing, its text."""


@router.post(
    "/transcription",
    summary="Update a job from a remote worker",
    response_model_exclude_unset=True,
    responses=errors(401, form="plain"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {"job_id": ID, "attempt": "…", "status": "processing", "done_s": 3.0, "duration_s": 8.0},
                }
            },
        }
    },
)
async def update(request: Request, jobs: AllJobs, job: str = "", attempt: str = "", signature: str = "") -> EchoJob:
    """Receive progress, a result or an error of one attempt, and return the state of the job. A worker can stop when
    its job is no longer `processing`. The query is that of the job's `updates_url`; it is checked before the body is
    read."""
    jobs.check_sender(job, attempt, signature)
    body, held = bytearray(), held_of(request)
    async for chunk in request.stream():
        body += chunk
        if not held.take(HELD_PER_BYTE * len(chunk)):
            raise Overloaded("Too many bytes are held; retry soon.", retry_after_s=RETRY_S)
        if len(body) > MAX_BYTES:
            raise TooLarge(f"An update has at most {MAX_BYTES} bytes.")
    told = await jobs.updated(bytes(body), request.headers)
    return EchoJob(job_id=told.id, status=named(told.status, NAMES))


@router.get(
    "/transcription/{job_id}/file",
    summary="Download a job's recording as a remote worker",
    response_class=Response,
    responses={200: RECORDING[200], **errors(401, form="plain")},
)
async def file(job_id: str, jobs: AllJobs, attempt: str = "", signature: str = "") -> Response:
    """Return the recording to the worker of this attempt. The query is that of the job's `file_url`."""
    job = await jobs.file_for(job_id, attempt, signature)
    return FileResponse(await recording_file(jobs, job), media_type="application/octet-stream")
