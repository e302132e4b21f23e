"""`/jobs…` and `/queues`: transcription jobs, as docs/jobs.md describes them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BeforeValidator, Field

from jobs.errors import JobNotFound
from jobs.schema import Job, Submission
from jobs.service import Jobs
from jobs.states import Status
from pipeline.encodable import encodable_json
from pipeline.errors import StorageError
from server.access import budgets_of, caller_of, require_key, stay_of
from server.access.keys import LOOK_EVERY_S
from server.access.staying import Stay
from server.documents import answers, errors, event_stream, form_body
from server.errors import as_json
from server.incoming import received_files
from server.job_answers import LISTED, DeliveriesAnswer, JobAnswer, JobPage, NewJobs, QueuesAnswer
from server.job_owners import OwnJob, owner_of, seen_by
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
    shown_delivery,
    skipped,
    text_field,
)
from server.leaving import Stream, begun
from server.media_types import media_type
from server.parameters import SubtitleLayout

router = APIRouter(tags=["jobs"], dependencies=[Depends(require_key)])
SpeakerName = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f]*$")]
SpeakerNames = Annotated[
    dict[SpeakerName, SpeakerName | None],
    BeforeValidator(encodable_json),
    Field(max_length=100, examples=[{"A": "Anna"}]),
]

PING_S = 15.0
"""A stream of events says something at least so often: silence is what proxies cut."""
ACTIVE_SHOWN = 200
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events; `data` is the job without its result.",
        "content": {
            "text/event-stream": event_stream(f"event: completed\nid: 4\ndata: {json.dumps(LISTED)}\n\n", "event", "id")
        },
    }
}


@router.post(
    "/jobs",
    summary="Recordings into jobs",
    status_code=202,
    response_model=None,
    responses={**answers(NewJobs, 202), **errors(404, form="plain")},
    openapi_extra=form_body(JobOptions, "files", several=True, example={"language": "pt"}),
)
async def create(request: Request, jobs: AllJobs) -> dict[str, Any]:
    """A job for each file of the form (`files`), and for each recording in a zip; all or none. What in a zip is plainly
    no recording is told in `skipped`."""
    key = idempotency_key(request, owner_of(request))
    async with received_files(request, jobs) as form:
        wanted, session_id = options(form.fields), text_field(form.fields, "session_id")
        webhook_url = text_field(form.fields, "webhook_url", 4096)
        await jobs.check_model(wanted.model_id)
        stored = await form.commit()
    submissions = [
        Submission(name, wanted, file.sha256, file.size_bytes, None, session_id, webhook_url, owner_of(request))
        for name, file in stored
    ]
    made = await jobs.submit(submissions, key=key)
    return {"jobs": [_short(job) for job in made], **skipped(form)}


@router.get("/jobs", summary="The newest jobs", response_model=None, responses=answers(JobPage))
async def newest(request: Request, jobs: AllJobs, query: Annotated[ListQuery, Query()]) -> dict[str, Any]:
    """By page or by cursor; the caller's own, or all for keys with the right admin."""
    return await listed(jobs, query, OUTSIDE, seen_by(request))


@router.get("/queues", summary="How many jobs are in each state", response_model=None, responses=answers(QueuesAnswer))
async def queues(request: Request, jobs: AllJobs) -> dict[str, Any]:
    """And those that are worked on or wait, 200 at most; of the caller's own."""
    owner = seen_by(request)
    counted = await jobs.numbers(owner)
    # First those that wait: one that is begun in between is in both, and not in neither.
    waiting = (await jobs.list(limit=ACTIVE_SHOWN, statuses=[Status.QUEUED], owner=owner)).items
    running = (await jobs.list(limit=ACTIVE_SHOWN, statuses=[Status.RUNNING], owner=owner)).items
    begun = {job.id for job in running}
    active = [*running, *(job for job in waiting if job.id not in begun)][:ACTIVE_SHOWN]
    told: dict[str, Any] = {OUTSIDE.get(status, status.value): number for status, number in counted.items()}
    return {**told, "total": sum(counted.values()), "jobs": [shown(job, OUTSIDE) for job in active]}


@router.get("/jobs/{job_id}", summary="A job", response_model=None, responses=answers(JobAnswer))
async def one(job: OwnJob, jobs: AllJobs) -> dict[str, Any]:
    """With its result when it has one."""
    return shown(job, OUTSIDE, await jobs.result(job))


@router.post("/jobs/{job_id}/cancel", summary="Stop a job", response_model=None, responses=answers(JobAnswer))
async def cancel(job: OwnJob, jobs: AllJobs) -> dict[str, Any]:
    """One that waits or is worked on."""
    return shown(await jobs.cancel(job.id), OUTSIDE)


@router.post(
    "/jobs/{job_id}/retry",
    summary="Queue a job again",
    status_code=202,
    response_model=None,
    responses=answers(JobAnswer, 202),
)
async def retry(job: OwnJob, jobs: AllJobs) -> dict[str, Any]:
    """One that failed, expired or was cancelled."""
    return shown(await jobs.retry(job.id), OUTSIDE)


@router.put(
    "/jobs/{job_id}/speakers",
    summary="Name the speakers",
    response_model=None,
    responses=answers(JobAnswer),
)
async def name_speakers(job: OwnJob, names: SpeakerNames, jobs: AllJobs) -> dict[str, Any]:
    """What people call the speakers of the result: `{"A": "Anna"}`, in the place of all names before; null is no name.
    Downloads have these names."""
    told = {letter: name for letter, name in names.items() if name is not None}
    return shown(await jobs.name_speakers(job.id, told), OUTSIDE)


@router.delete("/jobs/{job_id}", summary="Remove a job", status_code=204)
async def delete(job: OwnJob, jobs: AllJobs) -> None:
    """Whatever its state; what is worked on stops."""
    await jobs.delete(job.id)


@router.get(
    "/jobs/{job_id}/download", summary="The transcript as a file", response_class=Response, responses=TRANSCRIPT
)
async def result(job: OwnJob, jobs: AllJobs, layout: SubtitleLayout, format: str = "txt") -> Response:
    """txt, json, srt or vtt; subtitles in the layout that is asked for."""
    return await downloaded(jobs, job, format, layout)


@router.get("/jobs/{job_id}/file", summary="The recording", response_class=Response, responses=RECORDING)
async def file(job: OwnJob, jobs: AllJobs) -> Response:
    """In parts where they are asked for (Range)."""
    path = await recording_file(jobs, job)
    # Not of the type it claims to be: a page that somebody uploaded must not run in this origin.
    return FileResponse(
        path,
        media_type=await asyncio.to_thread(media_type, path),
        filename=job.filename,
        headers={"X-Content-Type-Options": "nosniff"},
    )


@router.get("/jobs/{job_id}/events", summary="Progress as it happens", response_class=Response, responses=EVENTS)
async def events(request: Request, job: OwnJob, jobs: AllJobs) -> Response:
    """Server-Sent Events: `progress` whenever something is new, at last one named as the state the job ended in. They
    end before when the key was taken back; whoever asks again is told so."""
    place = budgets_of(request).streams.one(caller_of(request))
    pieces = await begun(_events(jobs, job.id, stay_of(request), place))
    return Stream(pieces, "text/event-stream", {"Cache-Control": "no-store"})


async def _events(
    jobs: Jobs, job_id: str, stay: Stay, place: AbstractContextManager[None]
) -> AsyncGenerator[bytes, None]:
    """place: among the streams, for as long as it lasts. Raises Overloaded before the first event."""
    # No task of its own in here: who goes away has this cancelled again and again, also while it cleans up.
    look_s, silent_s = LOOK_EVERY_S if stay.ends else PING_S, 0.0
    with place:
        try:
            async with aclosing(jobs.watch(job_id, silent_s=look_s)) as changes:
                async for job in changes:
                    if stay.over:
                        return
                    silent_s = silent_s + look_s if job is None else 0.0
                    if job is None:
                        if silent_s >= PING_S:
                            silent_s = 0.0
                            yield b": still here\n\n"
                        continue
                    name = job.status.value if job.final else "progress"
                    told = f"event: {name}\nid: {job.version}\ndata: {json.dumps(shown(job, OUTSIDE))}\n\n"
                    yield told.encode()
        except JobNotFound:  # removed meanwhile
            pass
        except StorageError as error:
            yield f"event: error\ndata: {json.dumps(as_json(error))}\n\n".encode()


@router.get(
    "/jobs/{job_id}/deliveries",
    summary="What webhooks were told of a job",
    response_model=None,
    responses=answers(DeliveriesAnswer),
)
async def deliveries(job: OwnJob, jobs: AllJobs) -> dict[str, Any]:
    """With every attempt."""
    return await _delivered(jobs, job)


@router.post(
    "/jobs/{job_id}/deliveries/{delivery_id}/redeliver",
    summary="Tell a webhook once more",
    status_code=202,
    response_model=None,
    responses=answers(DeliveriesAnswer, 202),
)
async def redeliver(job: OwnJob, delivery_id: str, jobs: AllJobs) -> dict[str, Any]:
    """Under the same id."""
    await jobs.redeliver(job.id, delivery_id)
    return await _delivered(jobs, job)


async def _delivered(jobs: Jobs, job: Job) -> dict[str, Any]:
    return {"deliveries": [shown_delivery(*one) for one in await jobs.outbox.of_job(job.id)]}


def _short(job: Job) -> dict[str, Any]:
    return {"job_id": job.id, "filename": job.filename, "status": OUTSIDE.get(job.status, job.status.value)}
