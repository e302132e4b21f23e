"""`/library…` and `PATCH /jobs/{id}`: the caller's transcripts, searched and changed together."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from jobs.errors import JobNotFound, NotPossible
from jobs.job import Job
from jobs.service import Jobs
from jobs.transcript_library.bundle import bundle
from jobs.transcript_library.search import MAX_LIMIT, MAX_QUERY_CHARS
from pipeline.errors import BadInput
from pipeline.support.encodable import encodable
from pipeline.transcripts.subtitles import Layout
from server.access import budgets_of, caller_of, require_key
from server.http.client_disconnect import Stream, begun
from server.jobs.owners import OwnJob, seen_by
from server.jobs.schemas import JobResponse
from server.jobs.transcript_library_schemas import (
    Arrangement,
    Chosen,
    Deleted,
    Download,
    FoundJob,
    FoundSnippet,
    LibraryResponse,
    SearchResponse,
)
from server.jobs.views import STATE_NAMES, AllJobs, attachment, shown
from server.openapi import errors
from server.parameters import SubtitleLayout
from server.state import state_of

router = APIRouter(dependencies=[Depends(require_key)])
ZIP: dict[int | str, dict[str, object]] = {
    200: {
        "description": "The transcripts as a zip, sent while it is written.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.patch("/jobs/{job_id}", tags=["jobs"], summary="Rename, tag or pin a job")
async def arrange(job: OwnJob, changes: Arrangement, jobs: AllJobs) -> JobResponse:
    """Change the name, the tags or the pin of a job."""
    arranged = await jobs.arrange(job.id, filename=changes.filename, tags=changes.tags, pinned=changes.pinned)
    return shown(arranged, STATE_NAMES)


@router.get("/library", tags=["library"], summary="Get tags and retention")
async def library(request: Request, jobs: AllJobs) -> LibraryResponse:
    """Return the caller's tags, how long jobs are kept, and what the language model can write about them."""
    settings = jobs.settings
    return LibraryResponse(
        tags=await jobs.tags(seen_by(request)),
        keep_hours=settings.job_keep_hours or None,
        delete_audio_after=settings.delete_audio_after or None,
        language_model=await state_of(request).assistant.has_model(),
        prompts=dict(jobs.insight_prompts),
    )


@router.get("/library/search", tags=["library"], summary="Search in transcripts")
async def search(
    request: Request,
    jobs: AllJobs,
    q: Annotated[str, Query(max_length=MAX_QUERY_CHARS, description='Words, and "words in order".')],
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
    cursor: Annotated[str | None, Query(max_length=20)] = None,
) -> SearchResponse:
    """Find the transcripts with all these words in one passage (some sentences). Case and accents do not matter; a
    word can be the beginning of a longer one."""
    found = await jobs.search(encodable(q), owner=seen_by(request), limit=limit, cursor=cursor)
    items = [
        FoundJob(
            job=shown(hit.job, STATE_NAMES),
            snippets=[
                FoundSnippet(start=one.start_s, text=one.text, marks=[[start, end] for start, end in one.marks])
                for one in hit.snippets
            ],
        )
        for hit in found.items
    ]
    indexed = None if found.indexed is None else round(100 * found.indexed, 1)
    return SearchResponse(items=items, next_cursor=found.next_cursor, indexed=indexed)


@router.post("/library/delete", tags=["library"], summary="Delete several jobs")
async def delete(request: Request, chosen: Chosen, jobs: AllJobs) -> Deleted:
    """Delete up to 500 jobs in any state."""
    found = {job.id for job in await jobs.get_all(chosen.ids, seen_by(request))}
    deleted = []
    for job_id in chosen.ids:
        if job_id not in found:
            continue
        found.discard(job_id)
        try:
            await jobs.delete(job_id)
        except JobNotFound:  # deleted meanwhile
            continue
        deleted.append(job_id)
    gone = set(deleted)
    return Deleted(deleted=deleted, not_found=[one for one in dict.fromkeys(chosen.ids) if one not in gone])


@router.post(
    "/library/download",
    tags=["library"],
    summary="Download several transcripts",
    response_class=Response,
    responses={**ZIP, **errors(404, 409, form="plain")},
)
async def download(request: Request, wanted: Download, jobs: AllJobs, layout: SubtitleLayout) -> Response:
    """Return the transcripts of up to 500 jobs as a zip. Jobs without a transcript are left out; if none has one, the
    response is an error. A transcript for whose script the service has no font comes as txt instead of pdf."""
    found = await jobs.get_all(wanted.ids, seen_by(request))
    if not found:
        raise JobNotFound("There are no jobs of these ids.")
    ready = [job for job in found if job.result_key is not None]
    if not ready:
        raise NotPossible("None of these jobs has a transcript.", code="no_result")
    slot = budgets_of(request).streams.one(caller_of(request))

    async def chunks() -> AsyncGenerator[bytes, None]:
        with slot:
            async with (
                aclosing(_files(jobs, ready, wanted.format, layout)) as files,
                aclosing(bundle(files)) as parts,
            ):
                async for part in parts:
                    yield part

    return Stream(await begun(chunks()), "application/zip", attachment("transcripts.zip"))


async def _files(
    jobs: Jobs, ready: Sequence[Job], kind: str, layout: Layout
) -> AsyncGenerator[tuple[str, float, str | bytes], None]:
    """Yield name, time and content of each transcript, one after the other."""
    for job in ready:
        try:
            content = await jobs.rendered(job, kind, layout)
        except (JobNotFound, NotPossible):  # deleted meanwhile
            continue
        except BadInput:  # pdf_font_missing
            yield f"{job.stem}.txt", job.created_at, await jobs.rendered(job, "txt", layout)
        else:
            yield f"{job.stem}.{kind}", job.created_at, content
