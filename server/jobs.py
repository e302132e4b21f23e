"""`/jobs…` and `/queues`: transcription jobs, as docs/jobs.md describes them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import Field

from jobs.errors import JobNotFound
from jobs.schema import Job, Submission
from jobs.service import Jobs
from jobs.states import Status
from server.access import require_key, stay_of
from server.access.keys import LOOK_EVERY_S
from server.access.staying import Stay
from server.documents import errors, form_body
from server.incoming import received_files
from server.job_views import (
    OUTSIDE,
    RECORDING,
    TRANSCRIPT,
    AllJobs,
    JobOptions,
    ListQuery,
    downloaded,
    idempotency_key,
    listed,
    options,
    recording_file,
    shown,
    text_field,
)
from server.media_types import media_type

router = APIRouter(tags=["jobs"], dependencies=[Depends(require_key)])
SpeakerName = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f]*$")]
SpeakerNames = Annotated[dict[SpeakerName, SpeakerName], Field(max_length=100)]

PING_S = 15.0
"""A stream of events says something at least so often: silence is what proxies cut."""
ACTIVE_SHOWN = 200


@router.post(
    "/jobs",
    status_code=202,
    responses=errors(404, form="plain"),
    openapi_extra=form_body(JobOptions, "files", several=True, example={"language": "pt"}),
)
async def create(request: Request, jobs: AllJobs) -> dict[str, Any]:
    """A job for each file of the form (`files`), and for each file of a zip; all or none."""
    key = idempotency_key(request)
    async with received_files(request, jobs) as form:
        wanted, session_id = options(form.fields), text_field(form.fields, "session_id")
        webhook_url = text_field(form.fields, "webhook_url", 4096)
        await jobs.check_model(wanted.model_id)
        stored = await form.commit()
    submissions = [
        Submission(name, wanted, file.sha256, file.size_bytes, None, session_id, webhook_url) for name, file in stored
    ]
    made = await jobs.submit(submissions, key=key)
    return {"jobs": [_short(job) for job in made]}


@router.get("/jobs")
async def newest(jobs: AllJobs, query: Annotated[ListQuery, Query()]) -> dict[str, Any]:
    """The newest jobs, by page or by cursor."""
    return await listed(jobs, query, OUTSIDE)


@router.get("/queues")
async def queues(jobs: AllJobs) -> dict[str, Any]:
    """How many jobs are in each state, and those that are worked on or wait, 200 at most."""
    counted = await jobs.numbers()
    # First those that wait: one that is begun in between is in both, and not in neither.
    waiting = (await jobs.list(limit=ACTIVE_SHOWN, statuses=[Status.QUEUED])).items
    running = (await jobs.list(limit=ACTIVE_SHOWN, statuses=[Status.RUNNING])).items
    begun = {job.id for job in running}
    active = [*running, *(job for job in waiting if job.id not in begun)][:ACTIVE_SHOWN]
    told: dict[str, Any] = {OUTSIDE.get(status, status.value): number for status, number in counted.items()}
    return {**told, "total": sum(counted.values()), "jobs": [shown(job, OUTSIDE) for job in active]}


@router.get("/jobs/{job_id}")
async def one(job_id: str, jobs: AllJobs) -> dict[str, Any]:
    """A job, with its result when it has one."""
    job = await jobs.get(job_id)
    return shown(job, OUTSIDE, await jobs.result(job))


@router.post("/jobs/{job_id}/cancel")
async def cancel(job_id: str, jobs: AllJobs) -> dict[str, Any]:
    """Stop a job that waits or is worked on."""
    return shown(await jobs.cancel(job_id), OUTSIDE)


@router.post("/jobs/{job_id}/retry", status_code=202)
async def retry(job_id: str, jobs: AllJobs) -> dict[str, Any]:
    """Queue a job again that failed, expired or was cancelled."""
    return shown(await jobs.retry(job_id), OUTSIDE)


@router.put("/jobs/{job_id}/speakers")
async def name_speakers(job_id: str, names: SpeakerNames, jobs: AllJobs) -> dict[str, Any]:
    """What people call the speakers of the result: `{"A": "Anna"}`. Downloads have these names."""
    return shown(await jobs.name_speakers(job_id, names), OUTSIDE)


@router.delete("/jobs/{job_id}", status_code=204)
async def delete(job_id: str, jobs: AllJobs) -> None:
    """Remove a job, whatever its state; what is worked on stops."""
    await jobs.delete(job_id)


@router.get("/jobs/{job_id}/download", response_class=Response, responses=TRANSCRIPT)
async def result(job_id: str, jobs: AllJobs, format: str = "txt") -> Response:
    """The transcript as a file: txt, json, srt or vtt."""
    return await downloaded(jobs, await jobs.get(job_id), format)


@router.get("/jobs/{job_id}/file", response_class=Response, responses=RECORDING)
async def file(job_id: str, jobs: AllJobs) -> Response:
    """The recording itself, in parts where they are asked for (Range)."""
    job = await jobs.get(job_id)
    path = await recording_file(jobs, job)
    # Not of the type it claims to be: a page that somebody uploaded must not run in this origin.
    return FileResponse(
        path,
        media_type=await asyncio.to_thread(media_type, path),
        filename=job.filename,
        headers={"X-Content-Type-Options": "nosniff"},
    )


@router.get(
    "/jobs/{job_id}/events",
    response_class=Response,
    responses={200: {"description": "The events.", "content": {"text/event-stream": {}}}},
)
async def events(request: Request, job_id: str, jobs: AllJobs) -> Response:
    """Server-Sent Events: `progress` whenever something is new, at last one named as the state the job ended in. They
    end before when the key was taken back; whoever asks again is told so."""
    await jobs.get(job_id)
    return StreamingResponse(
        _events(jobs, job_id, stay_of(request)), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _events(jobs: Jobs, job_id: str, stay: Stay) -> AsyncGenerator[str, None]:
    # No task of its own in here: who goes away has this cancelled again and again, also while it cleans up.
    look_s, silent_s = LOOK_EVERY_S if stay.ends else PING_S, 0.0
    with suppress(JobNotFound):  # removed meanwhile
        async with aclosing(jobs.watch(job_id, silent_s=look_s)) as changes:
            async for job in changes:
                if stay.over:
                    return
                silent_s = silent_s + look_s if job is None else 0.0
                if job is None:
                    if silent_s >= PING_S:
                        silent_s = 0.0
                        yield ": still here\n\n"
                    continue
                name = job.status.value if job.final else "progress"
                yield f"event: {name}\nid: {job.version}\ndata: {json.dumps(shown(job, OUTSIDE))}\n\n"


@router.get("/jobs/{job_id}/deliveries")
async def deliveries(job_id: str, jobs: AllJobs) -> dict[str, Any]:
    """What webhooks were told of this job, with every attempt."""
    await jobs.get(job_id)
    return {"deliveries": await jobs.outbox.of_job(job_id)}


@router.post("/jobs/{job_id}/deliveries/{delivery_id}/redeliver", status_code=202)
async def redeliver(job_id: str, delivery_id: str, jobs: AllJobs) -> dict[str, Any]:
    """Tell a webhook once more, under the same id."""
    await jobs.redeliver(job_id, delivery_id)
    return {"deliveries": await jobs.outbox.of_job(job_id)}


def _short(job: Job) -> dict[str, Any]:
    return {"job_id": job.id, "filename": job.filename, "status": OUTSIDE.get(job.status, job.status.value)}
