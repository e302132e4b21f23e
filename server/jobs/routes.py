"""`/jobs…` and `/queues`: transcription jobs, as docs/jobs.md describes them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BeforeValidator, Field

from jobs.errors import JobNotFound
from jobs.job import Job, Submission
from jobs.service import Jobs
from jobs.states import Status
from pipeline.errors import StorageError
from pipeline.support.encodable import encodable_json
from server.access import budgets_of, caller_of, require_key, stay_of
from server.access.keys import LOOK_EVERY_S
from server.errors import as_json
from server.http.client_disconnect import Stream, begun
from server.http.media_types import media_type
from server.http.uploads import parse
from server.jobs.owners import OwnJob, check_own, owner_of, seen_by
from server.jobs.schemas import LISTED, DeliveriesResponse, JobPage, JobResponse, NewJob, NewJobs, QueuesResponse
from server.jobs.uploads import received_files
from server.jobs.views import (
    RECORDING,
    STATE_NAMES,
    TRANSCRIPT,
    AllJobs,
    JobOptions,
    ListQuery,
    downloaded,
    idempotency_key,
    listed,
    named,
    recording_file,
    shown,
    shown_delivery,
    skipped,
    with_result,
)
from server.openapi import errors, event_stream, form_body
from server.parameters import SubtitleLayout

router = APIRouter(tags=["jobs"], dependencies=[Depends(require_key)])
SpeakerName = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f]*$")]
SpeakerNames = Annotated[
    dict[SpeakerName, SpeakerName | None],
    BeforeValidator(encodable_json),
    Field(max_length=100, examples=[{"A": "Anna"}]),
]

PING_S = 15.0
"""Longest silence of an event stream in seconds: reverse proxies cut silent connections."""
ACTIVE_SHOWN = 200
EVENTS: dict[int | str, dict[str, object]] = {
    200: {
        "description": "The events; `data` is the job without its result.",
        "content": {
            "text/event-stream": event_stream(f"event: completed\nid: 4\ndata: {json.dumps(LISTED)}\n\n", "event", "id")
        },
    }
}


@router.post(
    "/jobs",
    summary="Create jobs from files",
    status_code=202,
    response_model_exclude_unset=True,
    responses=errors(404, form="plain"),
    openapi_extra=form_body(JobOptions, "files", several=True, example={"language": "pt"}),
)
async def create(request: Request, jobs: AllJobs) -> NewJobs:
    """Create a job for each file in the form (`files`) and for each recording in a zip; all or none. Files in a zip
    that are clearly not recordings are listed in `skipped`."""
    key = idempotency_key(request, owner_of(request))
    async with received_files(request, jobs) as form:
        wanted = parse(JobOptions, form.fields)
        options = wanted.options(jobs.settings.keywords)
        await jobs.check_options(options)
        stored = await form.commit()
    submissions = [
        Submission(
            name,
            options,
            file.sha256,
            file.size_bytes,
            session_id=wanted.session_id,
            webhook_url=wanted.webhook_url,
            owner=owner_of(request),
        )
        for name, file in stored
    ]
    made = await jobs.submit(submissions, key=key)
    return NewJobs(jobs=[_short(job) for job in made], **skipped(form))


@router.get("/jobs", summary="List jobs")
async def newest(request: Request, jobs: AllJobs, query: Annotated[ListQuery, Query()]) -> JobPage:
    """List jobs, newest first, by page or cursor: the caller's own jobs, or all for keys with the admin permission."""
    return await listed(jobs, query, STATE_NAMES, seen_by(request))


@router.get("/queues", summary="Count jobs by state")
async def queues(request: Request, jobs: AllJobs) -> QueuesResponse:
    """Count the jobs that the caller can see by state, and list up to 200 running and queued ones."""
    owner = seen_by(request)
    counted = await jobs.numbers(owner)
    # Queued jobs first: a job that starts between the two queries is then in both lists, and not in neither.
    waiting = (await jobs.list(limit=ACTIVE_SHOWN, statuses=[Status.QUEUED], owner=owner)).items
    running = (await jobs.list(limit=ACTIVE_SHOWN, statuses=[Status.RUNNING], owner=owner)).items
    begun = {job.id for job in running}
    active = [*running, *(job for job in waiting if job.id not in begun)][:ACTIVE_SHOWN]
    told = {STATE_NAMES.get(status, status.value): number for status, number in counted.items()}
    return QueuesResponse(**told, total=sum(counted.values()), jobs=[shown(job, STATE_NAMES) for job in active])


@router.get("/jobs/{job_id}", summary="Get a job", response_model_exclude_unset=True)
async def one(job: OwnJob, jobs: AllJobs) -> JobResponse:
    """Return the job, with its result if it has one."""
    return await with_result(jobs, job, STATE_NAMES)


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job")
async def cancel(job: OwnJob, jobs: AllJobs) -> JobResponse:
    """Cancel a queued or running job."""
    return shown(await jobs.cancel(job.id), STATE_NAMES)


@router.post("/jobs/{job_id}/retry", summary="Retry a job", status_code=202)
async def retry(job: OwnJob, jobs: AllJobs) -> JobResponse:
    """Queue a failed, expired or cancelled job again. Refused like a new job if its options are no longer available."""
    return shown(await jobs.retry(job.id), STATE_NAMES)


@router.put("/jobs/{job_id}/speakers", summary="Name the speakers")
async def name_speakers(request: Request, job: OwnJob, names: SpeakerNames, jobs: AllJobs) -> JobResponse:
    """Name the speakers of the result: `{"A": "Anna"}`. Replaces all earlier names; null removes a name. Downloads use
    these names. Like an edit, this makes a new version of the transcript."""
    told = {letter: name for letter, name in names.items() if name is not None}
    return shown(await jobs.name_speakers(job, told, author=owner_of(request)), STATE_NAMES)


@router.delete("/jobs/{job_id}", summary="Delete a job", status_code=204)
async def delete(job: OwnJob, jobs: AllJobs) -> None:
    """Delete a job in any state; a running job is stopped."""
    await jobs.delete(job.id)


@router.get("/jobs/{job_id}/download", summary="Download the transcript", response_class=Response, responses=TRANSCRIPT)
async def result(job: OwnJob, jobs: AllJobs, layout: SubtitleLayout, format: str = "txt") -> Response:
    """Return the transcript as txt, json, srt, vtt, ttml, md, docx or pdf; subtitles in the requested layout."""
    return await downloaded(jobs, job, format, layout)


@router.get("/jobs/{job_id}/file", summary="Download the recording", response_class=Response, responses=RECORDING)
async def file(job: OwnJob, jobs: AllJobs) -> Response:
    """Return the recording, or a part of it (`Range`)."""
    path = await recording_file(jobs, job)
    # The type is detected, not taken from the upload: an uploaded HTML page must not run in this origin.
    return FileResponse(
        path,
        media_type=await asyncio.to_thread(media_type, path),
        filename=job.filename,
        headers={"X-Content-Type-Options": "nosniff"},
    )


@router.get("/jobs/{job_id}/events", summary="Stream progress", response_class=Response, responses=EVENTS)
async def events(request: Request, job_id: str, jobs: AllJobs) -> Response:
    """Stream Server-Sent Events: `progress` after each change, and finally an event named after the state in which the
    job ended. The stream ends early if the key is revoked; the next request then reports the reason."""
    pieces = await begun(_events(request, job_id, jobs))
    return Stream(pieces, "text/event-stream", {"Cache-Control": "no-store"})


async def _events(request: Request, job_id: str, jobs: Jobs) -> AsyncGenerator[bytes, None]:
    """Yield the events of a job, and hold a slot for a stream meanwhile. Raises Overloaded or JobNotFound before the
    first event."""
    # Start no task here: a client that disconnects cancels this repeatedly, even while it cleans up.
    stay = stay_of(request)
    look_s, silent_s = LOOK_EVERY_S if stay.ends else PING_S, 0.0
    opened = False
    with budgets_of(request).streams.one(caller_of(request)):
        try:
            async with aclosing(jobs.watch(job_id, silent_s=look_s)) as changes:
                async for job in changes:
                    if stay.over:
                        return
                    if job is not None and not opened:
                        check_own(job, request)
                        opened = True
                    silent_s = silent_s + look_s if job is None else 0.0
                    if job is None:
                        if silent_s >= PING_S:
                            silent_s = 0.0
                            yield b": still here\n\n"
                        continue
                    name = job.status.value if job.final else "progress"
                    data = json.dumps(shown(job, STATE_NAMES).model_dump())
                    yield f"event: {name}\nid: {job.version}\ndata: {data}\n\n".encode()
        except JobNotFound:
            if not opened:
                raise
            # It was removed meanwhile.
        except StorageError as error:
            if not opened:
                raise
            yield f"event: error\ndata: {json.dumps(as_json(error))}\n\n".encode()


@router.get("/jobs/{job_id}/deliveries", summary="List the webhook deliveries of a job")
async def deliveries(job: OwnJob, jobs: AllJobs) -> DeliveriesResponse:
    """List the deliveries with all their attempts."""
    return await _delivered(jobs, job)


@router.post(
    "/jobs/{job_id}/deliveries/{delivery_id}/redeliver",
    summary="Repeat a webhook delivery",
    status_code=202,
)
async def redeliver(job: OwnJob, delivery_id: str, jobs: AllJobs) -> DeliveriesResponse:
    """Send the message again with the same id."""
    await jobs.redeliver(job.id, delivery_id)
    return await _delivered(jobs, job)


async def _delivered(jobs: Jobs, job: Job) -> DeliveriesResponse:
    return DeliveriesResponse(deliveries=[shown_delivery(*one) for one in await jobs.outbox.of_job(job.id)])


def _short(job: Job) -> NewJob:
    return NewJob(job_id=job.id, filename=job.filename, status=named(job.status, STATE_NAMES))
